"""Transfers that go on where they broke: draft-ietf-httpbis-resumable-upload, for files and for archives of files."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from litestar import Response, delete, get, head, patch, post
from litestar.concurrency import sync_to_thread
from litestar.exceptions import HTTPException
from litestar.params import HeaderParameter

from api.answers import on_case
from api.ask import Ask, Asked, Http
from api.paths import Id
from api.routes.spec import ASIDE, READ, TAKING
from api.showing import transfer_shown
from api.shown import TransferShown
from api.streaming import Places, announced_sha256, file_name, taken_in
from application.records.parts import PartKind
from application.records.resumable import PartStatus
from domain.errors import InvalidInput, PreconditionRequired

UPLOAD_PLACES = "upload_places"
"""Key of the application's state: the threads that take uploads in."""
UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET = "upload-complete", "upload-length", "upload-offset"
PARTIAL = "application/partial-upload"

Disposition = Annotated[
    str | None,
    HeaderParameter(name="Content-Disposition", description="attachment; filename*=UTF-8''..., percent-encoded."),
]
Complete = Annotated[
    str | None, HeaderParameter(name="Upload-Complete", description="?1 when the body ends the whole, else ?0.")
]
Length = Annotated[str | None, HeaderParameter(name="Upload-Length", description="Bytes of the whole.")]
Offset = Annotated[str | None, HeaderParameter(name="Upload-Offset", description="Byte where this body begins.")]
Digest = Annotated[
    str | None, HeaderParameter(name="Repr-Digest", description="sha-256=:base64: of the whole (RFC 9530).")
]


async def begun_transfer(
    request: Http, reading: Ask, case: str, upload: str, kind: PartKind, disposition: str | None, content: str | None
) -> Response[TransferShown]:
    """Begin a transfer with what the body has of it; `content` is the Content-Digest, if there is one."""
    complete, length = _flag(request), _number(request, UPLOAD_LENGTH)
    name = file_name(disposition)
    sha256 = announced_sha256(request.headers.get("repr-digest"), content if complete else None)
    receiving = reading.service.receiving
    begun: list[str] = []

    def take(chunks: Iterator[bytes]) -> PartStatus:
        def do() -> PartStatus:
            status = receiving.begin_part(reading.by, case, upload, kind, name, length, sha256)
            begun.append(status.part)
            return receiving.append_part(
                reading.by, case, upload, status.part, 0, chunks, complete=complete, length=length
            )

        return on_case(reading, case, "upload", do)

    status = await _taken_in(request, take)
    return _answer(case, upload, status, created=True)


@post(
    "/cases/{case:str}/uploads/{upload:str}/archives",
    operation_id="addArchive",
    tags=["Records"],
    request_max_body_size=None,
    responses=TAKING["responses"],
)
async def add_archive(
    request: Http,
    reading: Asked,
    case: Id,
    upload: Id,
    disposition: Disposition = None,
    complete: Complete = None,
    length: Length = None,
    digest: Digest = None,
    content: Annotated[str | None, HeaderParameter(name="Content-Digest", description="Of this body.")] = None,
) -> Response[TransferShown]:
    """Add a zip archive, each file of which becomes one of the record; those that cannot are named with the reason.

    With `Upload-Complete: ?0` it may come in several goes.
    """
    return await begun_transfer(request, reading, case, upload, "archive", disposition, content)


@get(
    "/cases/{case:str}/uploads/{upload:str}/transfers/{transfer:str}",
    operation_id="getTransfer",
    tags=["Records"],
    responses=READ["responses"],
)
async def get_transfer(reading: Asked, case: Id, upload: Id, transfer: Id) -> TransferShown:
    """How far a transfer is, and what became of it."""
    return transfer_shown(await sync_to_thread(_status, reading, case, upload, transfer))


@head(
    "/cases/{case:str}/uploads/{upload:str}/transfers/{transfer:str}",
    operation_id="getTransferOffset",
    tags=["Records"],
    status_code=204,
    responses=READ["responses"],
)
async def get_transfer_offset(reading: Asked, case: Id, upload: Id, transfer: Id) -> Response[None]:
    """Where a transfer goes on: `Upload-Offset`."""
    status = await sync_to_thread(_status, reading, case, upload, transfer)
    return Response(None, status_code=204, headers=_headers(status))


@patch(
    "/cases/{case:str}/uploads/{upload:str}/transfers/{transfer:str}",
    operation_id="continueTransfer",
    tags=["Records"],
    request_max_body_size=None,
    responses=TAKING["responses"],
)
async def continue_transfer(
    request: Http,
    reading: Asked,
    case: Id,
    upload: Id,
    transfer: Id,
    complete: Complete = None,
    offset: Offset = None,
    length: Length = None,
) -> Response[TransferShown]:
    """Send more of a transfer, as `application/partial-upload`. What arrives before a break is kept."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != PARTIAL:
        raise HTTPException(status_code=415)
    ends, at, whole = _flag(request), _number(request, UPLOAD_OFFSET), _number(request, UPLOAD_LENGTH)
    if at is None:
        raise PreconditionRequired("this needs Upload-Offset")
    receiving = reading.service.receiving

    def take(chunks: Iterator[bytes]) -> PartStatus:
        return on_case(
            reading,
            case,
            "upload",
            lambda: receiving.append_part(reading.by, case, upload, transfer, at, chunks, complete=ends, length=whole),
        )

    status = await _taken_in(request, take)
    return _answer(case, upload, status, created=False)


@delete(
    "/cases/{case:str}/uploads/{upload:str}/transfers/{transfer:str}",
    operation_id="cancelTransfer",
    tags=["Records"],
    responses=ASIDE["responses"],
)
async def cancel_transfer(reading: Asked, case: Id, upload: Id, transfer: Id) -> None:
    """Give a transfer up; what has arrived of it goes."""
    receiving = reading.service.receiving

    def cancel() -> None:
        on_case(reading, case, "upload", lambda: receiving.cancel_part(reading.by, case, upload, transfer))

    await sync_to_thread(cancel)


async def _taken_in(request: Http, take: Any) -> PartStatus:
    places: Places = request.app.state[UPLOAD_PLACES]
    status: PartStatus = await taken_in(request, places, take)
    return status


def _status(reading: Ask, case: str, upload: str, transfer: str) -> PartStatus:
    receiving = reading.service.receiving
    return on_case(reading, case, "upload", lambda: receiving.part(reading.by, case, upload, transfer))


def _answer(case: str, upload: str, status: PartStatus, *, created: bool) -> Response[TransferShown]:
    headers = _headers(status)
    headers["Location"] = f"/cases/{case}/uploads/{upload}/transfers/{status.part}"
    return Response(transfer_shown(status), status_code=201 if created else 200, headers=headers)


def _headers(status: PartStatus) -> dict[str, str]:
    headers = {
        "Upload-Offset": str(status.offset),
        "Upload-Complete": "?1" if status.done else "?0",
        "Upload-Limit": f"max-size={status.limit}",
        "Cache-Control": "no-store",
    }
    if status.length is not None:
        headers["Upload-Length"] = str(status.length)
    return headers


def _flag(request: Http) -> bool:
    """Upload-Complete, a Boolean of RFC 9651; without it the body is the whole."""
    stated = request.headers.get(UPLOAD_COMPLETE, "?1").strip()
    if stated not in ("?0", "?1"):
        raise InvalidInput("Upload-Complete is ?0 or ?1")
    return stated == "?1"


def _number(request: Http, name: str) -> int | None:
    """An Integer of RFC 9651 that counts bytes."""
    stated = request.headers.get(name)
    if stated is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", stated.strip()):
        raise InvalidInput(f"{name.title()} is not a number of bytes")
    return int(stated)


HANDLERS = [add_archive, get_transfer, get_transfer_offset, continue_transfer, cancel_transfer]
