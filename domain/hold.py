"""Legal holds: while one stands, nothing of its case is erased. All holds of a case are one stream, beside the case's.

Beside it, so that a hold never waits for the case to stand still, and so that an erasure can be guarded by it: whoever
decided while no hold stood is refused if one has come in since.
"""

import msgspec

from domain.case.actor import Actor
from domain.case.state import CaseState
from domain.errors import AlreadyDone, HoldNotFound, SubjectErased, WrongRole
from domain.event import Erased, Event, Meta, register
from domain.values import Identifier, Line


@register.add("privacy.legal_hold_placed.v1", subject="accountability")
class LegalHoldPlaced(Event, frozen=True, kw_only=True):
    """Compliance keeps a case from being erased."""

    hold: Identifier
    reason: Line
    authority: Line
    """Whose order, claim or duty it rests on."""


@register.add("privacy.legal_hold_released.v1", subject="accountability")
class LegalHoldReleased(Event, frozen=True, kw_only=True):
    """A hold stands no longer."""

    hold: Identifier
    reason: Line


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """One hold; times in microseconds UTC."""

    hold: str
    reason: str
    authority: str
    placed_by: str
    placed_at: int
    released_at: int | None = None


class Holds(msgspec.Struct, frozen=True, kw_only=True):
    """All holds of a case, by id, in order of arrival. `blind`: one of them cannot be read any more."""

    holds: dict[str, Hold] = {}
    blind: bool = False

    def stands(self) -> bool:
        """Say whether any hold stands; one that cannot be read counts."""
        return self.blind or any(each.released_at is None for each in self.holds.values())


def hold_stream(case: str) -> str:
    """The stream of a case's holds."""
    return f"hold-{case}"


def evolve(state: Holds | None, event: Event | Erased, meta: Meta) -> Holds | None:
    """Fold one event of a case's holds."""
    holds = Holds() if state is None else state
    match event:
        case LegalHoldPlaced():
            placed = Hold(
                hold=event.hold,
                reason=event.reason,
                authority=event.authority,
                placed_by=meta.actor,
                placed_at=meta.recorded_at,
            )
            return msgspec.structs.replace(holds, holds={**holds.holds, event.hold: placed})
        case LegalHoldReleased() if event.hold in holds.holds:
            released = msgspec.structs.replace(holds.holds[event.hold], released_at=meta.recorded_at)
            return msgspec.structs.replace(holds, holds={**holds.holds, event.hold: released})
        case Erased(topic="privacy.legal_hold_placed.v1"):
            return msgspec.structs.replace(holds, blind=True)
    return state


def place(case: CaseState, hold: str, reason: str, authority: str, actor: Actor) -> LegalHoldPlaced:
    """Decide on a hold.

    Raises:
        WrongRole: not compliance.
        SubjectErased: there is nothing left to hold.
    """
    _require_compliance(actor)
    if case.patient_account is None or case.phase == "erased":
        raise SubjectErased
    return LegalHoldPlaced(hold=hold, reason=reason, authority=authority)


def release(state: Holds, hold: str, reason: str, actor: Actor) -> LegalHoldReleased:
    """Decide on a release.

    Raises:
        WrongRole: not compliance.
        HoldNotFound, AlreadyDone: no such hold, or released before.
    """
    _require_compliance(actor)
    found = state.holds.get(hold)
    if found is None:
        raise HoldNotFound
    if found.released_at is not None:
        raise AlreadyDone("this hold was released before")
    return LegalHoldReleased(hold=hold, reason=reason)


def _require_compliance(actor: Actor) -> None:
    if actor.role != "compliance":
        raise WrongRole("compliance places and releases holds")
