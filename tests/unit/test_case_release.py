from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.errors import AlreadyDone, MissingConsent, MissingPart, ShareNotFound, WrongPhase, WrongRole
from tests.unit.case_builder import (
    COMPLIANCE,
    COORDINATOR,
    DELIVERED,
    DISCLAIMED,
    NOW,
    ONCOLOGIST,
    OTHER_COORDINATOR,
    OTHER_ONCOLOGIST,
    OTHER_PATIENT,
    PATIENT,
    RECIPIENT,
    SHARED,
    SHARING,
    SIGNED,
    SURGEON,
    Given,
    given,
    story,
)

DELIVER = c.DeliverOpinion(opinion="opinion-1", channel="portal")
SHARE = c.ShareOpinion(share="share-1", opinion="opinion-1", version=1, consent="c-share", recipient=RECIPIENT)
OPEN = c.OpenShare(share="share-1")
OPENED = e.ShareOpened(share="share-1", opinion="opinion-1", version=1, consent="c-share")
WITHDRAWN = e.ConsentWithdrawn(consent="c-share")


def test_delivery_stops_the_clock() -> None:
    """At the instant of delivery."""
    state = given(*story("signed")).when(DELIVER, at=NOW + 5).then(DELIVERED)
    assert (state.phase, state.clock and state.clock.stopped_at) == ("delivered", NOW + 5)


def test_delivery_is_the_coordinators_and_waits_for_the_disclaimer() -> None:
    """And names an opinion of this case."""
    for actor in (OTHER_COORDINATOR, PATIENT, SURGEON):
        given(*story("signed")).when(DELIVER, by=actor).refused(WrongRole)
    undisclaimed = [x for x in story("signed") if x is not DISCLAIMED]
    given(*undisclaimed).when(DELIVER).refused(MissingPart, "disclaimer")
    given(*story("signed")).when(replace(DELIVER, opinion="opinion-9")).refused(MissingPart, "no such opinion")
    given(*story("delivered")).when(DELIVER).refused(WrongPhase)


def test_patient_or_coordinator_shares_under_a_consent() -> None:
    """The case goes on to follow-up."""
    for actor in (PATIENT, COORDINATOR):
        assert given(*story("delivered")).when(SHARE, by=actor).then(SHARED).phase == "follow_up"
    for actor in (OTHER_PATIENT, OTHER_COORDINATOR, ONCOLOGIST, SURGEON):
        given(*story("delivered")).when(SHARE, by=actor).refused(WrongRole)


def test_nothing_is_shared_without_an_active_consent() -> None:
    """Unknown, of another kind, withdrawn, not yet or no longer valid."""
    case = given(*story("delivered"))
    case.when(replace(SHARE, consent="c-none")).refused(MissingConsent)
    case.when(replace(SHARE, consent="c-review")).refused(MissingConsent)
    given(*story("delivered"), WITHDRAWN).when(SHARE).refused(MissingConsent, "not active")
    for changed in (replace(SHARING, valid_from=NOW + 1), replace(SHARING, valid_until=NOW)):
        given(*story("delivered")[:-1], changed).when(SHARE).refused(MissingConsent, "not active")


def test_a_consent_covers_the_recipient_it_names_and_no_other() -> None:
    """Person, organisation and country, as far as it names them."""
    case = given(*story("delivered"))
    for other in (
        replace(RECIPIENT, country="FR"),
        replace(RECIPIENT, organisation="Other Hospital"),
        replace(RECIPIENT, actor=OTHER_ONCOLOGIST.id),
    ):
        case.when(replace(SHARE, recipient=other)).refused(MissingConsent, "recipient")
    wide = replace(SHARING, recipient=e.Recipient(country="GB", organisation="Example Hospital"))
    given(*story("delivered")[:-1], wide).when(SHARE).then(SHARED)


def test_a_consent_covers_the_opinion_it_names() -> None:
    """Another opinion is not covered; the next one is, where it was asked for before signing."""
    other = replace(SHARING, covers=e.Coverage(opinions=("opinion-9",)))
    given(*story("delivered")[:-1], other).when(SHARE).refused(MissingConsent, "opinion-1")
    late = replace(SHARING, covers=e.Coverage(next_opinion=True))
    given(*story("delivered")[:-1], late).when(SHARE).refused(MissingConsent, "opinion-1")
    early = (*story("in_review"), late, *story("delivered")[len(story("in_review")) : -1])
    given(*early).when(SHARE).then(SHARED)


def test_what_is_shared_was_delivered() -> None:
    """Before delivery, an unknown opinion, another version: refused."""
    given(*story("signed"), SHARING).when(SHARE).refused(WrongPhase)
    given(*story("delivered")).when(replace(SHARE, opinion="opinion-9")).refused(MissingPart)
    given(*story("delivered")).when(replace(SHARE, version=2)).refused(MissingPart, "in that version")
    later = replace(SIGNED, opinion="opinion-2")
    again = Given(replace(given(*story("delivered"), later).state, phase="delivered"))
    again.when(replace(SHARE, opinion="opinion-2")).refused(MissingPart, "opinion-2")


def test_a_share_is_for_somebody_who_signs_in_and_happens_once() -> None:
    """Under its id, and under any other id for the same recipient and consent."""
    nobody = replace(SHARE, recipient=replace(RECIPIENT, actor=None))
    given(*story("delivered")).when(nobody).refused(MissingPart, "sign-in")
    given(*story("follow_up")).when(SHARE).refused(AlreadyDone)
    given(*story("follow_up")).when(replace(SHARE, share="share-2")).refused(AlreadyDone, "share-1")


def test_the_recipient_opens_a_share_as_often_as_they_like() -> None:
    """Each opening is recorded, and the case does not move."""
    assert given(*story("follow_up"), OPENED).when(OPEN, by=ONCOLOGIST).then(OPENED).phase == "follow_up"


def test_nobody_but_the_recipient_opens_a_share() -> None:
    """Not another oncologist, and not who may read the opinion elsewhere."""
    for actor in (OTHER_ONCOLOGIST, PATIENT, COORDINATOR, SURGEON, COMPLIANCE):
        given(*story("follow_up")).when(OPEN, by=actor).refused(WrongRole)
    given(*story("follow_up")).when(c.OpenShare(share="share-9"), by=ONCOLOGIST).refused(ShareNotFound)


def test_a_share_does_not_open_once_its_consent_is_gone() -> None:
    """Withdrawn, superseded or run out; sharing again is refused as well."""
    given(*story("follow_up"), WITHDRAWN).when(OPEN, by=ONCOLOGIST).refused(MissingConsent)
    given(*story("follow_up"), WITHDRAWN).when(replace(SHARE, share="share-2")).refused(MissingConsent)
    other = replace(SHARING, consent="c-2", supersedes="c-share")
    given(*story("follow_up"), other).when(OPEN, by=ONCOLOGIST).refused(MissingConsent)
    brief = [replace(SHARING, valid_until=NOW + 10) if x is SHARING else x for x in story("follow_up")]
    given(*brief).when(OPEN, by=ONCOLOGIST, at=NOW + 9).then(OPENED)
    given(*brief).when(OPEN, by=ONCOLOGIST, at=NOW + 10).refused(MissingConsent)
