"""STOW-RS (DICOM PS3.18 10.5): instances come in as a scanner's archive or a viewer sends them."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from litestar import Response, post
from litestar.exceptions import HTTPException
from litestar.openapi import ResponseSpec

from api.answers import on_case
from api.ask import Ask, Asked, Http
from api.paths import Id
from api.routes.spec import TAKING
from api.routes.transfers import UPLOAD_PLACES
from api.streaming import Places, taken_in
from application.outcome import Outcome
from application.records.multipart import Multipart, parameters
from application.records.stow import DICOM, Said
from domain.case.events import RecordReceived

JSON: Final = "application/dicom+json"

REFERENCED, FAILED = "00081199", "00081198"
"""Referenced and Failed SOP Sequence (PS3.18 table I.1-1)."""
_CLASS, _INSTANCE, _REASON, _RETRIEVE = "00081150", "00081155", "00081197", "00081190"
_SPEC: dict[str, Any] = {
    "tags": ["DICOMweb"],
    "request_max_body_size": None,
    "responses": TAKING["responses"]
    | {
        202: ResponseSpec(bytes, description="Some instances are stored, and some are not.", media_type=JSON),
    },
    "status_code": 200,
    "media_type": JSON,
}


@post("/dicomweb/cases/{case:str}/studies", operation_id="storeInstances", **_SPEC)
async def store_instances(request: Http, reading: Asked, case: Id) -> Response[bytes]:
    """Store instances, as one record a study, all of them in the log when this answers.

    Where none could be stored, the answer is 409 with the same kind of content, and no problem document.
    """
    return await _store(request, reading, case, None, None)


@post("/dicomweb/cases/{case:str}/studies/{study:str}", operation_id="storeStudy", **_SPEC)
async def store_study(request: Http, reading: Asked, case: Id, study: Id) -> Response[bytes]:
    """Store instances of one study, as one record that is in the log when this answers."""
    return await _store(request, reading, case, None, study)


@post("/dicomweb/cases/{case:str}/uploads/{upload:str}/studies", operation_id="storeInstancesInUpload", **_SPEC)
async def store_in_upload(request: Http, reading: Asked, case: Id, upload: Id) -> Response[bytes]:
    """Store instances in an upload that is open, for senders who split a study over many requests."""
    return await _store(request, reading, case, upload, None)


@post(
    "/dicomweb/cases/{case:str}/uploads/{upload:str}/studies/{study:str}",
    operation_id="storeStudyInUpload",
    **_SPEC,
)
async def store_study_in_upload(request: Http, reading: Asked, case: Id, upload: Id, study: Id) -> Response[bytes]:
    """Store instances of one study in an upload that is open."""
    return await _store(request, reading, case, upload, study)


async def _store(request: Http, reading: Ask, case: str, upload: str | None, study: str | None) -> Response[bytes]:
    media_type, given = parameters(request.headers.get("content-type", ""))
    if media_type != "multipart/related" or given.get("type", DICOM).lower() != DICOM:
        raise HTTPException(status_code=415)
    places: Places = request.app.state[UPLOAD_PLACES]
    receiving, what = reading.service.receiving, "record" if upload is None else "upload"

    def take(chunks: Iterator[bytes]) -> tuple[list[Said], Outcome | None]:
        body = Multipart(chunks, given.get("boundary", ""))
        return on_case(reading, case, what, lambda: receiving.store(reading.by, case, upload, body, study))

    said, outcome = await taken_in(request, places, take)
    headers = {}
    records = [each.record for each in (outcome.events if outcome else ()) if isinstance(each, RecordReceived)]
    if len(records) == 1:
        headers["Content-Location"] = f"/cases/{case}/records/{records[0]}"
    stored = sum(each.reason is None for each in said)
    status = 200 if stored == len(said) else 202 if stored else 409
    return Response(msgspec.json.encode(_dataset(said)), status_code=status, headers=headers, media_type=JSON)


def _dataset(said: list[Said]) -> dict[str, Any]:
    """The Store Instances Response Module in the DICOM JSON model (PS3.18 annex F and I.1)."""
    stored = [_item(each) for each in said if each.reason is None]
    failed = [_item(each) | {_REASON: {"vr": "US", "Value": [each.reason]}} for each in said if each.reason is not None]
    dataset: dict[str, Any] = {_RETRIEVE: {"vr": "UR"}}
    if failed:
        dataset[FAILED] = {"vr": "SQ", "Value": failed}
    if stored:
        dataset[REFERENCED] = {"vr": "SQ", "Value": stored}
    return dataset


def _item(said: Said) -> dict[str, Any]:
    return {_CLASS: _uid(said.sop_class), _INSTANCE: _uid(said.sop_instance)}


def _uid(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]} if uid else {"vr": "UI"}


HANDLERS = [store_instances, store_study, store_in_upload, store_study_in_upload]
