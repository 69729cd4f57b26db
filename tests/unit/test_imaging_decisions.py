"""What people decide about imaging after the check, and when a verdict no longer holds."""

import msgspec
import pytest
from msgspec.structs import replace

from application.work.imaging_checks import advice, valid_until
from domain.case import commands as c
from domain.case import events as e
from domain.case.actor import SERVICE, Actor
from domain.errors import AlreadyDone, MissingConsent, MissingPart, NotFound, WrongPhase, WrongRole
from domain.imaging.findings import Finding, Report, SeriesRow
from domain.imaging.requirement import Limit, Requirement
from tests.unit.case_builder import (
    ACCEPTED,
    COMPLIANCE,
    COORDINATOR,
    DAY,
    IMAGING,
    NOW,
    OTHER_COORDINATOR,
    PATIENT,
    ROUTED,
    SPECIALIST,
    SURGEON,
    TECHNICIAN,
    checked,
    digest,
    given,
    received,
    said,
    story,
)
from tests.unit.test_case_material import DECLARE, GATHERING, QUARANTINED, check

WHY = "The series description is the hospital's own; the timing shows the arterial phase."
RELEASE = c.ReleaseRecord(record="r-ct", reason="The hospital corrected the label.")
RELEASED = e.RecordReleased(record="r-ct", reason="The hospital corrected the label.")
ADVICE = e.RepeatAdvice(finding="phase_arterial_missing", what="Please acquire the arterial phase.", why="Needed.")
STOPPED = (*GATHERING, IMAGING, checked("stop"), QUARANTINED)
BOTH = Actor(id="both-1", role="technician")
"""A technician who uploaded something as a coordinator."""


def overrule(verdict: e.PersonsVerdict) -> c.OverruleImagingVerdict:
    """The command."""
    return c.OverruleImagingVerdict(verdict=verdict, reason=WHY)


def overruled(was: e.Verdict, verdict: e.PersonsVerdict) -> e.ImagingVerdictOverruled:
    """The event."""
    return e.ImagingVerdictOverruled(records=("r-ct",), report_sha256=digest("f"), was=was, verdict=verdict, reason=WHY)


@pytest.mark.parametrize(
    ("was", "verdict", "phase"),
    [
        ("undetermined", "adequate", "imaging_check"),
        ("inadequate", "limited", "imaging_check"),
        ("adequate", "inadequate", "gathering"),
        ("limited", "adequate", "imaging_check"),
    ],
)
def test_a_technician_overrules_the_check(was: e.Verdict, verdict: e.PersonsVerdict, phase: e.Phase) -> None:
    """The verdict is theirs from now on, with the reason on record beside what the check said."""
    case = given(*GATHERING, IMAGING, checked(was))
    state = case.when(overrule(verdict), by=TECHNICIAN).then(overruled(was, verdict))
    assert state.phase == phase
    assert state.imaging is not None
    assert (state.imaging.verdict, state.imaging.report_sha256) == (verdict, digest("f"))


def test_an_accepted_limit_does_not_outlive_another_verdict() -> None:
    """What was accepted was the verdict before; limited again is accepted again."""
    limits = e.ImagingAccepted(records=("r-ct",), limits=("one phase",), reason="Cannot be repeated.")
    case = given(*GATHERING, IMAGING, checked("limited"), limits, overruled("limited", "inadequate"))
    state = case.when(overrule("limited"), by=TECHNICIAN).then(overruled("inadequate", "limited"))
    assert state.imaging is not None
    assert not state.imaging.suffices()


def test_only_a_technician_overrules_and_never_the_uploader() -> None:
    """Neither the service, nor whoever wants the case to move, nor the patient under another role."""
    case = given(*GATHERING, IMAGING, checked("undetermined"))
    as_technician = Actor(id="account-1", role="technician")
    for actor in (SERVICE, COORDINATOR, OTHER_COORDINATOR, PATIENT, SURGEON, COMPLIANCE, as_technician):
        case.when(overrule("adequate"), by=actor).refused(WrongRole)
    theirs = said(IMAGING, by=Actor(id=BOTH.id, role="coordinator"))
    given(*GATHERING, theirs, checked("undetermined")).when(overrule("adequate"), by=BOTH).refused(WrongRole)


def test_what_cannot_be_overruled() -> None:
    """A stop is released instead; the same verdict is none; and what the check has not seen comes first."""
    given(*STOPPED).when(overrule("adequate"), by=TECHNICIAN).refused(WrongPhase, "released")
    given(*GATHERING, IMAGING).when(overrule("adequate"), by=TECHNICIAN).refused(MissingPart, "not been checked")
    case = given(*GATHERING, IMAGING, checked("limited"))
    case.when(overrule("limited"), by=TECHNICIAN).refused(AlreadyDone)
    newer = received("r-mr", "imaging", "9")
    given(*GATHERING, IMAGING, checked("limited"), newer).when(overrule("adequate"), by=TECHNICIAN).refused(
        MissingPart, "r-mr"
    )
    gone = given(*GATHERING, IMAGING, checked("undetermined"), QUARANTINED)
    gone.when(overrule("adequate"), by=TECHNICIAN).refused(MissingPart, "no usable imaging")


def test_an_overruled_verdict_can_be_built_on() -> None:
    """Undetermined waits for a person; with their word the records can be declared complete."""
    way = (*story("gathering"), IMAGING, checked("undetermined"))
    given(*way).when(DECLARE).refused(WrongPhase)
    assert given(*way, said(overruled("undetermined", "adequate"), by=TECHNICIAN)).when(DECLARE).events


@pytest.mark.parametrize("actor", [TECHNICIAN, COMPLIANCE])
def test_a_released_record_is_checked_anew(actor: Actor) -> None:
    """It is as if it had just come in: the case waits for the check, which has not seen it."""
    case = given(*STOPPED)
    assert case.state.unchecked_imaging() == ()
    state = case.when(RELEASE, by=actor).then(RELEASED)
    assert state.phase == "imaging_check"
    assert [each.record for each in state.unchecked_imaging()] == ["r-ct"]
    assert state.records["r-ct"].released
    again = given(*STOPPED, said(RELEASED, by=actor))
    again.when(check(checked("adequate")), by=SERVICE).then(checked("adequate"))
    again.when(DECLARE).refused(MissingPart)


def test_who_releases() -> None:
    """A technician or compliance; not the coordinator, not the patient, never the uploader."""
    for actor in (COORDINATOR, PATIENT, SURGEON, SERVICE, Actor(id="account-1", role="compliance")):
        given(*STOPPED).when(RELEASE, by=actor).refused(WrongRole)
    theirs = said(IMAGING, by=Actor(id=BOTH.id, role="coordinator"))
    given(*GATHERING, theirs, checked("stop"), QUARANTINED).when(RELEASE, by=BOTH).refused(WrongRole)


def test_what_is_released() -> None:
    """A record of this case that is in quarantine; other records leave the phase where it is."""
    given(*STOPPED).when(replace(RELEASE, record="r-none"), by=TECHNICIAN).refused(NotFound)
    given(*GATHERING, IMAGING).when(RELEASE, by=TECHNICIAN).refused(AlreadyDone)
    report = received("r-path", "pathology", "b")
    hidden = e.RecordQuarantined(record="r-path", findings=("duplicate-of-quarantined",))
    state = given(*GATHERING, report, hidden, e.RecordReleased(record="r-path", reason="x")).state
    assert (state.phase, state.records["r-path"].quarantined) == ("gathering", False)


def test_inadequate_imaging_comes_with_advice() -> None:
    """Verdict and advice are one save; a better verdict needs none."""
    advised = e.RepeatImagingAdvised(records=("r-ct",), report_sha256=digest("f"), advice=(ADVICE,))
    case = given(*GATHERING, IMAGING)
    bad = checked("inadequate")
    assert case.when(replace(check(bad), advice=(ADVICE,)), by=SERVICE).then(bad, advised).phase == "gathering"
    good = checked("limited")
    case.when(replace(check(good), advice=(ADVICE,)), by=SERVICE).then(good)


def test_a_technician_adds_advice() -> None:
    """For imaging that an opinion cannot rest on; nobody else, and not for what is adequate or stopped."""
    command = c.AdviseRepeatImaging(advice=(ADVICE,))
    event = e.RepeatImagingAdvised(records=("r-ct",), report_sha256=digest("f"), advice=(ADVICE,))
    verdicts: tuple[e.Verdict, ...] = ("inadequate", "limited", "undetermined")
    for verdict in verdicts:
        given(*GATHERING, IMAGING, checked(verdict)).when(command, by=TECHNICIAN).then(event)
    given(*GATHERING, IMAGING, checked("adequate")).when(command, by=TECHNICIAN).refused(WrongPhase)
    given(*STOPPED).when(command, by=TECHNICIAN).refused(WrongPhase)
    for actor in (COORDINATOR, PATIENT, SERVICE):
        given(*GATHERING, IMAGING, checked("inadequate")).when(command, by=actor).refused(WrongRole)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"advice": []}', type=c.AdviseRepeatImaging)


def test_staleness_is_judged_again() -> None:
    """On the last day the verdict holds; a day later neither completeness nor acceptance does, until checked again."""
    fresh = replace(checked("adequate"), valid_until="2026-03-03")
    way = (*story("gathering"), IMAGING, fresh)
    assert given(*way).when(DECLARE, at=NOW + DAY).events
    given(*way).when(DECLARE, at=NOW + 2 * DAY).refused(MissingPart, "2026-03-03")
    limited = replace(fresh, verdict="limited")
    accept = c.AcceptLimitedImaging(limits=("one phase",), reason="Cannot be repeated.")
    case = given(*GATHERING, IMAGING, limited)
    assert case.when(accept, at=NOW + DAY).events
    case.when(accept, at=NOW + 2 * DAY).refused(MissingPart, "2026-03-03")
    again = replace(fresh, checked_on="2026-03-04", valid_until=None)
    case = given(*way, said(again, by=SERVICE, at=NOW + 2 * DAY))
    assert case.when(DECLARE, at=NOW + 2 * DAY).events


def test_stale_imaging_is_not_taken_for_review() -> None:
    """The specialist's acceptance asks once more."""
    fresh = replace(checked("adequate"), valid_until="2026-03-03")
    way = (*story("imaging_check"), fresh, *story("ready")[len(story("imaging_check")) :], ROUTED)
    accept = c.AcceptReview(specialist=SPECIALIST)
    assert given(*way).when(accept, by=SURGEON, at=NOW + DAY).events == (ACCEPTED,)
    given(*way).when(accept, by=SURGEON, at=NOW + 2 * DAY).refused(MissingPart, "2026-03-03")


def test_stale_imaging_is_checked_again_from_gathering() -> None:
    """A case that came back with imaging that was adequate then; before that day there is nothing to check."""
    fresh = replace(checked("adequate"), valid_until="2026-03-03")
    way = (*story("imaging_check"), fresh, *story("routed")[len(story("imaging_check")) :])
    back = given(*way, e.ConsentWithdrawn(consent="c-review"))
    assert back.state.phase == "gathering"
    back.when(check(checked("limited")), by=SERVICE, at=NOW + DAY).refused(WrongPhase)
    assert back.when(check(checked("limited")), by=SERVICE, at=NOW + 2 * DAY).events


def test_who_reads_the_report() -> None:
    """Coordinator, technician, and the specialist under the patient's consents; in quarantine not the specialist."""
    case = given(*story("in_review"))
    for actor in (COORDINATOR, TECHNICIAN, SURGEON):
        assert case.reads(actor, "imaging_report").content
    for actor in (PATIENT, COMPLIANCE, OTHER_COORDINATOR):
        case.refuses(WrongRole, actor, "imaging_report")
    given(*GATHERING, IMAGING).refuses(NotFound, COORDINATOR, "imaging_report")
    given(*story("delivered")).refuses(WrongPhase, TECHNICIAN, "imaging_report")
    assert given(*STOPPED).reads(TECHNICIAN, "imaging_report").content
    stopped = given(*story("in_review"), said(checked("stop"), by=SERVICE), QUARANTINED)
    stopped.refuses(WrongPhase, SURGEON, "imaging_report")
    gone = given(*story("in_review"), e.ConsentWithdrawn(consent="c-transfer"))
    gone.refuses(WrongRole, SURGEON, "imaging_report")
    case.refuses(MissingConsent, SURGEON, "imaging_report", at=NOW - DAY)


def report(day: str, on: str, *findings: Finding) -> Report:
    """A report on one stack of that day, made on another."""
    row = SeriesRow(series="1", label="CT", modality="CT", role="stack", instances=9, date=day, used_for=("stack",))
    return Report(
        verdict="limited", site="liver-ct", requirement=1, on=on, findings=findings, series=(row,), files={"total": 9}
    )


@pytest.mark.parametrize(
    ("limits", "day", "on", "until"),
    [
        ((42, None), "2026-01-01", "2026-01-10", "2026-02-12"),
        ((42, None), "2026-01-01", "2026-02-12", "2026-02-12"),
        ((42, None), "2026-01-01", "2026-02-13", None),
        ((42, 84), "2026-01-01", "2026-02-13", "2026-03-26"),
        ((None, None), "2026-01-01", "2026-01-10", None),
        ((42, None), "", "2026-01-10", None),
        ((42, None), "2027-01-01", "2026-01-10", None),
    ],
)
def test_a_verdict_holds_until_the_next_limit_of_age(
    limits: tuple[int | None, int | None], day: str, on: str, until: str | None
) -> None:
    """The day of the limit still counts; behind the last limit, and without a date, age decides nothing more."""
    soft, hard = (None if each is None else Limit(value=each, unit="d", source="J") for each in limits)
    asked = Requirement(
        site="liver-ct",
        version=1,
        title="liver CT",
        slices_at_least=Limit(value=5, unit="1", source="J"),
        age_limited_above=soft,
        age_inadequate_above=hard,
    )
    assert valid_until(report(day, on), asked) == until


def test_advice_is_every_finding_that_stands_in_the_way() -> None:
    """In the report's words, with what was measured against which limit; notes are no advice."""
    thick = Finding(
        code="THICK_SLICES", severity="limited", message="Thinner, please.", value="5", unit="mm", limit="3", source="J"
    )
    note = Finding(code="PHI_PRESENT", severity="note", message="Kept confidential.")
    (told,) = advice(report("2026-01-01", "2026-01-10", thick, note))
    assert (told.finding, told.what) == ("thick_slices", "Thinner, please.")
    assert told.why.endswith(": 5 mm (limit 3 mm, J)")
    few = Finding(
        code="NOT_A_VOLUME", severity="inadequate", message="More, please.", value="4", unit="1", limit="5", source="J"
    )
    (told,) = advice(report("2026-01-01", "2026-01-10", few))
    assert told.why.endswith(": 4 (limit 5, J)")
