"""What an acknowledged write gives back."""

from collections.abc import Sequence

import msgspec

from application.ledger.entries import IdempotencyKey
from application.ledger.store import Ledger
from application.ledger.streams import LoggedEvent, ReceiptedRecording
from domain.event import Erased, Event
from domain.ledger.receipt import Receipt


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Where a write stands: its stream's new revision, and a receipt for each of its entries."""

    stream: str
    revision: int
    receipts: tuple[Receipt, ...]
    events: tuple[Event | Erased, ...]
    replayed: bool = False

    @property
    def index(self) -> int:
        """Log index of the write's first entry."""
        return self.receipts[0].index


def outcome_of(stream: str, recordings: Sequence[ReceiptedRecording]) -> Outcome:
    """The outcome of a save, seen from the stream that the caller asked about."""
    revision = max(
        each.notification.originator_version for each in recordings if each.notification.originator_id == stream
    )
    return Outcome(
        stream=stream,
        revision=revision,
        receipts=tuple(each.receipt for each in recordings),
        events=tuple(each.new.event for each in recordings),
    )


def settled_outcome(
    ledger: Ledger, idempotency: IdempotencyKey | None, stream: str, recordings: Sequence[ReceiptedRecording]
) -> Outcome:
    """The outcome of a save; where an equal request was saved at the same moment, that one's."""
    if not recordings and (earlier := earlier_outcome(ledger, idempotency, stream.partition("-")[0])) is not None:
        return earlier
    return outcome_of(stream, recordings)


def earlier_outcome(ledger: Ledger, idempotency: IdempotencyKey | None, prefix: str) -> Outcome | None:
    """The outcome of an earlier, equal request under the same Idempotency-Key; None where there was none.

    `prefix` is the kind of stream whose revision counts ("case").

    Raises:
        IdempotencyKeyReused: that key came with another request.
    """
    if idempotency is None:
        return None
    appended = ledger.appended_under(idempotency)
    if appended is None:
        return None
    first = appended.first_index
    events: list[LoggedEvent] = ledger.read(first, first + len(appended.receipts))
    own = [each for each in events if each.originator_id.startswith(f"{prefix}-")] or events
    return Outcome(
        stream=own[-1].originator_id,
        revision=own[-1].originator_version,
        receipts=appended.receipts,
        events=tuple(each.event for each in events),
        replayed=True,
    )
