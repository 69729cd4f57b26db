"""Judging the signatures of one stored checkpoint, by all keys that the log has had."""

from collections.abc import Sequence

from application.monitor.restorations import Restoration, can_judge, origin_at
from application.monitor.state import Bad
from domain.errors import CaseLedgerError
from domain.ledger.checkpoint import Checkpoint, open_checkpoint, read_unverified, verifier_keys
from domain.ledger.note import ED25519, VerifierKey


def both_kinds(given: Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
    """The keys, each as the verifier of both lines that it signs: else nobody would see the second one altered."""
    pairs = [verifier_keys(key.name, key.public_key) for key in given if key.algorithm == ED25519]
    return tuple(dict.fromkeys((*given, *(key for pair in pairs for key in pair))))


def judge(size: int, note: str, keys: Sequence[VerifierKey], restored: Sequence[Restoration] = ()) -> Checkpoint | None:
    """The checkpoint that is stored for a size, its signatures good; None where that cannot be judged.

    Raises:
        Bad: it is not signed, or is of another size or another log.
    """
    if not can_judge(restored, size, keys):
        return None
    found = check_signatures(size, note, keys)
    if found.size != size:
        raise Bad("checkpoint", size - 1, f"the checkpoint of size {size} speaks of another size")
    if found.origin != origin_at(restored, size, found.origin):
        raise Bad("checkpoint", size - 1, f"the checkpoint of size {size} is of another log")
    return found


def check_signatures(size: int, note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint in a note that is stored for a size.

    Raises:
        Bad: a signature does not hold, or is missing.
    """
    try:
        return open_checkpoint(note.encode(), keys).checkpoint
    except CaseLedgerError as error:
        raise Bad("checkpoint", size - 1, f"the checkpoint of size {size}: {error}") from None


def root_of(note: str) -> bytes:
    """The root that a stored note claims; nothing where it is none any more."""
    try:
        return read_unverified(note.encode()).root
    except CaseLedgerError:
        return b""
