"""Files put under ids of their sender's, over a socket as clients do; and uploads that would keep others out."""

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from litestar.testing import TestClient

from api import streaming
from api.app import create_app
from api.streaming import Places
from api.tokens import Tokens
from api.views import Views
from application.records.quota import Limits
from application.service import Service
from tests.api.people import COORDINATOR, PATIENT, Clock, Stage, problem
from tests.api.test_uploads import listening
from tests.service_fixture import CT, MR_PROJECTIONS, dicom

PDF = b"%PDF-1.7\nthe report of the study beside it"


@pytest.fixture
def gathering(stage: Stage) -> Stage:
    """A case that waits for records."""
    stage.open()
    stage.prepare()
    return stage


def digest(content: bytes) -> str:
    """The SHA-256 of some content, as RFC 9530 has it."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def put(stage: Stage, upload: str, file: str, name: str, content: object, **headers: str) -> httpx.Response:
    """A file of an upload, under an id."""
    given = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}", **headers}
    return stage.ask(PATIENT, "PUT", f"{upload}/files/{file}", content=content, headers=given)


def head(stage: Stage, upload: str, more: str, who: tuple[str, str] = PATIENT) -> bytes:
    """The beginning of a PUT, as it goes over a socket."""
    return (
        f"PUT {upload}/files/{uuid4()} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.token(who)}\r\n"
        f"Content-Disposition: attachment; filename*=UTF-8''Markerfile\r\n{more}\r\n\r\n"
    ).encode()


def test_a_file_is_put_and_put_again(gathering: Stage) -> None:
    """201, then 200 with the same answer; other bytes, or another name, under that id are 409 and change nothing."""
    stage, content, other = gathering, *dicom(CT)[:2]
    upload, file = stage.begin(), str(uuid4())
    first = put(stage, upload, file, "Markerfile", content)
    assert first.status_code == 201, first.text
    assert first.json()["sha256"] == hashlib.sha256(content).hexdigest()
    for sent in (content, iter([content[:1000], content[1000:]])):  # with a length, and chunked
        again = put(stage, upload, file.upper(), "Markerfile", sent)
        assert (again.status_code, again.json()) == (200, first.json())
    problem(put(stage, upload, file, "Markerfile", other), 409, "other-content")
    problem(put(stage, upload, file, "Markerfile", content[:-1]), 409, "other-content")
    problem(put(stage, upload, file, "another", content), 409, "other-content")
    shown = stage.ask(PATIENT, "GET", upload).json()
    assert (shown["files"], shown["total_bytes"]) == (1, len(content))


def test_a_put_that_broke_off_is_put_again(gathering: Stage) -> None:
    """Nothing of the first is there, chunked or not; the second is taken as new."""
    stage, content = gathering, dicom(CT)[0]
    upload, file = stage.begin(), str(uuid4())
    with listening(stage) as address:
        for framing in (f"Content-Length: {len(content)}", "Transfer-Encoding: chunked"):
            begun = head(stage, upload, framing).replace(b"/files/", f"/files/{file}?".encode(), 1).split(b"?", 1)
            first = begun[0] + begun[1][36:]
            part = content[: len(content) // 2]
            if "chunked" in framing:
                part = f"{len(part):x}\r\n".encode() + part + b"\r\n"
            with socket.create_connection(address) as client:
                client.sendall(first + part)
        url = f"http://{address[0]}:{address[1]}{upload}/files/{file}"
        headers = {"Authorization": f"Bearer {stage.token(PATIENT)}", "Content-Disposition": 'attachment; filename="a"'}
        assert httpx.put(url, content=content, headers=headers).status_code == 201
        assert httpx.put(url, content=content, headers=headers).status_code == 200
    assert stage.ask(PATIENT, "GET", upload).json()["files"] == 1


def test_digests_of_files_are_checked(gathering: Stage) -> None:
    """Content-Digest and Repr-Digest, with PUT and with POST; a false one keeps nothing, nor do two that differ."""
    stage, content = gathering, dicom(CT)[0]
    upload = stage.begin()
    for header in ("Content-Digest", "Repr-Digest"):
        wrong = {header: digest(b"other")}
        problem(put(stage, upload, str(uuid4()), "a", content, **wrong), 422, "digest-mismatch")
        problem(stage.add(upload, "a", content, **wrong), 422, "digest-mismatch")
        problem(put(stage, upload, str(uuid4()), "a", content, **{header: "md5=:AAAA:"}), 400, "invalid-input")
    both = {"Content-Digest": digest(content), "Repr-Digest": digest(b"other")}
    problem(put(stage, upload, str(uuid4()), "a", content, **both), 400, "invalid-input")
    assert stage.ask(PATIENT, "GET", upload).json()["files"] == 0
    file, right = str(uuid4()), {"Content-Digest": digest(content), "Repr-Digest": digest(content)}
    assert put(stage, upload, file, "a", content, **right).status_code == 201
    assert put(stage, upload, file, "a", content, **right).status_code == 200
    problem(put(stage, upload, file, "a", content, **{"Repr-Digest": digest(b"other")}), 422, "digest-mismatch")


def test_what_is_not_an_id_or_not_a_file_is_refused(gathering: Stage) -> None:
    """A name is no id, since ids stand in addresses; a missing name, too few bytes, no DICOM, not one's own upload."""
    stage, content = gathering, dicom(CT)[0]
    upload, file = stage.begin(), str(uuid4())
    for bad in ("IM0001.dcm", "Markerwoman-ct-2026-01-01", "abc", "0" * 65):
        problem(put(stage, upload, bad, "a", content), 400, "invalid-input")
    answer = stage.ask(PATIENT, "PUT", f"{upload}/files/{file}", content=content)
    problem(answer, 400, "invalid-input")
    short = put(stage, upload, file, "a", content, **{"Content-Length": str(len(content) + 1)})
    problem(short, 400, "truncated-upload")
    problem(put(stage, upload, file, "a", b"no DICOM at all"), 422, "not-dicom")
    problem(put(stage, upload, file, "../a", content), 422, "unsafe-path")
    elsewhere = upload.rsplit("/", 1)[0] + f"/{uuid4()}"
    problem(put(stage, elsewhere, file, "a", content), 404, "upload-not-found")
    given = {"Content-Disposition": 'attachment; filename="a"'}
    problem(stage.ask(COORDINATOR, "PUT", f"{upload}/files/{file}", content=content, headers=given), 403, "wrong-role")
    assert stage.ask(PATIENT, "GET", upload).json()["files"] == 0


def test_an_upload_with_two_studies_and_a_report_is_three_records(gathering: Stage) -> None:
    """The answer names them all, and each can be read; a check of the images is queued."""
    stage = gathering
    upload = stage.begin()
    for content in (*dicom(CT), *dicom(MR_PROJECTIONS), PDF):
        assert put(stage, upload, str(uuid4()), "x", content).status_code == 201
    answer = stage.write(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert len(said["made"]["records"]) == 3
    assert said["made"]["record"] == said["made"]["records"][0]
    assert answer.headers["location"].endswith(said["made"]["record"])
    assert said["imaging_check"] == "queued"
    assert len(said["receipts"]) == 3
    kinds = [
        stage.ask(PATIENT, "GET", f"/cases/{{case}}/records/{each}").json()["kind"] for each in said["made"]["records"]
    ]
    assert kinds == ["imaging", "imaging", "other"]


def test_a_case_that_takes_nothing_is_said_so_at_once(gathering: Stage) -> None:
    """Without consent neither an upload nor a file begins; the problem names the consent."""
    stage = gathering
    upload = stage.begin()
    consent = next(iter(stage.service.cases.load(stage.case).state.consents))
    stage.done(PATIENT, "POST", f"/cases/{{case}}/consents/{consent}/withdrawal")
    problem(stage.ask(PATIENT, "POST", "/cases/{case}/uploads", json={"kind": "imaging"}), 403, "missing-consent")
    problem(put(stage, upload, str(uuid4()), "a", dicom(CT)[0]), 403, "missing-consent")


@pytest.fixture
def bounded(service: Service, views: Views, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A service that takes in two uploads at once, no slow ones, and little of each."""
    monkeypatch.setattr(streaming, "RATE_OVER_S", 0.2)
    service.receiving._intake.limits = Limits(upload_bytes=9_000)
    tokens = Tokens(service.keys.token.public_key(), service.keys.origin)
    app = create_app(service, views, tokens, clock=clock, threads=8, places=Places(2, 1000))
    with TestClient(app, raise_server_exceptions=False) as client:
        stage = Stage(app=app, client=client, service=service, clock=clock)
        stage.open()
        stage.prepare()
        yield stage


def test_who_finds_every_place_taken_is_told_when_to_come_back(bounded: Stage) -> None:
    """503 with Retry-After at once, for a second upload of the same person too; other requests are answered."""
    stage = bounded
    mine, theirs = stage.begin(), stage.begin(COORDINATOR)
    with listening(stage) as address:
        first, second = socket.create_connection(address), socket.create_connection(address)
        with first, second:
            first.sendall(head(stage, mine, "Content-Length: 3000") + b"some")
            until_taken(stage, 1)
            answer = put(stage, mine, str(uuid4()), "a", dicom(CT)[0])
            problem(answer, 503, "uploads-full")
            assert int(answer.headers["retry-after"]) > 0
            second.sendall(head(stage, theirs, "Content-Length: 3000", COORDINATOR) + b"some")
            until_taken(stage, 2)
            problem(put(stage, mine, str(uuid4()), "a", dicom(CT)[0]), 503, "uploads-full")
            assert stage.ask(PATIENT, "GET", mine).status_code == 200
        until_taken(stage, 0)
    assert put(stage, mine, str(uuid4()), "a", dicom(CT)[0]).status_code == 201


def until_taken(stage: Stage, places: int) -> None:
    """Wait until so many uploads are being taken in."""
    deadline = time.monotonic() + 10
    while stage.app.state["upload_places"]._taken.total() != places:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sender_who_hardly_sends_is_ended_and_may_go_on(bounded: Stage) -> None:
    """408; what had arrived of a transfer is kept, and the offset says so."""
    stage = bounded
    upload = stage.begin()
    begun = stage.ask(
        PATIENT,
        "POST",
        f"{upload}/files",
        content=b"",
        headers={"Content-Disposition": 'attachment; filename="a"', "Upload-Complete": "?0"},
    )
    where = begun.headers["location"]
    with listening(stage) as address, socket.create_connection(address) as client:
        client.sendall(
            f"PATCH {where} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stage.token(PATIENT)}\r\n"
            "Content-Type: application/partial-upload\r\nUpload-Offset: 0\r\nUpload-Complete: ?1\r\n"
            "Content-Length: 3000\r\n\r\n".encode()
        )
        ended = threading.Event()

        def trickle() -> None:
            while not ended.wait(0.05):
                try:
                    client.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        client.settimeout(10)
        answer = client.recv(65536)
        ended.set()
        thread.join()
    assert b" 408 " in answer.split(b"\r\n")[0]
    shown = stage.ask(PATIENT, "HEAD", where)
    assert int(shown.headers["upload-offset"]) >= 1
    assert int(shown.headers["upload-offset"]) < 100
    quick = {"Content-Type": "application/partial-upload", "Upload-Complete": "?0"}
    more = stage.ask(
        PATIENT,
        "PATCH",
        where,
        content=b"y" * 500,
        headers=quick | {"Upload-Offset": shown.headers["upload-offset"]},
    )
    assert more.status_code == 200, more.text


def test_what_is_above_a_limit_is_refused_by_the_limits_name(bounded: Stage) -> None:
    """413 over PUT, POST and STOW; what is there already stays, and can be finished."""
    stage, contents = bounded, dicom(CT)
    upload, taken = stage.begin(), 2
    answers = [put(stage, upload, str(uuid4()), "a", content) for content in contents[: taken + 1]]
    assert [each.status_code for each in answers] == [201] * taken + [413]
    assert "9000 bytes" in problem(answers[-1], 413, "quota-exceeded")["detail"]
    problem(stage.add(upload, "b", contents[-1]), 413, "quota-exceeded")
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + contents[-1] + b"\r\n--b--"
    stored = stage.ask(
        PATIENT,
        "POST",
        "/dicomweb" + upload + "/studies",
        content=part,
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'},
    )
    assert stored.status_code == 409
    assert stored.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA700]
    assert stage.ask(PATIENT, "GET", upload).json()["files"] == taken
    assert stage.write(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record").status_code == 201
