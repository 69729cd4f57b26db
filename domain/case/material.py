"""Decisions about records: received, imaging checked, complete."""

from domain.case import calendar
from domain.case.access import require_whole
from domain.case.actor import Actor, is_assignee, is_coordinator, is_patient, require_coordinator
from domain.case.calendar import Calendars
from domain.case.commands import (
    AcceptLimitedImaging,
    Arrival,
    ClassifyRecord,
    DeclareRecordsComplete,
    ReceiveRecord,
    RecordImagingCheck,
)
from domain.case.consent import require_process
from domain.case.events import (
    ImagingAccepted,
    ImagingChecked,
    RecordClassified,
    RecordPin,
    RecordQuarantined,
    RecordReceived,
    RecordsDeclaredComplete,
    RepeatImagingAdvised,
)
from domain.case.phases import require_phase, require_phase_for
from domain.case.state import CaseState
from domain.errors import AlreadyDone, MissingPart, WrongPhase, WrongRole

DUPLICATE_OF_QUARANTINED = "duplicate-of-quarantined"
"""Finding of a record whose bytes are those of one in quarantine."""


def require_receivable(state: CaseState, actor: Actor, now: int) -> None:
    """Let pass who may send records to a case that takes them now.

    Raises:
        WrongRole: not the patient, the assigned coordinator or the assigned specialist.
        WrongPhase, MissingConsent: nothing is gathered now, or there is no consent to process.
    """
    if not (is_patient(state, actor) or is_coordinator(state, actor) or is_assignee(state, actor)):
        raise WrongRole("records are uploaded by the patient, the assigned coordinator or specialist")
    require_phase_for(state, ReceiveRecord)
    require_process(state, now)


def receive_record(
    state: CaseState, command: ReceiveRecord, actor: Actor, now: int
) -> tuple[RecordReceived | RecordQuarantined, ...]:
    """Records arrived whole; the same bytes again link to the first, and share its quarantine.

    Raises:
        WrongRole, WrongPhase, MissingConsent: see `require_receivable`.
        AlreadyDone: this record is there.
    """
    require_receivable(state, actor, now)
    events: list[RecordReceived | RecordQuarantined] = []
    for each in (command, *command.beside):
        events += _received(state, each)
    return tuple(events)


def _received(state: CaseState, arrival: Arrival) -> tuple[RecordReceived | RecordQuarantined, ...]:
    if arrival.record in state.records:
        raise AlreadyDone(f"record {arrival.record} exists already")
    same = [each for each in state.records.values() if each.manifest_sha256 == arrival.manifest_sha256]
    received = RecordReceived(
        record=arrival.record,
        kind=arrival.kind,
        manifest_sha256=arrival.manifest_sha256,
        files=arrival.files,
        bytes=arrival.bytes,
        duplicate_of=same[0].record if same else None,
    )
    if any(each.quarantined for each in same):
        return received, RecordQuarantined(record=arrival.record, findings=(DUPLICATE_OF_QUARANTINED,))
    return (received,)


def classify_record(state: CaseState, command: ClassifyRecord, actor: Actor) -> RecordClassified:
    """What kind of record this is, by the coordinator's word; it may change again.

    Raises:
        WrongRole: not the assigned coordinator.
        WrongPhase: not the moment, or the record is in quarantine.
        MissingPart: no such record, or a kind between imaging and documents, which come in by different checks.
    """
    require_coordinator(state, actor)
    require_phase(state, command)
    record = state.records.get(command.record)
    if record is None:
        raise MissingPart("the case has no such record")
    if record.quarantined:
        raise WrongPhase(f"record {command.record} is in quarantine")
    if (record.kind == "imaging") != (command.kind == "imaging"):
        raise MissingPart("imaging stays imaging, and a document becomes none: only DICOM files are imaging")
    return RecordClassified(
        record=command.record,
        kind=command.kind,
        suggested=command.suggested,
        dated_on=command.dated_on,
        documents=command.documents,
        markers=command.markers,
    )


def record_imaging_check(
    state: CaseState, command: RecordImagingCheck, actor: Actor, now: int
) -> tuple[ImagingChecked | RecordQuarantined | RepeatImagingAdvised, ...]:
    """The verdict on all imaging of the case; `stop` puts what was checked out of everybody's reach.

    Inadequate imaging comes with the advice that the report gives: the one is never on record without the other.

    Raises:
        WrongRole: neither the service nor a technician, or the uploader of what was checked.
        WrongPhase: nothing to check now.
        MissingPart: not imaging of this case, not all of it, or by another requirement set than the checklist's.
    """
    if actor.role not in ("service", "technician"):
        raise WrongRole("imaging is checked by the service or a technician")
    known = {each.record: each for each in state.usable_imaging()}
    for record in command.records:
        if record in known and known[record].uploader == actor.id:
            raise WrongRole(f"who uploaded record {record} does not check it")
    if state.patient_account in (actor.id, actor.account):
        raise WrongRole("a patient does not check their own imaging")
    require_phase(state, command)
    stale = state.imaging is not None and state.imaging.stale(calendar.utc_day(now))
    if state.phase == "gathering" and not state.unchecked_imaging() and not stale:
        raise WrongPhase("the case is gathering, and has no imaging that is still to be checked")
    for record in command.records:
        if record not in known:
            raise MissingPart(f"the case has no usable imaging record {record}")
    if not command.records:
        raise MissingPart("an imaging check names the records that it looked at")
    # A stop is never held up: it counts on whatever it looked at, though newer imaging has arrived meanwhile.
    unseen = sorted(set(known) - set(command.records))
    if unseen and command.verdict != "stop":
        raise MissingPart(f"the check did not look at imaging record {unseen[0]}")
    if command.requirement != state.imaging_site:
        raise MissingPart(f"the check is by {command.requirement}, the checklist asks for {state.imaging_site}")
    checked = ImagingChecked(
        records=command.records,
        verdict=command.verdict,
        findings=command.findings,
        report_sha256=command.report_sha256,
        requirement=command.requirement,
        requirement_version=command.requirement_version,
        checker_version=command.checker_version,
        checked_on=calendar.utc_day(now),
        valid_until=command.valid_until,
    )
    if command.verdict == "inadequate" and command.advice:
        return checked, RepeatImagingAdvised(
            records=command.records, report_sha256=command.report_sha256, advice=command.advice
        )
    if command.verdict != "stop":
        return (checked,)
    return checked, *(
        RecordQuarantined(record=each, findings=command.findings) for each in dict.fromkeys(command.records)
    )


def accept_limited_imaging(state: CaseState, command: AcceptLimitedImaging, actor: Actor, now: int) -> ImagingAccepted:
    """Limited imaging is taken as it is; the newest check is what is accepted, and a later one asks again.

    Raises:
        WrongRole: neither the assigned coordinator nor the specialist to whom the case was routed.
        WrongPhase: not the moment.
        MissingConsent: the specialist may not see all that was checked.
        MissingPart: the latest check did not find it limited, or it has grown stale since.
        AlreadyDone: accepted before.
    """
    if not (is_coordinator(state, actor) or is_assignee(state, actor)):
        raise WrongRole("limited imaging is accepted by the assigned coordinator or specialist")
    require_phase(state, command)
    require_whole(state, actor, state.imaging.records if state.imaging else (), now)
    if state.imaging is None or state.imaging.verdict != "limited":
        raise MissingPart("the latest imaging check did not find the imaging limited")
    if state.imaging.accepted_limits:
        raise AlreadyDone("this imaging was accepted before")
    require_fresh(state, now)
    return ImagingAccepted(records=state.imaging.records, limits=command.limits, reason=command.reason)


def declare_records_complete(
    state: CaseState, command: DeclareRecordsComplete, actor: Actor, now: int, calendars: Calendars
) -> RecordsDeclaredComplete:
    """The clock starts, or goes on with what was left; business days count from the UTC day of `now`.

    Raises:
        WrongRole, WrongPhase, MissingConsent: not the assigned coordinator, not the moment, no consent to process.
        MissingPart: an item without a record, or imaging that is neither adequate nor accepted, or not all checked, or
            has grown stale since.
    """
    require_coordinator(state, actor)
    require_phase(state, command)
    suffices = state.imaging is not None and state.imaging.suffices()
    if state.phase == "gathering" and not suffices:
        raise WrongPhase("the case is gathering, and no adequate imaging has been found")
    require_process(state, now)
    usable = state.usable()
    kinds = {each.kind for each in usable}
    for item in state.checklist:
        if item.kind not in kinds:
            raise MissingPart(f"checklist item {item.item} has no usable record of kind {item.kind}")
    if not state.usable_imaging():
        raise MissingPart("the case has no usable imaging record")
    if not suffices:
        found = state.imaging.verdict if state.imaging else "not checked"
        raise MissingPart(f"imaging is {found}, not adequate, nor limited and accepted")
    for record in state.unchecked_imaging():
        raise MissingPart(f"imaging record {record.record} has not been checked")
    require_fresh(state, now)
    due_from, due_by = calendar.due(calendars.service, calendar.utc_day(now), state.clock.ran if state.clock else ())
    return RecordsDeclaredComplete(
        records=tuple(RecordPin(record=each.record, manifest_sha256=each.manifest_sha256) for each in usable),
        calendar=calendars.service.name,
        due_from=due_from,
        due_by=due_by,
    )


def require_fresh(state: CaseState, now: int) -> None:
    """Let a case pass whose imaging is no older than its verdict allows for.

    Raises:
        MissingPart: it has grown stale since it was checked; checked again, it gets the verdict of that day.
    """
    imaging = state.imaging
    if imaging is not None and imaging.stale(calendar.utc_day(now)):
        raise MissingPart(f"the imaging check held until {imaging.valid_until}: the images have to be checked again")
