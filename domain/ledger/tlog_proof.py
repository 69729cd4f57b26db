"""Inclusion proofs as files (C2SP tlog-proof, version 1): the entry's index, its proof, and the log's checkpoint.

c2sp.org/tlog-proof@v1
extra <base64>              only where there is some; nothing vouches for it
index <decimal>
<base64 of a hash>          from the leaf's sibling to the root's child
<empty line>
<the checkpoint, verbatim>
"""

import base64
import re
from collections.abc import Sequence

import msgspec

from domain.errors import MalformedNote, ProofInvalid, TooLarge
from domain.ledger.checkpoint import SignedCheckpoint, open_checkpoint
from domain.ledger.note import MAX_NOTE_BYTES, Note, VerifierKey, b64decode_strict
from domain.ledger.tree import HASH_BYTES, MAX_PROOF_HASHES, MAX_SIZE, verify_inclusion

FORMAT = "c2sp.org/tlog-proof@v1"
FILE_EXTENSION = ".tlog-proof"
MAX_EXTRA_BYTES = 64 * 1024
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 4 * (MAX_EXTRA_BYTES // 3 + 1) + 64 * MAX_PROOF_HASHES
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


class TlogProof(msgspec.Struct, frozen=True, kw_only=True):
    """What such a file holds; `checkpoint` is the exact signed note, `hashes` 32 bytes each, from leaf to root."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""
    """Opaque to the format, and authenticated by nothing."""

    def render(self) -> bytes:
        """The file."""
        lines = [FORMAT]
        if self.extra:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(each).decode() for each in self.hashes]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint


def parse(raw: bytes) -> TlogProof:
    """Read a proof's file strictly: `render` gives the same bytes again. Nothing is verified by that.

    Raises:
        TooLarge: more bytes than the largest such file has.
        MalformedNote: another format, or a checkpoint that is no signed note.
        ProofInvalid: a hash is not 32 bytes in canonical base64, or there are more than 64.
    """
    if len(raw) > MAX_PROOF_BYTES:
        raise TooLarge(f"a proof has at most {MAX_PROOF_BYTES} bytes")
    head, separator, checkpoint = raw.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedNote("a proof is ASCII up to its checkpoint") from None
    if not separator or lines.pop(0) != FORMAT:
        raise MalformedNote(f"a proof begins with {FORMAT}, and has an empty line before its checkpoint")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = _extra(lines.pop(0).removeprefix("extra "))
    index = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if index is None or int(index[1]) > MAX_SIZE:
        raise MalformedNote("a proof has a line with the index, decimal, without leading zeros")
    Note.parse(checkpoint)
    return TlogProof(index=int(index[1]), hashes=_hashes(lines), checkpoint=checkpoint, extra=extra)


def _extra(text: str) -> bytes:
    try:
        extra = b64decode_strict(text)
    except ValueError:
        raise MalformedNote("a proof's extra data is base64") from None
    if not extra or len(extra) > MAX_EXTRA_BYTES:
        raise MalformedNote(f"a proof's extra data, where there is some, has 1 to {MAX_EXTRA_BYTES} bytes")
    return extra


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF_HASHES:
        raise ProofInvalid("the proof has more than 64 hashes")
    try:
        hashes = tuple(b64decode_strict(line) for line in lines)
    except ValueError:
        raise ProofInvalid("a hash of the proof is not base64") from None
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofInvalid("a hash has 32 bytes")
    return hashes


def verify(proof: TlogProof, leaf: bytes, keys: Sequence[VerifierKey]) -> SignedCheckpoint:
    """Check that a leaf hash (32 bytes) stands at the proof's index of a tree that the log signed.

    Raises:
        MalformedNote, NoteSignatureInvalid: the checkpoint is not signed as `open_checkpoint` wants it.
        ProofInvalid: the proof does not lead from this leaf to its root.
    """
    signed = open_checkpoint(proof.checkpoint, keys)
    verify_inclusion(leaf, proof.index, signed.checkpoint.size, proof.hashes, signed.checkpoint.root)
    return signed
