"""What every response carries, and what is logged of every request.

The log has the route's template and not the path, no query, no header and no body; and the actor only where that is not
a patient, whose account stands nowhere in clear.
"""

import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.cause import cause_of
from api.tokens import Principal

_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})

log = structlog.get_logger(__name__)


class Observed:
    """The outermost layer: gives each request its id, sets headers, and logs the request when it is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI 3."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started, status, whole = time.monotonic(), 0, False

        async def observed(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in _HEADERS if name not in present]
                message["headers"] = [*message["headers"], *added, (b"x-request-id", cause_of(scope).encode())]
            elif message["type"] == "http.response.body":
                whole = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception as error:  # noqa: BLE001 - the last layer before the server
            # After the start of a response there is nobody to tell: the server ends the connection, and the content is
            # short of the announced length. To pass the exception on would put its message in the server's log.
            log.error("response_broken", type=f"{type(error).__module__}.{type(error).__qualname__}", **_who(scope))
        finally:
            duration_ms = round((time.monotonic() - started) * 1000, 1)
            log.info("request", status=status, whole=whole, duration_ms=duration_ms, **_who(scope))


def _who(scope: Any) -> dict[str, Any]:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    facts = {"method": method, "route": scope.get("path_template") or "none", "cause": cause_of(scope)}
    principal = scope.get("user")
    if isinstance(principal, Principal):
        facts["role"] = principal.role
        if principal.role != "patient":
            facts["actor"] = principal.id
    return facts
