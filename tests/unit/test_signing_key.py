"""Decisions about keys: who asks, who approves, who replaces and who revokes, and what is left to decide after each."""

from typing import Any

import pytest

from domain import service_key
from domain.errors import AlreadyDone, MalformedBody, WrongKey, WrongRole
from domain.event import Event, Meta
from domain.service_key import ServiceKeyEnrolled, ServiceKeyProposed, ServiceKeyRotated
from domain.signing_key import (
    KeyEnrolled,
    KeyEnrolmentRequested,
    KeyRevoked,
    KeyRotated,
    SigningKey,
    approve,
    evolve,
    revoke,
    rotate,
)

KEY, NEXT = "0" * 32, "1" * 32
REQUESTED = KeyEnrolmentRequested(
    key=KEY, algorithm="ed25519", public_key="ab" * 32, owner="surgeon-1", possession="cd" * 64
)
ENROLLED = KeyEnrolled(key=KEY, owner="surgeon-1")
ROTATED = KeyRotated(key=KEY, owner="surgeon-1", successor=NEXT)
REVOKED = KeyRevoked(key=KEY, reason="compromised", compromised_since=5)
NOW = 10


def given(*events: Event) -> SigningKey:
    """The key after these events, each at the index of its number."""
    state: SigningKey | None = None
    for number, event in enumerate(events):
        state = evolve(state, event, Meta(actor="surgeon-1", role="specialist", recorded_at=number, index=number))
    assert state is not None
    return state


def successor(**other: Any) -> SigningKey:
    """The owner's next key, enrolled, but for what is other."""
    fields = {"key": NEXT, "public_key": "ef" * 32, "owner": "surgeon-1", "owner_role": "specialist"}
    return SigningKey(**{**fields, "status": "enrolled", **other})


@pytest.mark.parametrize(
    ("events", "status", "stopped_at", "since"),
    [
        ((REQUESTED,), "proposed", None, None),
        ((REQUESTED, ENROLLED), "enrolled", None, None),
        ((REQUESTED, ENROLLED, ROTATED), "rotated", 2, None),
        ((REQUESTED, ENROLLED, REVOKED), "revoked", 2, 5),
        ((REQUESTED, ENROLLED, ROTATED, REVOKED), "revoked", 2, 5),
        ((REQUESTED, REVOKED), "revoked", 1, 5),
    ],
)
def test_a_key_is_what_its_stream_says(
    events: tuple[Event, ...], status: str, stopped_at: int | None, since: int | None
) -> None:
    """Its signatures are accepted while it is enrolled, and stop where it was first replaced or revoked."""
    state = given(*events)
    assert (state.status, state.stopped_at, state.compromised_since) == (status, stopped_at, since)
    assert state.enrolled is (status == "enrolled")


def test_a_stream_of_another_sort_gives_no_key() -> None:
    """An actor's key is not read from a service key's stream, nor the other way round."""
    meta = Meta(actor="service", role="service", recorded_at=0)
    enrolled = ServiceKeyEnrolled(key=KEY, purpose="entry", vkey="a.example/entries+00000000+AA==")
    assert evolve(None, enrolled, meta) is None
    assert service_key.evolve(None, REQUESTED, meta) is None
    assert service_key.evolve(None, REVOKED, meta) is None


@pytest.mark.parametrize("role", ["patient", "coordinator", "specialist", "technician", "service"])
def test_few_roles_approve(role: str) -> None:
    """Compliance and administrators, and never for themselves."""
    with pytest.raises(WrongRole):
        approve(given(REQUESTED), "somebody-1", role)
    for approver in ("compliance", "administrator"):
        assert approve(given(REQUESTED), "somebody-1", approver) == ENROLLED
        with pytest.raises(WrongRole):
            approve(given(REQUESTED), "surgeon-1", approver)


@pytest.mark.parametrize("events", [(REQUESTED, ENROLLED), (REQUESTED, REVOKED), (REQUESTED, ENROLLED, ROTATED)])
def test_what_is_settled_is_not_approved_again(events: tuple[Event, ...]) -> None:
    """Not a revoked proposal either."""
    with pytest.raises(AlreadyDone):
        approve(given(*events), "officer-1", "compliance")


def test_the_owner_replaces_a_key() -> None:
    """By another of theirs that is enrolled, in the same role."""
    state = given(REQUESTED, ENROLLED)
    assert rotate(state, successor(), "surgeon-1", "specialist") == ROTATED
    for actor, role in (("surgeon-2", "specialist"), ("surgeon-1", "coordinator"), ("officer-1", "compliance")):
        with pytest.raises(WrongRole):
            rotate(state, successor(), actor, role)
    for other in (
        {"key": KEY}, {"owner": "surgeon-2"}, {"owner_role": "coordinator"}, {"status": "proposed"},
        {"status": "revoked"}, {"status": "rotated"},
    ):  # fmt: skip
        with pytest.raises(WrongKey):
            rotate(state, successor(**other), "surgeon-1", "specialist")
    for events in ((REQUESTED,), (REQUESTED, ENROLLED, ROTATED), (REQUESTED, ENROLLED, REVOKED)):
        with pytest.raises(AlreadyDone):
            rotate(given(*events), successor(), "surgeon-1", "specialist")


def test_a_revocation_says_since_when_it_is_doubtful() -> None:
    """Or says nothing of that; an instant that has not come is refused, and one revocation is enough."""
    state = given(REQUESTED, ENROLLED)
    for actor, role in (("surgeon-1", "specialist"), ("officer-1", "compliance"), ("root-1", "administrator")):
        assert revoke(state, actor, role, "compromised", 5, NOW) == REVOKED
    assert revoke(state, "surgeon-1", "specialist", "lost", None, NOW).compromised_since is None
    assert revoke(state, "surgeon-1", "specialist", "lost", NOW, NOW).compromised_since == NOW
    with pytest.raises(MalformedBody):
        revoke(state, "surgeon-1", "specialist", "lost", NOW + 1, NOW)
    with pytest.raises(WrongRole):
        revoke(state, "coordinator-1", "coordinator", "lost", None, NOW)
    assert revoke(given(REQUESTED, ENROLLED, ROTATED), "officer-1", "compliance", "compromised", 5, NOW) == REVOKED
    with pytest.raises(AlreadyDone):
        revoke(given(REQUESTED, ENROLLED, REVOKED), "officer-1", "compliance", "lost", None, NOW)


VKEY = "a.example/entries+00000000+AA=="
PROPOSED = ServiceKeyProposed(key=KEY, purpose="entry", vkey=VKEY, replaces=NEXT, possession="cd" * 64)
CONFIRMED = ServiceKeyEnrolled(key=KEY, purpose="entry", vkey=VKEY)
STOPPED = ServiceKeyRotated(key=KEY, purpose="entry", successor=NEXT, endorsement="cd" * 64)


def service(*events: Event) -> service_key.ServiceKey:
    """The service key after these events."""
    state: service_key.ServiceKey | None = None
    for event in events:
        state = service_key.evolve(state, event, Meta(actor="root-1", role="administrator", recorded_at=0))
    assert state is not None
    return state


def test_a_service_key_is_approved_by_another_than_its_proposer() -> None:
    """Once."""
    state = service(PROPOSED)
    assert service_key.approve(state, "officer-1", "compliance") == CONFIRMED
    for actor, role in (("root-1", "administrator"), ("root-1", "compliance"), ("coordinator-1", "coordinator")):
        with pytest.raises(WrongRole):
            service_key.approve(state, actor, role)
    for events in ((PROPOSED, CONFIRMED), (CONFIRMED,), (PROPOSED, REVOKED), (PROPOSED, CONFIRMED, STOPPED)):
        with pytest.raises(AlreadyDone):
            service_key.approve(service(*events), "officer-1", "compliance")


def test_the_key_that_the_log_signs_with_is_not_revoked() -> None:
    """It is replaced first; then it, a proposal, or a witness's key may be."""
    for events in ((PROPOSED, CONFIRMED), (CONFIRMED,)):
        with pytest.raises(AlreadyDone):
            service_key.revoke(service(*events), "compliance", "compromised", 5, NOW)
    for events in ((PROPOSED,), (PROPOSED, CONFIRMED, STOPPED)):
        assert service_key.revoke(service(*events), "compliance", "compromised", 5, NOW) == REVOKED
        with pytest.raises(WrongRole):
            service_key.revoke(service(*events), "coordinator", "compromised", 5, NOW)
        with pytest.raises(AlreadyDone):
            service_key.revoke(service(*events, REVOKED), "compliance", "compromised", 5, NOW)
    witness = ServiceKeyEnrolled(key=KEY, purpose="witness", vkey=VKEY)
    assert service_key.revoke(service(witness), "administrator", "compromised", 5, NOW) == REVOKED


def test_only_administrators_propose_service_keys() -> None:
    """Whoever approves them is another person in any case."""
    service_key.check_proposer("administrator")
    with pytest.raises(WrongRole):
        service_key.check_proposer("compliance")
