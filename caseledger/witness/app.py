"""A witness over HTTP: two routes, no accounts, bounded bodies (C2SP tlog-witness)."""

import re
from typing import Any

import structlog
from litestar import Litestar, Request, Response, get, post
from litestar.concurrency import sync_to_thread
from litestar.exceptions import HTTPException
from litestar.params import FromPath

from caseledger.witness.keeper import TEXT, Witness
from domain.ledger.cosignature_witness import MAX_REQUEST_BYTES

_ORIGIN_HASH = re.compile(r"[0-9a-f]{64}")

log = structlog.get_logger(__name__)


def create_app(witness: Witness) -> Litestar:
    """The application of one witness."""

    @post("/add-checkpoint", status_code=200, media_type=TEXT)
    async def add_checkpoint(request: Request[Any, Any, Any]) -> Response[bytes]:
        answer = await sync_to_thread(witness.add_checkpoint, await request.body())
        # As a header, since the framework would add a charset to the media type of a size.
        return Response(answer.body, status_code=answer.status, headers={"content-type": answer.content_type})

    @get("/{origin_hash:str}/checkpoint", sync_to_thread=True, media_type=TEXT)
    def get_checkpoint(origin_hash: FromPath[str]) -> Response[bytes]:
        note = witness.checkpoint(origin_hash) if _ORIGIN_HASH.fullmatch(origin_hash) else None
        if note is None:
            return Response(b"this witness has cosigned no checkpoint of that log\n", status_code=404, media_type=TEXT)
        return Response(note, media_type=TEXT, headers={"Cache-Control": "no-cache"})

    return Litestar(
        route_handlers=[add_checkpoint, get_checkpoint],
        exception_handlers={HTTPException: _refused, Exception: _failed},
        openapi_config=None,
        request_max_body_size=MAX_REQUEST_BYTES,
        logging_config=None,
        debug=False,
    )


def _refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    return Response(f"{error.detail}\n".encode(), status_code=error.status_code, media_type=TEXT)


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What the witness itself cannot do: its disk is full, or a file of it damaged. It says so, and cosigns nothing."""
    log.error("witness.failed", error=type(error).__name__)
    return Response(b"the witness failed\n", status_code=500, media_type=TEXT)
