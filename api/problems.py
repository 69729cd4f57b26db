"""Problem documents (RFC 9457): every answer that is not a success is one.

A problem names its cause and holds nothing that the caller sent. What nobody foresaw becomes a 500 without any detail,
and is logged by the exception's type: its message may hold personal data.
"""

from typing import Any

import msgspec
import psycopg
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from api.cause import cause_of
from api.clock import Instant
from api.statuses import HTTP_CODES, URN, status_of, title_of
from domain.errors import (
    BadToken,
    CaseLedgerError,
    DatabaseUnavailable,
    IntegrityFailure,
    InvalidInput,
    MalformedBody,
    OffsetMismatch,
    PayloadAltered,
    TruncatedUpload,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "2"

log = structlog.get_logger(__name__)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a case meanwhile: which kind of event, by whom and when, but not its content."""

    revision: int
    index: int
    kind: str
    actor: str
    role: str
    recorded_at: Instant


class EntryPlace(msgspec.Struct, frozen=True):
    """Where an entry stands: its index in the log, and the revision of its stream that it made."""

    index: int
    revision: int


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document. `instance` names the request, as the service's log does."""

    type: str
    title: str
    status: int
    instance: str
    detail: str | None = None
    field: str | None = None
    """JSON Pointer (RFC 6901) to the member of the body, where there is one to blame."""
    revision: int | None = None
    """Where the case stands, when it has moved."""
    changed: tuple[Change, ...] | None = None
    """What moved it since the revision that the request names; the first hundred."""
    entry: EntryPlace | None = None
    """The entry whose stored bytes contradict each other."""


class Told(Exception):
    """An error, and what its problem document says beyond it."""

    def __init__(
        self,
        error: CaseLedgerError,
        *,
        field: str | None = None,
        revision: int | None = None,
        changed: tuple[Change, ...] | None = None,
    ) -> None:
        super().__init__(error.code)
        self.error = error
        self.more: dict[str, Any] = {"field": field, "revision": revision, "changed": changed}


def problem_response(request: Request[Any, Any, Any], exception: Exception) -> Response[bytes]:
    """The problem document of an exception; for Litestar's `exception_handlers`."""
    more = exception.more if isinstance(exception, Told) else {}
    error = _foreseen(exception)
    instance = f"urn:uuid:{cause_of(request.scope)}"
    headers = dict(exception.headers or {}) if isinstance(exception, HTTPException) else {}
    headers.pop("content-type", None)
    if error is not None:
        status, title = status_of(error)
        if isinstance(error, IntegrityFailure):
            log.error("integrity_failure", code=error.code, cause=cause_of(request.scope))
        if isinstance(error, PayloadAltered) and error.index is not None and error.revision is not None:
            more = more | {"entry": EntryPlace(error.index, error.revision)}
        if isinstance(error, BadToken):
            headers["WWW-Authenticate"] = 'Bearer realm="caseledger", error="invalid_token"'
        if isinstance(error, OffsetMismatch) and error.expected is not None:
            headers |= {"Upload-Offset": str(error.expected), "Upload-Complete": "?0"}
        if isinstance(error, Unavailable):
            headers["Retry-After"] = RETRY_AFTER_S
        detail = str(error) if status != 500 or isinstance(error, IntegrityFailure) else None
        problem = Problem(type=URN + error.code, title=title, status=status, instance=instance, detail=detail, **more)
    elif isinstance(exception, HTTPException) and exception.status_code in HTTP_CODES and exception.status_code != 500:
        status = exception.status_code
        problem = Problem(type=URN + HTTP_CODES[status], title=title_of(status), status=status, instance=instance)
    else:
        log.error("unhandled_exception", type=_name(exception), cause=cause_of(request.scope))
        status = 500
        problem = Problem(type=URN + HTTP_CODES[status], title=title_of(status), status=status, instance=instance)
    return Response(msgspec.json.encode(problem), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def _foreseen(exception: Exception) -> CaseLedgerError | None:
    match exception:
        case Told():
            return exception.error
        case CaseLedgerError():
            return exception
        case psycopg.OperationalError():
            # A pool's time-out is one of these, too.
            return DatabaseUnavailable()
        case ValidationException():
            return _invalid(exception)
        case HTTPException() if "client disconnected" in exception.detail:
            return TruncatedUpload("the connection broke off before the body was whole")
    return None


def _invalid(exception: ValidationException) -> CaseLedgerError:
    """Litestar's own message quotes the URL and what was sent; the parameter's name is enough."""
    extra = exception.extra if isinstance(exception.extra, list) else []
    keys = sorted({str(each.get("key")) for each in extra if isinstance(each, dict) and each.get("key")})
    if not keys or keys == ["data"]:
        return MalformedBody("the request needs a JSON body")
    return InvalidInput(f"not acceptable as a parameter: {', '.join(keys)}")


def _name(exception: BaseException) -> str:
    return f"{type(exception).__module__}.{type(exception).__qualname__}"
