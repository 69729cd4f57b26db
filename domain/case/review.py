"""Decisions of the review: routed, accepted, signed. Each asks anew whether the specialist may see the case at all."""

from domain.case import calendar, routing
from domain.case.actor import Actor, require_assignee, require_coordinator
from domain.case.calendar import Calendars
from domain.case.commands import AcceptReview, RouteCase, SignOpinion
from domain.case.consent import require_reviewing, reviewable
from domain.case.events import CaseRouted, OpinionSigned, RecordPin, ReviewAccepted
from domain.case.material import require_fresh
from domain.case.phases import require_phase
from domain.case.state import Assignment, CaseState
from domain.errors import AlreadyDone, DigestMismatch, MalformedBody, MissingPart, NotEligible, WrongRole


def route_case(state: CaseState, command: RouteCase, actor: Actor, now: int) -> CaseRouted:
    """Offer the case to a specialist whom the rule allows, or whom a person chose on stated grounds.

    Raises:
        WrongRole, WrongPhase: not the assigned coordinator, or the case is not ready.
        MissingPart: no usable imaging, or no grounds where a person decides.
        NotEligible: wrong subspecialty, too little evidence of volume, or already somebody else in this case.
        MissingConsent: review, or the transfer to the centre's country, is not covered for every record.
    """
    require_coordinator(state, actor)
    require_phase(state, command)
    specialist = command.specialist
    if not state.usable_imaging():
        raise MissingPart("the case has no usable imaging record")
    if specialist.actor in (state.coordinator, state.patient_account):
        raise NotEligible(f"specialist {specialist.specialist} has another part in this case")
    by_rule = routing.subspecialty_for(state.organ)
    if by_rule is None and not command.grounds.strip():
        raise MissingPart(f"for {state.organ} a person decides, and gives grounds")
    routing.require_eligible(specialist, state.organ)
    relied = require_reviewing(state, _declared(state), actor=specialist.actor, country=specialist.country, now=now)
    return CaseRouted(
        specialist=specialist.specialist,
        specialist_actor=specialist.actor,
        subspecialty=specialist.subspecialty,
        centre_country=specialist.country,
        yearly_volume=specialist.yearly_volume(state.organ),
        rule_version=routing.RULE_VERSION,
        decided_by="person" if by_rule is None else "rule",
        grounds=command.grounds,
        consents=relied,
    )


def accept_review(
    state: CaseState, command: AcceptReview, actor: Actor, now: int, calendars: Calendars
) -> ReviewAccepted:
    """The specialist takes the case; due days are counted anew, from the clock's start, by the centre's calendar.

    Raises:
        WrongRole, WrongPhase: not the one to whom it was routed, or not routed.
        MissingConsent: review or transfer is no longer covered.
    """
    require_assignee(state, actor)
    require_phase(state, command)
    assignment, clock = state.assignment, state.clock
    if assignment is None or clock is None or clock.running_since is None:
        raise MissingPart("the clock does not run")
    if command.specialist.specialist != assignment.specialist:
        raise WrongRole("the case was routed to another specialist")
    _require_covered(state, assignment, _declared(state), now)
    require_fresh(state, now)
    centre = calendars.named(command.specialist.calendar)
    due_from, due_by = calendar.due(centre, clock.running_since, clock.ran)
    return ReviewAccepted(calendar=centre.name, due_from=due_from, due_by=due_by)


def sign_opinion(state: CaseState, command: SignOpinion, actor: Actor, now: int) -> OpinionSigned:
    """The written opinion. It pins what it relies on, and everything that came in after the records were complete.

    Raises:
        WrongRole, WrongPhase: not the assignee, or not in review.
        AlreadyDone: there is an opinion of that id.
        MalformedBody: one record is pinned twice.
        MissingPart: a record that the case lacks, imaging unchecked or not relied on, newer material not relied on.
        DigestMismatch: a record that is not pinned as it is.
        MissingConsent: review or transfer no longer covers what is relied on.
    """
    require_assignee(state, actor)
    require_phase(state, command)
    assignment = state.assignment
    if assignment is None:
        raise MissingPart("the case is with nobody")
    if command.opinion in state.opinions:
        raise AlreadyDone(f"opinion {command.opinion} is signed already")
    pinned = tuple(each.record for each in command.relied_on)
    # First: a record that the consents leave out is refused as one that is not there.
    _require_covered(state, assignment, pinned, now, pinned=True)
    _require_pins(state, command.relied_on)
    for record in newer_material(state, now):
        if record not in pinned:
            raise MissingPart(f"record {record} is newer, and the opinion does not acknowledge it")
    return OpinionSigned(
        opinion=command.opinion,
        version=1,
        content=command.content,
        relied_on=command.relied_on,
        accepted_limits=state.imaging.accepted_limits if state.imaging else (),
        signer_name=command.signer_name,
        meaning="authorship",
    )


def newer_material(state: CaseState, now: int) -> tuple[str, ...]:
    """Records that came in after completeness and that the patient lets this specialist see.

    Signing waits until the opinion pins each of them, which is how a surgeon acknowledges it.
    """
    seen = reviewable(state, now)
    return tuple(each.record for each in state.usable() if each.record not in state.declared and each.record in seen)


def _declared(state: CaseState) -> tuple[str, ...]:
    return tuple(each.record for each in state.usable() if each.record in state.declared)


def _require_covered(
    state: CaseState, assignment: Assignment, records: tuple[str, ...], now: int, *, pinned: bool = False
) -> None:
    actor, country = assignment.actor, assignment.country
    require_reviewing(state, records, actor=actor, country=country, now=now, pinned=pinned)


def _require_pins(state: CaseState, pins: tuple[RecordPin, ...]) -> None:
    usable = {each.record: each for each in state.usable()}
    unchecked = {each.record for each in state.unchecked_imaging()}
    if len({pin.record for pin in pins}) != len(pins):
        raise MalformedBody("the opinion pins one record twice")
    for number, pin in enumerate(pins):
        if pin.record not in usable:
            raise MissingPart(f"relied_on.{number}: the case has no such usable record")
        if usable[pin.record].manifest_sha256 != pin.manifest_sha256:
            raise DigestMismatch(f"record {pin.record} does not have the manifest that is pinned")
        if pin.record in unchecked:
            raise MissingPart(f"imaging record {pin.record} has not been checked")
    if not any(usable[pin.record].kind == "imaging" for pin in pins):
        raise MissingPart("an opinion relies on at least one imaging record")
