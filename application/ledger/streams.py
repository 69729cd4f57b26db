"""The events of a stream on their way into the log and out of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from eventsourcing.persistence import Recording

from domain.event import Erased, Event, Meta
from domain.ledger.receipt import Receipt
from domain.ledger.sealing import Opening
from domain.ledger.statement import Statement
from domain.values import Role

S = TypeVar("S")
Evolve = Callable[[S | None, Event | Erased, Meta], S | None]


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, why and when: what all entries of one request have in common. Times in microseconds UTC."""

    actor: str
    """The id under which the actor stands in the log; for a patient, that of the case."""
    role: Role
    purpose: str
    cause: str
    recorded_at: int
    occurred_at: int | None = None


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is to be appended to a stream (the library's domain event)."""

    originator_id: str
    originator_version: int
    event: Event
    case: str | None
    subject: str | None
    """Whose key seals it; None where they were erased: the entry then says that it happened, and nothing more."""
    object: str | None = None
    version: str | None = None
    outcome: str | None = None
    occurred_at: int | None = None
    """When it happened, where that is not when the rest of its act did. Microseconds UTC."""


class ActorSigned(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that its actor signed: exact bytes, the signature, and what the commitment opens to."""

    statement: bytes
    signature: bytes
    opening: Opening


class LoggedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as the log holds it (the library's domain event, read back). Times in microseconds UTC."""

    originator_id: str
    originator_version: int
    event: Event | Erased
    statement: Statement
    index: int
    leaf: str
    committed_at: int

    def meta(self) -> Meta:
        """What folds are told beside the event."""
        return Meta(
            actor=self.statement.actor,
            role=self.statement.role,  # type: ignore[arg-type]  # written from a Role, and signed since
            recorded_at=self.statement.recorded_at,
            occurred_at=self.statement.occurred_at,
            leaf=self.leaf,
            index=self.index,
            committed_at=self.committed_at,
        )


@dataclass(frozen=True)
class ReceiptedRecording(Recording[str]):
    """A recorded event with the receipt of its entry."""

    new: NewEvent
    receipt: Receipt


class Loaded(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """A stream folded into its state (the library's aggregate); `head` is its last entry's leaf, as hex."""

    id: str
    version: int
    head: str
    state: S


def projector(evolve: Evolve[S]) -> Callable[[Any, Iterable[Any]], Loaded[S] | None]:
    """A projector function for the library's repository, from a fold."""

    def project(initial: Loaded[S] | None, events: Iterable[LoggedEvent]) -> Loaded[S] | None:
        state: S | None = initial.state if initial is not None else None
        last: LoggedEvent | None = None
        for last in events:
            state = evolve(state, last.event, last.meta())
        if last is None or state is None:
            return initial
        return Loaded(id=last.originator_id, version=last.originator_version, head=last.leaf, state=state)

    return project
