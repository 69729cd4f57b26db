"""Records: uploaded file by file, finished as one, and read."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Response, delete, get, post
from litestar.concurrency import sync_to_thread
from litestar.params import HeaderParameter, JSONBody
from litestar.response import Stream

from api.answers import Written, on_case, respond, written, written_of
from api.ask import Ask, Asked, Http
from api.paths import Id
from api.routes.spec import ASIDE, READ, WRITE
from api.showing import manifest_shown, upload_shown
from api.shown import FileTaken, ManifestShown, UploadShown
from api.streaming import announced_length, announced_sha256, begun, file_name, sent_out, taken_in
from application.records.onepass import IngestedFile
from domain.case.commands import AcceptLimitedImaging, ReceiveRecordInput
from domain.case.events import ImagingChecked, RecordReceived
from domain.errors import CaseLedgerError
from domain.records import RecordKind

UPLOAD_THREADS = "upload_threads"
"""Key of the application's state: the threads that take uploads in."""
_TRIES = 3

log = structlog.get_logger(__name__)


class Received(Written, frozen=True, kw_only=True, omit_defaults=True):
    """A record that is in the log, and, if it is imaging, how the check that ran right after came out."""

    imaging_check: "Checked | None" = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """An imaging check on record: its own entry, and the case's revision after it."""

    index: int
    revision: int
    verdict: str
    findings: tuple[str, ...]
    quarantined: bool


@post("/cases/{case:str}/uploads", operation_id="beginUpload", tags=["Records"], **ASIDE)
def begin_upload(reading: Asked, case: Id, data: JSONBody[ReceiveRecordInput]) -> Response[UploadShown]:
    """Begin an upload of one record. Nothing of it is visible as a record before it is finished."""
    kind = RecordKind(data.kind)
    status = on_case(reading, case, "upload", lambda: reading.service.receiving.begin(reading.by, case, kind))
    headers = {"Location": f"/cases/{case}/uploads/{status.upload}"}
    return Response(upload_shown(status), status_code=201, headers=headers)


@get("/cases/{case:str}/uploads/{upload:str}", operation_id="getUpload", tags=["Records"], **READ)
def get_upload(reading: Asked, case: Id, upload: Id) -> UploadShown:
    """How far an upload is; for who began it."""
    return upload_shown(
        on_case(reading, case, "upload", lambda: reading.service.receiving.status(reading.by, case, upload))
    )


@post(
    "/cases/{case:str}/uploads/{upload:str}/files",
    operation_id="addFile",
    tags=["Records"],
    request_max_body_size=None,
    responses=ASIDE["responses"],
)
async def add_file(
    request: Http,
    reading: Asked,
    case: Id,
    upload: Id,
    disposition: Annotated[
        str | None,
        HeaderParameter(name="Content-Disposition", description="attachment; filename*=UTF-8''..., percent-encoded."),
    ] = None,
    digest: Annotated[
        str | None, HeaderParameter(name="Content-Digest", description="sha-256=:base64: of the file (RFC 9530).")
    ] = None,
) -> Response[FileTaken]:
    """Add a file: the body is its bytes. It is there whole or not at all; the same again changes nothing."""
    threads: ThreadPoolExecutor = request.app.state[UPLOAD_THREADS]
    receiving, asking = reading.service.receiving, reading.by

    def take(chunks: Iterator[bytes]) -> IngestedFile:
        name, sha256 = file_name(disposition), announced_sha256(digest)
        length = announced_length(request.headers.get("content-length"))
        return on_case(
            reading,
            case,
            "upload",
            lambda: receiving.add_file(asking, case, upload, name, chunks, length, sha256),
        )

    file = await taken_in(request, threads, take)
    taken = FileTaken(sha256=file.sha256, bytes=file.bytes, media_type=file.media_type, reason=file.reason)
    return Response(taken, status_code=201)


@delete("/cases/{case:str}/uploads/{upload:str}", operation_id="abandonUpload", tags=["Records"], **ASIDE)
def abandon_upload(reading: Asked, case: Id, upload: Id) -> None:
    """Give an upload up; its content goes."""
    on_case(reading, case, "upload", lambda: reading.service.receiving.abandon(reading.by, case, upload))


@post("/cases/{case:str}/uploads/{upload:str}/record", operation_id="receiveRecord", tags=["Records"], **WRITE)
def receive_record(changing: Asked, case: Id, upload: Id) -> Response[Received]:
    """Make a record of an upload. Imaging is checked right after, by the service."""
    outcome = on_case(changing, case, "record", lambda: changing.service.receiving.finish(changing.by, case, upload))
    record = next((each for each in outcome.events if isinstance(each, RecordReceived)), None)
    location = None if record is None else f"/cases/{case}/records/{record.record}"
    said = written_of(outcome)
    checked = None
    if record is not None and record.kind == "imaging":
        _check(changing, case)
        checked = _checked(changing, case, record.record)
    received = Received(**msgspec.structs.asdict(said), imaging_check=checked)
    if checked is not None:
        received = msgspec.structs.replace(received, revision=checked.revision)
        outcome = msgspec.structs.replace(outcome, revision=checked.revision)
    return respond(received, outcome, status=201, location=location)


@post("/cases/{case:str}/imaging-checks", operation_id="checkImaging", tags=["Records"], **WRITE)
def check_imaging(changing: Asked, case: Id) -> Response[Written]:
    """Have the service check imaging that no check has seen; by the coordinator or a technician."""
    outcome = on_case(changing, case, "imaging-check", lambda: changing.service.imaging_checks.ask(changing.by, case))
    return written(outcome, status=201)


@post("/cases/{case:str}/imaging-acceptances", operation_id="acceptLimitedImaging", tags=["Records"], **WRITE)
def accept_limited_imaging(changing: Asked, case: Id, data: JSONBody[AcceptLimitedImaging]) -> Response[Written]:
    """Take limited imaging as it is, with limits that the opinion will carry; by the coordinator or the specialist."""
    outcome = on_case(
        changing, case, "imaging-acceptance", lambda: changing.service.cases.act(changing.by, case, lambda _: data)
    )
    return written(outcome, status=201)


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


def _check(ask: Ask, case: str) -> None:
    """Run the check; a record stays received whatever becomes of it, and it can be asked for again."""
    for left in reversed(range(_TRIES)):
        try:
            ask.service.imaging_checks.run(ask.by, case)
        except CaseLedgerError as error:
            # Somebody may have acted on the case in between; then it is simply done again.
            log.warning("imaging_check_failed", code=error.code, cause=ask.by.cause, tries_left=left)
        else:
            return


def _checked(ask: Ask, case: str, record: str) -> Checked | None:
    """The first check that looked at a record: the same whenever it is asked for."""
    events = ask.service.ledger.stream(f"case-{case}")
    for at, logged in enumerate(events):
        match logged.event:
            case ImagingChecked() as check if record in check.records:
                stop = check.verdict == "stop"
                last = at + (len(check.records) if stop else 0)
                return Checked(
                    index=logged.index,
                    revision=events[last].originator_version,
                    verdict=check.verdict,
                    findings=check.findings,
                    quarantined=stop,
                )
    return None


HANDLERS = [
    begin_upload,
    get_upload,
    add_file,
    abandon_upload,
    receive_record,
    check_imaging,
    accept_limited_imaging,
    get_record,
    get_file,
]
