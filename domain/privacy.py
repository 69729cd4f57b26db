"""Erasure requests: asked for, decided on, carried out by three different people, each request a stream of its own.

The stream is sealed under the case's accountability key, which no erasure destroys: what became of a request can be
told as long as disclosures can. So nothing in it is free text of a patient.
"""

from calendar import monthrange
from datetime import date
from typing import Literal

import msgspec
from msgspec.structs import replace

from domain.case import calendar
from domain.case.actor import Actor, require_patient_or_coordinator
from domain.case.events import ContentErased
from domain.case.state import CaseState
from domain.errors import AlreadyDone, MissingPart, NotFound, OnHold, SubjectErased, WrongPhase, WrongRole
from domain.event import Erased, Event, Meta, register
from domain.values import Count, Day, Identifier, Line, SubjectName

Scope = Literal["case", "record"]
Reason = Literal[
    "no_longer_necessary",
    "consent_withdrawn",
    "objection",
    "unlawful_processing",
    "legal_obligation",
    "wrong_person",
]
"""GDPR 17(1) a to e; and a record that is another person's."""
Ground = Literal[
    "not_entitled",
    "freedom_of_expression",
    "legal_obligation",
    "public_health",
    "archiving_or_research",
    "legal_claims",
    "unfounded_or_excessive",
]
"""Why an erasure is refused: GDPR 17(3) a to e, 12(5), or who asks is not entitled to it."""
Status = Literal["requested", "refused", "approved", "executed", "completed"]


@register.add("privacy.erasure_requested.v1", subject="accountability")
class ErasureRequested(Event, frozen=True, kw_only=True):
    """Somebody asked for a case, or for one record of it, to be erased."""

    request: Identifier
    """Stream of the request."""
    case: Identifier
    scope: Scope
    record: Identifier | None = None
    reason: Reason
    requester: Identifier
    """The id under which they sign in; a patient's stands nowhere in clear."""
    due_by: Day
    """A month after it was asked for (GDPR 12(3))."""


@register.add("privacy.erasure_approved.v1", subject="accountability")
class ErasureApproved(Event, frozen=True, kw_only=True):
    """A compliance officer found that it is to be done."""

    request: Identifier


@register.add("privacy.erasure_refused.v1", subject="accountability")
class ErasureRefused(Event, frozen=True, kw_only=True):
    """A compliance officer found that it is not to be done, and on what ground."""

    request: Identifier
    ground: Ground
    explanation: Line


@register.add("privacy.erasure_executed.v1", subject="accountability")
class ErasureExecuted(Event, frozen=True, kw_only=True):
    """The keys of these subjects, and all payloads under them, were destroyed in the transaction that appended this."""

    request: Identifier
    subjects: tuple[SubjectName, ...]


@register.add("privacy.personal_data_erased.v1", subject="accountability")
class PersonalDataErased(Event, frozen=True, kw_only=True):
    """Nothing is left: blobs, views, caches, dead rows, and the key-encryption key that could open old copies."""

    request: Identifier
    blobs: Count
    """Stored objects that were deleted when this was recorded; those of earlier attempts are not in it."""
    kek: Identifier
    """Name of the key-encryption key under which the living subjects' keys stand since."""


class ErasureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need to know of a request. The people are named by the ids under which they sign in."""

    request: str
    case: str
    scope: Scope
    record: str | None
    reason: Reason
    requester: str
    due_by: str
    status: Status = "requested"
    approver: str | None = None
    ground: Ground | None = None
    explanation: str | None = None
    executor: str | None = None
    subjects: tuple[str, ...] = ()


def evolve(state: ErasureRequest | None, event: Event | Erased, meta: Meta) -> ErasureRequest | None:
    """Fold one event of a request's stream."""
    match event:
        case ErasureRequested():
            return ErasureRequest(
                request=event.request,
                case=event.case,
                scope=event.scope,
                record=event.record,
                reason=event.reason,
                requester=event.requester,
                due_by=event.due_by,
            )
        case ErasureApproved() if state is not None:
            return replace(state, status="approved", approver=meta.actor)
        case ErasureRefused() if state is not None:
            return replace(
                state, status="refused", approver=meta.actor, ground=event.ground, explanation=event.explanation
            )
        case ErasureExecuted() if state is not None:
            return replace(state, status="executed", executor=meta.actor, subjects=event.subjects)
        case PersonalDataErased() if state is not None:
            return replace(state, status="completed")
    return state


def due_by(now: int) -> str:
    """The day a month after an instant: of the same number, or the month's last (Regulation 1182/71, 3(2)c)."""
    day = date.fromisoformat(calendar.utc_day(now))
    year, month = (day.year + 1, 1) if day.month == 12 else (day.year, day.month + 1)
    return date(year, month, min(day.day, monthrange(year, month)[1])).isoformat()


def request_erasure(
    case_id: str,
    case: CaseState,
    request: str,
    scope: Scope,
    record: str | None,
    reason: Reason,
    actor: Actor,
    now: int,
) -> ErasureRequested:
    """Decide on a request: who may ask may ask in any phase, and a hold does not keep them from asking.

    Raises:
        SubjectErased: of this case nothing is left.
        WrongRole: neither the patient nor the assigned coordinator.
        NotFound: the case has no such record.
        MissingPart: a request for a record that names none, or one for a case that names one.
    """
    if case.patient_account is None:
        raise SubjectErased
    require_patient_or_coordinator(case, actor)
    if (scope == "record") != (record is not None):
        raise MissingPart("a request for a record names the record, and no other request does")
    if record is not None and record not in case.records:
        raise NotFound("the case has no such record")
    return ErasureRequested(
        request=request,
        case=case_id,
        scope=scope,
        record=record,
        reason=reason,
        requester=actor.id,
        due_by=due_by(now),
    )


def approve(state: ErasureRequest, case: CaseState, held: bool, actor: Actor) -> ErasureApproved:
    """Decide on an approval.

    Raises:
        WrongRole: not compliance, or somebody who asked for it or whose case it is.
        AlreadyDone: decided before.
        SubjectErased, WrongPhase, NotFound, OnHold: see `_require_erasable`.
    """
    _require_officer(state, case, actor)
    _require_erasable(state, case, held)
    return ErasureApproved(request=state.request)


def refuse(state: ErasureRequest, case: CaseState, ground: Ground, explanation: str, actor: Actor) -> ErasureRefused:
    """Decide on a refusal, which names its ground.

    Raises:
        WrongRole: not compliance, or somebody who asked for it or whose case it is.
        AlreadyDone: decided before.
    """
    _require_officer(state, case, actor)
    return ErasureRefused(request=state.request, ground=ground, explanation=explanation)


def execute(
    state: ErasureRequest, case: CaseState, held: bool, subjects: tuple[str, ...], actor: Actor
) -> tuple[ErasureExecuted, tuple[ContentErased, ...]]:
    """Decide on the execution: what goes on the request's stream, and what on the case's, one for each subject.

    Raises:
        WrongRole: not an administrator, or somebody who asked for it, approved it, or whose case it is.
        MissingPart: not approved.
        AlreadyDone: executed before.
        SubjectErased, WrongPhase, NotFound, OnHold: see `_require_erasable`.
    """
    if actor.role != "administrator":
        raise WrongRole("an administrator executes an erasure")
    if actor.id in (state.requester, state.approver, case.patient_account):
        raise WrongRole("requester, approver and executor of an erasure are three different people")
    if state.status in ("executed", "completed"):
        raise AlreadyDone("this erasure was executed before")
    if state.status != "approved":
        raise MissingPart("this erasure is not approved")
    _require_erasable(state, case, held)
    erased = tuple(
        ContentErased(request=state.request, scope=state.scope, subject=subject, record=_record_of(subject))
        for subject in subjects
    )
    return ErasureExecuted(request=state.request, subjects=subjects), erased


def _record_of(subject: str) -> str | None:
    kind, _, name = subject.partition(":")
    return name if kind == "record" else None


def _require_officer(state: ErasureRequest, case: CaseState, actor: Actor) -> None:
    if actor.role != "compliance":
        raise WrongRole("compliance decides on an erasure")
    if actor.id in (state.requester, case.patient_account):
        raise WrongRole("requester, approver and executor of an erasure are three different people")
    if state.status != "requested":
        raise AlreadyDone(f"this erasure is {state.status} already")


def _require_erasable(state: ErasureRequest, case: CaseState, held: bool) -> None:
    """Let what can be erased pass.

    Raises:
        SubjectErased: of this case nothing is left.
        OnHold: a legal hold stands.
        WrongPhase: a case that is not closed.
        NotFound: a record that is gone already.
    """
    if case.patient_account is None:
        raise SubjectErased
    if held:
        raise OnHold
    if state.scope == "case" and case.phase != "closed":
        raise WrongPhase(f"a case is erased once it is closed; this one is {case.phase}")
    if state.record is not None and state.record not in case.records:
        raise NotFound("the case has no such record any more")
