"""Transfers that go on where they broke, and archives of files."""

import base64
import hashlib
import io
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog

from tests.api.people import COORDINATOR, PATIENT, Stage, problem
from tests.api.test_uploads import listening
from tests.service_fixture import CT, dicom

PARTIAL = "application/partial-upload"
NAMED = {"Content-Disposition": "attachment; filename*=UTF-8''Markerfile"}


@pytest.fixture
def gathering(stage: Stage) -> Stage:
    """A case that waits for records."""
    stage.open()
    stage.prepare()
    return stage


def begun(stage: Stage, upload: str, what: str = "files", **headers: str) -> str:
    """A transfer of nothing yet; its path."""
    answer = stage.ask(PATIENT, "POST", f"{upload}/{what}", headers={**NAMED, "Upload-Complete": "?0", **headers})
    assert answer.status_code == 201, answer.text
    assert answer.headers["upload-complete"] == "?0"
    return str(answer.headers["location"])


def more(
    stage: Stage, transfer: str, at: int, content: Any, *, complete: bool = False, **headers: str
) -> httpx.Response:
    """More of a transfer."""
    given = {
        "Content-Type": PARTIAL,
        "Upload-Offset": str(at),
        "Upload-Complete": "?1" if complete else "?0",
        **headers,
    }
    return stage.ask(PATIENT, "PATCH", transfer, content=content, headers=given)


def offset(stage: Stage, transfer: str) -> int:
    """Where a transfer goes on."""
    answer = stage.ask(PATIENT, "HEAD", transfer)
    assert (answer.status_code, answer.headers["cache-control"]) == (204, "no-store")
    return int(answer.headers["upload-offset"])


def archive(members: dict[str, bytes]) -> bytes:
    """A zip archive."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return whole.getvalue()


def test_a_broken_transfer_goes_on_at_the_byte_where_it_broke(gathering: Stage) -> None:
    """A connection that is cut in the middle loses nothing that the service has seen; the whole has its digest."""
    stage, content = gathering, os.urandom(6_000_000)
    upload, cut = stage.begin(kind="pathology"), 4_000_000
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    transfer = begun(stage, upload, **{"Upload-Length": str(len(content)), "Repr-Digest": f"sha-256=:{digest}:"})
    head = (
        f"PATCH {transfer} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.token(PATIENT)}\r\n"
        f"Content-Type: {PARTIAL}\r\nUpload-Offset: 0\r\nUpload-Complete: ?1\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with listening(stage) as address, structlog.testing.capture_logs() as logs:
        with socket.create_connection(address) as client:
            client.sendall(head.encode() + content[:cut])
        until = time.monotonic() + 10
        while not [each for each in logs if each["event"] == "request" and each.get("status") == 400]:
            assert time.monotonic() < until
            time.sleep(0.02)
    at = offset(stage, transfer)
    assert 0 < at <= cut
    shown = stage.ask(PATIENT, "GET", upload).json()
    assert (shown["files"], shown["transfers"][0]["offset"], shown["transfers"][0]["length"]) == (0, at, len(content))
    assert shown["transfers"][0]["name"] == "Markerfile"
    problem(stage.write(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record"), 409, "missing-part")
    wrong = more(stage, transfer, at - 1, content[at - 1 :], complete=True)
    problem(wrong, 409, "offset-mismatch")
    assert wrong.headers["upload-offset"] == str(at)
    done = more(stage, transfer, at, content[at:], complete=True)
    assert (done.status_code, done.headers["upload-complete"]) == (200, "?1"), done.text
    assert done.json()["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    problem(more(stage, transfer, len(content), b"", complete=True), 409, "already-done")
    assert stage.ask(PATIENT, "HEAD", transfer).headers["upload-complete"] == "?1"
    assert stage.ask(PATIENT, "GET", transfer).json()["file"] == done.json()["file"]
    answer = stage.write(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
    assert answer.status_code == 201, answer.text


def test_a_transfer_that_is_refused_says_why(gathering: Stage) -> None:
    """Bad headers, another person, more than announced, another digest, not DICOM, and what is not there."""
    stage, content = gathering, dicom(CT)[0]
    upload = stage.begin()
    for headers in ({"Upload-Complete": "yes"}, {"Upload-Length": "-1"}, {"Upload-Length": "9" * 15}):
        answer = stage.ask(PATIENT, "POST", f"{upload}/files", headers={**NAMED, "Upload-Complete": "?0", **headers})
        assert answer.status_code in (400, 413)
    transfer = begun(stage, upload, **{"Upload-Length": "10"})
    answer = stage.ask(
        PATIENT, "PATCH", transfer, content=b"x", headers={"Upload-Offset": "0", "Upload-Complete": "?0"}
    )
    problem(answer, 415, "unsupported-media-type")
    answer = stage.ask(PATIENT, "PATCH", transfer, content=b"x", headers={"Content-Type": PARTIAL})
    problem(answer, 428, "precondition-required")
    problem(stage.ask(COORDINATOR, "GET", transfer), 403, "wrong-role")
    problem(more(stage, transfer, 0, bytes(11)), 413, "too-large")
    problem(more(stage, transfer, 0, bytes(9), complete=True), 400, "truncated-upload")
    assert offset(stage, transfer) == 9
    problem(more(stage, transfer, 9, b"x", complete=True), 422, "not-dicom")
    problem(stage.ask(PATIENT, "GET", transfer), 404, "upload-not-found")
    other = base64.b64encode(bytes(32)).decode()
    transfer = begun(stage, upload, **{"Repr-Digest": f"sha-256=:{other}:"})
    problem(more(stage, transfer, 0, content, complete=True), 422, "digest-mismatch")
    transfer = begun(stage, upload)
    assert more(stage, transfer, 0, content[:100]).status_code == 200
    assert stage.ask(PATIENT, "DELETE", transfer).status_code == 204
    assert stage.ask(PATIENT, "GET", upload).json()["transfers"] == []


def test_an_archive_is_taken_in_file_by_file(gathering: Stage) -> None:
    """Each image of a zip is a file of the record; a viewer, a letter and a path that climbs are named with reasons."""
    stage = gathering
    upload = stage.begin()
    members = {f"DICOM/IM{number}": content for number, content in enumerate(dicom(CT))}
    bad = {"VIEWER.EXE": b"MZ" + bytes(100), "../../etc/Markerfile": members["DICOM/IM0"], "readme.txt": b"hello"}
    whole = archive(members | bad | {"DICOMDIR": b"", "empty/": b""})

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(whole), 70_000):
            yield whole[at : at + 70_000]

    answer = stage.ask(PATIENT, "POST", f"{upload}/archives", content=chunks(), headers=NAMED)
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert (said["done"], said["taken"], said["skipped"]) == (True, len(members), 1)
    assert {each["name"]: each["code"] for each in said["refused"]} == {
        "VIEWER.EXE": "not-dicom",
        "../../etc/Markerfile": "unsafe-path",
        "readme.txt": "not-dicom",
    }
    shown = stage.ask(PATIENT, "GET", upload).json()
    assert (shown["files"], shown["total_bytes"]) == (len(members), sum(map(len, members.values())))
    answer = stage.write(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
    assert answer.status_code == 201, answer.text


def test_an_archive_that_is_none_is_given_up(gathering: Stage) -> None:
    """No zip at all, or one cut off: named, and the upload goes on."""
    stage = gathering
    upload = stage.begin()
    for content in (b"not a zip", archive({"a": dicom(CT)[0]})[:-30]):
        problem(
            stage.ask(PATIENT, "POST", f"{upload}/archives", content=content, headers=NAMED), 422, "malformed-archive"
        )
    assert stage.ask(PATIENT, "GET", upload).json()["transfers"] == []
