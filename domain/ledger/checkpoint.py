"""Checkpoints: what the log's tree was at one size, signed (C2SP tlog-checkpoint).

The log signs each checkpoint twice with its checkpoint key, whose name is the origin: once plainly (0x01),
once as a cosignature (0x04) that carries the commit time.
"""

import base64
import re
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.errors import MalformedNote, NoteSignatureInvalid
from domain.ledger.note import (
    COSIGNATURE_HEADER,
    COSIGNATURE_V1,
    COSIGNATURES,
    ED25519,
    Note,
    VerifierKey,
    b64decode_strict,
    cosign,
    cosignature_time_s,
    sign_ed25519,
    verify,
)
from domain.ledger.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_BREAKS_A_LINE = re.compile(r"[\x00-\x1f]")


class Checkpoint(msgspec.Struct, frozen=True):
    """The root hash (32 bytes) of the origin's tree at `size` leaves, and opaque extension lines.

    Raises: MalformedNote.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or _BREAKS_A_LINE.search(line):
                raise MalformedNote("a checkpoint's lines are not empty and have no control character")
        if f"{self.origin}\n" == COSIGNATURE_HEADER:
            # Its text would read as a message that a cosignature covers, and the log's key makes both kinds.
            raise MalformedNote("that origin is reserved")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise MalformedNote("a checkpoint has a size below 2^63 and a root of 32 bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedNote("the empty tree has another root")

    def body(self) -> str:
        """The note text: origin, size, root in base64, extensions, each ended by a newline."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Reads a note text; `body` gives the same text again. Raises: MalformedNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop():
            raise MalformedNote("a checkpoint has an origin, a size and a root, and ends in a newline")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise MalformedNote("a checkpoint's size is decimal, without leading zeros")
        try:
            return cls(origin, int(size), b64decode_strict(root), tuple(extensions))
        except ValueError as error:
            raise MalformedNote("a checkpoint's root is base64") from error


class SignedCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint whose signatures were checked, and by which keys.

    `note` is the exact signed note. `committed_at_s` is the commit time in whole seconds that the log signed,
    or None when its cosignature key is not among the known ones.
    """

    checkpoint: Checkpoint
    note: bytes
    verified: tuple[VerifierKey, ...]
    committed_at_s: int | None


def verifier_keys(origin: str, public_key: bytes) -> tuple[VerifierKey, VerifierKey]:
    """The two verifier keys (0x01, 0x04) of a log whose checkpoint key has this raw public half."""
    return VerifierKey.make(origin, ED25519, public_key), VerifierKey.make(origin, COSIGNATURE_V1, public_key)


def sign(checkpoint: Checkpoint, private_key: Ed25519PrivateKey, committed_at: int) -> bytes:
    """The signed note of a checkpoint: both signatures of the log, under its origin as key name.

    `committed_at` is in microseconds UTC; the cosignature carries it in whole seconds, rounded down.
    Deterministic: any process that holds the key signs the same size to the same bytes.

    Warning: sign only a tree that has been committed; a signature cannot be taken back.

    Raises: BadPublicKey when the origin cannot name a key. MalformedNote when the time is not one.
    """
    body, name = checkpoint.body(), checkpoint.origin
    plain = sign_ed25519(body, name, private_key)
    timed = cosign(body, name, private_key, committed_at // 1_000_000)
    return Note(body, (plain, timed)).render()


def read_unverified(note: bytes) -> Checkpoint:
    """The checkpoint that a note claims.

    Warning: nothing is verified; only for finding out which log's keys to verify it with.

    Raises: MalformedNote.
    """
    return Checkpoint.parse(Note.parse(note).text)


def open_checkpoint(note: bytes, keys: Sequence[VerifierKey]) -> SignedCheckpoint:
    """Opens a signed checkpoint: its origin's own key must have signed it.

    At least one known 0x01 key named as the origin must have signed; and when the known keys include an 0x04 or 0x06
    one of the origin, one of those too, so that neither the commit time nor what outlasts Ed25519 can be stripped.
    Witnesses' keys may be given as well.

    Raises: MalformedNote. NoteSignatureInvalid; also when no keys are given.
    """
    parsed = Note.parse(note)
    checkpoint = Checkpoint.parse(parsed.text)
    verified = verify(parsed, keys)
    own = {key.algorithm for key in keys if key.name == checkpoint.origin} | {ED25519}
    signed = {key.algorithm for key in verified if key.name == checkpoint.origin}
    if own != signed:
        raise NoteSignatureInvalid("the checkpoint lacks a signature of its origin's key")
    cosigners = {(key.name, key.key_hash) for key in verified if key.algorithm in COSIGNATURES}
    times = {
        cosignature_time_s(line)
        for line in parsed.signatures
        if line.name == checkpoint.origin and (line.name, line.key_hash) in cosigners
    }
    if len(times) > 1:
        raise NoteSignatureInvalid("the log signed two different commit times for one checkpoint")
    return SignedCheckpoint(checkpoint, note, tuple(verified), times.pop() if times else None)
