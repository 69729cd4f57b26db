"""What a handler is given: the service, and the request as use cases see it.

Four kinds of asking. *Reading* needs nothing more, nor does *following* the log as such. *Making* something new takes
an Idempotency-Key. *Changing* a case takes one too, and If-Match with the revision that the caller saw.
"""

import hashlib
import hmac
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from api.cause import cause_of
from api.clock import Instant, micros
from api.tokens import Principal
from api.views import Views
from application.ledger.entries import IdempotencyKey
from application.request import Request as Asking
from application.request import idempotency_key
from application.service import Service
from domain.errors import InvalidInput, PreconditionRequired, WrongRole

_KEY = re.compile(r"[\x21-\x7e]{1,100}")
_REVISION = re.compile(r'"([1-9][0-9]{0,15})"')
_FUTURE = 60 * 1_000_000
"""How far, in microseconds, another clock may be ahead of ours."""

Http = Request[Any, Any, Any]
IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", description="Revision that the caller saw, as its ETag.", max_length=200),
]
Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="1 to 100 visible ASCII characters, new for each request; a repetition has the first one's answer.",
        max_length=1000,
    ),
]
OccurredAt = Annotated[
    str | None,
    HeaderParameter(
        name="Occurred-At", description="When it happened, if not now: RFC 3339, not ahead.", max_length=100
    ),
]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the service."""

    service: Service
    views: Views
    by: Asking


Asked = NamedDependency[Ask]
"""How a handler says that it is given one: by the name of one of the kinds below."""


class Asks:
    """Makes each request's `Ask`; its methods are Litestar's dependency providers."""

    def __init__(self, service: Service, views: Views, clock: Any) -> None:
        self._service = service
        self._views = views
        self._clock = clock
        self._secret = hmac.digest(service.keys.preparation, b"caseledger/idempotency/v1", hashlib.sha256)

    async def reading(self, request: Http) -> Ask:
        """Nothing is asked of the request's headers."""
        return self._ask(request, self._clock())

    async def following(self, request: Http) -> Ask:
        """The log is read as such, which is all that a witness does."""
        return self._ask(request, self._clock(), of_the_log=True)

    async def preparing(self, request: Http, if_match: IfMatch = None) -> Ask:
        """A case is looked at as it was seen, and not changed."""
        return self._ask(request, self._clock(), expected=_revision(if_match))

    async def making(self, request: Http, idempotency: Key = None, occurred_at: OccurredAt = None) -> Ask:
        """Something new comes about."""
        now = self._clock()
        key = await self._idempotency(request, idempotency)
        return self._ask(request, now, idempotency=key, occurred_at=_occurred(occurred_at, now))

    async def changing(
        self, request: Http, if_match: IfMatch = None, idempotency: Key = None, occurred_at: OccurredAt = None
    ) -> Ask:
        """A case is changed as it was seen."""
        now = self._clock()
        expected = _revision(if_match)
        key = await self._idempotency(request, idempotency)
        return self._ask(request, now, expected=expected, idempotency=key, occurred_at=_occurred(occurred_at, now))

    async def _idempotency(self, request: Http, key: str | None) -> IdempotencyKey:
        if key is None:
            raise PreconditionRequired("a write needs an Idempotency-Key")
        if not _KEY.fullmatch(key):
            raise InvalidInput("an Idempotency-Key is 1 to 100 visible ASCII characters")
        headers = (request.headers.get(name, "") for name in ("if-match", "occurred-at"))
        parts = (request.method, request.url.path, *headers)
        principal: Principal = request.user
        return idempotency_key(
            self._secret,
            f"{principal.role}/{principal.id}",
            key,
            *(part.encode() for part in parts),
            await request.body(),
        )

    def _ask(self, request: Http, now: int, *, of_the_log: bool = False, **more: Any) -> Ask:
        principal: Principal = request.user
        if principal.role == "witness" and not of_the_log:
            # No case is theirs, and nothing that they ask for is put on a case's record.
            raise WrongRole("a witness reads the log's tiles, and nothing else")
        asking = Asking(id=principal.id, role=principal.role, cause=cause_of(request.scope), now=now, **more)
        return Ask(service=self._service, views=self._views, by=asking)


def _revision(if_match: str | None) -> int:
    if if_match is None:
        raise PreconditionRequired("this needs If-Match with the revision that was seen")
    found = _REVISION.fullmatch(if_match.strip())
    if found is None:
        raise InvalidInput('If-Match is one revision in quotes, like "7"')
    return int(found[1])


def _occurred(given: str | None, now: int) -> int | None:
    if given is None:
        return None
    try:
        occurred: datetime = msgspec.convert(given, Instant)
    except msgspec.ValidationError:
        raise InvalidInput("Occurred-At is not RFC 3339 with an offset") from None
    at = micros(occurred)
    if not 0 <= at <= now + _FUTURE:
        raise InvalidInput("Occurred-At is in the future, or before 1970")
    return at
