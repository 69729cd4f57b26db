from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.case.actor import SERVICE, Actor
from domain.case.calendar import DAY
from domain.case.material import DUPLICATE_OF_QUARANTINED
from domain.errors import AlreadyDone, MissingConsent, MissingPart, WrongPhase, WrongRole
from domain.event import Erased
from tests.unit.case_builder import (
    ASSIGNED,
    CHECKLIST,
    COMPLETE,
    COORDINATOR,
    IMAGING,
    NOW,
    OPENED,
    OTHER_COORDINATOR,
    OTHER_PATIENT,
    OTHER_SURGEON,
    PATHOLOGY,
    PATIENT,
    PROCESS,
    REVIEW,
    SURGEON,
    TECHNICIAN,
    checked,
    digest,
    given,
    item,
    pin,
    received,
    said,
    story,
)

GATHERING = (OPENED, ASSIGNED, PROCESS, CHECKLIST)
QUARANTINED = e.RecordQuarantined(record="r-ct", findings=("uneven_spacing",))
DECLARE = c.DeclareRecordsComplete()


def receive(event: e.RecordReceived) -> c.ReceiveRecord:
    """The command that gives this event."""
    return c.ReceiveRecord(
        record=event.record,
        kind=event.kind,
        manifest_sha256=event.manifest_sha256,
        files=event.files,
        bytes=event.bytes,
    )


def check(event: e.ImagingChecked) -> c.RecordImagingCheck:
    """The command that gives this event."""
    names = set(event.__struct_fields__) - {"checked_on"}
    return c.RecordImagingCheck(**{name: getattr(event, name) for name in names})


def test_imaging_that_arrives_starts_the_check() -> None:
    """Other records leave the phase; who uploaded is kept as the log names them."""
    state = given(*GATHERING).when(receive(PATHOLOGY), by=PATIENT).then(PATHOLOGY)
    assert (state.phase, state.records["r-path"].uploader) == ("gathering", "p-random")
    assert given(*GATHERING).when(receive(IMAGING), by=COORDINATOR).then(IMAGING).phase == "imaging_check"


def test_only_who_belongs_to_the_case_uploads() -> None:
    """The patient, the assigned coordinator, the assigned specialist."""
    for actor in (OTHER_PATIENT, OTHER_COORDINATOR, TECHNICIAN, SURGEON):
        given(*GATHERING).when(receive(IMAGING), by=actor).refused(WrongRole)
    newer = received("r-new", "bloods", "9")
    given(*story("in_review")).when(receive(newer), by=SURGEON).then(newer)
    given(*story("in_review")).when(receive(newer), by=OTHER_SURGEON).refused(WrongRole)


def test_nothing_is_received_without_consent_to_process() -> None:
    """Withdrawn is withdrawn."""
    withdrawn = given(*GATHERING, e.ConsentWithdrawn(consent="c-process"))
    withdrawn.when(receive(IMAGING), by=PATIENT).refused(MissingConsent)


def test_a_record_is_received_once_and_a_duplicate_links_to_the_first() -> None:
    """The same id is refused; the same bytes under another id are linked."""
    case = given(*GATHERING, PATHOLOGY)
    case.when(receive(PATHOLOGY), by=PATIENT).refused(AlreadyDone)
    twin = received("r-twin", "pathology", "b", duplicate_of="r-path")
    case.when(receive(twin), by=PATIENT).then(twin)


def test_records_that_came_together_are_received_together() -> None:
    """An event each, in one decision; imaging among them starts the check, and one that is there already stops all."""
    report = received("r-report", "other", "7")
    together = replace(receive(PATHOLOGY), beside=tuple(map(receive, (IMAGING, report))))
    state = given(*GATHERING).when(together, by=PATIENT).then(PATHOLOGY, IMAGING, report)
    assert state.phase == "imaging_check"
    assert [each.received_index for each in state.records.values()] == [0, 1, 2]
    given(*GATHERING, IMAGING).when(together, by=PATIENT).refused(AlreadyDone)


def test_bytes_in_quarantine_do_not_come_back_under_another_id() -> None:
    """A duplicate shares the quarantine of the first, and starts no check."""
    twin = received("r-twin", "imaging", "a", duplicate_of="r-ct")
    state = (
        given(*GATHERING, IMAGING, QUARANTINED)
        .when(receive(twin), by=PATIENT)
        .then(twin, e.RecordQuarantined(record="r-twin", findings=(DUPLICATE_OF_QUARANTINED,)))
    )
    assert (state.phase, state.usable_imaging()) == ("gathering", ())


def test_the_verdict_decides_where_the_case_goes() -> None:
    """Adequate and limited stay; inadequate and undetermined go back to gathering."""
    for verdict, phase in (
        ("adequate", "imaging_check"),
        ("limited", "imaging_check"),
        ("inadequate", "gathering"),
        ("undetermined", "gathering"),
    ):
        found = checked(verdict)
        assert given(*GATHERING, IMAGING).when(check(found), by=SERVICE).then(found).phase == phase


def test_stop_quarantines_what_was_checked() -> None:
    """Beside the verdict, each record goes out of reach, and the case gathers again."""
    state = given(*GATHERING, IMAGING).when(check(checked("stop")), by=SERVICE).then(checked("stop"), QUARANTINED)
    assert (state.phase, state.records["r-ct"].quarantined) == ("gathering", True)


def test_a_stop_is_not_held_up_by_imaging_that_arrived_meanwhile() -> None:
    """It counts on what it saw; the rest is then checked from gathering, once."""
    newer = received("r-mr", "imaging", "9")
    case = given(*GATHERING, IMAGING, newer)
    case.when(check(checked("adequate")), by=SERVICE).refused(MissingPart, "r-mr")
    case.when(check(checked("stop")), by=SERVICE).then(checked("stop"), QUARANTINED)
    stopped = given(*GATHERING, IMAGING, newer, checked("stop"), QUARANTINED)
    assert stopped.state.phase == "gathering"
    again = checked("adequate", "r-mr")
    assert stopped.when(check(again), by=SERVICE).then(again).phase == "imaging_check"


def test_the_uploader_is_not_the_checker() -> None:
    """Nor does the patient check under another role, nor anybody who is no technician."""
    uploaded = said(IMAGING, by=Actor(id="both-1", role="coordinator"))
    given(*GATHERING, uploaded).when(check(checked("adequate")), by=replace(TECHNICIAN, id="both-1")).refused(WrongRole)
    case = given(*GATHERING, IMAGING)
    case.when(check(checked("adequate")), by=TECHNICIAN).then(checked("adequate"))
    case.when(check(checked("adequate")), by=replace(TECHNICIAN, id="account-1")).refused(WrongRole)
    for actor in (PATIENT, COORDINATOR, SURGEON):
        case.when(check(checked("adequate")), by=actor).refused(WrongRole)


def test_a_check_looks_at_the_imaging_of_this_case_by_its_own_requirements() -> None:
    """Unknown records, records of other kinds, none, or another requirement set: refused."""
    case = given(*GATHERING, PATHOLOGY, IMAGING)
    case.when(check(checked("adequate", "r-ct", "r-none")), by=SERVICE).refused(MissingPart, "r-none")
    case.when(check(checked("adequate", "r-ct", "r-path")), by=SERVICE).refused(MissingPart, "r-path")
    case.when(replace(check(checked("stop")), records=()), by=SERVICE).refused(MissingPart)
    case.when(replace(check(checked("adequate")), requirement="liver-ct"), by=SERVICE).refused(MissingPart, "any")


def test_gathering_has_nothing_to_check_once_all_was_seen() -> None:
    """The same inadequate imaging is not judged until it passes."""
    case = given(*GATHERING, IMAGING, checked("inadequate"))
    case.when(check(checked("adequate")), by=SERVICE).refused(WrongPhase)


def test_complete_records_start_the_clock() -> None:
    """Fifth and seventh business day after the declaration, over the weekend; every usable record is pinned."""
    state = given(*story("imaging_check")).when(DECLARE).then(COMPLETE)
    assert state.phase == "ready"
    assert state.clock is not None
    assert (state.clock.started_at, state.clock.due_from, state.clock.due_by) == (NOW, "2026-03-09", "2026-03-11")


def test_only_the_assigned_coordinator_declares_completeness() -> None:
    """With consent to process."""
    for actor in (PATIENT, OTHER_COORDINATOR, SURGEON):
        given(*story("imaging_check")).when(DECLARE, by=actor).refused(WrongRole)
    withdrawn = given(*story("imaging_check"), e.ConsentWithdrawn(consent="c-process"))
    withdrawn.when(DECLARE).refused(MissingConsent)


def test_every_item_of_the_checklist_needs_a_usable_record() -> None:
    """None, or one in quarantine, is named by its item."""
    given(*GATHERING, IMAGING, checked("adequate")).when(DECLARE).refused(MissingPart, item("pathology").item)
    hidden = e.RecordQuarantined(record="r-path", findings=())
    given(*story("imaging_check"), hidden).when(DECLARE).refused(MissingPart, item("pathology").item)


def test_imaging_must_be_adequate_and_all_of_it_checked() -> None:
    """Limited has to be accepted first; imaging that no check has seen does not count."""
    for found in ((), (checked("limited"),)):
        given(*GATHERING, PATHOLOGY, IMAGING, *found).when(DECLARE).refused(MissingPart, "not adequate")
    newer = received("r-mr", "imaging", "9")
    given(*story("imaging_check"), newer).when(DECLARE).refused(MissingPart, "r-mr")
    given(*GATHERING, PATHOLOGY, IMAGING, checked("inadequate")).when(DECLARE).refused(WrongPhase)


ACCEPT = c.AcceptLimitedImaging(limits=("covers the upper abdomen only",), reason="It cannot be repeated.")
ACCEPTED = e.ImagingAccepted(records=("r-ct",), limits=ACCEPT.limits, reason=ACCEPT.reason)


def test_limited_imaging_counts_once_a_person_has_accepted_its_limits() -> None:
    """The assigned coordinator takes it, once, and the records can be declared complete."""
    limited = given(*GATHERING, PATHOLOGY, IMAGING, checked("limited"))
    limited.when(ACCEPT, by=PATIENT).refused(WrongRole)
    limited.when(ACCEPT, by=OTHER_COORDINATOR).refused(WrongRole)
    limited.when(ACCEPT, by=COORDINATOR).then(ACCEPTED)
    accepted = given(*GATHERING, PATHOLOGY, IMAGING, checked("limited"), ACCEPTED)
    accepted.when(ACCEPT, by=COORDINATOR).refused(AlreadyDone)
    assert accepted.when(DECLARE).events


def test_only_the_latest_check_is_accepted() -> None:
    """What is adequate needs no acceptance, and a newer check of limited imaging asks again."""
    given(*GATHERING, IMAGING, checked("adequate")).when(ACCEPT, by=COORDINATOR).refused(MissingPart, "limited")
    newer = (received("r-mr", "imaging", "9"), checked("limited", "r-ct", "r-mr"))
    again = given(*GATHERING, PATHOLOGY, IMAGING, checked("limited"), ACCEPTED, *newer)
    again.when(DECLARE).refused(MissingPart, "accepted")


def test_the_clock_resumes_with_what_was_left() -> None:
    """Two business days had run when consent was withdrawn; three and five are left."""
    back = (
        *story("in_review"),
        said(e.ConsentWithdrawn(consent="c-review"), by=PATIENT, at=NOW + 2 * DAY),
        said(replace(REVIEW, consent="c-again"), by=PATIENT, at=NOW + 7 * DAY),
    )
    again = replace(COMPLETE, due_from="2026-03-12", due_by="2026-03-16")
    state = given(*back).when(DECLARE, at=NOW + 7 * DAY).then(again)
    assert state.clock is not None
    assert (state.phase, state.clock.started_at, state.clock.running_since) == ("ready", NOW, "2026-03-09")


def test_a_clock_with_nothing_left_is_due_on_the_day_it_resumes() -> None:
    """Time that was used up does not come back."""
    back = (*story("ready"), said(e.ConsentWithdrawn(consent="c-review"), by=PATIENT, at=NOW + 14 * DAY))
    late = replace(COMPLETE, due_from="2026-03-17", due_by="2026-03-17")
    given(*back).when(DECLARE, at=NOW + 15 * DAY).then(late)


def test_a_case_whose_record_was_erased_stays_usable() -> None:
    """The entry remains; quarantine, checks and completeness that name the record still fold."""
    case = given(*GATHERING, PATHOLOGY, Erased("record.received.v1"), QUARANTINED, checked("adequate"))
    assert case.state.gone == ("record.received.v1",)
    assert "r-ct" not in case.state.records
    newer = received("r-mr", "imaging", "9")
    state = case.when(receive(newer), by=PATIENT).then(newer)
    assert state.records["r-mr"].received_index == 2
    found = checked("adequate", "r-mr")
    whole = replace(COMPLETE, records=(pin("r-path", "b"), pin("r-mr", "9")))
    sealed = (*GATHERING, PATHOLOGY, Erased("record.received.v1"), checked("adequate"), newer, found)
    given(*sealed).when(DECLARE).then(whole)


def test_a_digest_is_what_makes_a_duplicate() -> None:
    """Equal bytes, whatever kind they were offered as."""
    twin = received("r-twin", "other", "b", duplicate_of="r-path")
    assert twin.manifest_sha256 == digest("b")
    given(*GATHERING, PATHOLOGY).when(receive(twin), by=PATIENT).then(twin)
