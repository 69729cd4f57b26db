"""What a crash, a refusal or a killed writer leaves of an upload, and how it ends; nothing of a record is ever lost."""

from collections.abc import Iterator
from pathlib import Path

import obstore
import psycopg
import pytest

from application.cases import Cases
from application.ledger.appender import Appender
from application.records.age import new_identity
from application.records.intake import Intake, read_manifest
from application.records.receiving import Receiving
from application.records.tidying import Tidying
from application.service import Service
from domain.case import commands as c
from domain.errors import AlreadyDone, DatabaseUnavailable, MissingConsent, Refused, UploadBusy, UploadNotFound
from domain.records import RecordKind
from tests.conftest import Database
from tests.service_fixture import PATIENT, Walk, open_service, request


@pytest.fixture
def walk(database: Database, tmp_path: Path) -> Iterator[Walk]:
    """A case that waits for records."""
    with open_service(database, tmp_path / "data") as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        yield walk


def letter(walk: Walk) -> str:
    """An upload with one letter in it."""
    receiving = walk.service.receiving
    upload = receiving.begin(request(*PATIENT), walk.case, RecordKind.OTHER).upload
    receiving.add_file(request(*PATIENT), walk.case, upload, "a.txt", [b"Dear colleague"], None, None)
    return upload


def records(service: Service, case: str) -> list[str]:
    """The records of the case."""
    return list(service.cases.load(case).state.records)


def objects(service: Service) -> list[str]:
    """What the vault holds."""
    return sorted(str(item["path"]) for batch in obstore.list(service.vault._store) for item in batch)


def expire(database: Database) -> None:
    """Let the time pass in which an event may be on its way, and in which somebody comes back."""
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("UPDATE intake.upload SET committing_until = 0, touched_at = 0")


def test_an_event_that_got_in_before_a_crash_is_settled(
    walk: Walk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between append and settling: the record is there, its content stays, and the rows go."""
    upload, receiving = letter(walk), walk.service.receiving

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Intake, "settle", crash)
        with pytest.raises(KeyboardInterrupt):
            receiving.finish(request(*PATIENT), walk.case, upload)
    assert receiving.reconcile(0) == 0  # for all that this process knows, the event may still be on its way
    with pytest.raises(UploadBusy):
        receiving.abandon(request(*PATIENT), walk.case, upload)
    expire(database)
    before = objects(walk.service)
    assert receiving.reconcile(0) == 1
    (record,) = records(walk.service, walk.case)
    assert objects(walk.service) == before
    assert len([path for path in before if record in path]) == 2
    with pytest.raises(UploadNotFound):
        receiving.status(request(*PATIENT), walk.case, upload)


def test_an_append_of_unknown_fate_is_resolved_by_the_ledger(
    walk: Walk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost and nobody knows: nothing is destroyed until the ledger can be asked for good."""
    upload, receiving = letter(walk), walk.service.receiving

    def lost(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(Appender, "submit", lost)
        with pytest.raises(DatabaseUnavailable):
            receiving.finish(request(*PATIENT), walk.case, upload)
    assert receiving.reconcile(0) == 0
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("UPDATE intake.upload SET committing_until = 0")
    assert receiving.reconcile(3600) == 0  # it is not in the log, and somebody may still come back for it
    assert receiving.status(request(*PATIENT), walk.case, upload).state == "finished"
    receiving.finish(request(*PATIENT), walk.case, upload)
    assert len(records(walk.service, walk.case)) == 1


def test_a_refused_upload_is_kept_until_it_is_given_up_or_old(walk: Walk, database: Database) -> None:
    """Consent is missing today and given tomorrow: the content waits, goes when it is abandoned, or when time is up."""
    receiving, who = walk.service.receiving, request(*PATIENT)
    first, second = letter(walk), letter(walk)
    walk.act(PATIENT, c.WithdrawConsent(consent="consent-process"))
    for upload in (first, second):
        with pytest.raises(MissingConsent):
            receiving.finish(who, walk.case, upload)
    assert receiving.reconcile(3600) == 0
    assert len(objects(walk.service)) == 4
    receiving.abandon(who, walk.case, first)
    assert len(objects(walk.service)) == 2
    expire(database)
    assert receiving.reconcile(3600) == 1
    assert objects(walk.service) == []
    assert records(walk.service, walk.case) == []


def test_a_record_in_the_log_is_never_abandoned(
    walk: Walk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gives up an upload whose event got in is told so, and the content stays."""
    upload, receiving = letter(walk), walk.service.receiving
    with monkeypatch.context() as patched:
        patched.setattr(Intake, "settle", lambda *_: None)
        receiving.finish(request(*PATIENT), walk.case, upload)
    expire(database)
    with pytest.raises(AlreadyDone):
        receiving.abandon(request(*PATIENT), walk.case, upload)
    (record,) = records(walk.service, walk.case)
    assert len([path for path in objects(walk.service) if record in path]) == 2


def test_finishing_and_sweeping_at_once_lose_nothing(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sweep there is, run at the worst moment, between manifest and append: the record comes out whole."""
    upload, receiving, real = letter(walk), walk.service.receiving, Cases.act

    def swept(self: Cases, *args: object, **more: object) -> object:
        assert (receiving.reconcile(0), receiving.sweep(0), receiving.sweep_orphans(0)) == (0, 0, 0)
        return real(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Cases, "act", swept)
    receiving.finish(request(*PATIENT), walk.case, upload)
    monkeypatch.undo()
    assert receiving.sweep_orphans(0) == 0
    (record,) = walk.service.cases.load(walk.case).state.records.values()
    key = walk.service.receiving._blob_keys.of(record.record)
    manifest = read_manifest(walk.service.vault, record.record, key, record.manifest_sha256)
    assert walk.service.vault.read_bytes(record.record, key, manifest.files[0].sha256, limit=99) == b"Dear colleague"


def test_orphans_of_killed_writers_go_when_they_are_old(walk: Walk) -> None:
    """Objects that neither an upload nor a record names are removed; those of open uploads and of records are not."""
    receiving, vault = walk.service.receiving, walk.service.vault
    letter(walk)
    receiving.finish(request(*PATIENT), walk.case, letter(walk))
    before = objects(walk.service)
    orphan = "019ab8f0-0000-7000-8000-000000000001"
    vault.put(orphan, new_identity(), [b"x"])
    vault.put_segment(orphan, orphan, new_identity(), [b"y"])
    assert receiving.sweep_orphans(3600) == 0
    assert receiving.sweep_orphans(0) == 1
    assert objects(walk.service) == before


def test_tidying_runs_at_once_and_ends_when_told(
    walk: Walk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash's remains are settled as soon as the service is back, and one failing step does not stop the others."""
    upload = letter(walk)
    with monkeypatch.context() as patched:
        patched.setattr(Intake, "settle", lambda *_: None)
        walk.service.receiving.finish(request(*PATIENT), walk.case, upload)
    expire(database)

    def down(*_: object) -> int:
        raise DatabaseUnavailable

    monkeypatch.setattr(Receiving, "sweep", down)
    ended = Tidying(walk.service.receiving).once()
    assert ended == {"reconciled": 1, "orphans": 0}
    running = Tidying(walk.service.receiving, every_s=3600)
    running.start()
    running.stop()
    with pytest.raises((UploadNotFound, Refused)):
        walk.service.receiving.status(request(*PATIENT), walk.case, upload)
