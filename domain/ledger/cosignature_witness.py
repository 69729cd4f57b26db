"""The witness protocol without its network: the request, and what a witness decides (C2SP tlog-witness).

What a witness may never do is cosign two trees of which one does not extend the other; so it decides from the latest
tree that it cosigned, and from nothing that a caller says of it.
"""

import base64
import re
from collections.abc import Mapping, Sequence

import msgspec

from domain.errors import CaseLedgerError, MalformedNote, ProofInvalid
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.note import Note, NoteSignature, VerifierKey, b64decode_strict, verify
from domain.ledger.tree import HASH_BYTES, MAX_SIZE, verify_consistency

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = 128 * 1024
"""Of a whole request: 63 hashes take 3 KiB, and a note with a dozen post-quantum signatures 40."""
SIZE_TYPE = "text/x.tlog.size"

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_SIZE_BODY = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


class AddCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint to cosign, the size that it is proven to extend, and the consistency proof."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def render(self) -> bytes:
        """The body of the request."""
        lines = [f"old {self.old}\n", *(base64.b64encode(item).decode() + "\n" for item in self.proof), "\n"]
        return "".join(lines).encode() + self.note


class Refusal(msgspec.Struct, frozen=True):
    """Why a checkpoint is not cosigned: the status of the answer, and in words. `size` goes with 409 alone."""

    status: int
    why: str
    size: int | None = None


class Accepted(msgspec.Struct, frozen=True):
    """A checkpoint that may be cosigned once it is on record, with the log's own lines that hold."""

    checkpoint: Checkpoint
    text: str
    lines: tuple[NoteSignature, ...]


def parse_request(raw: bytes) -> AddCheckpoint:
    """Reads the body of a request. Raises: MalformedNote."""
    if len(raw) > MAX_REQUEST_BYTES:
        raise MalformedNote(f"a request has at most {MAX_REQUEST_BYTES} bytes")
    head, blank, note = raw.partition(b"\n\n")
    try:
        first, *hashes = head.decode("ascii").split("\n")
        proof = tuple(b64decode_strict(line) for line in hashes)
    except ValueError:
        raise MalformedNote("a proof's hashes are in base64") from None
    old = _OLD.fullmatch(first)
    if not blank or old is None or int(old[1]) > MAX_SIZE:
        raise MalformedNote("a request is an old size, a proof, an empty line and a checkpoint")
    if len(proof) > MAX_PROOF_LINES or any(len(item) != HASH_BYTES for item in proof):
        raise MalformedNote("a proof has at most 63 hashes of 32 bytes")
    return AddCheckpoint(int(old[1]), proof, note)


def parse_size(raw: bytes) -> int:
    """Reads the body of a 409: the size that the witness cosigned last. Raises: MalformedNote."""
    found = _SIZE_BODY.fullmatch(raw)
    if found is None or int(found[1]) > MAX_SIZE:
        raise MalformedNote("a conflict's body is a size and a newline")
    return int(found[1])


def authenticate(note: bytes, logs: Mapping[str, Sequence[VerifierKey]]) -> Accepted | Refusal:
    """Whether a log that the witness knows signed this. `logs` gives the keys of each known origin."""
    try:
        parsed = Note.parse(note)
        checkpoint = _parse(parsed.text)
    except MalformedNote as error:
        return Refusal(400, str(error))
    origin = parsed.text.partition("\n")[0]
    keys = logs.get(origin)
    if not keys:
        return Refusal(404, "this witness does not know the log")
    try:
        verified = verify(parsed, keys)
    except CaseLedgerError as error:
        return Refusal(403, str(error))
    if checkpoint is None:
        return Refusal(422, "the empty tree has another root")
    # One line a key: what is kept and shown must not grow with what was sent.
    first = {(line.name, line.key_hash): line for line in reversed(parsed.signatures)}
    lines = tuple(first[key.name, key.key_hash] for key in verified)
    return Accepted(checkpoint, parsed.text, lines)


def _parse(text: str) -> Checkpoint | None:
    """The checkpoint; None where all that is wrong with it is the root of the empty tree, which has its own answer."""
    try:
        return Checkpoint.parse(text)
    except MalformedNote:
        lines = text.split("\n")
        if len(lines) < 4 or lines[1] != "0":
            raise
        Checkpoint.parse("\n".join((lines[0], "1", *lines[2:])))
        return None


def decide(request: AddCheckpoint, new: Checkpoint, latest: Checkpoint | None) -> Refusal | None:
    """Whether a checkpoint of a known log extends the latest that was cosigned for it (None: none was yet)."""
    size = 0 if latest is None else latest.size
    if request.old > new.size:
        return Refusal(400, "the old size is larger than the checkpoint's")
    if request.old != size:
        return Refusal(409, "the latest cosigned checkpoint has another size", size)
    if latest is None or size == 0:
        return Refusal(422, "from the empty tree there is nothing to prove") if request.proof else None
    try:
        verify_consistency(size, new.size, latest.root, new.root, request.proof)
    except ProofInvalid as error:
        return Refusal(422, str(error))
    return None
