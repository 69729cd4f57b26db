"""Pictures of real images, and hostile ones against real workers that really die."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from application.pictures.pictures import PictureIndex, Pictures
from application.sandbox import sandbox as sandboxing
from application.sandbox.sandbox import Limits, Sandbox
from application.service import Service
from domain.case import commands as c
from domain.errors import BlobAltered, NotFound, Undecodable, WrongPhase, WrongRole
from domain.records import RecordKind
from tests.conftest import Database
from tests.service_fixture import COORDINATOR, CT, ONCOLOGIST, PATIENT, SURGEON, Walk, dicom, open_service, request


@pytest.fixture
def walk(database: Database, tmp_path: Path) -> Iterator[Walk]:
    """A case that waits for records."""
    with open_service(database, tmp_path) as service:
        walk = Walk(service=service)
        walk.open()
        walk.prepare()
        yield walk


def upload(walk: Walk, contents: Sequence[bytes]) -> str:
    """An imaging record of these files, not checked; its id."""
    receiving, who = walk.service.receiving, request(*PATIENT)
    made = receiving.begin(who, walk.case, RecordKind.IMAGING).upload
    for number, content in enumerate(contents):
        receiving.add_file(
            who, walk.case, made, f"IM{number}", [content], len(content), hashlib.sha256(content).hexdigest()
        )
    (received, *_) = receiving.finish(who, walk.case, made).events
    record: str = received.record  # type: ignore[union-attr]
    return record


def with_limits(service: Service, **limits: Any) -> Pictures:
    """The same use case with workers in other bounds."""
    pictures = service.pictures
    pictures._sandbox = Sandbox(Limits(**limits))
    return pictures


def slice_of(**elements: Any) -> Dataset:
    """An axial CT slice of 16 by 16 pixels, with other elements where they are given."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["slice"])
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.Modality, made.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows = made.Columns = 16
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = bytes(512)
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def study_of(contents: Sequence[bytes]) -> str:
    """The study that these files are of: what is of another becomes another record."""
    return str(dcmread(BytesIO(contents[0]), stop_before_pixels=True).StudyInstanceUID)


def saved(dataset: Dataset) -> bytes:
    """As a file."""
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


class Struck(subprocess.Popen[bytes]):
    """A worker that a signal hits at once, as often as `strikes` says."""

    strikes: ClassVar[list[signal.Signals]] = []
    seen: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        place = Path("/proc", str(self.pid))
        if place.exists():
            self.seen.append(
                {
                    "environment": place.joinpath("environ").read_bytes(),
                    "descriptors": sorted(int(each.name) for each in place.joinpath("fd").iterdir()),
                }
            )
        if self.strikes:
            os.kill(self.pid, self.strikes.pop(0))


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Send these signals to the next workers, one each."""
    Struck.seen = []
    monkeypatch.setattr(sandboxing.subprocess, "Popen", Struck)
    return lambda *signals: setattr(Struck, "strikes", list(signals))


def drawn(index: PictureIndex) -> list[tuple[str, bool, tuple[str, ...]]]:
    """What each series came to."""
    return [(each.reason, each.sheet is not None, each.tiles) for each in index.series]


def test_a_record_has_a_contact_sheet_and_a_thumbnail_of_each_series(walk: Walk) -> None:
    """PNGs of the announced size, made once and the same ever after, and nothing in the vault in clear."""
    walk.upload(CT)
    (record,) = walk.service.cases.load(walk.case).state.records
    index = walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    (series,) = index.series
    assert (series.slices, series.tiles) == (5, ("",) * 5)
    assert series.sheet is not None
    assert series.thumbnail is not None
    for picture in (series.sheet, series.thumbnail):
        png = walk.service.pictures.picture(request(*PATIENT), walk.case, record, picture.sha256)
        assert hashlib.sha256(png).hexdigest() == picture.sha256
        with Image.open(BytesIO(png)) as image:
            assert (image.format, image.size) == ("PNG", (picture.width, picture.height))
            assert len(image.convert("L").getcolors(65536) or ()) > 50
            assert not image.info
    with_limits(walk.service, wall_s=0.0)  # no worker could do anything now: it is all kept
    assert walk.service.pictures.make(walk.case, record) == index
    with pytest.raises(NotFound):
        walk.service.pictures.picture(request(*PATIENT), walk.case, record, "0" * 64)


def test_pictures_are_read_as_the_record_is(walk: Walk) -> None:
    """Who may not read the record may not look at its pictures, and the log says who tried and who did."""
    walk.upload(CT)
    (record,) = walk.service.cases.load(walk.case).state.records
    before = walk.service.ledger.recorder.max_notification_id() or 0
    for ask in (walk.service.pictures.listing, walk.service.pictures.report):
        ask(request(*COORDINATOR), walk.case, record)
        for stranger in (SURGEON, ONCOLOGIST, ("patient", "account-2")):
            with pytest.raises(WrongRole):
                ask(request(*stranger), walk.case, record)
    assert (walk.service.ledger.recorder.max_notification_id() or 0) == before + 8
    with pytest.raises(NotFound):
        walk.service.pictures.listing(request(*PATIENT), walk.case, "record-of-nobody")


def test_the_report_is_one_page_that_loads_nothing(walk: Walk) -> None:
    """It says verdict, findings and series, shows a picture of each, and leaves the patient's name out."""
    walk.upload(CT)
    (record,) = walk.service.cases.load(walk.case).state.records
    page = walk.service.pictures.report(request(*PATIENT), walk.case, record)
    assert "<b>Limited</b>" in page
    assert "Information only" in page
    assert page.count("data:image/png;base64,") == 1
    name = str(dcmread(BytesIO(dicom(CT)[0])).PatientName)
    assert name
    assert name not in page
    for loads in ("http:", "https:", "<script", "<link", "url(", "@import"):
        assert loads not in page
    unchecked = upload(walk, dicom("98892001/CT2N"))
    with pytest.raises(NotFound):
        walk.service.pictures.report(request(*PATIENT), walk.case, unchecked)


def test_quarantine_cuts_off_the_pictures_too(walk: Walk) -> None:
    """A stop: nobody looks at any before a person has."""
    walk.upload(CT)
    (first,) = walk.service.cases.load(walk.case).state.records
    walk.service.pictures.listing(request(*PATIENT), walk.case, first)
    stop = c.RecordImagingCheck(
        records=(first,),
        verdict="stop",
        findings=("identity_mismatch",),
        report_sha256="0" * 64,
        requirement="any",
        requirement_version=1,
        checker_version=1,
    )
    walk.act(("service", "service"), stop)
    with pytest.raises(WrongPhase):
        walk.service.pictures.listing(request(*PATIENT), walk.case, first)


def test_910_bytes_that_claim_gigabytes_are_no_picture(walk: Walk) -> None:
    """A header's claim is judged before memory is asked for; the same record's good slices are drawn."""
    claim = saved(slice_of(Rows=65535, Columns=65535, SeriesInstanceUID="1.2.3.5"))
    claim += bytes(max(0, 910 - len(claim)))
    record = upload(walk, [claim[:910]])
    with pytest.raises(Undecodable):
        walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    good = list(dicom(CT))
    claims = {"Rows": 4096, "Columns": 4096, "NumberOfFrames": 256}
    frames = slice_of(**claims, SeriesInstanceUID="1.2.3.6", StudyInstanceUID=study_of(good))
    mixed = upload(walk, [saved(frames), *good])
    index = walk.service.pictures.listing(request(*PATIENT), walk.case, mixed)
    assert sorted(drawn(index)) == [("", True, ("",) * 5), ("cannot-be-decoded", False, ())]


def test_a_decompression_bomb_ends_in_its_worker(walk: Walk) -> None:
    """One gigabyte out of one megabyte, deflated: the worker's memory is bounded, and the service goes on."""
    good = list(dicom(CT))
    head = slice_of(SeriesInstanceUID="1.2.3.7", StudyInstanceUID=study_of(good))
    head.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = saved(head)
    start = whole.index(b"1.2.840.10008.1.2.1.99") + len("1.2.840.10008.1.2.1.99")
    meta_end = 132 + 12 + int.from_bytes(whole[140:144], "little")
    assert meta_end >= start
    inner = zlib.decompressobj(-zlib.MAX_WBITS).decompress(whole[meta_end:])
    inner = inner[: inner.index(b"\xe0\x7f\x10\x00")] + b"\xe0\x7f\x10\x00OW\0\0" + (2**30).to_bytes(4, "little")
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = whole[:meta_end] + squeeze.compress(inner)
    zeros = bytes(2**24)
    bomb += b"".join(squeeze.compress(zeros) for _ in range(64)) + squeeze.flush()
    assert len(bomb) < 8 * 2**20
    record = upload(walk, [bomb, *good])
    with_limits(walk.service, memory_bytes=700 * 2**20)
    index = walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    assert {each.reason for each in index.series} == {"", "cannot-be-decoded"}


def test_a_codestream_that_claims_more_than_its_header_is_no_picture(walk: Walk) -> None:
    """JPEG 2000 whose own size is 60,000 by 60,000: the decoder's allocation fails, not ours."""
    real = bytearray(Path(str(get_testdata_file("MR_small_jp2klossless.dcm"))).read_bytes())
    at = real.index(b"\xff\x4f\xff\x51") + 8
    for offset in (0, 4, 16, 20):
        real[at + offset : at + offset + 4] = (60_000).to_bytes(4, "big")
    record = upload(walk, [bytes(real)])
    with pytest.raises(Undecodable):
        walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    good = Path(str(get_testdata_file("MR_small_jp2klossless.dcm"))).read_bytes()
    again = upload(walk, [good])
    assert drawn(walk.service.pictures.listing(request(*PATIENT), walk.case, again)) == [("", True, ("",))]


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_dies_costs_the_file_that_it_was_at(
    walk: Walk, strike: Callable[..., None], blow: signal.Signals
) -> None:
    """The next worker goes on without it; the sheet says which picture is missing and why."""
    record = upload(walk, dicom(CT))
    strike(blow)
    index = walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    assert drawn(index) == [("", True, ("killed", "", "", "", ""))]


def test_workers_that_always_die_are_given_up(walk: Walk, strike: Callable[..., None]) -> None:
    """Two at the same place; then a problem, which is remembered, and other records are as before."""
    record = upload(walk, dicom(CT))
    strike(*[signal.SIGSEGV] * 3)
    for _ in range(2):
        with pytest.raises(Undecodable):
            walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    assert len(Struck.seen) == 2
    strike()
    other = upload(walk, dicom("98892001/CT2N"))
    assert walk.service.pictures.listing(request(*PATIENT), walk.case, other).series[0].sheet


def test_a_worker_that_hangs_is_killed_by_the_clock(walk: Walk, strike: Callable[..., None]) -> None:
    """Stopped, it uses no processor time; what a slow machine caused is tried again the next time it is asked for."""
    record = upload(walk, dicom(CT)[:1])
    strike(signal.SIGSTOP)
    pictures = with_limits(walk.service, wall_s=1.0)
    with pytest.raises(Undecodable):
        pictures.listing(request(*PATIENT), walk.case, record)
    with_limits(walk.service)
    assert drawn(pictures.listing(request(*PATIENT), walk.case, record)) == [("", True, ("",))]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
def test_a_worker_inherits_nothing(walk: Walk, strike: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this process, no file or socket that is open in it."""
    monkeypatch.setenv("CASELEDGER_SECRET", "Markersecret")
    record = upload(walk, dicom(CT)[:1])
    strike()
    walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    (seen,) = Struck.seen
    assert b"Markersecret" not in seen["environment"]
    assert b"PATH" not in seen["environment"]
    assert set(seen["descriptors"]) <= {0, 1, 2, 3}


CONFINED = """
import os, resource, socket, sys
sys.path.insert(0, sys.argv[1])
from application.sandbox.worker import confine
confine(400 * 2**20, 1)
try:
    bytearray(600 * 2**20)
    sys.exit("memory")
except MemoryError:
    pass
try:
    with open(sys.argv[2], "wb") as out:
        out.write(b"in clear")
        out.flush()
    sys.exit("disk")
except OSError:
    pass
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert resource.getrlimit(resource.RLIMIT_CPU) == (1, 2)
while True:
    pass
"""


def test_a_worker_has_bounds(tmp_path: Path) -> None:
    """Memory, files and processor time: an endless loop ends by the system's own signal."""
    root = Path(sandboxing.__file__).resolve().parents[1]
    ended = subprocess.run(
        [sys.executable, "-I", "-c", CONFINED, str(root), str(tmp_path / "leak")],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == -signal.SIGXCPU, ended.stderr
    assert not (tmp_path / "leak").exists() or not (tmp_path / "leak").read_bytes()


def test_no_more_workers_run_at_once_than_there_is_room_for(walk: Walk) -> None:
    """Two at a time; who waits too long is told to try again later."""
    record = upload(walk, dicom(CT)[:1])
    pictures = with_limits(walk.service)
    running, most, lock = [0], [0], threading.Lock()
    run = pictures._sandbox._run

    def counted(*args: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return run(*args)
        finally:
            with lock:
                running[0] -= 1

    pictures._sandbox._run = counted  # type: ignore[method-assign]
    (series,) = _plan(walk, record)
    threads = [threading.Thread(target=pictures._sheet, args=(record, series)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 2


def _plan(walk: Walk, record: str) -> Any:
    from application.pictures.plan import plan
    from application.records.requirements import requirement

    pictures = walk.service.pictures
    manifest = pictures._manifest(walk.service.cases.load(walk.case).state, record)
    return plan(manifest.files, requirement("any").vocabulary)


def test_pictures_go_with_the_record(walk: Walk, database: Database) -> None:
    """They are blobs of the record under its key, and what names them goes with that key."""
    walk.upload(CT)
    (record,) = walk.service.cases.load(walk.case).state.records
    index = walk.service.pictures.listing(request(*PATIENT), walk.case, record)
    sheet = index.series[0].sheet
    assert sheet is not None
    vault, identity = walk.service.vault, walk.service.pictures._blob_keys.of(record)
    assert vault.read_bytes(record, identity, sheet.sha256, limit=sheet.bytes).startswith(b"\x89PNG")
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("SELECT count(*) FROM records.derived").fetchone() == (1,)
        (sealed,) = connection.execute("SELECT sealed FROM records.derived").fetchone() or (b"",)
        assert sheet.sha256.encode() not in sealed
        connection.execute("DELETE FROM records.blob_key WHERE record = %s", (record,))
        assert connection.execute("SELECT count(*) FROM records.derived").fetchone() == (0,)
    vault.delete_record(record)
    with pytest.raises(BlobAltered):
        vault.read_bytes(record, identity, sheet.sha256, limit=sheet.bytes)


def test_a_reader_that_goes_on_and_on_ends_at_its_processor_time(walk: Walk) -> None:
    """Ten million lists: the document is reported, and remembered as one that cannot be read."""
    made = b'{"resourceType":"Bundle","x":[' + b"[],[]," * 5_000_000 + b"1]}"
    receiving, who = walk.service.receiving, request(*PATIENT)
    upload_ = receiving.begin(who, walk.case, RecordKind.OTHER).upload
    receiving.add_file(who, walk.case, upload_, "x.json", [made], len(made), hashlib.sha256(made).hexdigest())
    (received, *_) = receiving.finish(who, walk.case, upload_).events
    documents = walk.service.documents
    documents._sandbox = Sandbox(Limits(cpu_s=1))
    for _ in range(2):
        facts = documents.facts(request(*PATIENT), walk.case, received.record)  # type: ignore[union-attr]
        (finding,) = facts.files[0].facts.findings
        assert finding.code == "DOC_UNREADABLE"
        assert finding.value == "time"
        documents._sandbox = Sandbox(Limits(wall_s=0.0))  # no worker could do anything now
