import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from obstore.store import LocalStore
from psycopg_pool import ConnectionPool
from pydicom.data import get_testdata_file

from application.records.intake import Intake, read_manifest
from application.records.vault import Vault
from domain.errors import (
    AlreadyDone,
    ControlCharacter,
    DatabaseUnavailable,
    DigestMismatch,
    MalformedBody,
    NotDicom,
    SubjectErased,
    TooLarge,
    TruncatedUpload,
    UploadBusy,
    UploadNotFound,
)
from domain.records import RecordKind, digest_of
from tests.conftest import Database

IMAGING, LETTER = RecordKind.IMAGING, RecordKind.ONCOLOGIST_LETTER
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 1000
ARABIC = "تقرير الأشعة.pdf"


class SubjectKeys:
    """A sealer with one AES-GCM key a subject, in memory; a subject without a key is erased."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes:
        key = self.keys.setdefault(subject, os.urandom(32))
        nonce = os.urandom(12)
        return nonce + AESGCM(key).encrypt(nonce, plaintext, context.encode())

    def open(self, subject: str, context: str, sealed: bytes) -> bytes:
        if subject not in self.keys:
            raise SubjectErased
        return AESGCM(self.keys[subject]).decrypt(sealed[:12], sealed[12:], context.encode())


@pytest.fixture
def pool(database: Database) -> Iterator[ConnectionPool[psycopg.Connection]]:
    """Connections of the service role."""
    with ConnectionPool(database.service_url, min_size=1, max_size=4, open=True) as pool:
        yield pool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the vault stands."""
    return tmp_path / "vault"


@pytest.fixture
def vault(root: Path) -> Vault:
    """A vault on the file system."""
    return Vault(LocalStore(root, mkdir=True))


@pytest.fixture
def sealer() -> SubjectKeys:
    """Keys of this test alone."""
    return SubjectKeys()


@pytest.fixture
def intake(pool: ConnectionPool, vault: Vault, sealer: SubjectKeys) -> Intake:
    """An intake on a real database."""
    return Intake(pool, vault, sealer)


def objects(root: Path) -> list[str]:
    """Names of all files below a vault."""
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def series() -> list[Path]:
    """The seven slices of the MR angiography in pydicom's dicomdirtests."""
    first = get_testdata_file("dicomdirtests/98892003/MR700/4648", download=False)
    assert isinstance(first, str)
    return sorted(Path(first).parent.iterdir())


def test_a_real_series_becomes_a_draft(intake: Intake, vault: Vault, root: Path) -> None:
    """Seven MR slices give a manifest with their header facts, which the vault gives back under its digest."""
    upload = intake.open("case-1", "actor-1", IMAGING)
    for path in series():
        data = path.read_bytes()
        file = intake.add_file(
            upload, path.name, iter([data[:1000], data[1000:]]), len(data), hashlib.sha256(data).hexdigest()
        )
        assert file.media_type == "application/dicom"
        assert file.header is not None
        assert file.header.modality == "MR"
    status = intake.status(upload)
    assert (status.state, status.files, status.case, status.actor) == ("open", 7, "case-1", "actor-1")
    (draft,) = intake.finish(upload)
    assert len(draft.manifest.files) == 7
    assert draft.manifest.total_bytes == status.total_bytes
    assert draft.digest == digest_of(draft.manifest.encode())
    assert read_manifest(vault, draft.record, draft.identity, draft.digest) == draft.manifest
    headers = [file.header for file in draft.manifest.files if file.header is not None]
    assert len({header.series_uid for header in headers}) == 1
    assert len({header.sop_instance_uid for header in headers}) == 7
    for file, path in zip(draft.manifest.files, series(), strict=True):
        assert file.name == path.name
        assert vault.read_bytes(draft.record, draft.identity, file.sha256, limit=10**7) == path.read_bytes()
    assert len(objects(root)) == 8


def test_other_kinds_take_any_file_by_its_content(intake: Intake) -> None:
    """A letter is what its bytes say, whatever its name says; names survive in any script."""
    upload = intake.open("case-1", "actor-1", LETTER)
    assert intake.add_file(upload, ARABIC, [PDF]).media_type == "application/pdf"
    assert intake.add_file(upload, "간.dcm", [b"CEA 3,1\n"]).media_type == "text/plain"
    name = b"\xb8\xce.txt".decode("gb18030")
    assert intake.add_file(upload, name, [os.urandom(99)]).media_type == "application/octet-stream"
    (draft,) = intake.finish(upload)
    assert {file.name for file in draft.manifest.files} == {ARABIC, "간.dcm", "肝.txt"}
    assert all(file.header is None and file.reason is None for file in draft.manifest.files)


@pytest.mark.parametrize(
    ("chunks", "length", "sha256", "error"),
    [
        ([PDF[:-1]], len(PDF), None, TruncatedUpload),
        ([PDF, b"x"], len(PDF), None, TooLarge),
        ([PDF], len(PDF), "0" * 64, DigestMismatch),
        ([], None, None, TruncatedUpload),
        ([b"", b""], 0, None, TruncatedUpload),
        ([PDF], 10**6 + 1, None, TooLarge),
        ([PDF] * 5, None, None, TooLarge),
    ],
)
def test_a_refused_file_leaves_the_upload_as_it_was(
    pool: ConnectionPool, vault: Vault, sealer: SubjectKeys, root: Path, chunks, length, sha256, error
) -> None:  # type: ignore[no-untyped-def]
    """Cut off, too long, altered, empty, above the bound: named, nothing stored, and the upload goes on."""
    intake = Intake(pool, vault, sealer, file_bytes=10**6)
    upload = intake.open("case-1", "actor-1", LETTER)
    with pytest.raises(error):
        intake.add_file(upload, "a.pdf", chunks, length, sha256)
    assert objects(root) == []
    assert intake.status(upload).files == 0
    with pytest.raises(MalformedBody):
        intake.finish(upload)
    intake.add_file(upload, "a.pdf", [PDF], len(PDF), hashlib.sha256(PDF).hexdigest())
    assert len(intake.finish(upload)[0].manifest.files) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG\r\n\x1a\n" + bytes(99), b"\xff\xd8\xff\xe0", b"GIF89a\0\0", os.urandom(200_000), b"oid sha256:"],
)
def test_what_is_not_dicom_is_refused_as_imaging(intake: Intake, root: Path, data: bytes) -> None:
    """A picture, another, noise and nothing are refused one by one; the other files of the batch go on."""
    upload = intake.open("case-1", "actor-1", IMAGING)
    with pytest.raises(NotDicom):
        intake.add_file(upload, "IM0001.dcm", [data])
    assert objects(root) == []
    intake.add_file(upload, "IM0002", [series()[0].read_bytes()])
    assert [file.name for file in intake.finish(upload)[0].manifest.files] == ["IM0002"]


def test_what_is_clearly_not_dicom_is_refused_before_it_has_arrived(intake: Intake) -> None:
    """Of four gigabytes of JPEG offered as imaging, less than a megabyte is read."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield b"\xff\xd8\xff\xe0" + bytes(2000)
        while True:
            read += 65_536
            yield bytes(65_536)

    with pytest.raises(NotDicom):
        intake.add_file(intake.open("case-1", "actor-1", IMAGING), "x.dcm", endless())
    assert read < 10**6


def hostile() -> dict[str, bytes]:
    """Files that carry the DICM mark and break decoders."""
    mark = bytes(128) + b"DICM"
    meta = b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    deep = meta + b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 100_000
    return {
        "cut": mark + meta + b"\x08\0\x18\0UI\xff",
        "nested": mark + deep,
        "empty": mark,
        "claims": mark + meta + b"\x08\0\x05\0UT\0\0" + struct.pack("<I", 0xFFFFFFF0),
        "noise": mark + os.urandom(300_000),
    }


@pytest.mark.parametrize("name", hostile())
def test_a_dicom_file_that_cannot_be_read_is_kept_with_a_reason(intake: Intake, name: str) -> None:
    """Whatever a decoder raises becomes a reason in the manifest; nothing crashes, nothing is lost."""
    upload = intake.open("case-1", "actor-1", IMAGING)
    file = intake.add_file(upload, name, [hostile()[name]])
    assert file.media_type == "application/dicom"
    assert (file.header is None) == (file.reason is not None)
    assert len(intake.finish(upload)[0].manifest.files) == 1


@pytest.mark.parametrize("header_bytes", [65_536, 65_540, 200_000])
def test_a_header_beyond_the_first_look_is_read_whole(intake: Intake, header_bytes: int) -> None:
    """A header that goes on behind the first look, cut inside an element or between two, is read whole."""
    data = series()[0].read_bytes()
    start = data.index(b"\x28\x00\x02\x00US")  # Samples per Pixel: geometry and matrix stand behind it
    private = b"\x27\x00\x10\x00LO\x04\x00TEST\x27\x00\x01\x10OB\0\0"
    filler = header_bytes - start - len(private) - 4
    private += struct.pack("<I", filler) + bytes(filler)
    upload = intake.open("case-1", "actor-1", IMAGING)
    plain = intake.add_file(upload, "plain", [data]).header
    padded = data[:start] + private + data[start:]
    file = intake.add_file(upload, "long", [padded[at : at + 999] for at in range(0, len(padded), 999)])
    assert plain is not None
    assert file.header == msgspec.structs.replace(plain, pixel_offset=plain.pixel_offset + len(private))


def test_the_same_file_again_is_one(intake: Intake, root: Path) -> None:
    """Bytes and name again change nothing; under another name they are another document, with a key of its own."""
    upload = intake.open("case-1", "actor-1", LETTER)
    first = intake.add_file(upload, "a.pdf", [PDF])
    assert intake.add_file(upload, "a.pdf", [PDF]) == first
    assert intake.status(upload).files == 1
    intake.add_file(upload, "b.pdf", [PDF])
    intake.add_file(upload, "a.pdf", [PDF, b"other"])
    drafts = intake.finish(upload)
    assert [[file.name for file in draft.manifest.files] for draft in drafts] == [["a.pdf", "a.pdf"], ["b.pdf"]]
    assert len(objects(root)) == 3 + 2


def test_finishing_twice_gives_the_same_answer(intake: Intake) -> None:
    """The draft is the same, and no file is taken after it."""
    upload = intake.open("case-1", "actor-1", LETTER)
    intake.add_file(upload, "a.pdf", [PDF])
    (draft,) = intake.finish(upload)
    assert intake.finish(upload) == (draft,)
    with pytest.raises(AlreadyDone):
        intake.add_file(upload, "b.pdf", [PDF])
    with pytest.raises(AlreadyDone):
        intake.abandon(upload)
    assert draft.identity not in repr(draft)
    assert "a.pdf" not in repr(draft)


def test_the_digest_does_not_depend_on_the_order(intake: Intake) -> None:
    """Two uploads of the same files in different order have the same digest."""
    digests = set()
    for order in (("a", "b"), ("b", "a")):
        upload = intake.open("case-1", "actor-1", LETTER)
        for name in order:
            intake.add_file(upload, name, [b"page ", name.encode()])
        digests.add(intake.finish(upload)[0].digest)
    assert len(digests) == 1


def test_a_settled_upload_is_forgotten_and_its_content_stays(intake: Intake, vault: Vault, database: Database) -> None:
    """Once the event is in the ledger the rows go, with the sealed key; the record's blobs stay."""
    upload = intake.open("case-1", "actor-1", LETTER)
    intake.add_file(upload, "a.pdf", [PDF])
    with pytest.raises(AlreadyDone):
        intake.settle(upload)
    (draft,) = intake.finish(upload)
    assert intake.sweep(0) == 0
    intake.settle(upload)
    with pytest.raises(UploadNotFound):
        intake.finish(upload)
    assert read_manifest(vault, draft.record, draft.identity, draft.digest) == draft.manifest
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("SELECT FROM intake.upload").rowcount == 0
        assert connection.execute("SELECT FROM intake.file").rowcount == 0


@pytest.mark.parametrize("finished", [False, True])
def test_what_is_given_up_leaves_nothing(intake: Intake, root: Path, finished: bool) -> None:
    """Abandoned, or refused by the ledger for good: content goes, and the upload takes nothing more."""
    upload = intake.open("case-1", "actor-1", LETTER)
    intake.add_file(upload, "a.pdf", [PDF])
    if finished:
        intake.finish(upload)
        with pytest.raises(UploadBusy):
            intake.resolve(upload, lambda case, record: False)
        intake.release(upload)
        assert not intake.resolve(upload, lambda case, record: False)
    else:
        intake.abandon(upload)
        intake.abandon(upload)
    assert objects(root) == []
    for call in (lambda: intake.add_file(upload, "b.pdf", [PDF]), lambda: intake.finish(upload)):
        with pytest.raises(UploadNotFound):
            call()


def test_the_sweep_ends_what_nobody_touches(intake: Intake, root: Path) -> None:
    """A young upload stays; an old one loses its content, then its row."""
    upload = intake.open("case-1", "actor-1", LETTER)
    intake.add_file(upload, "a.pdf", [PDF])
    assert intake.sweep(3600) == 0
    assert len(objects(root)) == 1
    assert intake.sweep(0) == 1
    assert objects(root) == []
    assert intake.status(upload).state == "abandoned"
    assert intake.sweep(0) == 1
    with pytest.raises(UploadNotFound):
        intake.status(upload)


def test_a_file_that_arrives_after_the_end_leaves_nothing(intake: Intake, root: Path) -> None:
    """When the upload is abandoned while a file streams in, the file is refused and its object removed."""
    upload = intake.open("case-1", "actor-1", LETTER)

    def chunks() -> Iterator[bytes]:
        yield PDF
        intake.abandon(upload)

    with pytest.raises(UploadNotFound):
        intake.add_file(upload, "a.pdf", chunks())
    assert objects(root) == []


def test_a_late_duplicate_never_removes_what_the_record_has(intake: Intake, vault: Vault) -> None:
    """A file that is already in the finished record arrives again: refused, and the record's object stays."""
    upload = intake.open("case-1", "actor-1", LETTER)
    file = intake.add_file(upload, "a.pdf", [PDF])
    drafts = []

    def chunks() -> Iterator[bytes]:
        yield PDF
        drafts.extend(intake.finish(upload))

    with pytest.raises(AlreadyDone):
        intake.add_file(upload, "a.pdf", chunks())
    draft = drafts[0]
    assert vault.read_bytes(draft.record, draft.identity, file.sha256, limit=10**6) == PDF


def test_a_slow_upload_keeps_itself_alive(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a file arrives its upload is touched, and no connection of the pool is held."""
    monkeypatch.setattr("application.records.adding._TOUCH_EVERY_S", -1.0)
    upload = intake.open("case-1", "actor-1", LETTER)
    touched = []

    def chunks() -> Iterator[bytes]:
        for _ in range(3):
            touched.append(intake.status(upload).touched_at)
            yield PDF

    intake.add_file(upload, "a.pdf", chunks())
    assert touched == sorted(set(touched))


def test_files_added_at_once_are_all_there(intake: Intake) -> None:
    """Eight threads add to one upload; nothing is lost and the total is right."""
    upload = intake.open("case-1", "actor-1", LETTER)

    def add(number: int) -> None:
        for part in range(3):
            intake.add_file(upload, f"{number}-{part}", [PDF[9:], bytes([number, part])])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (draft,) = intake.finish(upload)
    assert len(draft.manifest.files) == 24
    assert draft.manifest.total_bytes == 24 * (len(PDF) - 9 + 2)


def test_nothing_personal_stands_in_clear(intake: Intake, database: Database, sealer: SubjectKeys) -> None:
    """No column holds a file name, a patient's name or the record's key; without the subject's key all is gone."""
    upload = intake.open("case-1", "actor-1", IMAGING)
    intake.add_file(upload, "Doe Peter.dcm", [series()[0].read_bytes()])
    identity = intake.finish(upload)[0].identity
    with psycopg.connect(database.owner_url) as connection:
        rows = connection.execute("SELECT u::text || f::text FROM intake.upload u, intake.file f").fetchall()
        sealed = connection.execute("SELECT sealed, sealed_key FROM intake.upload, intake.file").fetchall()
    dump = "".join(row[0] for row in rows).encode() + b"".join(part for row in sealed for part in row)
    assert len(dump) > 500
    for secret in (b"Doe", b"Peter", identity.encode(), b"1.3.6.1.4.1.5962"):
        assert secret not in dump
        assert secret.hex().encode() not in dump
    sealer.keys.clear()
    with pytest.raises(SubjectErased):
        intake.finish(upload)


def test_only_the_service_role_sees_uploads(database: Database) -> None:
    """The rights on both tables are the service's and the owner's."""
    with psycopg.connect(database.owner_url) as connection:
        grantees = connection.execute(
            "SELECT DISTINCT grantee FROM information_schema.role_table_grants WHERE table_schema = 'intake'"
        ).fetchall()
    assert {row[0] for row in grantees} == {"caseledger_owner", "caseledger_service"}


@pytest.mark.parametrize("upload", ["", "x", "019ab8f0-0000-7000-8000-000000000001", "'; DROP TABLE intake.upload; --"])
def test_an_unknown_upload_is_not_found(intake: Intake, upload: str) -> None:
    """Whatever is not the id of an upload is not found."""
    for call in (intake.status, intake.finish, intake.abandon):
        with pytest.raises(UploadNotFound):
            call(upload)


def test_a_bad_name_is_refused_before_a_byte_is_read(intake: Intake) -> None:
    """A control character in the name refuses the file."""
    upload = intake.open("case-1", "actor-1", LETTER)
    with pytest.raises(ControlCharacter):
        intake.add_file(upload, "a\nb", iter(lambda: pytest.fail("read"), None))


def test_a_lost_database_is_said_so(database: Database, vault: Vault, sealer: SubjectKeys) -> None:
    """When no connection can be had, the answer is Unavailable."""
    with ConnectionPool(database.service_url, min_size=1, max_size=1, timeout=0.1, open=True) as pool:
        intake = Intake(pool, vault, sealer)
        with pool.connection(), pytest.raises(DatabaseUnavailable):
            intake.open("case-1", "actor-1", LETTER)


def test_the_draft_can_be_encoded(intake: Intake) -> None:
    """A draft is plain data."""
    upload = intake.open("case-1", "actor-1", LETTER)
    intake.add_file(upload, "a.pdf", [PDF])
    (draft,) = intake.finish(upload)
    assert msgspec.json.decode(msgspec.json.encode(draft), type=type(draft)) == draft
