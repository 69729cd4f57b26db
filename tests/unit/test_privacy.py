"""Erasure requests: who may ask, decide and execute, in which order, and what stands in the way."""

from collections.abc import Callable
from typing import Any

import pytest

from domain import privacy
from domain.case import events as e
from domain.case.actor import SERVICE, Actor
from domain.case.state import CaseState
from domain.errors import (
    AlreadyDone,
    CaseLedgerError,
    MissingPart,
    NotFound,
    OnHold,
    SubjectErased,
    WrongPhase,
    WrongRole,
)
from domain.event import Erased, Event, Meta
from domain.privacy import ErasureRequest
from tests.unit.case_builder import (
    ADMINISTRATOR,
    COMPLIANCE,
    COORDINATOR,
    NOW,
    ONCOLOGIST,
    OTHER_COORDINATOR,
    OTHER_PATIENT,
    PATIENT,
    SURGEON,
    TECHNICIAN,
    TRANSLATOR,
    given,
    story,
)

REQUEST = "privacy-1"
SUBJECTS = ("case:1", "record:r-ct", "patient:1")
CLOSED = given(*story("follow_up"), e.CaseClosed(reason="completed")).state
OPEN = given(*story("gathering"), *story("imaging_check")[-2:]).state
ERASED = given(Erased("case.opened.v1")).state
EVERYBODY = (PATIENT, COORDINATOR, TECHNICIAN, SURGEON, TRANSLATOR, ONCOLOGIST, COMPLIANCE, ADMINISTRATOR, SERVICE)


def asked(by: Actor = PATIENT, scope: privacy.Scope = "case", record: str | None = None) -> ErasureRequest:
    """A request as it was made."""
    event = privacy.request_erasure("case-1", CLOSED, REQUEST, scope, record, "consent_withdrawn", by, NOW)
    return folded(None, event, by)


def folded(state: ErasureRequest | None, event: Event, by: Actor) -> ErasureRequest:
    """The request after an event."""
    after = privacy.evolve(state, event, Meta(actor=by.id, role=by.role, recorded_at=NOW))
    assert after is not None
    return after


def approved(by: Actor = PATIENT, scope: privacy.Scope = "case", record: str | None = None) -> ErasureRequest:
    """A request that compliance approved."""
    state = asked(by, scope, record)
    return folded(state, privacy.approve(state, CLOSED, False, COMPLIANCE), COMPLIANCE)


def executed() -> ErasureRequest:
    """A request that was carried out."""
    state = approved()
    return folded(state, privacy.execute(state, CLOSED, False, SUBJECTS, ADMINISTRATOR)[0], ADMINISTRATOR)


def refused(kind: type[CaseLedgerError], saying: str, do: Callable[..., Any], *given_: Any) -> None:
    """Exactly this error."""
    with pytest.raises(kind, match=saying) as caught:
        do(*given_)
    assert caught.type is kind


def test_a_request_names_who_asked_what_for_and_until_when() -> None:
    """The patient, or the coordinator, asks for a case or for one record of it."""
    assert privacy.request_erasure(
        "case-1", OPEN, REQUEST, "record", "r-ct", "wrong_person", COORDINATOR, NOW
    ) == privacy.ErasureRequested(
        request=REQUEST,
        case="case-1",
        scope="record",
        record="r-ct",
        reason="wrong_person",
        requester=COORDINATOR.id,
        due_by="2026-04-02",
    )
    assert asked().requester == PATIENT.id


@pytest.mark.parametrize(
    ("asked_on", "due"),
    [
        ("2026-03-02", "2026-04-02"),
        ("2026-01-31", "2026-02-28"),
        ("2028-01-31", "2028-02-29"),
        ("2026-12-31", "2027-01-31"),
        ("2026-03-31", "2026-04-30"),
    ],
)
def test_it_is_due_a_month_later(asked_on: str, due: str) -> None:
    """On the day of the same number, or on the month's last where there is none."""
    from domain.case.calendar import DAY, end_of

    assert privacy.due_by(end_of(asked_on) - DAY) == due
    assert privacy.due_by(end_of(asked_on) - 1) == due


@pytest.mark.parametrize("actor", [*EVERYBODY, OTHER_PATIENT, OTHER_COORDINATOR], ids=lambda each: each.id)
def test_only_the_patient_and_the_coordinator_ask(actor: Actor) -> None:
    """Whoever else asks is refused, whether or not there is such a record."""
    if actor in (PATIENT, COORDINATOR):
        return
    for record in ("r-ct", "r-none"):
        refused(
            WrongRole, "patient", privacy.request_erasure,
            "case-1", OPEN, REQUEST, "record", record, "objection", actor, NOW,
        )  # fmt: skip


def test_what_cannot_be_asked_for() -> None:
    """A record that is not there, a scope that contradicts the rest, a case of which nothing is left."""
    ask = privacy.request_erasure
    refused(NotFound, "no such record", ask, "c", OPEN, REQUEST, "record", "r-none", "objection", PATIENT, NOW)
    refused(MissingPart, "names the record", ask, "c", OPEN, REQUEST, "record", None, "objection", PATIENT, NOW)
    refused(MissingPart, "no other", ask, "c", OPEN, REQUEST, "case", "r-ct", "objection", PATIENT, NOW)
    refused(SubjectErased, "erased", ask, "c", ERASED, REQUEST, "case", None, "objection", PATIENT, NOW)


@pytest.mark.parametrize("actor", EVERYBODY, ids=lambda each: each.id)
def test_only_compliance_decides(actor: Actor) -> None:
    """An approval or a refusal by anybody else is refused."""
    if actor == COMPLIANCE:
        return
    refused(WrongRole, "compliance decides", privacy.approve, asked(), CLOSED, False, actor)
    refused(WrongRole, "compliance decides", privacy.refuse, asked(), CLOSED, "legal_claims", "A claim.", actor)


@pytest.mark.parametrize("actor", EVERYBODY, ids=lambda each: each.id)
def test_only_an_administrator_executes(actor: Actor) -> None:
    """An execution by anybody else is refused, whatever the request has come to."""
    if actor == ADMINISTRATOR:
        return
    for state in (asked(), approved(), executed()):
        refused(WrongRole, "administrator executes", privacy.execute, state, CLOSED, False, SUBJECTS, actor)


def test_three_different_people() -> None:
    """Nobody decides on or executes what they asked for, executes what they approved, or does either to themselves."""
    requester = COORDINATOR.id
    by_coordinator = asked(COORDINATOR)
    same = Actor(id=requester, role="compliance")
    refused(WrongRole, "three different", privacy.approve, by_coordinator, CLOSED, False, same)
    refused(WrongRole, "three different", privacy.refuse, by_coordinator, CLOSED, "legal_claims", "A claim.", same)
    patient = Actor(id=PATIENT.account, role="compliance")
    refused(WrongRole, "three different", privacy.approve, by_coordinator, CLOSED, False, patient)
    for name in (requester, COMPLIANCE.id, PATIENT.account):
        executor = Actor(id=name, role="administrator")
        refused(WrongRole, "three different", privacy.execute, approved(COORDINATOR), CLOSED, False, SUBJECTS, executor)


def test_decided_once() -> None:
    """What was approved, refused or executed is not decided on again."""
    refusal = privacy.refuse(asked(), CLOSED, "legal_claims", "A claim is pending.", COMPLIANCE)
    ended = folded(asked(), refusal, COMPLIANCE)
    assert (ended.status, ended.ground, ended.explanation) == ("refused", "legal_claims", "A claim is pending.")
    for state in (ended, approved(), executed()):
        refused(AlreadyDone, state.status, privacy.approve, state, CLOSED, False, COMPLIANCE)
        refused(AlreadyDone, state.status, privacy.refuse, state, CLOSED, "legal_claims", "A claim.", COMPLIANCE)


def test_executed_after_approval_and_once() -> None:
    """What was not approved, or was refused, is not executed; nor is anything twice."""
    refusal = folded(asked(), privacy.refuse(asked(), CLOSED, "legal_claims", "A claim.", COMPLIANCE), COMPLIANCE)
    for state in (asked(), refusal):
        refused(MissingPart, "not approved", privacy.execute, state, CLOSED, False, SUBJECTS, ADMINISTRATOR)
    done = executed()
    completed = folded(done, privacy.PersonalDataErased(request=REQUEST, blobs=1, kek="k"), SERVICE)
    assert (done.status, completed.status, done.executor) == ("executed", "completed", ADMINISTRATOR.id)
    for state in (done, completed):
        refused(AlreadyDone, "executed before", privacy.execute, state, CLOSED, False, SUBJECTS, ADMINISTRATOR)


def test_an_execution_says_so_of_every_subject() -> None:
    """One event on the request's stream names them all, and one on the case's each."""
    event, erased = privacy.execute(approved(), CLOSED, False, SUBJECTS, ADMINISTRATOR)
    assert event == privacy.ErasureExecuted(request=REQUEST, subjects=SUBJECTS)
    assert [(each.subject, each.record, each.scope) for each in erased] == [
        ("case:1", None, "case"),
        ("record:r-ct", "r-ct", "case"),
        ("patient:1", None, "case"),
    ]


def test_a_hold_blocks_approval_and_execution_and_not_asking_or_refusing() -> None:
    """Nothing is erased while one stands."""
    refused(OnHold, "hold", privacy.approve, asked(), CLOSED, True, COMPLIANCE)
    refused(OnHold, "hold", privacy.execute, approved(), CLOSED, True, SUBJECTS, ADMINISTRATOR)
    assert privacy.refuse(asked(), CLOSED, "legal_claims", "A claim.", COMPLIANCE)


def test_a_case_is_erased_from_closed_and_a_record_from_anywhere() -> None:
    """A case that goes on is not erased; a single record of it is."""
    refused(WrongPhase, "once it is closed", privacy.approve, asked(), OPEN, False, COMPLIANCE)
    refused(WrongPhase, "once it is closed", privacy.execute, approved(), OPEN, False, SUBJECTS, ADMINISTRATOR)
    single = approved(scope="record", record="r-ct")
    assert privacy.approve(asked(scope="record", record="r-ct"), OPEN, False, COMPLIANCE)
    assert privacy.execute(single, OPEN, False, ("record:r-ct",), ADMINISTRATOR)


def test_what_is_gone_is_not_erased_again() -> None:
    """Neither a case nor a record."""
    without = given(*story("intake")).state
    refused(SubjectErased, "erased", privacy.approve, asked(), ERASED, False, COMPLIANCE)
    refused(SubjectErased, "erased", privacy.execute, approved(), ERASED, False, SUBJECTS, ADMINISTRATOR)
    single = approved(scope="record", record="r-ct")
    refused(NotFound, "any more", privacy.execute, single, without, False, ("record:r-ct",), ADMINISTRATOR)


def erased(record: str | None = None) -> e.ContentErased:
    """What an erasure leaves on the case's stream."""
    subject = f"record:{record}" if record else "case:1"
    return e.ContentErased(request=REQUEST, scope="record" if record else "case", subject=subject, record=record)


def test_a_case_that_was_erased_is_erased() -> None:
    """Whatever its other events still say: terminal, and nobody's."""
    topics = ("case.opened.v1", "case.checklist_issued.v1", "case.closed.v1")
    state = given(*(Erased(topic) for topic in topics), erased()).state
    assert (state.phase, state.patient_account, state.coordinator) == ("erased", None, None)


def test_a_record_that_was_erased_is_gone_and_what_cites_it_stays() -> None:
    """An opinion that relied on it remains, and so does the phase; a check without any imaging goes back."""
    after = given(*story("delivered"), erased("r-ct")).state
    assert (set(after.records), set(after.opinions), after.phase) == ({"r-path"}, {"opinion-1"}, "delivered")
    checking = given(*story("imaging_check"), erased("r-ct")).state
    assert (set(checking.records), checking.phase) == ({"r-path"}, "gathering")


def test_a_quarantined_record_can_be_erased() -> None:
    """Another patient's images are the very reason."""
    history = (*story("imaging_check"), e.RecordQuarantined(record="r-ct", findings=("wrong_patient",)))
    state = given(*history).state
    assert privacy.request_erasure("c", state, REQUEST, "record", "r-ct", "wrong_person", COORDINATOR, NOW)
    assert "r-ct" not in given(*history, erased("r-ct")).state.records


def test_closing_ends_review_and_clock() -> None:
    """Nobody is assigned to a closed case, and a clock that ran has stopped."""
    state: CaseState = given(*story("in_review"), e.CaseClosed(reason="withdrawn")).state
    assert (state.phase, state.assignment) == ("closed", None)
    assert state.clock is not None
    assert state.clock.stopped_at == NOW
    assert given(*story("intake"), e.CaseClosed(reason="unreachable")).state.clock is None


def test_events_of_other_streams_change_nothing() -> None:
    """Folding is total, before a request and after it."""
    meta = Meta(actor="x", role="service", recorded_at=NOW)
    assert privacy.evolve(None, privacy.ErasureApproved(request=REQUEST), meta) is None
    assert privacy.evolve(asked(), e.CaseClosed(reason="died"), meta) == asked()
    assert privacy.evolve(asked(), Erased("privacy.erasure_approved.v1"), meta) == asked()
