"""One upload becomes a record per study or document, each with a key of its own; and what it may take up is bounded."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import obstore
import psycopg
import pytest
from obstore.store import MemoryStore

from application.records import uploads
from application.records.intake import Intake, read_manifest
from application.records.quota import Limits
from application.records.uploads import IDS_PER_FILE
from application.records.vault import Vault
from application.service import Service, assemble
from domain.case import commands as c
from domain.case import events as e
from domain.errors import (
    AlreadyDone,
    BlobAltered,
    MissingConsent,
    OtherContent,
    QuotaExceeded,
    SubjectErased,
    UploadNotFound,
    WrongPhase,
)
from domain.records import Manifest, RecordKind
from tests.conftest import Database
from tests.ledger_fixture import open_ledger
from tests.service_fixture import CT, MR_PROJECTIONS, PATIENT, Walk, dicom, open_service, request

PDF = b"%PDF-1.7\nthe report of the study beside it"
CDA = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>'
UNREADABLE = bytes(128) + b"DICM" + b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0\x08\0\x18\0UI\xff"
IDS = [f"{number:032x}" for number in range(9)]


@pytest.fixture
def walk(database: Database, tmp_path: Path) -> Iterator[Walk]:
    """A case that waits for records."""
    with open_service(database, tmp_path / "data") as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        yield walk


@pytest.fixture
def small(database: Database, tmp_path: Path) -> Iterator[Walk]:
    """A case of a service that takes little."""
    limits = Limits(upload_bytes=1000, upload_files=3, case_bytes=1500, case_files=5, case_uploads=3)
    with open_ledger(database, tmp_path / "data") as one:
        vault = Vault(MemoryStore())
        walk = Walk(assemble(one.keys, one.pool, one.appender, one.checkpoints, vault, limits=limits))
        walk.open()
        walk.prepare()
        yield walk


def begin(walk: Walk, kind: RecordKind = RecordKind.IMAGING) -> str:
    """An upload of the patient's."""
    return walk.service.receiving.begin(request(*PATIENT), walk.case, kind).upload


def add(walk: Walk, upload: str, name: str, content: bytes) -> None:
    """A file of it."""
    walk.service.receiving.add_file(request(*PATIENT), walk.case, upload, name, [content], len(content), None)


def manifests(walk: Walk) -> list[Manifest]:
    """What the case's records consist of, in the order of their arrival."""
    keys = walk.service.receiving._blob_keys
    return [
        read_manifest(walk.service.vault, name, keys.of(name), each.manifest_sha256)
        for name, each in walk.service.cases.load(walk.case).state.records.items()
    ]


def objects(service: Service) -> list[str]:
    """What the vault holds."""
    return sorted(str(item["path"]) for batch in obstore.list(service.vault._store) for item in batch)


def cd(walk: Walk) -> str:
    """An upload as a CD is: two studies, files in between that cannot be read, and documents."""
    upload = begin(walk)
    ct, mr = dicom(CT), dicom(MR_PROJECTIONS)
    for number, pair in enumerate(zip(ct, mr, strict=False)):
        add(walk, upload, f"CT/{number}", pair[0])
        add(walk, upload, f"MR/{number}", pair[1])
    add(walk, upload, "CT/unreadable", UNREADABLE)
    add(walk, upload, "report.pdf", PDF)
    add(walk, upload, "report.xml", CDA)
    return upload


def test_a_cd_with_two_studies_and_documents_becomes_a_record_of_each(walk: Walk) -> None:
    """All by one append, each with its own manifest; what cannot be read stays with the first study."""
    upload = cd(walk)
    before = walk.service.cases.load(walk.case).revision
    outcome = walk.service.receiving.finish(request(*PATIENT), walk.case, upload)
    received = [each for each in outcome.events if isinstance(each, e.RecordReceived)]
    assert [each.kind for each in received] == ["imaging", "imaging", "other", "other"]
    assert outcome.revision == before + 4
    assert [receipt.index for receipt in outcome.receipts] == list(range(outcome.index, outcome.index + 4))
    names = [{file.name.split("/")[0] for file in manifest.files} for manifest in manifests(walk)]
    assert names == [{"CT"}, {"MR"}, {"report.pdf"}, {"report.xml"}]
    assert [len(manifest.files) for manifest in manifests(walk)] == [6, 5, 1, 1]
    state = walk.service.cases.load(walk.case).state
    assert [(each.files, each.bytes) for each in state.records.values()] == [
        (len(manifest.files), manifest.total_bytes) for manifest in manifests(walk)
    ]
    assert state.phase == "imaging_check"
    with pytest.raises(UploadNotFound):
        walk.service.receiving.status(request(*PATIENT), walk.case, upload)
    checked = walk.service.imaging_checks.run(request("service", "service"), walk.case)
    assert checked is not None
    (event, *_) = checked.events
    assert isinstance(event, e.ImagingChecked)
    assert set(event.records) == {received[0].record, received[1].record}


def test_every_record_of_an_upload_has_a_key_of_its_own(walk: Walk) -> None:
    """What one key opens no other does, so that each can be erased alone."""
    walk.service.receiving.finish(request(*PATIENT), walk.case, cd(walk))
    keys = walk.service.receiving._blob_keys
    identities = {name: keys.of(name) for name in walk.service.cases.load(walk.case).state.records}
    assert len(set(identities.values())) == 4
    first, second, *_ = identities
    manifest = walk.service.cases.load(walk.case).state.records[first].manifest_sha256
    with pytest.raises(BlobAltered):
        b"".join(walk.service.vault.stream(first, identities[second], manifest))


def test_the_pages_of_a_letter_stay_together_and_another_letter_does_not(walk: Walk) -> None:
    """Pictures and texts are pages of one document; each PDF is a document, of the kind that the upload is of."""
    upload = begin(walk, RecordKind.PATHOLOGY)
    for name, content in (
        ("1.png", b"\x89PNG\r\n\x1a\n1"),
        ("2.txt", b"page two"),
        ("a.pdf", PDF),
        ("b.pdf", PDF + b"b"),
    ):
        add(walk, upload, name, content)
    walk.service.receiving.finish(request(*PATIENT), walk.case, upload)
    assert [(each.kind, [file.name for file in each.files]) for each in manifests(walk)] == [
        ("pathology", ["1.png", "2.txt", "a.pdf"]),
        ("pathology", ["b.pdf"]),
    ]


def test_an_imaging_upload_of_a_report_alone_is_a_document(walk: Walk) -> None:
    """There is no empty record of images beside it."""
    upload = begin(walk)
    add(walk, upload, "report.pdf", PDF)
    (event,) = walk.service.receiving.finish(request(*PATIENT), walk.case, upload).events
    assert isinstance(event, e.RecordReceived)
    assert event.kind == "other"
    assert walk.service.cases.load(walk.case).state.phase == "gathering"


@pytest.mark.parametrize("end", ["abandon", "sweep", "resolve"])
def test_what_is_given_up_goes_with_all_its_records(walk: Walk, database: Database, end: str) -> None:
    """Abandoned, untouched for too long, or refused and old: no object of any record stays."""
    upload, receiving = cd(walk), walk.service.receiving
    assert len(objects(walk.service)) == 13
    if end == "abandon":
        receiving.abandon(request(*PATIENT), walk.case, upload)
    elif end == "sweep":
        assert receiving.sweep(0) == 1
    else:
        walk.act(PATIENT, c.WithdrawConsent(consent="consent-process"))
        with pytest.raises(MissingConsent):
            receiving.finish(request(*PATIENT), walk.case, upload)
        with psycopg.connect(database.owner_url) as connection:
            connection.execute("UPDATE intake.upload SET committing_until = 0, touched_at = 0")
        assert receiving.reconcile(3600) == 1
    assert objects(walk.service) == []


def test_a_crash_after_the_append_settles_all_records(
    walk: Walk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is swept, and nothing of them is lost."""
    upload, receiving = cd(walk), walk.service.receiving
    with monkeypatch.context() as patched:
        patched.setattr(Intake, "settle", lambda *_: None)
        receiving.finish(request(*PATIENT), walk.case, upload)
    assert receiving.sweep_orphans(0) == 0
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("UPDATE intake.upload SET committing_until = 0, touched_at = 0")
    before = objects(walk.service)
    assert receiving.reconcile(0) == 1
    assert receiving.sweep_orphans(0) == 0
    assert objects(walk.service) == before
    assert len(manifests(walk)) == 4


def test_bytes_of_a_record_that_nothing_names_go_when_it_is_finished(walk: Walk) -> None:
    """What a writer that was killed stored below the record and did not name."""
    upload = begin(walk, RecordKind.OTHER)
    add(walk, upload, "a.txt", b"Dear colleague")
    receiving, vault = walk.service.receiving, walk.service.vault
    record = receiving.status(request(*PATIENT), walk.case, upload).record
    with receiving._intake.transaction() as database:
        identity = receiving._intake.identity_of(uploads.load(database, upload))
    vault.put(record, identity, [b"nobody names this"])
    assert len(objects(walk.service)) == 2
    receiving.finish(request(*PATIENT), walk.case, upload)
    (manifest,) = manifests(walk)
    assert {path.rpartition("/")[2] for path in objects(walk.service)} == {
        f"{sha256}.age"
        for sha256 in (
            manifest.files[0].sha256,
            walk.service.cases.load(walk.case).state.records[record].manifest_sha256,
        )
    }


def test_finishing_again_leaves_what_was_made_of_the_record(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was lost before the upload was settled, the images were checked since: the report stays."""
    upload, receiving = cd(walk), walk.service.receiving
    with monkeypatch.context() as patched:
        patched.setattr(Intake, "settle", lambda *_: None)
        receiving.finish(request(*PATIENT), walk.case, upload)
    walk.service.imaging_checks.run(request("service", "service"), walk.case)
    before = objects(walk.service)
    with pytest.raises(AlreadyDone):
        receiving.finish(request(*PATIENT), walk.case, upload)
    assert objects(walk.service) == before
    assert walk.service.imaging_checks.report(request("technician", "technician-1"), walk.case)


@pytest.mark.parametrize("same", [True, False])
def test_a_writer_that_comes_after_the_commit_takes_nothing_away(walk: Walk, same: bool) -> None:
    """The very bytes of a record arrive once more while it is committed: they stay; others go at the next sweep."""
    upload, receiving = begin(walk, RecordKind.OTHER), walk.service.receiving
    add(walk, upload, "a.txt", b"Dear colleague")

    def late() -> Iterator[bytes]:
        yield b"Dear "
        receiving.finish(request(*PATIENT), walk.case, upload)
        yield b"colleague" if same else b"friend"

    with pytest.raises(UploadNotFound):
        receiving.add_file(request(*PATIENT), walk.case, upload, "a.txt", late(), None, None)
    assert len(objects(walk.service)) == (2 if same else 3)
    assert receiving.sweep_orphans(3600) == (0 if same else 1)
    assert receiving.sweep_orphans(3600) == 0
    assert len(objects(walk.service)) == 2
    (record,) = walk.service.cases.load(walk.case).state.records
    key = receiving._blob_keys.of(record)
    assert walk.service.vault.read_bytes(record, key, manifests(walk)[0].files[0].sha256, limit=99) == b"Dear colleague"


def test_nothing_is_taken_for_a_case_that_takes_no_records(walk: Walk) -> None:
    """Without consent, or closed: no upload begins, none goes on, and not a byte is read; what is there can go."""
    receiving, who = walk.service.receiving, request(*PATIENT)
    upload = begin(walk)
    part = receiving.begin_part(who, walk.case, upload, "file", "a", None, None).part

    def unread() -> Iterator[bytes]:
        pytest.fail("a byte was read")
        yield b""

    def refused(error: type[Exception]) -> None:
        for attempt in (
            lambda: receiving.begin(who, walk.case, RecordKind.IMAGING),
            lambda: receiving.add_file(who, walk.case, upload, "a", unread(), None, None),
            lambda: receiving.put_file(who, walk.case, upload, IDS[0], "a", unread(), None, None),
            lambda: receiving.begin_part(who, walk.case, upload, "file", "a", None, None),
            lambda: receiving.append_part(who, walk.case, upload, part, 0, unread(), complete=False),
        ):
            with pytest.raises(error):
                attempt()

    walk.act(PATIENT, c.WithdrawConsent(consent="consent-process"))
    refused(MissingConsent)
    walk.act(("coordinator", "coordinator-1"), c.CloseCase(reason="withdrawn"))
    refused(WrongPhase)
    assert receiving.part(who, walk.case, upload, part).offset == 0
    receiving.abandon(who, walk.case, upload)
    assert objects(walk.service) == []


def test_the_same_id_again_is_the_same_answer(walk: Walk) -> None:
    """Nothing is stored twice; another content, or another name, under that id is refused and leaves nothing."""
    receiving, who = walk.service.receiving, request(*PATIENT)
    upload = begin(walk, RecordKind.OTHER)
    first, new = receiving.put_file(who, walk.case, upload, IDS[0], "a.txt", [b"Dear ", b"colleague"], 14, None)
    assert new
    before = objects(walk.service)
    for name in (IDS[0], IDS[0].upper()):
        assert receiving.put_file(who, walk.case, upload, name, "a.txt", [b"Dear colleague"], None, None) == (
            first,
            False,
        )
    for name, content in (
        ("a.txt", b"Dear colleagues"),
        ("a.txt", b"Dear"),
        ("b.txt", b"Dear colleague"),
        ("a.txt", b""),
    ):
        with pytest.raises(OtherContent):
            receiving.put_file(who, walk.case, upload, IDS[0], name, [content], None, None)
    assert objects(walk.service) == before
    assert receiving.put_file(who, walk.case, upload, IDS[1], "a.txt", [b"Dear colleague"], None, None) == (first, True)
    assert receiving.status(who, walk.case, upload).files == 1


def test_one_file_has_no_end_of_ids(walk: Walk) -> None:
    """Each is a row that no other limit counts; beyond some of them the file is refused, and what came stays."""
    receiving, who = walk.service.receiving, request(*PATIENT)
    upload = begin(walk, RecordKind.OTHER)
    for _ in range(IDS_PER_FILE):
        receiving.put_file(who, walk.case, upload, str(uuid4()), "a.txt", [b"Dear colleague"], None, None)
    with pytest.raises(QuotaExceeded):
        receiving.put_file(who, walk.case, upload, str(uuid4()), "a.txt", [b"Dear colleague"], None, None)
    receiving.put_file(who, walk.case, upload, str(uuid4()), "b.txt", [b"Dear colleague"], None, None)
    assert receiving.status(who, walk.case, upload).files == 2


def test_two_files_at_once_under_one_id_are_not_both_taken(walk: Walk) -> None:
    """The second to arrive is refused, and its bytes go."""
    receiving, who = walk.service.receiving, request(*PATIENT)
    upload = begin(walk, RecordKind.OTHER)

    def slow() -> Iterator[bytes]:
        yield b"one"
        receiving.put_file(who, walk.case, upload, IDS[0], "a.txt", [b"another"], None, None)

    with pytest.raises(OtherContent):
        receiving.put_file(who, walk.case, upload, IDS[0], "a.txt", slow(), None, None)
    assert len(objects(walk.service)) == 1
    assert receiving.status(who, walk.case, upload).files == 1


def test_what_an_upload_takes_is_bounded(small: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes, told before and while they arrive, and in files; the message names the limit, the rest goes on."""
    receiving, who = small.service.receiving, request(*PATIENT)
    upload = begin(small, RecordKind.OTHER)
    add(small, upload, "a", b"a" * 600)
    with pytest.raises(QuotaExceeded, match="1000 bytes"):
        add(small, upload, "b", b"b" * 401)
    with pytest.raises(QuotaExceeded, match="1000 bytes"):
        receiving.add_file(who, small.case, upload, "b", [b"b" * 401], None, None)
    monkeypatch.setattr("application.records.adding._TOUCH_EVERY_S", -1.0)
    with pytest.raises(QuotaExceeded, match="1000 bytes"):
        receiving.add_file(who, small.case, upload, "b", iter(lambda: b"b" * 100, b""), None, None)
    monkeypatch.undo()
    assert receiving.status(who, small.case, upload).arriving_files == 0
    assert len(objects(small.service)) == 1
    for name in ("c", "d"):
        add(small, upload, name, name.encode())
    with pytest.raises(QuotaExceeded, match="3 files"):
        add(small, upload, "e", b"e")
    part = begin(small, RecordKind.OTHER)
    begun = receiving.begin_part(who, small.case, part, "archive", "cd.zip", None, None).part
    with pytest.raises(QuotaExceeded, match="1500 bytes"):
        receiving.append_part(who, small.case, part, begun, 0, [b"x" * 950], complete=False)
    assert receiving.part(who, small.case, part, begun).offset == 0
    assert len(receiving.finish(who, small.case, upload).events) == 1


def test_an_archive_above_the_limit_is_taken_up_to_it(small: Walk) -> None:
    """Each file that is too much is named with the reason, and is not even unpacked."""
    receiving, who = small.service.receiving, request(*PATIENT)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, size in (("a", 150), ("b", 250), ("c", 700), ("d", 50)):
            packed.writestr(name, name * size)
    upload = begin(small, RecordKind.OTHER)
    part = receiving.begin_part(who, small.case, upload, "archive", "cd.zip", None, None).part
    status = receiving.append_part(who, small.case, upload, part, 0, [whole.getvalue()], complete=True)
    assert status.unpacked is not None
    assert status.unpacked.taken == 3
    (refused,) = status.unpacked.refused
    assert (refused.name, refused.code) == ("c", "quota-exceeded")
    assert "1000 bytes" in refused.reason


def test_what_a_case_holds_is_bounded(small: Walk) -> None:
    """Its records and all uploads under way together; and so is the number of those."""
    first = begin(small, RecordKind.OTHER)
    add(small, first, "a", b"a" * 900)
    small.service.receiving.finish(request(*PATIENT), small.case, first)
    second, third = begin(small, RecordKind.OTHER), begin(small, RecordKind.OTHER)
    add(small, second, "b", b"b" * 500)
    with pytest.raises(QuotaExceeded, match="a case holds at most 1500 bytes"):
        add(small, third, "c", b"c" * 101)
    add(small, third, "c", b"c" * 100)
    begin(small)
    with pytest.raises(QuotaExceeded, match="3 uploads"):
        begin(small)


def test_what_others_add_meanwhile_counts(small: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two long requests into one case, begun when there was room for each, the second sees what the first took."""
    intake = small.service.receiving._intake
    one, other = (intake.adding(begin(small, RecordKind.OTHER)) for _ in range(2))
    monkeypatch.setattr("application.records.adding.LOOK_EVERY_S", -1.0)
    one.add("a", [b"a" * 900])
    other.add("b", [b"b" * 500])
    with pytest.raises(QuotaExceeded, match="a case holds at most 1500 bytes"):
        other.add("c", [b"c" * 101])
    other.add("c", [b"c" * 100])


def test_what_arrives_right_now_is_seen(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes so far; none once it has ended, or failed."""
    monkeypatch.setattr("application.records.adding._TOUCH_EVERY_S", -1.0)
    receiving, who = walk.service.receiving, request(*PATIENT)
    upload, seen = begin(walk, RecordKind.OTHER), []

    def chunks(*, broken: bool = False) -> Iterator[bytes]:
        for _ in range(3):
            status = receiving.status(who, walk.case, upload)
            seen.append((status.arriving_files, status.arriving_bytes, status.files))
            yield b"x" * 100
        if broken:
            raise ConnectionResetError

    receiving.add_file(who, walk.case, upload, "a", chunks(), None, None)
    with pytest.raises(ConnectionResetError):
        receiving.add_file(who, walk.case, upload, "b", chunks(broken=True), None, None)
    assert seen == [(0, 0, 0), (1, 100, 0), (1, 200, 0), (0, 0, 1), (1, 100, 1), (1, 200, 1)]
    status = receiving.status(who, walk.case, upload)
    assert (status.arriving_files, status.files, status.total_bytes) == (0, 1, 300)


def test_an_erased_case_takes_its_half_arrived_records_along(walk: Walk, database: Database) -> None:
    """Every record of an upload under way loses its key, not only the first; nothing more is taken."""
    upload = cd(walk)
    with psycopg.connect(database.owner_url) as connection:
        before = connection.execute("SELECT count(*) FROM ledger.subject_key WHERE subject LIKE 'record:%'").fetchone()
        connection.execute("SELECT ledger.destroy(ARRAY['case:' || %s], NULL, NULL, 'privacy-test')", (walk.case,))
        after = connection.execute("SELECT count(*) FROM ledger.subject_key WHERE subject LIKE 'record:%'").fetchone()
    assert (before, after) == ((4,), (0,))
    walk.service.keyring.clear()
    with pytest.raises(SubjectErased):
        add(walk, upload, "late.pdf", PDF)
    walk.service.receiving.sweep_orphans(0)
    assert objects(walk.service) == []
