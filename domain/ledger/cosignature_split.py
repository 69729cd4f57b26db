"""Finding a split view: one log that signed two histories. The proof of it is two signed notes, and nothing else."""

from collections.abc import Iterable, Sequence

import msgspec

from domain.errors import HeadForked, MalformedNote, NoteSignatureInvalid, ProofInvalid
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.note import Note, VerifierKey, verify
from domain.ledger.tree import EMPTY_ROOT, verify_consistency


class Split(msgspec.Struct, frozen=True):
    """Two notes that the same log signed, of trees with the same size and different roots."""

    origin: str
    size: int
    one: bytes
    other: bytes


def find_split(notes: Iterable[bytes], keys: Sequence[VerifierKey]) -> Split | None:
    """The first two of these notes that contradict each other, both signed by the log's own keys; None if none do.

    Only a log's own signature can convict it, so what is not signed by `keys` is passed over. Notes of different sizes
    cannot contradict each other by themselves: see `check_extends`.
    """
    seen: dict[tuple[str, int], tuple[bytes, bytes]] = {}
    for note in notes:
        checkpoint = _signed(note, keys)
        if checkpoint is None:
            continue
        place = checkpoint.origin, checkpoint.size
        root, first = seen.setdefault(place, (checkpoint.root, note))
        if root != checkpoint.root:
            return Split(checkpoint.origin, checkpoint.size, first, note)
    return None


def check_extends(older: Checkpoint, newer: Checkpoint, proof: Sequence[bytes]) -> None:
    """Checks that one checkpoint's tree extends another's, of whatever sizes.

    Raises:
        HeadForked: they are of different logs, or of one size with different roots, or the proof does not hold: a
            log that has no better one has split.
    """
    if older.origin != newer.origin or older.size > newer.size:
        raise HeadForked("the checkpoints are of two logs, or not in order")
    if older.size == 0:
        if older.root != EMPTY_ROOT or proof:
            raise HeadForked("from the empty tree there is nothing to prove")
        return
    try:
        verify_consistency(older.size, newer.size, older.root, newer.root, proof)
    except ProofInvalid as error:
        raise HeadForked(f"one checkpoint does not extend the other: {error}") from None


def _signed(note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint | None:
    try:
        parsed = Note.parse(note)
        checkpoint = Checkpoint.parse(parsed.text)
        verify(parsed, [key for key in keys if key.name == checkpoint.origin])
    except (MalformedNote, NoteSignatureInvalid):
        return None
    return checkpoint
