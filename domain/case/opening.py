"""Decisions from the opening of a case to its checklist."""

from domain.case import calendar
from domain.case.actor import (
    Actor,
    require_coordinator,
    require_patient,
    require_patient_or_coordinator,
)
from domain.case.commands import (
    AcknowledgeDisclaimer,
    AssignCoordinator,
    IssueChecklist,
    OpenCase,
    RecordOriginalVerdict,
)
from domain.case.consent import require_process
from domain.case.events import (
    CaseImported,
    CaseOpened,
    ChecklistIssued,
    CoordinatorAssigned,
    DisclaimerAcknowledged,
    OriginalVerdictRecorded,
)
from domain.case.phases import require_phase
from domain.case.state import CaseState
from domain.errors import AlreadyDone, MalformedBody, MissingPart, WrongRole


def open_case(
    state: CaseState | None, command: OpenCase, actor: Actor
) -> tuple[CaseOpened] | tuple[CaseOpened, CaseImported]:
    """A patient opens their own case; a coordinator opens one for somebody else, or brings it from another system.

    Raises:
        WrongRole: another role, a patient for somebody else or from elsewhere, or a coordinator for themselves.
        AlreadyDone: the case is open.
    """
    if actor.role not in ("patient", "coordinator"):
        raise WrongRole("a case is opened by a patient or a coordinator")
    own = command.patient_account in (actor.account, actor.id)
    if actor.role == "patient" and command.patient_account != actor.account:
        raise WrongRole("a patient opens their own case only")
    if actor.role == "coordinator" and own:
        raise WrongRole("nobody coordinates their own case")
    if command.imported is not None and actor.role != "coordinator":
        raise WrongRole("only a coordinator brings a case from another system")
    if state is not None:
        raise AlreadyDone("this case is open already")
    opened = CaseOpened(
        patient=command.patient,
        patient_account=command.patient_account,
        patient_actor=command.patient_actor,
        reason=command.reason,
        diagnosis=command.diagnosis,
        organ=command.organ,
        home_country=command.home_country,
    )
    if command.imported is None:
        return (opened,)
    source = command.imported
    return opened, CaseImported(reference=source.reference, file_sha256=source.file_sha256, line=source.line)


def record_original_verdict(
    state: CaseState, command: RecordOriginalVerdict, actor: Actor, now: int
) -> OriginalVerdictRecorded:
    """The first centre's verdict goes on record once."""
    require_patient_or_coordinator(state, actor)
    require_phase(state, command)
    if state.original_verdict is not None:
        raise AlreadyDone("the original verdict is on record already")
    if calendar.parsed(command.decided_on) > calendar.parsed(calendar.utc_day(now + calendar.DAY)):
        # A day's grace: it may be tomorrow already where the verdict was given.
        raise MalformedBody("decided_on is in the future")
    return OriginalVerdictRecorded(
        verdict=command.verdict, centre=command.centre, decided_on=command.decided_on, words=command.words
    )


def acknowledge_disclaimer(state: CaseState, command: AcknowledgeDisclaimer, actor: Actor) -> DisclaimerAcknowledged:
    """Only the patient can say that they were told."""
    require_patient(state, actor)
    require_phase(state, command)
    if state.disclaimer:
        raise AlreadyDone("the disclaimer is acknowledged already")
    return DisclaimerAcknowledged(text_sha256=command.text_sha256, language=command.language)


def assign_coordinator(state: CaseState, command: AssignCoordinator, actor: Actor) -> CoordinatorAssigned:
    """Exactly one at a time: any coordinator fills an empty place, and only who holds it hands it over."""
    if actor.role != "coordinator":
        raise WrongRole("only a coordinator assigns a coordinator")
    if state.coordinator is not None and actor.id != state.coordinator:
        raise WrongRole("only the coordinator who is assigned to this case hands it over")
    require_phase(state, command)
    if command.coordinator == state.coordinator:
        raise AlreadyDone("this coordinator is assigned already")
    if command.coordinator == state.patient_account:
        raise WrongRole("nobody coordinates their own case")
    if state.assignment is not None and command.coordinator == state.assignment.actor:
        raise WrongRole("the specialist of a case does not coordinate it")
    return CoordinatorAssigned(coordinator=command.coordinator)


def issue_checklist(state: CaseState, command: IssueChecklist, actor: Actor, now: int) -> ChecklistIssued:
    """Gathering begins, if the patient consents to that."""
    require_coordinator(state, actor)
    require_phase(state, command)
    require_process(state, now)
    if len({each.item for each in command.items}) != len(command.items):
        raise MalformedBody("two items of the checklist have one id")
    if all(each.kind != "imaging" for each in command.items):
        raise MissingPart("a checklist asks for imaging")
    return ChecklistIssued(items=command.items, imaging_site=command.imaging_site)
