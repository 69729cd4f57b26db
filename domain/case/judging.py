"""What people decide about imaging after the check: released, overruled, to be repeated."""

from domain.case.actor import Actor
from domain.case.commands import AdviseRepeatImaging, OverruleImagingVerdict, ReleaseRecord
from domain.case.events import ImagingVerdictOverruled, RecordReleased, RepeatImagingAdvised
from domain.case.phases import require_phase
from domain.case.state import CaseState, Imaging, Record
from domain.errors import AlreadyDone, MissingPart, NotFound, WrongPhase, WrongRole


def release_record(state: CaseState, command: ReleaseRecord, actor: Actor) -> RecordReleased:
    """A record leaves quarantine, because somebody who did not upload it found out whose it is.

    Nobody could look at it meanwhile, so nobody decides by looking: a technician asks the hospital, or compliance does
    where a breach is suspected. A coordinator, who wants the case to move, does not.

    Raises:
        WrongRole: neither a technician nor compliance, or who uploaded it.
        WrongPhase, NotFound, AlreadyDone: not the moment, no such record, not in quarantine.
    """
    if actor.role not in ("technician", "compliance"):
        raise WrongRole("a record is released by a technician or by compliance")
    record = state.records.get(command.record)
    if record is not None:
        _require_not_uploader((record,), actor)
    _require_not_patient(state, actor)
    require_phase(state, command)
    if record is None:
        raise NotFound("the case has no such record")
    if not record.quarantined:
        raise AlreadyDone(f"record {record.record} is not in quarantine")
    return RecordReleased(record=record.record, reason=command.reason)


def overrule_imaging_verdict(
    state: CaseState, command: OverruleImagingVerdict, actor: Actor
) -> ImagingVerdictOverruled:
    """A technician's verdict takes the place of the check's, until the imaging is checked again.

    Raises:
        WrongRole: no technician, or who uploaded any of what was checked.
        WrongPhase: not the moment, or the verdict is `stop`: that is for release, after which the check runs again.
        MissingPart: nothing was checked, or imaging has come in that the check has not seen yet.
        AlreadyDone: that is the verdict.
    """
    imaging = _judged_by_technician(state, command, actor)
    if imaging.verdict == command.verdict:
        raise AlreadyDone(f"the verdict is {command.verdict}")
    return ImagingVerdictOverruled(
        records=imaging.records,
        report_sha256=imaging.report_sha256,
        was=imaging.verdict,
        verdict=command.verdict,
        reason=command.reason,
    )


def advise_repeat_imaging(state: CaseState, command: AdviseRepeatImaging, actor: Actor) -> RepeatImagingAdvised:
    """A technician says, beyond what the check says by itself, what has to be acquired or sent again.

    Raises:
        WrongRole, MissingPart: as `overrule_imaging_verdict`.
        WrongPhase: not the moment, or there is nothing to repeat: adequate, or `stop`.
    """
    imaging = _judged_by_technician(state, command, actor)
    if imaging.verdict == "adequate":
        raise WrongPhase("imaging that is adequate is not for repeating")
    return RepeatImagingAdvised(records=imaging.records, report_sha256=imaging.report_sha256, advice=command.advice)


def _judged_by_technician(
    state: CaseState, command: OverruleImagingVerdict | AdviseRepeatImaging, actor: Actor
) -> Imaging:
    if actor.role != "technician":
        raise WrongRole("imaging is judged by a technician")
    looked_at = state.imaging.records if state.imaging else ()
    _require_not_uploader(tuple(each for each in state.records.values() if each.record in looked_at), actor)
    _require_not_patient(state, actor)
    require_phase(state, command)
    if state.imaging is None:
        raise MissingPart("the imaging of this case has not been checked")
    if state.imaging.verdict == "stop":
        raise WrongPhase("a stop is not judged: the records are released, and then checked again")
    if not state.usable_imaging():
        raise MissingPart("the case has no usable imaging record")
    for record in state.unchecked_imaging():
        raise MissingPart(f"imaging record {record.record} has not been checked")
    return state.imaging


def _require_not_uploader(records: tuple[Record, ...], actor: Actor) -> None:
    for record in records:
        if record.uploader == actor.id:
            raise WrongRole(f"who uploaded record {record.record} does not judge it")


def _require_not_patient(state: CaseState, actor: Actor) -> None:
    if state.patient_account in (actor.id, actor.account):
        raise WrongRole("a patient does not judge their own records")
