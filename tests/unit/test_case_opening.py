from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.case.actor import SERVICE
from domain.errors import (
    AlreadyDone,
    CaseNotFound,
    MalformedBody,
    MissingConsent,
    MissingPart,
    WrongPhase,
    WrongRole,
)
from domain.event import Erased
from tests.unit.case_builder import (
    ASSIGNED,
    CHECKLIST,
    COORDINATOR,
    DISCLAIMED,
    ONCOLOGIST,
    OPENED,
    OTHER_COORDINATOR,
    OTHER_PATIENT,
    PATIENT,
    PROCESS,
    SURGEON,
    digest,
    given,
    item,
    story,
)

OPEN = c.OpenCase(**{name: getattr(OPENED, name) for name in OPENED.__struct_fields__})
VERDICT = c.RecordOriginalVerdict(verdict="unresectable", centre="Example Hospital", decided_on="2026-02-20")
ACKNOWLEDGE = c.AcknowledgeDisclaimer(text_sha256=digest("d"), language="en")
ISSUE = c.IssueChecklist(items=CHECKLIST.items, imaging_site="any")


def test_a_patient_opens_their_own_case() -> None:
    """The account is the patient's, and the acting id is the case's own."""
    state = given().when(OPEN, by=PATIENT).then(OPENED)
    assert (state.phase, state.patient_actor) == ("intake", "p-random")


def test_a_coordinator_opens_a_case_for_a_patient() -> None:
    """A coordinator may open, and is not assigned by that."""
    assert given().when(OPEN, by=COORDINATOR).then(OPENED).coordinator is None


def test_nobody_else_opens_a_case() -> None:
    """Another patient, other roles, and a coordinator who is the patient are refused."""
    for actor in (OTHER_PATIENT, ONCOLOGIST, SERVICE, replace(COORDINATOR, id="account-1")):
        given().when(OPEN, by=actor).refused(WrongRole)


def test_a_case_opens_once() -> None:
    """A second opening of the same case is refused."""
    given(OPENED).when(OPEN, by=PATIENT).refused(AlreadyDone)


def test_a_case_that_was_never_opened_is_not_found() -> None:
    """Every command but opening needs a case; even after events that cannot stand first."""
    given().when(VERDICT).refused(CaseNotFound)
    given(ASSIGNED, Erased("case.routed.v1")).when(VERDICT).refused(CaseNotFound)


def test_the_original_verdict_is_recorded_once() -> None:
    """By the patient or the assigned coordinator, with a day that exists and has come."""
    recorded = e.OriginalVerdictRecorded(verdict="unresectable", centre="Example Hospital", decided_on="2026-02-20")
    given(OPENED).when(VERDICT, by=PATIENT).then(recorded)
    given(OPENED, ASSIGNED).when(VERDICT, by=COORDINATOR).then(recorded)
    given(OPENED, recorded).when(VERDICT, by=PATIENT).refused(AlreadyDone)
    given(OPENED).when(VERDICT, by=COORDINATOR).refused(WrongRole)
    given(OPENED).when(VERDICT, by=OTHER_PATIENT).refused(WrongRole)
    given(OPENED).when(replace(VERDICT, decided_on="2026-02-30"), by=PATIENT).refused(MalformedBody)
    given(OPENED).when(replace(VERDICT, decided_on="2026-03-04"), by=PATIENT).refused(MalformedBody, "future")


def test_only_the_patient_acknowledges_the_disclaimer() -> None:
    """Once, before delivery; no coordinator can say it for them."""
    given(OPENED, ASSIGNED).when(ACKNOWLEDGE, by=PATIENT).then(DISCLAIMED)
    given(OPENED, ASSIGNED).when(ACKNOWLEDGE, by=COORDINATOR).refused(WrongRole)
    given(OPENED, DISCLAIMED).when(ACKNOWLEDGE, by=PATIENT).refused(AlreadyDone)
    given(*story("delivered")).when(ACKNOWLEDGE, by=PATIENT).refused(WrongPhase)


def test_there_is_exactly_one_coordinator() -> None:
    """Any coordinator fills the empty place; afterwards only who holds it hands it over."""
    take = c.AssignCoordinator(coordinator=COORDINATOR.id)
    hand_over = c.AssignCoordinator(coordinator=OTHER_COORDINATOR.id)
    given(OPENED).when(take).then(ASSIGNED)
    given(OPENED).when(take, by=PATIENT).refused(WrongRole)
    given(OPENED, ASSIGNED).when(take).refused(AlreadyDone)
    given(OPENED, ASSIGNED).when(hand_over, by=OTHER_COORDINATOR).refused(WrongRole)
    after = given(OPENED, ASSIGNED).when(hand_over).then(e.CoordinatorAssigned(coordinator=OTHER_COORDINATOR.id))
    assert after.coordinator == OTHER_COORDINATOR.id


def test_patient_and_surgeon_do_not_coordinate_their_own_case() -> None:
    """Being the contact and being the patient or the reviewer are separate."""
    given(OPENED).when(c.AssignCoordinator(coordinator="account-1")).refused(WrongRole)
    given(*story("in_review")).when(c.AssignCoordinator(coordinator=SURGEON.id)).refused(WrongRole)


def test_gathering_begins_with_a_checklist_and_consent_to_process() -> None:
    """Without the consent, or by another coordinator, nothing is gathered."""
    assert given(OPENED, ASSIGNED, PROCESS).when(ISSUE).then(CHECKLIST).phase == "gathering"
    given(OPENED, ASSIGNED).when(ISSUE).refused(MissingConsent)
    given(OPENED, ASSIGNED, PROCESS).when(ISSUE, by=OTHER_COORDINATOR).refused(WrongRole)
    given(OPENED, ASSIGNED, PROCESS).when(ISSUE, by=PATIENT).refused(WrongRole)


def test_a_checklist_asks_for_imaging_and_names_each_item_once() -> None:
    """Imaging decides; two items under one id could not be told apart."""
    intake = given(OPENED, ASSIGNED, PROCESS)
    intake.when(replace(ISSUE, items=(item("pathology"),))).refused(MissingPart)
    intake.when(replace(ISSUE, items=(item("imaging"), item("imaging")))).refused(MalformedBody)
