"""What people will look at is there before they ask; and what never gets done is seen."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from application.sandbox.sandbox import Limits, Sandbox
from application.service import Service
from application.work import jobs
from application.work.automation import advance
from application.work.jobs import CHECK, PREPARATION, TO_LOOK_AT, Workers
from application.work.preparing import Preparing
from caseledger.working import working
from domain.case.actor import SERVICE
from domain.case.commands import ReleaseRecord
from domain.errors import BlobAltered, Unavailable
from domain.records import RecordKind
from tests.conftest import Database
from tests.integration.test_jobs import WAIT_S, Scripted, checks_of, gathering, named, rows, until
from tests.service_fixture import CT, MR_PROJECTIONS, PATIENT, Walk, open_service, request

MADE = "SELECT kind FROM records.derived ORDER BY kind"
LETTER = b"Dear colleague, thank you for referring this patient."


@pytest.fixture
def service(database: Database, tmp_path: Path) -> Iterator[Service]:
    """Every use case, and nobody who works."""
    with open_service(database, tmp_path / "data") as opened:
        yield opened


def preparing(service: Service) -> Preparing:
    """As the composition makes it."""
    return Preparing(service.cases, service.pictures, service.documents)


def letter(walk: Walk) -> None:
    """A record of one text."""
    receiving, who = walk.service.receiving, request(*PATIENT)
    upload = receiving.begin(who, walk.case, RecordKind.ONCOLOGIST_LETTER).upload
    receiving.add_file(who, walk.case, upload, "letter.txt", [LETTER], len(LETTER), None)
    receiving.finish(who, walk.case, upload)


def test_pictures_and_facts_are_made_while_nobody_asks(database: Database, service: Service) -> None:
    """Beside the check that records the verdict; whoever looks then needs no worker for it."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    letter(walk)
    with working(database.service_url, service, 1):
        until(database, lambda: checks_of(service, walk.case) and len(rows(database, MADE)) == 2)
        until(database, lambda: not rows(database))
    assert rows(database, MADE) == [("documents",), ("pictures",)]
    service.pictures._sandbox = service.documents._sandbox = Sandbox(Limits(wall_s=0.0))
    state = service.cases.load(walk.case).state
    for record in state.records.values():
        if record.kind == "imaging":
            assert service.pictures.make(walk.case, record.record).series[0].sheet is not None
        else:
            assert service.documents.make(walk.case, record.record).files[0].facts.format == "text"


def test_a_case_is_enqueued_apart_from_its_check(database: Database, service: Service) -> None:
    """With the case's id and nothing else, in a queue that no check waits in."""
    gathering(service).upload(CT, check=False)
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        advance(connection, TO_LOOK_AT)
        assert [(each.queue, each.waiting, each.failed) for each in jobs.queued(connection)] == [
            (CHECK.queue, 0, 0),
            (PREPARATION.queue, 1, 0),
        ]


def test_what_is_in_quarantine_is_not_drawn_before_its_release(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may look at it, so nothing is made to look at."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    monkeypatch.setattr("application.work.imaging_checks.identity_of", lambda patient: named("Somebody Else"))
    service.imaging_checks.run(request("service", SERVICE.id), walk.case)
    preparing(service).run(request("service", SERVICE.id), walk.case)
    assert rows(database, MADE) == []
    (record,) = service.cases.load(walk.case).state.records
    walk.act(("technician", "technician-1"), ReleaseRecord(record=record, reason="The label was wrong."))
    preparing(service).run(request("service", SERVICE.id), walk.case)
    assert rows(database, MADE) == [("pictures",)]


def test_a_damaged_record_does_not_stop_the_others(service: Service, database: Database) -> None:
    """The damage is raised when the rest is done."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    letter(walk)
    imaging, other = service.cases.load(walk.case).state.records.values()
    service.vault.delete(imaging.record, imaging.manifest_sha256)
    with pytest.raises(BlobAltered):
        preparing(service).run(request("service", SERVICE.id), walk.case)
    assert other.kind == "oncologist_letter"
    assert rows(database, MADE) == [("documents",)]


def test_told_to_stop_it_ends_before_the_next_series(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service need not wait for all that is to be drawn."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    work, real = preparing(service), service.pictures._manifest

    def stopping(*args: object) -> object:
        work.stop()
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(service.pictures, "_manifest", stopping)
    with pytest.raises(Unavailable, match="stopping"):
        work.run(request("service", SERVICE.id), walk.case)
    assert rows(database, MADE) == []


def test_sweeps_leave_what_was_made_from_a_record(service: Service) -> None:
    """Pictures and reports are named by nothing but the record that they lie with, and that is enough."""
    walk = gathering(service)
    walk.upload(MR_PROJECTIONS, check=False)
    walk.upload(CT)
    preparing(service).run(request("service", SERVICE.id), walk.case)
    receiving = service.receiving
    assert (receiving.reconcile(0), receiving.sweep(0), receiving.sweep_orphans(0)) == (0, 0, 0)
    for record in service.cases.load(walk.case).state.records:
        index = service.pictures.make(walk.case, record)
        for series in index.series:
            for picture in (series.sheet, series.thumbnail):
                if picture is not None:
                    assert service.pictures.picture(request(*PATIENT), walk.case, record, picture.sha256)
    assert service.imaging_checks.report(request("technician", "technician-1"), walk.case)


def test_a_check_that_is_given_up_is_seen_until_there_is_a_verdict(database: Database, service: Service) -> None:
    """In the queue's numbers and for the case, not while another try waits; a verdict ends it."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        with connection.transaction():
            jobs.enqueue(connection, [walk.case])
        assert not jobs.given_up(connection, walk.case)
        crew = Workers(Scripted(BlobAltered()), database.service_url, 1, poll_s=0.1)
        crew.start()
        try:
            until(database, lambda: jobs.queued(connection)[0].failed)
        finally:
            crew.stop()
        assert jobs.given_up(connection, walk.case)
        assert not jobs.given_up(connection, "another case")
        with connection.transaction():
            jobs.enqueue(connection, [walk.case])
        assert not jobs.given_up(connection, walk.case)
        crew = Workers(service.imaging_checks, database.service_url, 1, poll_s=0.1)
        crew.start()
        try:
            until(database, lambda: not rows(database))
        finally:
            crew.stop()
        assert [(each.waiting, each.failed) for each in jobs.queued(connection)] == [(0, 0)] * 2
    assert checks_of(service, walk.case)


def test_a_preparation_that_succeeds_ends_the_count_of_failed_ones(database: Database, service: Service) -> None:
    """What an exhausted job could not make is made now; and one that failed long ago is not counted for ever."""
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        for case in ("case-1", "case-2"):
            with connection.transaction():
                jobs.enqueue(connection, [case], PREPARATION)
        crew = Workers(Scripted(*[BlobAltered()] * 2), database.service_url, 1, task=PREPARATION, poll_s=0.1)
        crew.start()
        try:
            until(database, lambda: jobs.queued(connection)[1].failed == 2)
            with connection.transaction():
                jobs.enqueue(connection, ["case-1"], PREPARATION)
            until(database, lambda: [(each.waiting, each.failed) for each in jobs.queued(connection)][1] == (0, 1))
        finally:
            crew.stop()
        assert jobs.forget_old(connection, PREPARATION, 3600) == 0
        assert jobs.forget_old(connection, CHECK, 0) == 0
        assert jobs.forget_old(connection, PREPARATION, 0) == 1
        assert jobs.queued(connection)[1].failed == 0


def test_stopping_does_not_wait_for_a_record_that_is_being_drawn(database: Database, service: Service) -> None:
    """The job goes back to the queue."""
    begun = threading.Event()

    class Slow(Preparing):
        def run(self, request: object, case: str) -> None:
            begun.set()
            assert self._stopping.wait(WAIT_S)
            self._go_on()

    work = Slow(service.cases, service.pictures, service.documents)
    with psycopg.connect(database.service_url) as connection:
        jobs.enqueue(connection, ["c-1"], PREPARATION)
    crew = Workers(work, database.service_url, 1, poll_s=0.1, task=PREPARATION)
    crew.start()
    assert begun.wait(WAIT_S)
    work.stop()
    crew.stop()
    assert [each[1] for each in rows(database)] == ["todo"]
