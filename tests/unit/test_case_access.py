import pytest
from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.case.access import Permission, What, may_read, visible_records
from domain.case.actor import SERVICE, Actor, acting_id
from domain.errors import MissingConsent, NotFound, SubjectErased, WrongPhase, WrongRole
from domain.event import Erased
from tests.unit.case_builder import (
    ADMINISTRATOR,
    COMPLIANCE,
    COORDINATOR,
    NOW,
    ONCOLOGIST,
    OPENED,
    OTHER_COORDINATOR,
    OTHER_ONCOLOGIST,
    OTHER_PATIENT,
    OTHER_SURGEON,
    PATIENT,
    REVIEW,
    SURGEON,
    TECHNICIAN,
    TRANSLATOR,
    Given,
    checked,
    given,
    received,
    story,
)

EVERYTHING: tuple[tuple[What, str | None], ...] = (
    ("case", None),
    ("trail", None),
    ("bundle", None),
    ("record", "r-ct"),
    ("opinion", "opinion-1"),
)
OWN = Permission(basis="own_case")
ASSIGNED = Permission(basis="assigned")
AUDIT = Permission(basis="audit", content=False)
CONSENT = Permission(basis="consent", consent="c-share")
QUARANTINED = e.RecordQuarantined(record="r-ct", findings=("identity_mismatch",))


@pytest.mark.parametrize(
    ("actor", "permitted"),
    [
        (PATIENT, dict.fromkeys(("case", "trail", "bundle", "record", "opinion"), OWN)),
        (OTHER_PATIENT, {}),
        (replace(PATIENT, account=""), {}),
        (COORDINATOR, dict.fromkeys(("case", "trail", "record", "opinion"), ASSIGNED)),
        (OTHER_COORDINATOR, {}),
        (SURGEON, {"case": ASSIGNED, "record": ASSIGNED, "opinion": ASSIGNED}),
        (OTHER_SURGEON, {}),
        (ONCOLOGIST, {"opinion": CONSENT}),
        (OTHER_ONCOLOGIST, {}),
        (COMPLIANCE, {"trail": AUDIT, "bundle": AUDIT}),
        (ADMINISTRATOR, {}),
        (TRANSLATOR, {}),
        (TECHNICIAN, {}),
        (SERVICE, {}),
    ],
    ids=lambda value: f"{value.role}-{value.id}-{value.account}" if hasattr(value, "role") else "",
)
def test_who_reads_what_of_a_case_in_follow_up(actor: Actor, permitted: dict[str, Permission]) -> None:
    """The table of who may do what, row by row; whatever it does not grant is refused."""
    case = given(*story("follow_up"))
    for what, item in EVERYTHING:
        if what in permitted:
            assert case.reads(actor, what, item) == permitted[what]
        elif actor is TECHNICIAN and what == "record":
            case.refuses(WrongPhase, actor, what, item)
        else:
            case.refuses(WrongRole, actor, what, item)


def test_quarantine_cuts_all_access_at_once() -> None:
    """Even the patient's own, and the technician's."""
    for phase in ("imaging_check", "in_review"):
        case = given(*story(phase), QUARANTINED)
        for actor in (PATIENT, COORDINATOR, TECHNICIAN, *((SURGEON,) if phase == "in_review" else ())):
            case.refuses(WrongPhase, actor, "record", "r-ct")


def test_a_technician_reads_imaging_while_it_is_of_use() -> None:
    """No other records, and no case."""
    case = given(*story("imaging_check"))
    assert case.reads(TECHNICIAN, "record", "r-ct") == ASSIGNED
    case.refuses(WrongRole, TECHNICIAN, "record", "r-path")
    case.refuses(WrongRole, TECHNICIAN, "case")


def test_a_specialist_reads_only_while_the_case_is_with_them() -> None:
    """Not before routing, and not after consent to review was withdrawn."""
    given(*story("ready")).refuses(WrongRole, SURGEON, "record", "r-ct")
    assert given(*story("routed")).reads(SURGEON, "record", "r-ct") == ASSIGNED
    withdrawn = given(*story("in_review"), e.ConsentWithdrawn(consent="c-review"))
    for what, item in EVERYTHING:
        withdrawn.refuses(WrongRole, SURGEON, what, item)


def test_a_specialist_reads_only_what_the_consents_cover_at_that_instant() -> None:
    """A consent that ran out, or that leaves a record out, or that was withdrawn after signing."""
    brief = [replace(REVIEW, valid_until=NOW + 10) if x is REVIEW else x for x in story("in_review")]
    assert given(*brief).reads(SURGEON, "case", at=NOW + 9) == ASSIGNED
    given(*brief).refuses(MissingConsent, SURGEON, "case", at=NOW + 10)
    exact = replace(REVIEW, covers=e.Coverage(records=("r-ct", "r-path")))
    chosen = [exact if x is REVIEW else x for x in story("in_review")]
    newer = given(*chosen, received("r-new", "bloods", "9"))
    assert newer.reads(SURGEON, "record", "r-path") == ASSIGNED
    newer.refuses(NotFound, SURGEON, "record", "r-new")
    later = given(*story("delivered"), e.ConsentWithdrawn(consent="c-transfer"))
    later.refuses(MissingConsent, SURGEON, "opinion", "opinion-1")


def test_a_specialist_does_not_see_imaging_that_no_check_has_seen() -> None:
    """It might be another patient's."""
    scan = received("r-new", "imaging", "9")
    given(*story("in_review"), scan).refuses(WrongPhase, SURGEON, "record", "r-new")
    seen = given(*story("in_review"), scan, checked("limited", "r-ct", "r-new"))
    assert seen.reads(SURGEON, "record", "r-new") == ASSIGNED


def test_a_patient_reads_the_opinion_once_it_was_delivered() -> None:
    """Not between signing and delivery; the coordinator does."""
    given(*story("signed")).refuses(WrongPhase, PATIENT, "opinion", "opinion-1")
    assert given(*story("signed")).reads(COORDINATOR, "opinion", "opinion-1") == ASSIGNED
    assert given(*story("delivered")).reads(PATIENT, "opinion", "opinion-1") == OWN


def test_a_recipient_reads_by_share_and_live_consent_only() -> None:
    """Neither alone is enough."""
    given(*story("delivered")).refuses(WrongRole, ONCOLOGIST, "opinion", "opinion-1")
    withdrawn = given(*story("follow_up"), e.ConsentWithdrawn(consent="c-share"))
    withdrawn.refuses(MissingConsent, ONCOLOGIST, "opinion", "opinion-1")


def test_what_is_not_there_is_not_found() -> None:
    """For those who may read such things; others learn nothing."""
    case = given(*story("follow_up"))
    for actor in (PATIENT, COORDINATOR, SURGEON):
        case.refuses(NotFound, actor, "opinion", "opinion-9")
    case.refuses(NotFound, COORDINATOR, "record", "r-none")
    case.refuses(WrongRole, ONCOLOGIST, "opinion", "opinion-9")


def test_of_an_erased_case_trail_and_bundle_remain() -> None:
    """For compliance; there is nothing else to read."""
    case = given(Erased("case.opened.v1"), *story("follow_up")[1:])
    assert case.reads(COMPLIANCE, "trail") == AUDIT
    case.refuses(WrongRole, COMPLIANCE, "case")
    for actor in (PATIENT, COORDINATOR, SURGEON, ONCOLOGIST):
        case.refuses(SubjectErased, actor, "opinion", "opinion-1")


def test_a_patient_acts_under_the_id_that_only_the_case_knows() -> None:
    """Everybody else under their own; another patient under none."""
    state = given(OPENED).state
    assert acting_id(state, PATIENT) == "p-random"
    assert acting_id(None, COORDINATOR) == COORDINATOR.id
    for stranger, case in ((OTHER_PATIENT, state), (PATIENT, None)):
        with pytest.raises(WrongRole):
            acting_id(case, stranger)


def test_a_patient_takes_the_bundle_along_once_every_opinion_is_delivered() -> None:
    """A bundle holds the opinion's text, which a patient first hears from a person."""
    given(*story("signed")).refuses(WrongPhase, PATIENT, "bundle")
    assert given(*story("delivered")).reads(PATIENT, "bundle") == OWN


def test_a_specialist_reads_no_report_on_images_that_the_consents_leave_out() -> None:
    """The report names every image that it is about, so each has to be covered."""
    case = given(*story("in_review"))
    assert case.reads(SURGEON, "imaging_report") == ASSIGNED
    narrowed = e.Coverage(records=("r-path",))
    kept = [replace(each, covers=narrowed) if each.kind == "review" else each for each in case.state.consents.values()]
    state = replace(case.state, consents={each.consent: each for each in kept})
    Given(state).refuses(MissingConsent, SURGEON, "imaging_report")


def test_a_technician_looks_while_the_patient_consents_to_processing() -> None:
    """A withdrawn consent ends that too."""
    case = given(*story("imaging_check"))
    assert case.reads(TECHNICIAN, "record", "r-ct") == ASSIGNED
    withdrawn = e.ConsentWithdrawn(consent="c-process")
    given(*story("imaging_check"), withdrawn).refuses(MissingConsent, TECHNICIAN, "record", "r-ct")
    assert case.reads(TECHNICIAN, "imaging_report") == ASSIGNED
    given(*story("imaging_check"), withdrawn).refuses(MissingConsent, TECHNICIAN, "imaging_report")


EXACT = replace(REVIEW, covers=e.Coverage(records=("r-ct", "r-path")))
CHOSEN = [EXACT if x is REVIEW else x for x in story("in_review")]
"""The way to a review whose consent names its records."""


def test_what_no_consent_covers_does_not_exist_for_the_specialist() -> None:
    """In words, too, a record that they may not see is one that is not there, be it in quarantine or unchecked."""
    quarantined = e.RecordQuarantined(record="r-new", findings=("identity_mismatch",))
    for more in ((), (quarantined,)):
        case = given(*CHOSEN, received("r-new", "imaging", "9"), *more)
        told = []
        for item in ("r-new", "r-none"):
            with pytest.raises(NotFound) as caught:
                may_read(case.state, SURGEON, "record", NOW, item)
            told.append((caught.type, str(caught.value)))
        assert told[0] == told[1]
        with pytest.raises(NotFound) as caught:
            may_read(case.state, SURGEON, "record", NOW, "r-new")
        assert isinstance(caught.value.__cause__, MissingConsent)


def test_the_records_that_exist_for_a_reader_of_the_case() -> None:
    """All for patient and coordinator; for the specialist what both consents cover at that instant; else none."""
    case = given(*CHOSEN, received("r-new", "bloods", "9"))
    assert visible_records(case.state, PATIENT, NOW) == {"r-ct", "r-path", "r-new"}
    assert visible_records(case.state, COORDINATOR, NOW) == {"r-ct", "r-path", "r-new"}
    assert visible_records(case.state, SURGEON, NOW) == {"r-ct", "r-path"}
    assert visible_records(case.state, SURGEON, NOW - 1) == frozenset()
    for nobody in (OTHER_SURGEON, OTHER_PATIENT, OTHER_COORDINATOR, TECHNICIAN, COMPLIANCE, ADMINISTRATOR, ONCOLOGIST):
        assert visible_records(case.state, nobody, NOW) == frozenset()
    withdrawn = given(*CHOSEN, e.ConsentWithdrawn(consent="c-transfer"))
    assert visible_records(withdrawn.state, SURGEON, NOW) == frozenset()


def test_a_specialist_accepts_no_limits_of_images_that_they_may_not_see() -> None:
    """Nor do they learn what the check found."""
    newer = (received("r-new", "imaging", "9"), checked("limited", "r-ct", "r-new"))
    accept = c.AcceptLimitedImaging(limits=("thick slices",), reason="It cannot be repeated.")
    given(*CHOSEN, *newer).when(accept, by=SURGEON).refused(MissingConsent)
    assert given(*story("in_review"), *newer).when(accept, by=SURGEON).events
