"""Who may read what of a case, and on what basis. Every read is asked here, and recorded whatever the answer."""

from typing import Literal

import msgspec

from domain.access import Basis
from domain.case.actor import Actor, is_assignee, is_coordinator, is_patient
from domain.case.consent import REVIEWING, covering, require_process, require_share, reviewable
from domain.case.phases import OPEN
from domain.case.state import Assignment, CaseState, Imaging, Record, SignedOpinion
from domain.errors import MissingConsent, NotFound, SubjectErased, WrongPhase, WrongRole

What = Literal["case", "trail", "bundle", "record", "opinion", "imaging_report"]


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """A read that is allowed; `content` is False where only what stands in clear may be shown: entries and proofs."""

    basis: Basis
    consent: str | None = None
    """The consent that it rests on, where it rests on one."""
    content: bool = True


_OWN = Permission(basis="own_case")
_ASSIGNED = Permission(basis="assigned")
_AUDIT = Permission(basis="audit", content=False)
NO_RECORD = "the case has no such record"
NO_OPINION = "the case has no such opinion"


def may_read(state: CaseState, actor: Actor, what: What, now: int, item: str | None = None) -> Permission:
    """Decide on a read; `item` is the id of the record or opinion.

    Raises:
        WrongRole: not for this role, or not for who is nothing to this case.
        MissingConsent: an active consent is what it would take.
        NotFound: the case has no such record or opinion.
        WrongPhase: it is not for reading now: in quarantine, imaging unchecked, an opinion not delivered.
        SubjectErased: there is nothing left to read but trail and bundle.
    """
    if actor.role == "compliance" and what in ("trail", "bundle"):
        return _AUDIT
    if state.patient_account is None:
        if actor.role == "compliance":
            raise WrongRole(f"compliance reads trail and bundle, not the {what}")
        raise SubjectErased
    match actor.role:
        case "patient" if is_patient(state, actor) and what != "imaging_report":
            return _patient(state, what, item)
        case "coordinator" if is_coordinator(state, actor) and what != "bundle":
            if what == "record":
                _record(state, item)
            elif what == "opinion":
                _opinion(state, item)
            elif what == "imaging_report":
                _imaging(state)
            return _ASSIGNED
        case "technician" if what == "record":
            return _technician(state, item, now)
        case "technician" if what == "imaging_report":
            # In quarantine, too: the report says what has to be found out, and shows no image.
            _imaging(state)
            require_process(state, now)
            _require_checking(state)
            return _ASSIGNED
        case "specialist" if is_assignee(state, actor) and what in ("case", "record", "opinion", "imaging_report"):
            return _specialist(state, actor, what, item, now)
        case "oncologist" if what == "opinion":
            return _recipient(state, actor, item, now)
    raise WrongRole(f"{actor.role} does not read the {what} of this case")


def visible_records(state: CaseState, actor: Actor, now: int) -> frozenset[str]:
    """Ids of the records that exist for somebody who may read the case: all, but for a specialist what consents cover.

    Whoever is shown a case at another state than the one that `may_read` saw is asked for anew.
    """
    if is_patient(state, actor) or is_coordinator(state, actor):
        return frozenset(state.records)
    return reviewable(state, now) if is_assignee(state, actor) else frozenset()


def require_whole(state: CaseState, actor: Actor, records: tuple[str, ...], now: int) -> None:
    """Refuse a specialist what rests on all of these records, where one of them does not exist for them.

    Raises:
        MissingConsent.
    """
    if actor.role == "specialist" and not visible_records(state, actor, now).issuperset(records):
        raise MissingConsent("it rests on a record that no active consent covers")


def _patient(state: CaseState, what: What, item: str | None) -> Permission:
    if what == "record":
        _record(state, item)
    elif what == "opinion" and not _opinion(state, item).delivered:
        raise WrongPhase("the opinion has not been delivered")
    elif what == "bundle" and not all(each.delivered for each in state.opinions.values()):
        raise WrongPhase("a bundle holds every opinion of the case, and one has not been delivered")
    return _OWN


def _technician(state: CaseState, item: str | None, now: int) -> Permission:
    """A technician looks at imaging, while the case has use for a check and the patient consents to processing."""
    record = None if item is None else state.records.get(item)
    if record is not None and record.kind != "imaging":
        raise WrongRole("a technician reads imaging records only")
    _record(state, item)
    require_process(state, now)
    _require_checking(state)
    return _ASSIGNED


def _require_checking(state: CaseState) -> None:
    if state.phase not in OPEN[: OPEN.index("signed")]:
        raise WrongPhase("imaging is not checked any more")


def _specialist(state: CaseState, actor: Actor, what: What, item: str | None, now: int) -> Permission:
    """The assignment lasts as long as the case is open, and the consents behind it are asked each time."""
    assignment = state.assignment
    if assignment is None or state.phase not in OPEN:
        raise WrongRole("the case is with no specialist")
    _require_consents(state, assignment, now)
    if what == "record":
        if item in state.records and item not in reviewable(state, now):
            # To them it does not exist; the cause is what goes on record.
            raise NotFound(NO_RECORD) from MissingConsent(f"no active consent covers record {item}")
        found = _record(state, item)
        if found in state.unchecked_imaging():
            raise WrongPhase(f"imaging record {found.record} has not been checked")
    elif what == "opinion":
        _opinion(state, item)
    elif what == "imaging_report":
        if _imaging(state).verdict == "stop":
            raise WrongPhase("the report is on images that may be another person's")
        require_whole(state, actor, _imaging(state).records, now)
    return _ASSIGNED


def _require_consents(state: CaseState, assignment: Assignment, now: int) -> None:
    for kind in REVIEWING:
        if not covering(state, kind, now, actor=assignment.actor, country=assignment.country):
            raise MissingConsent(f"no active consent of kind {kind} covers this")


def _recipient(state: CaseState, actor: Actor, item: str | None, now: int) -> Permission:
    """By a share that was made to them, under a consent that still holds; the first that does counts."""
    refusal: MissingConsent | None = None
    for share in state.shares.values():
        if share.opinion != item or share.recipient.actor != actor.id:
            continue
        try:
            require_share(
                state,
                share.consent,
                opinion=share.opinion,
                version=share.version,
                recipient=share.recipient,
                now=now,
            )
        except MissingConsent as error:
            refusal = error
            continue
        return Permission(basis="consent", consent=share.consent)
    raise refusal or WrongRole("nothing of this case was shared with you")


def _record(state: CaseState, item: str | None) -> Record:
    record = None if item is None else state.records.get(item)
    if record is None:
        raise NotFound(NO_RECORD)
    if record.quarantined:
        raise WrongPhase(f"record {record.record} is in quarantine")
    return record


def _imaging(state: CaseState) -> Imaging:
    if state.imaging is None:
        raise NotFound("the imaging of this case has not been checked")
    return state.imaging


def _opinion(state: CaseState, item: str | None) -> SignedOpinion:
    opinion = None if item is None else state.opinions.get(item)
    if opinion is None:
        raise NotFound(NO_OPINION)
    return opinion
