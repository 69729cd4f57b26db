import pytest
from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.case.actor import Actor
from domain.case.calendar import DAY
from domain.errors import (
    DigestMismatch,
    MalformedBody,
    Misconfigured,
    MissingConsent,
    MissingPart,
    NotEligible,
    WrongPhase,
    WrongRole,
)
from domain.event import Event
from domain.specialist import Specialist, Volume
from domain.values import Organ, Subspecialty
from tests.unit.case_builder import (
    ACCEPTED,
    COMPLETE,
    CONTENT,
    COORDINATOR,
    NOW,
    OPENED,
    OTHER_COORDINATOR,
    OTHER_SURGEON,
    PATIENT,
    REVIEW,
    ROUTED,
    SIGNED,
    SPECIALIST,
    SURGEON,
    TRANSFER,
    checked,
    digest,
    given,
    pin,
    received,
    said,
    story,
)

ROUTE = c.RouteCase(specialist=SPECIALIST)
ACCEPT = c.AcceptReview(specialist=SPECIALIST)
SIGN = c.SignOpinion(opinion="opinion-1", content=CONTENT, relied_on=SIGNED.relied_on, signer_name=SPECIALIST.name)
NEWER = received("r-new", "bloods", "9")


def ready_for(organ: Organ, *without: Event) -> tuple[Event, ...]:
    """A ready case about an organ, without some of its events."""
    return tuple(replace(OPENED, organ=organ) if x is OPENED else x for x in story("ready") if x not in without)


def surgeon_of(subspecialty: Subspecialty, organ: Organ, volume: int = 140) -> Specialist:
    """A specialist who does so many operations on an organ a year."""
    volumes = (Volume(organ=organ, operations_a_year=volume, evidence_sha256=digest("1")),)
    return replace(SPECIALIST, subspecialty=subspecialty, volumes=volumes)


def test_a_ready_case_is_routed_to_an_eligible_specialist() -> None:
    """The event names the rule's version, the evidence of volume and the consents relied on."""
    state = given(*story("ready")).when(ROUTE).then(ROUTED)
    assert (state.phase, state.assignment and state.assignment.actor) == ("routed", SURGEON.id)


@pytest.mark.parametrize(
    ("organ", "subspecialty"),
    [
        ("liver", "hpb"),
        ("bile_duct", "hpb"),
        ("pancreas", "hpb"),
        ("rectum", "colorectal"),
        ("colon", "colorectal"),
        ("lung", "thoracic"),
        ("oesophagus", "thoracic"),
    ],
)
def test_the_organ_of_the_operation_decides(organ: Organ, subspecialty: Subspecialty) -> None:
    """A specialist of that subspecialty, and no other."""
    case = given(*ready_for(organ))
    (routed,) = case.when(c.RouteCase(specialist=surgeon_of(subspecialty, organ))).events
    assert isinstance(routed, e.CaseRouted)
    assert (routed.decided_by, routed.subspecialty) == ("rule", subspecialty)
    case.when(c.RouteCase(specialist=surgeon_of("sarcoma", organ), grounds="I say so")).refused(NotEligible, organ)


@pytest.mark.parametrize("organ", ["stomach", "peritoneum", "soft_tissue", "other"])
def test_for_any_other_organ_a_person_decides_and_says_why(organ: Organ) -> None:
    """Without grounds there is no routing; the volume still counts."""
    case = given(*ready_for(organ))
    able = surgeon_of("upper_gi", organ)
    case.when(c.RouteCase(specialist=able, grounds=" ")).refused(MissingPart, "grounds")
    (routed,) = case.when(c.RouteCase(specialist=able, grounds="operates on these")).events
    assert isinstance(routed, e.CaseRouted)
    assert (routed.decided_by, routed.grounds) == ("person", "operates on these")
    case.when(c.RouteCase(specialist=surgeon_of("upper_gi", organ, 99), grounds="x")).refused(NotEligible)


def test_a_hundred_operations_a_year_on_that_organ_are_needed() -> None:
    """99 are too few, and other organs do not count."""
    case = given(*story("ready"))
    case.when(c.RouteCase(specialist=surgeon_of("hpb", "liver", 99))).refused(NotEligible, "99")
    case.when(c.RouteCase(specialist=surgeon_of("hpb", "pancreas"))).refused(NotEligible)
    assert case.when(c.RouteCase(specialist=surgeon_of("hpb", "liver", 100))).events


def test_only_the_assigned_coordinator_routes() -> None:
    """Not another, not the surgeon themselves, and never to somebody with another part in the case."""
    for actor in (OTHER_COORDINATOR, PATIENT, SURGEON):
        given(*story("ready")).when(ROUTE, by=actor).refused(WrongRole)
    for other in (COORDINATOR.id, "account-1"):
        given(*story("ready")).when(c.RouteCase(specialist=replace(SPECIALIST, actor=other))).refused(NotEligible)


def test_routing_needs_consent_to_review_and_to_the_transfer() -> None:
    """Each, for that country, for every record, for that person, at that instant."""
    for missing in (REVIEW, TRANSFER):
        given(*ready_for("liver", missing)).when(ROUTE).refused(MissingConsent, missing.kind)
    given(*story("ready")).when(c.RouteCase(specialist=replace(SPECIALIST, country="CN"))).refused(MissingConsent, "CN")
    for poor in (
        replace(REVIEW, consent="c-2", covers=e.Coverage(records=("r-ct",))),
        replace(REVIEW, consent="c-2", recipient=e.Recipient(country="IN", actor="surgeon-9")),
        replace(REVIEW, consent="c-2", valid_from=NOW + 1),
        replace(REVIEW, consent="c-2", valid_until=NOW),
    ):
        given(*ready_for("liver", REVIEW), poor).when(ROUTE).refused(MissingConsent, "review")


def test_consents_record_by_record_add_up() -> None:
    """Two that cover one record each do for a case of two."""
    parts = [replace(REVIEW, consent=f"c-{x}", covers=e.Coverage(records=(x,))) for x in ("r-ct", "r-path")]
    (routed,) = given(*ready_for("liver", REVIEW), *parts).when(ROUTE).events
    assert isinstance(routed, e.CaseRouted)
    assert routed.consents == ("c-r-path", "c-r-ct", "c-transfer")


def test_a_case_whose_imaging_went_into_quarantine_is_not_routed() -> None:
    """There is nothing to review."""
    hidden = e.RecordQuarantined(record="r-ct", findings=("identity_mismatch",))
    given(*story("ready"), hidden).when(ROUTE).refused(MissingPart, "imaging")


def test_accepting_counts_due_days_anew_by_the_centres_calendar() -> None:
    """From the clock's start, whenever it was accepted; a holiday there moves them."""
    state = given(*story("routed")).when(ACCEPT, by=SURGEON, at=NOW + DAY).then(ACCEPTED)
    assert state.phase == "in_review"
    chinese = replace(SPECIALIST, calendar="china")
    thursday = NOW + 59 * DAY  # 2026-04-30, before Labour Day
    late = [said(x, at=thursday) if x is COMPLETE else x for x in story("routed")]
    labour_day = e.ReviewAccepted(calendar="china", due_from="2026-05-08", due_by="2026-05-12")
    given(*late).when(c.AcceptReview(specialist=chinese), by=SURGEON, at=thursday + DAY).then(labour_day)
    unknown = c.AcceptReview(specialist=replace(SPECIALIST, calendar="mars"))
    given(*story("routed")).when(unknown, by=SURGEON).refused(Misconfigured, "mars")


def test_only_the_routed_specialist_accepts() -> None:
    """While the consents hold."""
    for actor in (OTHER_SURGEON, COORDINATOR, Actor(id=SURGEON.id, role="oncologist")):
        given(*story("routed")).when(ACCEPT, by=actor).refused(WrongRole)
    other = c.AcceptReview(specialist=replace(SPECIALIST, specialist="s-2"))
    given(*story("routed")).when(other, by=SURGEON).refused(WrongRole)
    brief = replace(REVIEW, valid_until=NOW + 10)
    expired = [brief if x is REVIEW else x for x in story("routed")]
    given(*expired).when(ACCEPT, by=SURGEON, at=NOW + 10).refused(MissingConsent)


def test_the_assignee_signs_an_opinion() -> None:
    """With what it relies on and the name it is signed with."""
    state = given(*story("in_review")).when(SIGN, by=SURGEON).then(SIGNED)
    assert (state.phase, tuple(state.opinions)) == ("signed", ("opinion-1",))


def test_nobody_else_signs_and_a_coordinator_never_does() -> None:
    """Not even one who also is the specialist of the case."""
    for actor in (OTHER_SURGEON, COORDINATOR, PATIENT):
        given(*story("in_review")).when(SIGN, by=actor).refused(WrongRole)
    both = e.CoordinatorAssigned(coordinator=SURGEON.id)
    given(*story("in_review"), both).when(SIGN, by=SURGEON).refused(WrongRole)


def test_an_opinion_is_not_signed_before_the_review_was_accepted() -> None:
    """Routed is not in review."""
    given(*story("routed")).when(SIGN, by=SURGEON).refused(WrongPhase, "routed")


def test_signing_needs_the_consents_still() -> None:
    """One that ran out during the review is missing."""
    for consent in (REVIEW, TRANSFER):
        brief = replace(consent, valid_until=NOW + 10)
        events = [brief if x is consent else x for x in story("in_review")]
        given(*events).when(SIGN, by=SURGEON, at=NOW + 9).then(SIGNED)
        given(*events).when(SIGN, by=SURGEON, at=NOW + 10).refused(MissingConsent, consent.kind)


def test_after_withdrawal_the_surgeon_is_out() -> None:
    """The case is back in gathering, and with nobody."""
    withdrawn = e.ConsentWithdrawn(consent="c-transfer")
    given(*story("in_review"), withdrawn).when(SIGN, by=SURGEON).refused(WrongRole)


def test_an_opinion_pins_records_as_they_are() -> None:
    """Unknown, quarantined, altered, or named twice: refused."""
    case = given(*story("in_review"))
    absent = replace(SIGN, relied_on=(pin("r-none", "a"),))
    case.when(absent, by=SURGEON).refused(MissingPart, "relied_on.0: the case has no such usable record")
    case.when(replace(SIGN, relied_on=(pin("r-ct", "0"),)), by=SURGEON).refused(DigestMismatch, "r-ct")
    case.when(replace(SIGN, relied_on=(pin("r-ct", "a"),) * 2), by=SURGEON).refused(MalformedBody)
    hidden = e.RecordQuarantined(record="r-path", findings=())
    place = [each.record for each in SIGN.relied_on].index("r-path")
    given(*story("in_review"), hidden).when(SIGN, by=SURGEON).refused(MissingPart, f"relied_on.{place}:")


def test_an_opinion_relies_on_imaging() -> None:
    """A subset will do, but not without any."""
    case = given(*story("in_review"))
    case.when(replace(SIGN, relied_on=(pin("r-path", "b"),)), by=SURGEON).refused(MissingPart, "imaging")
    case.when(replace(SIGN, relied_on=()), by=SURGEON).refused(MissingPart, "imaging")
    assert case.when(replace(SIGN, relied_on=(pin("r-ct", "a"),)), by=SURGEON).events


def test_signing_waits_until_newer_material_is_acknowledged() -> None:
    """By pinning it; imaging is checked before anybody relies on it."""
    with_newer = replace(SIGN, relied_on=(*SIGN.relied_on, pin("r-new", "9")))
    case = given(*story("in_review"), NEWER)
    case.when(SIGN, by=SURGEON).refused(MissingPart, "r-new")
    assert case.when(with_newer, by=SURGEON).events
    scan = replace(NEWER, kind="imaging")
    given(*story("in_review"), scan).when(with_newer, by=SURGEON).refused(MissingPart, "has not been checked")
    seen = given(*story("in_review"), scan, checked("limited", "r-ct", "r-new"))
    assert seen.state.phase == "in_review"
    assert seen.when(with_newer, by=SURGEON).events


def test_newer_material_that_the_patient_keeps_from_the_surgeon_does_not_block() -> None:
    """A consent that names its records does not cover what came later."""
    exact = replace(REVIEW, covers=e.Coverage(records=("r-ct", "r-path")))
    events = [exact if x is REVIEW else x for x in story("in_review")]
    given(*events, NEWER).when(SIGN, by=SURGEON).then(SIGNED)
    kept = replace(SIGN, relied_on=(*SIGN.relied_on, pin("r-new", "9")))
    given(*events, NEWER).when(kept, by=SURGEON).refused(MissingConsent, f"relied_on.{len(SIGN.relied_on)}")


def test_accepted_limits_are_copied_into_the_opinion() -> None:
    """Whoever reads the opinion reads what the imaging could not show."""
    limits = ("covers the upper abdomen only",)
    accepted = e.ImagingAccepted(records=("r-ct",), limits=limits, reason="It cannot be repeated.")
    in_review = given(*story("in_review"), checked("limited"), accepted)
    (signed,) = in_review.when(SIGN, by=SURGEON).events
    assert signed.accepted_limits == limits
