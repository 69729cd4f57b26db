from typing import Any

import pytest
from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.case.calendar import DAY
from domain.errors import AlreadyDone, MalformedBody, MissingConsent, MissingPart, WrongPhase, WrongRole
from domain.event import Event
from tests.unit.case_builder import (
    ALL_RECORDS,
    ASSIGNED,
    CHECKLIST,
    COORDINATOR,
    HOUR,
    NOW,
    OPENED,
    OTHER_COORDINATOR,
    OTHER_PATIENT,
    PATIENT,
    PROCESS,
    RECIPIENT,
    REVIEW,
    SURGEON,
    TRANSFER,
    consent,
    digest,
    given,
    said,
    story,
)

ISSUE = c.IssueChecklist(items=CHECKLIST.items, imaging_site="any")


def ask(event: e.ConsentGranted, **changed: Any) -> c.GrantConsent:
    """The command that gives this event."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return c.GrantConsent(**(fields | changed))


def test_a_patient_consents_from_now_on_unless_they_say_otherwise() -> None:
    """An absent valid_from is the instant of the grant."""
    given(OPENED).when(ask(PROCESS, valid_from=None), by=PATIENT).then(PROCESS)
    given(OPENED).when(ask(PROCESS, valid_from=NOW + DAY), by=PATIENT).then(replace(PROCESS, valid_from=NOW + DAY))


def test_others_do_not_consent_for_the_patient() -> None:
    """Not another patient, not a coordinator of other cases, not the surgeon."""
    for actor in (OTHER_PATIENT, OTHER_COORDINATOR, SURGEON):
        given(OPENED, ASSIGNED).when(ask(PROCESS), by=actor).refused(WrongRole)


def test_a_coordinator_records_a_consent_only_with_evidence() -> None:
    """What shows that the patient consented is part of the event."""
    given(OPENED, ASSIGNED).when(ask(PROCESS), by=COORDINATOR).refused(MissingPart, "evidence")
    shown = replace(PROCESS, evidence_sha256=digest("e"))
    given(OPENED, ASSIGNED).when(ask(shown), by=COORDINATOR).then(shown)


def test_a_consent_id_is_used_once() -> None:
    """A consent is never edited: granting again under its id is refused."""
    given(OPENED, PROCESS).when(ask(PROCESS), by=PATIENT).refused(AlreadyDone)


def test_a_consent_ends_after_it_begins() -> None:
    """An empty validity is malformed."""
    given(OPENED).when(ask(PROCESS, valid_until=NOW), by=PATIENT).refused(MalformedBody)


@pytest.mark.parametrize(
    ("kind", "more", "saying"),
    [
        ("transfer_to_country", {"covers": ALL_RECORDS}, "names its recipient"),
        ("share_opinion", {"covers": e.Coverage(next_opinion=True)}, "names its recipient"),
        ("share_opinion", {"recipient": RECIPIENT}, "names the opinion"),
        ("share_opinion", {"recipient": e.Recipient(country="GB")}, "not only a country"),
        ("review", {}, "names the records"),
        ("review", {"covers": ALL_RECORDS, "recipient": e.Recipient(country="IN", person="X")}, "sign-in id"),
    ],
)
def test_a_consent_that_covers_nothing_or_nobody_is_refused(
    kind: e.ConsentKind, more: dict[str, Any], saying: str
) -> None:
    """It would only seem to be one."""
    given(OPENED).when(ask(consent("c-1", kind, **more)), by=PATIENT).refused(MissingPart, saying)


def test_a_representative_grants_until_their_authority_expires() -> None:
    """The consent holds through the day of expiry, and a grant after it is refused."""
    mother = e.Representative(name="A. B.", relation="mother", evidence_sha256=digest("e"), expires_on="2026-03-03")
    granted = replace(PROCESS, representative=mother)
    given(OPENED).when(ask(granted), by=PATIENT).then(granted)
    midnight = NOW + DAY + 15 * HOUR
    given(OPENED, ASSIGNED, granted).when(ISSUE, at=midnight - 1).then(CHECKLIST)
    given(OPENED, ASSIGNED, granted).when(ISSUE, at=midnight).refused(MissingConsent)
    given(OPENED).when(ask(granted), by=PATIENT, at=midnight).refused(MissingPart, "expired")


def test_a_consent_holds_from_its_first_instant_up_to_its_last() -> None:
    """valid_from counts, valid_until does not."""
    limited = replace(PROCESS, valid_from=NOW + 1, valid_until=NOW + 3)
    case = given(OPENED, ASSIGNED, limited)
    case.when(ISSUE, at=NOW).refused(MissingConsent)
    case.when(ISSUE, at=NOW + 1).then(CHECKLIST)
    case.when(ISSUE, at=NOW + 2).then(CHECKLIST)
    case.when(ISSUE, at=NOW + 3).refused(MissingConsent)


def test_a_superseding_consent_ends_the_old_one_at_once() -> None:
    """Even where the new one begins later."""
    later = replace(PROCESS, consent="c-2", valid_from=NOW + DAY, supersedes="c-process")
    given(OPENED, PROCESS).when(ask(later), by=PATIENT).then(later)
    case = given(OPENED, ASSIGNED, PROCESS, later)
    case.when(ISSUE).refused(MissingConsent)
    case.when(ISSUE, at=NOW + DAY).then(CHECKLIST)


def test_only_a_standing_consent_of_the_same_kind_is_superseded() -> None:
    """Unknown, ended, or of another kind: refused."""
    again = replace(PROCESS, consent="c-2", supersedes="c-process")
    given(OPENED).when(ask(again), by=PATIENT).refused(MissingConsent)
    ended = given(OPENED, PROCESS, e.ConsentWithdrawn(consent="c-process"))
    ended.when(ask(again), by=PATIENT).refused(MissingConsent)
    other = given(OPENED, PROCESS, REVIEW)
    other.when(ask(replace(again, supersedes="c-review")), by=PATIENT).refused(MissingConsent)


def test_withdrawal_is_immediate_and_needs_no_reason() -> None:
    """From that event on the consent covers nothing."""
    case = given(OPENED, ASSIGNED, PROCESS)
    case.when(c.WithdrawConsent(consent="c-process"), by=PATIENT).then(e.ConsentWithdrawn(consent="c-process"))
    given(OPENED, ASSIGNED, PROCESS, e.ConsentWithdrawn(consent="c-process")).when(ISSUE).refused(MissingConsent)


def test_a_withdrawal_is_refused_to_others_and_to_what_does_not_stand() -> None:
    """Others' role, an unknown consent, one that has ended, and a coordinator without evidence."""
    case = given(OPENED, ASSIGNED, PROCESS)
    withdraw = c.WithdrawConsent(consent="c-process")
    case.when(withdraw, by=OTHER_PATIENT).refused(WrongRole)
    case.when(withdraw, by=COORDINATOR).refused(MissingPart, "evidence")
    shown = replace(withdraw, evidence_sha256=digest("e"))
    case.when(shown, by=COORDINATOR).then(e.ConsentWithdrawn(consent="c-process", evidence_sha256=digest("e")))
    case.when(c.WithdrawConsent(consent="c-none"), by=PATIENT).refused(MissingConsent)
    ended = given(OPENED, PROCESS, e.ConsentWithdrawn(consent="c-process"))
    ended.when(withdraw, by=PATIENT).refused(AlreadyDone)


@pytest.mark.parametrize("phase", ["ready", "routed", "in_review"])
@pytest.mark.parametrize("ended", ["c-review", "c-transfer"])
def test_withdrawing_what_the_review_stands_on_sends_the_case_back(phase: e.Phase, ended: str) -> None:
    """The specialist's access is cut and the clock is paused."""
    after = given(*story(phase)).when(c.WithdrawConsent(consent=ended), by=PATIENT, at=NOW + DAY)
    state = after.then(e.ConsentWithdrawn(consent=ended))
    assert (state.phase, state.assignment) == ("gathering", None)
    assert state.clock is not None
    assert (state.clock.running_since, state.clock.ran) == (None, (("2026-03-02", "2026-03-03"),))


def test_a_review_that_another_consent_covers_goes_on() -> None:
    """Withdrawing one of two, or the transfer to another country, cuts nothing."""
    second = replace(REVIEW, consent="c-review-2")
    china = replace(TRANSFER, consent="c-china", recipient=e.Recipient(country="CN"))
    for more, ended in ((second, "c-review"), (china, "c-china")):
        case = given(*story("in_review"), more)
        state = case.when(c.WithdrawConsent(consent=ended), by=PATIENT).then(e.ConsentWithdrawn(consent=ended))
        assert state.phase == "in_review"


def test_superseding_by_less_than_the_review_needs_sends_the_case_back() -> None:
    """A narrower consent is a withdrawal of the rest."""
    narrower = replace(REVIEW, consent="c-2", supersedes="c-review", covers=e.Coverage(records=("r-path",)))
    assert given(*story("in_review")).when(ask(narrower), by=PATIENT).then(narrower).phase == "gathering"
    same = replace(REVIEW, consent="c-2", supersedes="c-review")
    assert given(*story("in_review")).when(ask(same), by=PATIENT).then(same).phase == "in_review"


def test_a_withdrawal_after_signing_leaves_the_phase() -> None:
    """What was reviewed was reviewed under consent; earlier releases stay listed."""
    for phase in ("signed", "delivered", "follow_up"):
        events: tuple[Event, ...] = story(phase)
        state = given(*events).when(c.WithdrawConsent(consent="c-review"), by=PATIENT).events
        assert state == (e.ConsentWithdrawn(consent="c-review"),)
        assert given(*events, *state).state.phase == phase


def test_a_closed_case_still_takes_withdrawals_and_no_new_consents() -> None:
    """Shares may outlive the case's work."""
    case = given(*story("follow_up"))
    case._state = replace(case.state, phase="closed")
    case.when(c.WithdrawConsent(consent="c-share"), by=PATIENT).then(e.ConsentWithdrawn(consent="c-share"))
    case.when(ask(replace(PROCESS, consent="c-2")), by=PATIENT).refused(WrongPhase)


def test_the_next_opinion_is_the_one_signed_after_the_consent_and_no_later_one() -> None:
    """Signing binds the consent to that opinion."""
    ahead = consent("c-ahead", "share_opinion", recipient=RECIPIENT, covers=e.Coverage(next_opinion=True))
    signed = given(*story("in_review"), ahead, said(story("signed")[-1], by=SURGEON))
    assert signed.state.consents["c-ahead"].covers == e.Coverage(opinions=("opinion-1",))
