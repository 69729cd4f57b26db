"""What a consent covers, and how consents come and go.

Nothing is released unless a consent that is active at that instant covers recipient, version and purpose. Consents are
never edited: a new one supersedes the old, at once.
"""

import msgspec

from domain.case import calendar
from domain.case.actor import Actor, is_patient, require_patient_or_coordinator
from domain.case.commands import GrantConsent, WithdrawConsent
from domain.case.events import ConsentGranted, ConsentKind, ConsentWithdrawn, Recipient
from domain.case.phases import require_phase
from domain.case.state import CaseState, Consent
from domain.errors import AlreadyDone, MalformedBody, MissingConsent, MissingPart

REVIEWING: tuple[ConsentKind, ...] = ("review", "transfer_to_country")
"""What it takes for a specialist to see a case."""

NO_CONSENT = "there is no such consent"

_OUTSIDERS: tuple[ConsentKind, ...] = ("share_opinion", "share_records", "trial_team", "treating_centre")


def covering(
    state: CaseState,
    kind: ConsentKind,
    now: int,
    *,
    record: str | None = None,
    actor: str | None = None,
    country: str | None = None,
) -> Consent | None:
    """The first active consent of a kind that covers a record and lets this actor, in this country, have it.

    What is None is not asked for.
    """
    for consent in state.consents.values():
        if (
            consent.kind == kind
            and consent.active(now)
            and _admits(consent.recipient, actor, country)
            and (record is None or consent.covers.all_records or record in consent.covers.records)
        ):
            return consent
    return None


def _admits(named: Recipient | None, actor: str | None, country: str | None) -> bool:
    return named is None or (
        (country is None or named.country == country) and (actor is None or named.actor is None or named.actor == actor)
    )


def reviewable(state: CaseState, now: int) -> frozenset[str]:
    """Ids of the records that live consent lets the assigned specialist see; none where nobody is assigned."""
    assignment = state.assignment
    if assignment is None:
        return frozenset()
    return frozenset(
        record
        for record in state.records
        if all(
            covering(state, kind, now, record=record, actor=assignment.actor, country=assignment.country)
            for kind in REVIEWING
        )
    )


def require_process(state: CaseState, now: int) -> None:
    """Refuse to gather anything without the patient's consent.

    Raises:
        MissingConsent: no active consent to process.
    """
    if covering(state, "process", now) is None:
        raise MissingConsent("no active consent to process")


def require_reviewing(
    state: CaseState, records: tuple[str, ...], *, actor: str, country: str, now: int, pinned: bool = False
) -> tuple[str, ...]:
    """The consents under which this specialist, in this country, may see each of these records.

    Where the records are those that an opinion pins, as they were sent, a refusal names the place of one, not its id.

    Raises:
        MissingConsent: one of them is not covered for review, or not for the transfer to that country.
    """
    relied: dict[str, None] = {}
    for kind in REVIEWING:
        for number, record in enumerate(records or (None,)):
            consent = covering(state, kind, now, record=record, actor=actor, country=country)
            if consent is None:
                what = "the case" if record is None else f"relied_on.{number}" if pinned else f"record {record}"
                raise MissingConsent(f"no active consent of kind {kind} covers {what} for {country}")
            relied[consent.consent] = None
    return tuple(relied)


def still_stands(state: CaseState, kind: ConsentKind, now: int) -> bool:
    """Say whether what the phase relies on is still covered, after a consent of that kind ended."""
    assignment = state.assignment
    actor, country = (assignment.actor, assignment.country) if assignment else (None, None)
    records = tuple(each.record for each in state.usable() if each.record in state.declared)
    return all(covering(state, kind, now, record=record, actor=actor, country=country) for record in records or (None,))


def require_share(
    state: CaseState, consent_id: str, *, opinion: str, version: int, recipient: Recipient, now: int
) -> None:
    """Let an opinion version go to a recipient.

    Raises:
        MissingConsent: no such consent to share an opinion, not active now, or for another recipient or version.
    """
    consent = state.consents.get(consent_id)
    if consent is None or consent.kind != "share_opinion":
        raise MissingConsent("there is no such consent to share an opinion")
    if not consent.active(now):
        raise MissingConsent(f"consent {consent_id} is not active")
    if not _names(consent.recipient, recipient):
        raise MissingConsent(f"consent {consent_id} does not cover this recipient")
    covered = opinion in consent.covers.opinions and (version == 1 or consent.covers.amendments)
    if not covered:
        raise MissingConsent(f"consent {consent_id} does not cover version {version} of opinion {opinion}")


def _names(named: Recipient | None, recipient: Recipient) -> bool:
    """Say whether a recipient is everything that the consent names."""
    return (
        named is not None
        and named.country == recipient.country
        and named.organisation in (None, recipient.organisation)
        and named.person in (None, recipient.person)
        and named.actor in (None, recipient.actor)
    )


def grant(state: CaseState, command: GrantConsent, actor: Actor, now: int) -> ConsentGranted:
    """Decide on a consent.

    Raises:
        WrongRole, WrongPhase: neither the patient nor the assigned coordinator, or the case is over.
        AlreadyDone: there is a consent of that id.
        MissingPart: no evidence, an authority that has expired, or nothing and nobody that it would cover.
        MalformedBody: it would end before it begins.
        MissingConsent: what it supersedes is not there.
    """
    require_patient_or_coordinator(state, actor)
    require_phase(state, command)
    if command.consent in state.consents:
        raise AlreadyDone(f"consent {command.consent} exists already")
    if not is_patient(state, actor) and command.evidence_sha256 is None:
        raise MissingPart("a coordinator records a consent only with evidence_sha256")
    representative = command.representative
    if representative is not None and calendar.end_of(representative.expires_on) <= now:
        raise MissingPart("the representative's authority has expired")
    valid_from = now if command.valid_from is None else command.valid_from
    if command.valid_until is not None and command.valid_until <= valid_from:
        raise MalformedBody("valid_until is not after valid_from")
    _require_exact(command)
    if command.supersedes is not None:
        old = state.consents.get(command.supersedes)
        if old is None or old.ended or old.kind != command.kind:
            raise MissingConsent("there is no such consent of this kind to supersede")
    return ConsentGranted(
        consent=command.consent,
        kind=command.kind,
        recipient=command.recipient,
        covers=command.covers,
        purpose=command.purpose,
        valid_from=valid_from,
        valid_until=command.valid_until,
        language=command.language,
        text_sha256=command.text_sha256,
        representative=representative,
        evidence_sha256=command.evidence_sha256,
        supersedes=command.supersedes,
    )


def _require_exact(command: GrantConsent) -> None:
    """A consent that covers nothing, or nobody, would only seem to be one."""
    kind, recipient, covers = command.kind, command.recipient, command.covers
    if kind in (*_OUTSIDERS, "transfer_to_country") and recipient is None:
        raise MissingPart(f"a consent of kind {kind} names its recipient")
    if recipient is not None:
        named = (recipient.actor, recipient.organisation, recipient.person)
        if kind in _OUTSIDERS and not any(named):
            raise MissingPart(f"a consent of kind {kind} names a person or an organisation, not only a country")
        if kind in REVIEWING and any(named) and recipient.actor is None:
            raise MissingPart("a consent to review that names a recipient names their sign-in id")
    if kind in (*REVIEWING, "share_records") and not (covers.all_records or covers.records):
        raise MissingPart(f"a consent of kind {kind} names the records that it covers")
    if kind == "share_opinion" and not (covers.opinions or covers.next_opinion):
        raise MissingPart("a consent to share an opinion names the opinion that it covers")


def withdraw(state: CaseState, command: WithdrawConsent, actor: Actor) -> ConsentWithdrawn:
    """Decide on a withdrawal, which needs no reason.

    Raises:
        WrongRole, WrongPhase: neither the patient nor the assigned coordinator, or the case is over.
        MissingPart: a coordinator without evidence.
        MissingConsent: no such consent.
        AlreadyDone: withdrawn or superseded before.
    """
    require_patient_or_coordinator(state, actor)
    require_phase(state, command)
    if not is_patient(state, actor) and command.evidence_sha256 is None:
        raise MissingPart("a coordinator records a withdrawal only with evidence_sha256")
    consent = state.consents.get(command.consent)
    if consent is None:
        raise MissingConsent(NO_CONSENT)
    if consent.ended:
        raise AlreadyDone(f"consent {command.consent} has ended already")
    return ConsentWithdrawn(consent=command.consent, evidence_sha256=command.evidence_sha256)


def granted(event: ConsentGranted) -> Consent:
    """The consent that a grant makes."""
    ends = [] if event.valid_until is None else [event.valid_until]
    if event.representative is not None:
        ends.append(calendar.end_of(event.representative.expires_on))
    return Consent(
        consent=event.consent,
        kind=event.kind,
        recipient=event.recipient,
        covers=event.covers,
        valid_from=event.valid_from,
        ends_at=min(ends, default=None),
    )


def bound_to(consent: Consent, opinion: str) -> Consent:
    """A consent to the next opinion covers, from its signing on, that one and no later one."""
    if not consent.covers.next_opinion:
        return consent
    covers = msgspec.structs.replace(consent.covers, next_opinion=False, opinions=(*consent.covers.opinions, opinion))
    return msgspec.structs.replace(consent, covers=covers)
