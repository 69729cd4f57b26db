from typing import get_args

import pytest
from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.case.actor import SERVICE, Actor
from domain.case.phases import ALLOWED
from domain.errors import SubjectErased, WrongPhase, WrongRole
from domain.event import Erased, Event
from tests.unit.case_builder import (
    CHECKLIST,
    CONTENT,
    COORDINATOR,
    DISCLAIMED,
    ONCOLOGIST,
    OPENED,
    OTHER_COORDINATOR,
    PATHOLOGY,
    PATIENT,
    RECIPIENT,
    SHARED,
    SHARING,
    SIGNED,
    SPECIALIST,
    SURGEON,
    TECHNICIAN,
    Given,
    checked,
    given,
    story,
)
from tests.unit.test_case_consent import ask
from tests.unit.test_case_material import check, receive

PHASES: tuple[e.Phase, ...] = get_args(e.Phase)

# Every command that somebody sends who may, in a case that lacks nothing for it but perhaps the phase.
SENT: tuple[tuple[c.Command, Actor, str], ...] = (
    (c.RecordOriginalVerdict(verdict="unresectable", centre="X", decided_on="2026-02-20"), COORDINATOR, "yyyyyyyyy..."),
    (c.AcknowledgeDisclaimer(text_sha256=DISCLAIMED.text_sha256, language="en"), PATIENT, "yyyyyyy....."),
    (c.AssignCoordinator(coordinator=OTHER_COORDINATOR.id), COORDINATOR, "yyyyyyyyy..."),
    (ask(SHARING, consent="c-new"), PATIENT, "yyyyyyyyy..."),
    (c.WithdrawConsent(consent="c-process"), PATIENT, "yyyyyyyyyyy."),
    (c.IssueChecklist(items=CHECKLIST.items, imaging_site="any"), COORDINATOR, "y..........."),
    (receive(replace(PATHOLOGY, record="r-new")), PATIENT, ".yyyyy......"),
    (c.ClassifyRecord(record="r-path", kind="pathology"), COORDINATOR, ".yyyyy......"),
    (check(checked("adequate")), SERVICE, "..yyyy......"),
    (c.AcceptLimitedImaging(limits=("one phase",), reason="It cannot be repeated."), COORDINATOR, "..yyyy......"),
    (c.ReleaseRecord(record="r-new", reason="It is the patient's."), TECHNICIAN, ".yyyyy......"),
    (c.OverruleImagingVerdict(verdict="inadequate", reason="It moved."), TECHNICIAN, ".yyyyy......"),
    (
        c.AdviseRepeatImaging(advice=(e.RepeatAdvice(finding="thick_slices", what="Thinner.", why="Needed."),)),
        TECHNICIAN,
        ".yyyyy......",
    ),
    (c.DeclareRecordsComplete(), COORDINATOR, ".yy........."),
    (c.RouteCase(specialist=SPECIALIST), COORDINATOR, "...y........"),
    (c.AcceptReview(specialist=SPECIALIST), SURGEON, "....y......."),
    (
        c.SignOpinion(opinion="opinion-2", content=CONTENT, relied_on=SIGNED.relied_on, signer_name="Dr. Asha Rao"),
        SURGEON,
        ".....y......",
    ),
    (c.DeliverOpinion(opinion="opinion-1", channel="portal"), COORDINATOR, "......y....."),
    (
        c.ShareOpinion(share="share-2", opinion="opinion-1", version=1, consent="c-new", recipient=RECIPIENT),
        PATIENT,
        ".......yy...",
    ),
    (c.OpenShare(share="share-1"), ONCOLOGIST, ".......yyy.."),
    (c.CloseCase(reason="completed"), COORDINATOR, "yyyyyyyyy..."),
)


def in_phase(phase: e.Phase, command: c.Command) -> Given:
    """A case that has everything, set to a phase."""
    more = () if isinstance(command, c.GrantConsent) else (replace(SHARING, consent="c-new"),)
    limited = isinstance(command, c.AcceptLimitedImaging | c.AdviseRepeatImaging)
    found: tuple[Event, ...] = (checked("limited"),) if limited else ()
    if isinstance(command, c.ReleaseRecord):
        found = (replace(PATHOLOGY, record="r-new"), e.RecordQuarantined(record="r-new", findings=("x",)))
    case = given(*story("follow_up"), *more, *found)
    disclaimer = not isinstance(command, c.AcknowledgeDisclaimer)
    return Given(replace(case.state, phase=phase, disclaimer=disclaimer))


def test_the_table_has_every_phase_and_every_command() -> None:
    """A new one of either has to be thought about here."""
    assert {type(command) for command, _, _ in SENT} | {c.OpenCase} == set(get_args(c.Command))
    assert {type(command) for command, _, _ in SENT} == set(ALLOWED)
    assert {len(row) for _, _, row in SENT} == {len(PHASES)}


@pytest.mark.parametrize(("command", "by", "row"), SENT, ids=lambda value: type(value).__name__)
def test_what_each_phase_makes_of_each_command(command: c.Command, by: Actor, row: str) -> None:
    """Allowed where the table says y, refused for the phase, with nothing appended, everywhere else."""
    for phase, allowed in zip(PHASES, row, strict=True):
        outcome = in_phase(phase, command).when(command, by=by)
        if allowed == "y":
            assert outcome.events
        else:
            outcome.refused(WrongPhase, phase)


@pytest.mark.parametrize(("command", "by", "row"), SENT, ids=lambda value: type(value).__name__)
def test_a_stranger_learns_nothing_about_the_phase(command: c.Command, by: Actor, row: str) -> None:
    """Who is nothing to the case is refused for that, in every phase."""
    strangers = [Actor(id="x-1", role=role, account="x-1") for role in ("patient", "coordinator", "specialist")]
    for phase in PHASES:
        for stranger in strangers:
            in_phase(phase, command).when(command, by=stranger).refused(WrongRole)


@pytest.mark.parametrize(("command", "by", "row"), SENT, ids=lambda value: type(value).__name__)
def test_nothing_happens_to_a_case_that_was_erased(command: c.Command, by: Actor, row: str) -> None:
    """Whatever else of it can still be read."""
    erased = given(Erased("case.opened.v1"), *story("follow_up")[1:])
    erased.when(command, by=by).refused(SubjectErased)


def test_an_erased_case_still_says_where_it_stood() -> None:
    """With every payload gone, the topics carry the phase."""
    topics = {
        "case.opened.v1": "intake",
        "case.checklist_issued.v1": "gathering",
        "record.received.v1": "gathering",
        "case.records_declared_complete.v1": "ready",
        "case.routed.v1": "routed",
        "case.review_accepted.v1": "in_review",
        "opinion.signed.v1": "signed",
        "opinion.delivered.v1": "delivered",
        "opinion.shared.v1": "follow_up",
        "share.opened.v1": "follow_up",
        "case.closed.v1": "closed",
    }
    for upto, phase in enumerate(topics.values(), start=1):
        assert given(*(Erased(topic) for topic in list(topics)[:upto])).state.phase == phase


def test_a_withdrawal_whose_payload_is_gone_ends_every_consent_before_it() -> None:
    """Which one it was cannot be told, so none counts."""
    state = given(*story("in_review"), Erased("case.consent_withdrawn.v1")).state
    assert state.phase == "gathering"
    assert all(consent.ended for consent in state.consents.values())


def test_events_of_other_streams_change_nothing() -> None:
    """Folding is total."""
    before = given(*story("follow_up")).state
    opened = e.ShareOpened(share="share-1", opinion="opinion-1", version=1, consent="c-share")
    assert given(*story("follow_up"), opened, e.ConsentWithdrawn(consent="c-unknown")).state == before
    assert given(SHARED)._state is None
    assert given(OPENED).state.phase == "intake"
