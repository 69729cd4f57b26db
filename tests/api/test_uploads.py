"""Files on their way in and out: whole or not at all."""

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import structlog
import uvicorn

from api import streaming
from application.reading import Reading
from domain.errors import BlobAltered
from tests.api.people import COORDINATOR, PATIENT, Stage, problem
from tests.service_fixture import CT, dicom


@contextmanager
def listening(stage: Stage) -> Iterator[tuple[str, int]]:
    """The application behind a real server on a socket; its address."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        server = uvicorn.Server(uvicorn.Config(stage.app, log_config=None, access_log=False, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield bound.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def until_taken(stage: Stage, upload: str, files: int) -> None:
    """Wait until an upload has so many files."""
    deadline = time.monotonic() + 10
    while stage.ask(PATIENT, "GET", upload).json()["files"] != files:
        assert time.monotonic() < deadline


@pytest.fixture
def gathering(stage: Stage) -> Stage:
    """A case that waits for records."""
    stage.open()
    stage.prepare()
    return stage


def test_a_truncated_upload_leaves_nothing(gathering: Stage) -> None:
    """A client that breaks off in the middle of a file: no file, no record, no entry; the upload goes on afterwards."""
    stage, content = gathering, dicom(CT)[0]
    upload, size = stage.begin(), stage.size()
    head = (
        f"POST {upload}/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.token(PATIENT)}\r\n"
        f"Content-Disposition: attachment; filename*=UTF-8''Markerfile\r\n"
    )
    with listening(stage) as address, structlog.testing.capture_logs() as logs:
        for framing in (f"Content-Length: {len(content)}\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
            part = content[: len(content) // 2]
            if "chunked" in framing:
                part = f"{len(part):x}\r\n".encode() + part + b"\r\n"
            with socket.create_connection(address) as client:
                client.sendall((head + framing).encode() + part)
        until = time.monotonic() + 10
        while [each.get("status") for each in logs if each["event"] == "request"] != [400, 400]:
            assert time.monotonic() < until, logs
            time.sleep(0.02)
        shown = stage.ask(PATIENT, "GET", upload).json()
        assert (shown["state"], shown["files"], shown["total_bytes"]) == ("open", 0, 0)
        assert stage.size() == size
        url = f"http://{address[0]}:{address[1]}{upload}/files"
        headers = {"Authorization": f"Bearer {stage.token(PATIENT)}", "Content-Disposition": 'attachment; filename="a"'}
        whole = httpx.post(url, content=content, headers=headers)
        assert whole.status_code == 201, whole.text
    until_taken(stage, upload, 1)


def test_a_file_that_is_refused_early_is_still_answered(gathering: Stage) -> None:
    """The client hears why, though it has not sent all of a large body yet."""
    stage = gathering
    upload = stage.begin()
    with listening(stage) as address:
        headers = {"Authorization": f"Bearer {stage.token(PATIENT)}", "Content-Disposition": 'attachment; filename="a"'}
        url = f"http://{address[0]}:{address[1]}{upload}/files"
        answer = httpx.post(url, content=b"\xff\xd8\xff\xe0 JPEG" * 900_000, headers=headers)
        problem(answer, 422, "not-dicom")


def test_files_that_are_not_what_they_should_be_are_refused(gathering: Stage) -> None:
    """Not DICOM, another digest, empty, no name or a bad one: each named, and none of it kept."""
    stage, content = gathering, dicom(CT)[0]
    upload, size = stage.begin(), stage.size()
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    problem(stage.add(upload, "a", b"Markerwords, and no DICOM at all"), 422, "not-dicom")
    problem(stage.add(upload, "a", b""), 422, "not-dicom")
    problem(stage.add(upload, "a", content, **{"Content-Digest": f"sha-256=:{other}:"}), 422, "digest-mismatch")
    for digest in ("md5=:AAAA:", "sha-256=abc", "sha-256=:abc:"):
        problem(stage.add(upload, "a", content, **{"Content-Digest": digest}), 400, "invalid-input")
    problem(stage.add(upload, "Markerfile\u0007", content), 422, "control-character")
    problem(stage.add(upload, "Markerfile" * 30, content), 413, "too-large")
    for disposition in (
        "",
        "inline",
        "attachment",
        "attachment; filename*=UTF-8''%zz",
        "attachment; filename*=UTF-8''%ff",
    ):
        answer = stage.add(upload, "a", content, **{"Content-Disposition": disposition})
        problem(answer, 400, "invalid-input")
    problem(stage.add(upload, "a", content, COORDINATOR), 403, "wrong-role")
    assert stage.ask(PATIENT, "GET", upload).json()["files"] == 0
    assert stage.size() == size + 1  # the coordinator's refusal
    problem(stage.write(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record"), 400, "malformed-body")


def test_a_body_that_stops_short_or_goes_on_is_refused(gathering: Stage) -> None:
    """Fewer or more bytes than announced, as a proxy in between may make it."""
    stage, content = gathering, dicom(CT)[0]
    upload = stage.begin()
    short = stage.add(upload, "a", content, **{"Content-Length": str(len(content) + 1)})
    problem(short, 400, "truncated-upload")
    problem(stage.add(upload, "a", content, **{"Content-Length": "7"}), 413, "too-large")
    assert stage.ask(PATIENT, "GET", upload).json()["files"] == 0


def test_a_sender_who_falls_silent_is_given_up(gathering: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while without a byte the upload is answered as truncated."""
    monkeypatch.setattr(streaming, "STALLED_S", 0.3)
    stage = gathering
    upload = stage.begin()
    head = (
        f"POST {upload}/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.token(PATIENT)}\r\n"
        f"Content-Disposition: attachment; filename*=UTF-8''a\r\nContent-Length: 1000\r\n\r\n"
    )
    with listening(stage) as address, socket.create_connection(address) as client:
        client.sendall(head.encode() + b"some")
        client.settimeout(10)
        answer = client.recv(65536)
        assert b" 400 " in answer.split(b"\r\n")[0]
        assert b"truncated-upload" in answer or b"truncated-upload" in client.recv(65536)


def test_content_that_was_altered_never_arrives_whole(gathering: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out before the first byte it is a problem; found out at the end, the last chunk is withheld."""
    stage = gathering
    stage.upload()
    manifest = stage.ask(PATIENT, "GET", f"/cases/{{case}}/records/{stage.record}").json()
    path = f"/cases/{{case}}/records/{stage.record}/files/{manifest['files'][0]['sha256']}"

    def broken(at_once: bool) -> Iterator[bytes]:
        if not at_once:
            yield b"first"
            yield b"last"
        raise BlobAltered

    monkeypatch.setattr(Reading, "file", lambda *_: ("application/dicom", 9, broken(at_once=True)))
    problem(stage.ask(PATIENT, "GET", path), 500, "blob-altered")
    monkeypatch.setattr(Reading, "file", lambda *_: ("application/dicom", 9, broken(at_once=False)))
    with listening(stage) as address, socket.create_connection(address) as client:
        where = path.replace("{case}", stage.case)
        client.sendall(
            f"GET {where} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.token(PATIENT)}\r\n\r\n".encode()
        )
        client.settimeout(10)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        assert received.endswith(b"\r\n\r\nfirst")
