"""Legal holds: who places and releases them, and what stands."""

import pytest

from domain import hold
from domain.case.actor import Actor
from domain.errors import AlreadyDone, HoldNotFound, SubjectErased, WrongRole
from domain.event import Erased, Event, Meta
from domain.hold import Holds
from tests.unit.case_builder import COMPLIANCE, NOW, given, story
from tests.unit.test_privacy import EVERYBODY, erased

CASE = given(*story("gathering")).state


def after(state: Holds | None, event: Event | Erased) -> Holds:
    """The holds after an event of compliance."""
    found = hold.evolve(state, event, Meta(actor=COMPLIANCE.id, role="compliance", recorded_at=NOW))
    assert found is not None
    return found


PLACED = hold.place(CASE, "hold-1", "A claim is pending.", "Court of Example", COMPLIANCE)
HELD = after(None, PLACED)


def test_a_hold_stands_until_it_is_released() -> None:
    """Several may stand; each is released by itself."""
    both = after(HELD, hold.place(CASE, "hold-2", "An inspection.", "Authority of Example", COMPLIANCE))
    one = after(both, hold.release(both, "hold-1", "Settled.", COMPLIANCE))
    none = after(one, hold.release(one, "hold-2", "Inspected.", COMPLIANCE))
    assert [each.stands() for each in (Holds(), HELD, both, one, none)] == [False, True, True, True, False]
    assert HELD.holds["hold-1"] == hold.Hold(
        hold="hold-1",
        reason="A claim is pending.",
        authority="Court of Example",
        placed_by=COMPLIANCE.id,
        placed_at=NOW,
    )
    assert none.holds["hold-2"].released_at == NOW


@pytest.mark.parametrize("actor", EVERYBODY, ids=lambda each: each.id)
def test_only_compliance_holds_and_releases(actor: Actor) -> None:
    """Whoever else tries is refused, and does not learn whether there is a hold."""
    if actor == COMPLIANCE:
        return
    with pytest.raises(WrongRole):
        hold.place(CASE, "hold-2", "x", "y", actor)
    for name in ("hold-1", "hold-none"):
        with pytest.raises(WrongRole):
            hold.release(HELD, name, "x", actor)


def test_what_cannot_be_held_or_released() -> None:
    """A case of which nothing is left; a hold that is not there, or was released before."""
    for nothing in (given(Erased("case.opened.v1")).state, given(*story("intake"), erased()).state):
        with pytest.raises(SubjectErased):
            hold.place(nothing, "hold-2", "x", "y", COMPLIANCE)
    with pytest.raises(HoldNotFound):
        hold.release(HELD, "hold-none", "x", COMPLIANCE)
    released = after(HELD, hold.release(HELD, "hold-1", "Settled.", COMPLIANCE))
    with pytest.raises(AlreadyDone):
        hold.release(released, "hold-1", "x", COMPLIANCE)


def test_a_hold_that_cannot_be_read_stands() -> None:
    """What was erased with the accountability key is not taken for a release."""
    assert after(None, Erased("privacy.legal_hold_placed.v1")).stands()
    assert hold.evolve(None, hold.LegalHoldReleased(hold="hold-1", reason="x"), Meta(actor="x", role="compliance", recorded_at=NOW)) is None  # fmt: skip  # noqa: E501
