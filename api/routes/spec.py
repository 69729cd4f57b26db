"""What handlers have in common in the API's description."""

from typing import Any

from litestar.datastructures import ResponseHeader
from litestar.openapi import ResponseSpec

from api.auth import PUBLIC
from api.problems import MEDIA_TYPE, Problem

_WHEN = {
    400: "The request is not well formed.",
    401: "No good bearer token.",
    403: "Refused by a rule: role, relation to the case, consent, or signature.",
    404: "Nothing of that name.",
    408: "The content arrives too slowly.",
    409: "The case, or something that this relied on, does not allow it as it stands.",
    410: "Erased, or expired.",
    412: "The case has moved since the revision in If-Match; the problem says to where, and what moved it.",
    413: "A body, field or file above its bound.",
    415: "The body is not said to be JSON.",
    422: "Well formed, and not acceptable.",
    428: "If-Match or Idempotency-Key is missing.",
    500: "The service failed, or found that the ledger contradicts itself.",
    503: "Try again later.",
}


def _problems(*statuses: int) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(Problem, description=_WHEN[status], media_type=MEDIA_TYPE, generate_examples=False)
        for status in statuses
    }


PUBLIC_READ: dict[str, Any] = {
    "sync_to_thread": True,
    "security": [],
    "opt": {PUBLIC: True},
    "responses": _problems(400, 404, 500, 503),
}
READ: dict[str, Any] = {"sync_to_thread": True, "responses": _problems(400, 401, 403, 404, 409, 410, 500, 503)}
DERIVED: dict[str, Any] = {
    "sync_to_thread": True,
    "responses": _problems(400, 401, 403, 404, 409, 410, 422, 500, 503),
}
"""A read of what is worked out from content, which may defy that."""
WRITE: dict[str, Any] = {
    "sync_to_thread": True,
    "responses": _problems(*(each for each in _WHEN if each != 408)),
    "response_headers": [
        ResponseHeader(name="ETag", description="The new revision.", documentation_only=True),
        ResponseHeader(
            name="Idempotency-Replayed",
            description="`true` where an earlier, equal request had this answer already.",
            documentation_only=True,
        ),
    ],
}
"""A write to the log."""
ASIDE: dict[str, Any] = {
    "sync_to_thread": True,
    "responses": _problems(*(each for each in _WHEN if each not in (408, 428))),
}
"""A change beside the log: an upload under way, which no Idempotency-Key is needed for."""
TAKING: dict[str, Any] = {"responses": ASIDE["responses"] | _problems(408)}
"""Bytes of an upload."""
