"""STOW-RS: real clients, the standard's answers, and bodies that real and hostile senders make."""

import gzip
import io
import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session

from application.records.blob_keys import BlobKeys
from application.records.intake import read_manifest
from domain.records import Manifest
from tests.api.people import PATIENT, TECHNICIAN, Stage, problem
from tests.api.test_uploads import listening
from tests.service_fixture import CT, dicom

REFERENCED, FAILED = "00081199", "00081198"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n"


@pytest.fixture
def gathering(stage: Stage) -> Stage:
    """A case that waits for records."""
    stage.open()
    stage.prepare()
    return stage


def body(parts: list[bytes], boundary: str = "b", *, lengths: bool = False, end: str = "--") -> bytes:
    """A multipart body."""
    made = b"a preamble\r\n"
    for part in parts:
        length = f"Content-Length: {len(part)}\r\n" if lengths else ""
        made += f"--{boundary}\r\nContent-Type: application/dicom\r\n{length}\r\n".encode() + part + b"\r\n"
    return made + f"--{boundary}{end}\r\nan epilogue".encode()


def store(stage: Stage, content: Any, boundary: str = "b", *, path: str = "studies", **headers: str) -> httpx.Response:
    """A STOW-RS request of the patient."""
    given = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}', **headers}
    return stage.ask(PATIENT, "POST", f"/dicomweb/cases/{{case}}/{path}", content=content, headers=given)


def uids(answer: httpx.Response, sequence: str) -> list[Any]:
    """SOP Instance UIDs of a sequence of the answer."""
    assert answer.headers["content-type"] == "application/dicom+json", answer.text
    items = answer.json().get(sequence, {"Value": []})["Value"]
    return [each["00081155"].get("Value", [None])[0] for each in items]


def sop(content: bytes) -> str:
    """SOP Instance UID of a file."""
    return str(pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True).SOPInstanceUID)


def records(stage: Stage) -> Any:
    """The case's records."""
    return stage.service.cases.load(stage.case).state.records


def manifests(stage: Stage) -> list[Manifest]:
    """What each record of the case consists of, whatever may be read of it."""
    service, keys = stage.service, BlobKeys(stage.service.pool, stage.service.keyring)
    return [
        read_manifest(service.vault, name, keys.of(name), record.manifest_sha256)
        for name, record in records(stage).items()
    ]


def test_dicomweb_client_stores_a_real_study(gathering: Stage) -> None:
    """The public client pushes a series over a socket; it is one record, checked, and each instance is referenced."""
    stage, contents = gathering, dicom(CT)
    datasets = [pydicom.dcmread(io.BytesIO(each)) for each in contents]
    session = create_session()
    session.headers["Authorization"] = f"Bearer {stage.token(PATIENT)}"
    with listening(stage) as (host, port):
        client = DICOMwebClient(f"http://{host}:{port}/dicomweb/cases/{stage.case}", session=session)
        said = client.store_instances(datasets)
        with pytest.raises(Exception, match="409"):
            client.store_instances(datasets[:1], study_instance_uid="1.2.3")
    session.close()
    assert [item.ReferencedSOPInstanceUID for item in said.ReferencedSOPSequence] == [sop(each) for each in contents]
    assert "FailedSOPSequence" not in said
    (record,) = records(stage).values()
    assert (
        (record.kind, record.checked) == ("imaging", True) if hasattr(record, "checked") else record.kind == "imaging"
    )


@pytest.mark.parametrize("size", [1, 17, 65_536])
def test_every_form_of_body_that_clients_send_is_read(gathering: Stage, size: int) -> None:
    """Chunked or not, boundary quoted or not, lengths stated or not, preamble and epilogue, cut anywhere on the way."""
    stage, contents = gathering, dicom(CT)[:1] if size == 1 else dicom(CT)
    contents = [each[:40_000] for each in contents] if size == 1 else contents
    upload = stage.begin().rsplit("/", 1)[1]
    for boundary, lengths in itertools.product(("b", '"a b\'c"', "-" * 73), (False, True)):
        whole = body(contents, boundary.strip('"'), lengths=lengths)
        sent = whole if size == 1 and lengths else (whole[at : at + size] for at in range(0, len(whole), size))
        answer = store(stage, sent, boundary, path=f"uploads/{upload}/studies")
        assert answer.status_code == 200, answer.text
        assert uids(answer, REFERENCED) == [sop(each) for each in contents]
    shown = stage.ask(PATIENT, "GET", f"/cases/{{case}}/uploads/{upload}").json()
    assert shown["files"] == len(contents)
    assert not records(stage)
    answer = stage.write(PATIENT, "POST", f"/cases/{{case}}/uploads/{upload}/record")
    assert answer.status_code == 201, answer.text
    assert len(records(stage)) == 1


def test_each_bad_instance_has_its_own_reason_and_the_others_are_stored(gathering: Stage) -> None:
    """A gzip and an LFS pointer called .dcm, a DICOMDIR, text, nothing: failed; the good ones: stored, with 202."""
    stage, good = gathering, dicom(CT)[:2]
    directory = bytes(128) + b"DICM\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"
    bad = [gzip.compress(good[0]), LFS, directory, b"hello", b"", good[0][:200]]
    answer = store(stage, body([good[0], *bad, good[1]]))
    assert answer.status_code == 202, answer.text
    assert uids(answer, REFERENCED) == [sop(each) for each in good]
    reasons = [each["00081197"]["Value"][0] for each in answer.json()[FAILED]["Value"]]
    assert reasons == [0xC000, 0xC000, 0x0122, 0xC000, 0xC000, 0xC000]
    (record,) = records(stage)
    assert {each.name for each in manifests(stage)[0].files} == {f"{sop(each)}.dcm" for each in good}
    assert answer.headers["content-location"] == f"/cases/{stage.case}/records/{record}"


def test_nothing_storable_is_409_and_leaves_nothing(gathering: Stage) -> None:
    """All failed, or of another study than the address names: no record, no upload that anybody could see."""
    stage, size = gathering, gathering.size()
    assert store(stage, body([LFS])).status_code == 409
    answer = store(stage, body(dicom(CT)[:1]), path="studies/1.2.3")
    assert answer.status_code == 409
    assert uids(answer, FAILED) == [sop(dicom(CT)[0])]
    assert answer.json()[FAILED]["Value"][0]["00081197"]["Value"] == [0xA900]
    assert not records(stage)
    assert stage.size() == size


def cut_bodies() -> Iterator[tuple[str, bytes, int, str]]:
    """Bodies that are not what they should be: name, bytes, status, code."""
    good = dicom(CT)[0]
    whole = body([good, good])
    yield "in the middle of a part", whole[: len(whole) // 2], 400, "truncated-upload"
    yield "no final boundary", body([good], end=""), 400, "truncated-upload"
    yield "no boundary at all", good, 400, "truncated-upload"
    yield "empty", b"", 400, "truncated-upload"
    yield "no part", b"--b--\r\n", 400, "malformed-body"
    yield (
        "shorter than its length",
        whole.replace(b"dicom\r\n", b"dicom\r\nContent-Length: 9\r\n", 1),
        400,
        "malformed-body",
    )
    yield "endless headers", b"--b\r\n" + b"X: y\r\n" * 9000, 413, "too-large"


@pytest.mark.parametrize(
    ("content", "status", "code"), [each[1:] for each in cut_bodies()], ids=[each[0] for each in cut_bodies()]
)
def test_a_broken_body_is_refused_as_a_whole(gathering: Stage, content: bytes, status: int, code: str) -> None:
    """Nothing of it is kept, though its first instances were whole."""
    problem(store(gathering, content), status, code)
    assert not records(gathering)


def test_a_boundary_inside_the_data_is_data(gathering: Stage) -> None:
    """What begins like the boundary is data, and with a length even the boundary itself is."""
    stage, good = gathering, dicom(CT)[0]
    tricky = good + b"\r\n--b-not-yet\r\n"
    answer = store(stage, body([tricky, good + b"x"]), "b")
    assert answer.status_code == 200, answer.text
    whole = store(stage, body([good + b"\r\n--b\r\n\r\n", good], lengths=True))
    assert whole.status_code == 200
    assert len(uids(whole, REFERENCED)) == 2
    sizes = [sorted(each.bytes for each in manifest.files) for manifest in manifests(stage)]
    assert sizes == [sorted((len(tricky), len(good) + 1)), sorted((len(good) + 9, len(good)))]


def test_what_is_not_stow_is_refused(gathering: Stage) -> None:
    """Another media type, metadata without instances, no boundary, nobody's upload, not one's own case."""
    stage, whole = gathering, body(dicom(CT)[:1])
    for media_type in ("application/dicom", 'multipart/related; type="application/dicom+json"; boundary=b', "x"):
        problem(store(stage, whole, **{"Content-Type": media_type}), 415, "unsupported-media-type")
    problem(store(stage, whole, **{"Content-Type": "multipart/related"}), 400, "malformed-body")
    problem(store(stage, whole, path=f"uploads/{stage.case}/studies"), 404, "upload-not-found")
    answer = stage.ask(
        TECHNICIAN,
        "POST",
        "/dicomweb/cases/{case}/studies",
        content=whole,
        headers={"Content-Type": "multipart/related; boundary=b"},
    )
    problem(answer, 403, "wrong-role")


def test_the_same_instances_again_link_to_the_first_record(gathering: Stage) -> None:
    """A sender who did not hear the answer sends again, in another order: the second record is a duplicate."""
    stage, contents = gathering, dicom(CT)
    assert store(stage, body(contents)).status_code == 200
    assert store(stage, body(contents[::-1])).status_code == 200
    first, second = records(stage).values()
    assert first.manifest_sha256 == second.manifest_sha256
