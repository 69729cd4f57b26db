"""Records: uploaded file by file, finished as one, and read."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, post, put
from litestar.concurrency import sync_to_thread
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, JSONBody
from litestar.response import Stream

from api.answers import Written, on_case, respond, written_of
from api.ask import Asked, Http
from api.paths import Id
from api.routes.spec import ASIDE, READ, TAKING, WRITE
from api.routes.transfers import UPLOAD_COMPLETE, UPLOAD_PLACES, begun_transfer
from api.showing import manifest_shown, upload_shown
from api.shown import FileTaken, ManifestShown, UploadShown
from api.streaming import Places, announced_length, announced_sha256, begun, file_name, sent_out, taken_in
from application.records.onepass import IngestedFile
from domain.case.commands import ReceiveRecordInput
from domain.case.events import RecordQuarantined, RecordReceived
from domain.records import FileEntry, RecordKind

Disposition = Annotated[
    str | None,
    HeaderParameter(name="Content-Disposition", description="attachment; filename*=UTF-8''..., percent-encoded."),
]
ContentDigest = Annotated[
    str | None, HeaderParameter(name="Content-Digest", description="sha-256=:base64: of the file (RFC 9530).")
]
ReprDigest = Annotated[
    str | None, HeaderParameter(name="Repr-Digest", description="The same; of the whole, where this is not all of it.")
]


class Received(Written, frozen=True, kw_only=True, omit_defaults=True):
    """Records that are in the log. If one is imaging, a check is queued; the case shows what came of it."""

    imaging_check: Literal["queued"] | None = None


@post("/cases/{case:str}/uploads", operation_id="beginUpload", tags=["Records"], **ASIDE)
def begin_upload(reading: Asked, case: Id, data: JSONBody[ReceiveRecordInput]) -> Response[UploadShown]:
    """Begin an upload. Nothing of it is visible before it is finished, as one record per study or document."""
    kind = RecordKind(data.kind)
    status = on_case(reading, case, "upload", lambda: reading.service.receiving.begin(reading.by, case, kind))
    headers = {"Location": f"/cases/{case}/uploads/{status.upload}"}
    return Response(upload_shown(status), status_code=201, headers=headers)


@get("/cases/{case:str}/uploads/{upload:str}", operation_id="getUpload", tags=["Records"], **READ)
def get_upload(reading: Asked, case: Id, upload: Id) -> UploadShown:
    """How far an upload is; for who began it."""
    receiving = reading.service.receiving
    status = on_case(reading, case, "upload", lambda: receiving.status(reading.by, case, upload))
    return upload_shown(status, receiving.parts(reading.by, case, upload))


@post(
    "/cases/{case:str}/uploads/{upload:str}/files",
    operation_id="addFile",
    tags=["Records"],
    request_max_body_size=None,
    responses=TAKING["responses"],
)
async def add_file(
    request: Http,
    reading: Asked,
    case: Id,
    upload: Id,
    disposition: Disposition = None,
    digest: ContentDigest = None,
    whole: ReprDigest = None,
) -> Response[Any]:
    """Add a file: the body is its bytes. It is there whole or not at all; the same again changes nothing.

    With `Upload-Complete` it may come in several goes, and is answered as a transfer is.
    """
    if UPLOAD_COMPLETE in request.headers:
        return await begun_transfer(request, reading, case, upload, "file", disposition, digest)
    places: Places = request.app.state[UPLOAD_PLACES]
    receiving, asking = reading.service.receiving, reading.by

    def take(chunks: Iterator[bytes]) -> IngestedFile:
        name, sha256 = file_name(disposition), announced_sha256(digest, whole)
        length = announced_length(request.headers.get("content-length"))
        return on_case(
            reading,
            case,
            "upload",
            lambda: receiving.add_file(asking, case, upload, name, chunks, length, sha256),
        )

    file = await taken_in(request, places, take)
    return Response(_taken(file), status_code=201)


@put(
    "/cases/{case:str}/uploads/{upload:str}/files/{file:str}",
    operation_id="putFile",
    tags=["Records"],
    request_max_body_size=None,
    responses=TAKING["responses"] | {201: ResponseSpec(FileTaken, description="The file is there.")},
)
async def put_file(
    request: Http,
    reading: Asked,
    case: Id,
    upload: Id,
    file: Id,
    disposition: Disposition = None,
    digest: ContentDigest = None,
    whole: ReprDigest = None,
) -> Response[FileTaken]:
    """Put a file under an id that its sender chose: a UUID, or 16 to 64 hexadecimal digits and hyphens.

    It is there whole or not at all, and one that broke off is simply put again. The same again is answered as before,
    with 200; another file under the same id is refused.
    """
    places: Places = request.app.state[UPLOAD_PLACES]
    receiving, asking = reading.service.receiving, reading.by

    def take(chunks: Iterator[bytes]) -> tuple[FileEntry, bool]:
        name, sha256 = file_name(disposition), announced_sha256(digest, whole)
        length = announced_length(request.headers.get("content-length"))
        return on_case(
            reading,
            case,
            "upload",
            lambda: receiving.put_file(asking, case, upload, file, name, chunks, length, sha256),
        )

    entry, new = await taken_in(request, places, take)
    return Response(_taken(entry), status_code=201 if new else 200)


def _taken(file: IngestedFile | FileEntry) -> FileTaken:
    return FileTaken(sha256=file.sha256, bytes=file.bytes, media_type=file.media_type, reason=file.reason)


@delete("/cases/{case:str}/uploads/{upload:str}", operation_id="abandonUpload", tags=["Records"], **ASIDE)
def abandon_upload(reading: Asked, case: Id, upload: Id) -> None:
    """Give an upload up; its content goes."""
    on_case(reading, case, "upload", lambda: reading.service.receiving.abandon(reading.by, case, upload))


@post("/cases/{case:str}/uploads/{upload:str}/record", operation_id="receiveRecord", tags=["Records"], **WRITE)
def receive_record(changing: Asked, case: Id, upload: Id) -> Response[Received]:
    """Make a record of each study and document of an upload. Imaging is checked soon after, by the service.

    `Location` is that of the first.
    """
    outcome = on_case(changing, case, "record", lambda: changing.service.receiving.finish(changing.by, case, upload))
    records = [each for each in outcome.events if isinstance(each, RecordReceived)]
    location = f"/cases/{case}/records/{records[0].record}" if records else None
    said = written_of(outcome)
    # The bytes of a quarantined record are in quarantine from the start, and nothing checks them there.
    quarantined = {each.record for each in outcome.events if isinstance(each, RecordQuarantined)}
    checked = any(each.kind == "imaging" and each.record not in quarantined for each in records)
    received = Received(**msgspec.structs.asdict(said), imaging_check="queued" if checked else None)
    return respond(received, outcome, status=201, location=location)


@get("/cases/{case:str}/records/{record:str}", operation_id="getRecord", tags=["Records"], **READ)
def get_record(reading: Asked, case: Id, record: Id) -> ManifestShown:
    """What a record consists of; the read is on record before it is shown."""
    return manifest_shown(record, reading.service.reading.manifest(reading.by, case, record))


@get(
    "/cases/{case:str}/records/{record:str}/files/{sha256:str}",
    operation_id="getFile",
    tags=["Records"],
    responses=READ["responses"],
)
async def get_file(reading: Asked, case: Id, record: Id, sha256: Id) -> Stream:
    """One file of a record, as it came; the read is on record before it is sent."""

    def opened() -> tuple[str, int, Any]:
        media_type, length, content = reading.service.reading.file(reading.by, case, record, sha256)
        return media_type, length, begun(content)

    media_type, length, content = await sync_to_thread(opened)
    headers = {"Content-Length": str(length), "Content-Disposition": "attachment"}
    return Stream(sent_out(content), media_type=media_type, headers=headers)


HANDLERS = [
    begin_upload,
    get_upload,
    add_file,
    put_file,
    abandon_upload,
    receive_record,
    get_record,
    get_file,
]
