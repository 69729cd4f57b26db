"""What writes give back, and the one place where a refused write on a case is put on record."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Response

from api.ask import Ask
from api.clock import instant
from api.problems import Change, Told
from application.outcome import Outcome
from domain.case.actor import is_coordinator, is_patient
from domain.case.events import CaseOpened, ConsentGranted, OpinionShared, OpinionSigned, RecordReceived, ShareOpened
from domain.errors import CaseNotFound, Refused, SignatureRefused, StaleRevision
from domain.hold import LegalHoldPlaced
from domain.ledger.bundle import case_stream
from domain.ledger.receipt import Receipt
from domain.privacy import ErasureRequested
from domain.service_key import ServiceKeyProposed
from domain.signing_key import KeyEnrolmentRequested
from domain.specialist import SpecialistRegistered

T = TypeVar("T")
_CHANGES = 100
REPLAYED = "Idempotency-Replayed"
"""Header of an answer that an earlier, equal request had already; its body is the same."""


class Made(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ids of what came about."""

    case: str | None = None
    consent: str | None = None
    record: str | None = None
    records: tuple[str, ...] = ()
    """All of them, where an upload became several; `record` is the first."""
    opinion: str | None = None
    share: str | None = None
    specialist: str | None = None
    key: str | None = None
    erasure_request: str | None = None
    hold: str | None = None


class Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A write that is in the log: its stream's revision, its first entry's index, and a receipt for each entry."""

    stream: str
    revision: int
    index: int
    made: Made
    receipts: tuple[Receipt, ...]
    case: str | None = None


def on_case(ask: Ask, case: str, what: str, do: Callable[[], T]) -> T:
    """Do something to a case; where that is refused, the log says so before the caller hears it.

    `what` names what was tried. A caller who is somebody to the case is told what has happened since the revision that
    they name.
    """
    try:
        return do()
    except StaleRevision as error:
        raise _told(ask, case, error) from None
    except (Refused, SignatureRefused) as refusal:
        ask.service.accesses.refused(ask.by, case, what, refusal)
        raise


def beside_cases(ask: Ask, what: str, item: str | None, do: Callable[[], T]) -> T:
    """Do something that concerns no case, to `item` if it has an id; where that is refused, the log says so first."""
    try:
        return do()
    except (Refused, SignatureRefused) as refusal:
        ask.service.log_accesses.refused(ask.by, what, item, refusal)
        raise


def telling_what_moved(ask: Ask, case: str, do: Callable[[], T]) -> T:
    """As `on_case`, for use cases that record their refusals themselves."""
    try:
        return do()
    except StaleRevision as error:
        raise _told(ask, case, error) from None


def written(outcome: Outcome, *, status: int = 200, location: str | None = None) -> Response[Written]:
    """The answer to a write."""
    return respond(written_of(outcome), outcome, status=status, location=location)


def written_of(outcome: Outcome) -> Written:
    """What an outcome says."""
    made: dict[str, Any] = {}
    records = tuple(each.record for each in outcome.events if isinstance(each, RecordReceived))
    if len(records) > 1:
        made["records"] = records
    case = outcome.stream.removeprefix("case-") if outcome.stream.startswith("case-") else None
    for event in outcome.events:
        match event:
            case CaseOpened() if case is not None:
                made["case"] = case
            case ConsentGranted():
                made["consent"] = event.consent
            case RecordReceived():
                made.setdefault("record", event.record)
            case OpinionSigned():
                made["opinion"] = event.opinion
            case OpinionShared() | ShareOpened():
                made["share"] = event.share
            case SpecialistRegistered():
                made["specialist"] = event.specialist
            case KeyEnrolmentRequested() | ServiceKeyProposed():
                made["key"] = event.key
            case ErasureRequested():
                made["erasure_request"] = event.request.removeprefix("privacy-")
            case LegalHoldPlaced():
                made["hold"] = event.hold
    return Written(
        stream=outcome.stream,
        revision=outcome.revision,
        index=outcome.index,
        made=Made(**made),
        receipts=outcome.receipts,
        case=case,
    )


def respond(content: T, outcome: Outcome, *, status: int, location: str | None = None) -> Response[T]:
    """An answer with the headers that go with an outcome."""
    headers = {"ETag": etag(outcome.revision)}
    if location is not None:
        headers["Location"] = location
    if outcome.replayed:
        headers[REPLAYED] = "true"
    return Response(content, status_code=status, headers=headers)


def etag(revision: int) -> str:
    """A revision as an entity tag."""
    return f'"{revision}"'


def _told(ask: Ask, case: str, error: StaleRevision) -> Told:
    more: dict[str, Any] = {}
    try:
        loaded = ask.service.cases.load(case)
    except CaseNotFound:
        return Told(error)
    actor = ask.by.actor()
    # As in the trail, which nobody else reads.
    if is_patient(loaded.state, actor) or is_coordinator(loaded.state, actor):
        rows = ask.service.ledger.recorder.rows(
            case_stream(case), ask.by.expected or 0, None, desc=False, limit=_CHANGES
        )
        more["revision"] = loaded.revision
        more["changed"] = tuple(
            Change(
                revision=statement.rev,
                index=row.index,
                kind=statement.kind,
                actor=statement.actor,
                role=statement.role,
                recorded_at=instant(statement.recorded_at),
            )
            for row in rows
            for statement in (row.statement(),)
        )
    return Told(error, **more)
