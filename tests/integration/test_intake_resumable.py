"""Transfers that go on where they broke, below the API: across processes, under races, and never in clear."""

import io
import os
import resource
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psycopg
import pytest
from obstore.store import LocalStore
from psycopg_pool import ConnectionPool

from application.records.intake import Intake
from application.records.resumable import Resumable
from application.records.vault import Vault
from domain.errors import (
    AlreadyDone,
    CaseLedgerError,
    MissingPart,
    OffsetMismatch,
    TooLarge,
    TruncatedUpload,
    UnsafePath,
    UploadBusy,
    UploadNotFound,
)
from domain.records import RecordKind
from tests.conftest import Database
from tests.integration.test_intake import SubjectKeys, objects

LETTER = RecordKind.ONCOLOGIST_LETTER
TEXT = b"Dear colleague, Markerwords. " * 2000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the vault stands."""
    return tmp_path / "vault"


@pytest.fixture
def sealer() -> SubjectKeys:
    """Keys of this test alone."""
    return SubjectKeys()


@pytest.fixture
def pool(database: Database) -> Iterator[ConnectionPool[psycopg.Connection]]:
    """Connections of the service role."""
    with ConnectionPool(database.service_url, min_size=1, max_size=4, open=True) as pool:
        yield pool


def process(
    pool: ConnectionPool, root: Path, sealer: SubjectKeys, segment_bytes: int = 10_000
) -> tuple[Intake, Resumable]:
    """What one process of the service has: nothing of it is shared with another but database, disk and keys."""
    vault = Vault(LocalStore(root, mkdir=True))
    intake = Intake(pool, vault, sealer)
    return intake, Resumable(intake, vault, sealer, segment_bytes=segment_bytes)


def broken(data: bytes, at: int) -> Iterator[bytes]:
    """A sender who goes away after so many bytes."""
    for start in range(0, at, 700):
        yield data[start : min(start + 700, at)]
    raise TruncatedUpload


def test_a_transfer_goes_on_in_another_process(pool: ConnectionPool, root: Path, sealer: SubjectKeys) -> None:
    """Each attempt is by a service that was started anew, each breaks somewhere, and every byte that came is kept."""
    intake, resumable = process(pool, root, sealer)
    upload = intake.open("case-1", "actor-1", LETTER)
    part = resumable.begin(upload, "file", "letter.txt", len(TEXT), None).part
    at = 0
    for step in (1, 9_999, 10_001, 12_345):
        _, resumable = process(pool, root, sealer)
        with pytest.raises(TruncatedUpload):
            resumable.append(upload, part, at, broken(TEXT[at:], step), complete=True)
        at += step
        assert resumable.status(upload, part).offset == at
        assert all(b"Markerwords" not in path.read_bytes() for path in root.rglob("*") if path.is_file())
    with pytest.raises(MissingPart):
        intake.finish(upload)
    done = resumable.append(upload, part, at, [TEXT[at:]], complete=True)
    assert (done.done, done.taken.bytes if done.taken else 0) == (True, len(TEXT))
    (draft,) = intake.finish(upload)
    assert [(each.name, each.bytes) for each in draft.manifest.files] == [("letter.txt", len(TEXT))]
    assert (
        Vault(LocalStore(root)).read_bytes(draft.record, draft.identity, draft.manifest.files[0].sha256, limit=10**6)
        == TEXT
    )
    assert len(objects(root)) == 2


def test_two_senders_of_one_transfer_do_not_mix(pool: ConnectionPool, root: Path, sealer: SubjectKeys) -> None:
    """While one sends, another sends the same place: the first whose bytes are durable wins; nothing is left."""
    intake, resumable = process(pool, root, sealer)
    upload = intake.open("case-1", "actor-1", LETTER)
    part = resumable.begin(upload, "file", "a", None, None).part

    def overtaken() -> Iterator[bytes]:
        yield b"slow"
        resumable.append(upload, part, 0, [b"fast"], complete=False)

    with pytest.raises(OffsetMismatch) as caught:
        resumable.append(upload, part, 0, overtaken(), complete=True)
    assert caught.value.expected == 4
    assert len(objects(root)) == 1
    assert resumable.append(upload, part, 4, [], complete=True).length == 4
    assert len(objects(root)) == 1


def test_an_end_that_fails_can_be_asked_for_again(
    pool: ConnectionPool, root: Path, sealer: SubjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the store fails while the whole is put together, the bytes stay, and the next attempt succeeds."""
    intake, resumable = process(pool, root, sealer)
    upload = intake.open("case-1", "actor-1", LETTER)
    part = resumable.begin(upload, "file", "a", None, None).part
    resumable.append(upload, part, 0, [TEXT], complete=False)

    class Down(CaseLedgerError):
        pass

    def down(*_: object) -> None:
        raise Down

    with monkeypatch.context() as patched:
        patched.setattr(Vault, "read_segment", down)
        with pytest.raises(Down):
            resumable.append(upload, part, len(TEXT), [], complete=True)
    assert resumable.status(upload, part).offset == len(TEXT)
    assert resumable.append(upload, part, len(TEXT), [], complete=True).done


def test_only_one_puts_a_transfer_together(pool: ConnectionPool, root: Path, sealer: SubjectKeys) -> None:
    """While one assembles it, another is told to wait, nobody cancels it, and nobody adds to it."""
    intake, resumable = process(pool, root, sealer)
    upload = intake.open("case-1", "actor-1", LETTER)
    part = resumable.begin(upload, "file", "a", None, None).part
    resumable.append(upload, part, 0, [TEXT], complete=False)
    with psycopg.connect(pool.conninfo) as other:
        other.execute("UPDATE intake.part SET busy_until = intake.now() + 60000000")
    with pytest.raises(UploadBusy):
        resumable.append(upload, part, len(TEXT), [], complete=True)
    with pytest.raises(UploadBusy):
        resumable.cancel(upload, part)
    with pytest.raises(OffsetMismatch):
        resumable.append(upload, part, len(TEXT), [b"x"], complete=False)
    with psycopg.connect(pool.conninfo) as other:
        other.execute("UPDATE intake.part SET busy_until = 0")
    resumable.cancel(upload, part)
    assert objects(root) == []
    with pytest.raises(UploadNotFound):
        resumable.status(upload, part)


def test_what_is_given_up_takes_its_segments_along(pool: ConnectionPool, root: Path, sealer: SubjectKeys) -> None:
    """An abandoned upload, and one that nobody touches, leave no segment; a finished one takes no more."""
    intake, resumable = process(pool, root, sealer)
    for end in (intake.abandon, lambda _: intake.sweep(0)):
        upload = intake.open("case-1", "actor-1", LETTER)
        part = resumable.begin(upload, "file", "a", None, None).part
        resumable.append(upload, part, 0, [TEXT], complete=False)
        assert len(objects(root)) == 6
        end(upload)
        assert objects(root) == []
        with pytest.raises(UploadNotFound):
            resumable.append(upload, part, len(TEXT), [b"x"], complete=False)
    upload = intake.open("case-1", "actor-1", LETTER)
    part = resumable.begin(upload, "file", "a", None, None).part
    resumable.append(upload, part, 0, [TEXT], complete=True)
    intake.finish(upload)
    with pytest.raises(AlreadyDone):
        resumable.begin(upload, "file", "b", None, None)


def test_bounds_of_a_transfer(pool: ConnectionPool, root: Path, sealer: SubjectKeys) -> None:
    """More than announced, more than any file, too many at once, a path that climbs."""
    intake, resumable = process(pool, root, sealer)
    upload = intake.open("case-1", "actor-1", LETTER)
    with pytest.raises(TooLarge):
        resumable.begin(upload, "file", "a", 2**40, None)
    for path in ("../a", "/a", "a/../../b", "C:\\a", "\\\\server\\a"):
        with pytest.raises(UnsafePath):
            resumable.begin(upload, "file", path, None, None)
    part = resumable.begin(upload, "file", "a", 5, None).part
    with pytest.raises(TooLarge):
        resumable.append(upload, part, 0, [b"123", b"456"], complete=True)
    assert resumable.status(upload, part).offset == 3
    for number in range(63):
        resumable.begin(upload, "file", str(number), None, None)
    with pytest.raises(TooLarge):
        resumable.begin(upload, "file", "one more", None, None)


def test_nothing_personal_of_a_transfer_stands_in_clear(
    pool: ConnectionPool, root: Path, sealer: SubjectKeys, database: Database
) -> None:
    """Neither name nor content is in the rows; without the subject's key both are gone."""
    intake, resumable = process(pool, root, sealer)
    upload = intake.open("case-1", "actor-1", LETTER)
    part = resumable.begin(upload, "file", "Markername.txt", None, None).part
    resumable.append(upload, part, 0, [TEXT], complete=True)
    with psycopg.connect(database.owner_url) as connection:
        rows = connection.execute("SELECT p::text || f::text FROM intake.part p, intake.file f").fetchall()
    dump = "".join(row[0] for row in rows)
    assert "Markername" not in dump
    assert b"Markername".hex() not in dump
    sealer.keys.clear()
    with pytest.raises(CaseLedgerError):
        resumable.status(upload, part)


def test_memory_stays_flat_over_a_large_archive(database: Database, root: Path) -> None:
    """A zip of 400 MB in forty members goes in while the process, which does nothing else, grows by less than 60 MB."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        grown_kb = alone.submit(take_a_large_archive, database.service_url, root).result(timeout=300)
    assert grown_kb < 60_000


def take_a_large_archive(url: str, root: Path) -> int:
    """How much memory a zip of 400 MB took at its most, in KiB, after a small one went in."""
    with ConnectionPool(url, min_size=1, max_size=4, open=True) as pool:
        intake, resumable = process(pool, root, SubjectKeys(), segment_bytes=8 * 1024**2)
        upload = intake.open("case-1", "actor-1", LETTER)
        noise = os.urandom(10_000_000)
        packed = root.parent / "whole.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for number in range(40):
                archive.writestr(f"{number}.bin", noise + str(number).encode())

        def chunks() -> Iterator[bytes]:
            with packed.open("rb") as file:
                while chunk := file.read(65_536):
                    yield chunk

        small = io.BytesIO()
        with zipfile.ZipFile(small, "w") as archive:
            archive.writestr("a", noise[:20_000_000])
        warm = resumable.begin(upload, "archive", "warm.zip", None, None).part
        resumable.append(upload, warm, 0, [small.getvalue()], complete=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        part = resumable.begin(upload, "archive", "whole.zip", None, None).part
        done = resumable.append(upload, part, 0, chunks(), complete=True)
        if done.unpacked is None or (done.unpacked.taken, done.unpacked.refused) != (40, ()):
            raise ValueError("the archive was not taken in whole")
        if intake.status(upload).files != 41:
            raise ValueError("not every member is a file")
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
