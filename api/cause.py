"""The id that the server gives each request: it stands in the log of requests, in problems, and in every entry."""

from typing import Any, cast

from uuid_utils import uuid7

_KEY = "caseledger.cause"


def cause_of(scope: Any) -> str:
    """The request's id (UUIDv7), made when it is first asked for."""
    state = scope.setdefault("state", {})
    if _KEY not in state:
        state[_KEY] = str(uuid7())
    return cast(str, state[_KEY])
