"""Jobs: made from the log exactly once, done at least once, and on record once."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from application.cases import LoadedCase
from application.outcome import Outcome
from application.request import Request
from application.service import Service
from application.work import jobs
from application.work.automation import Automation, AutomationLoop, advance
from application.work.imaging_checks import ImagingChecks
from application.work.jobs import AFTER_A_RECORD, IMAGING_CHECK, Workers
from caseledger import composition
from caseledger.settings import read
from domain.case.actor import SERVICE
from domain.case.commands import ReleaseRecord
from domain.case.events import ImagingChecked, RepeatImagingAdvised
from domain.errors import BlobAltered, DatabaseUnavailable, WrongPhase
from tests.conftest import Database, scratch
from tests.ledger_fixture import in_threads
from tests.service_fixture import COORDINATOR, CT, MR_PROJECTIONS, Walk, open_service, request

WAIT_S = 30
JOBS = "SELECT args, status::text, attempts FROM jobs.procrastinate_jobs ORDER BY id"
CATALOGUE = """
WITH objects (what) AS (
    SELECT format('column %%s.%%s %%s %%s %%s %%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                  a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid))
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relnamespace = %(schema)s::text::regnamespace AND c.relkind IN ('r', 'c', 'S')
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = %(schema)s::text
    UNION ALL SELECT format('%%s %%s', conname, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE connamespace = %(schema)s::text::regnamespace
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = %(schema)s::text::regnamespace
    UNION ALL SELECT pg_get_triggerdef(t.oid)
      FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
     WHERE c.relnamespace = %(schema)s::text::regnamespace AND NOT tgisinternal
    UNION ALL SELECT format('enum %%s %%s %%s', typname, enumlabel, enumsortorder)
      FROM pg_enum JOIN pg_type t ON t.oid = enumtypid WHERE typnamespace = %(schema)s::text::regnamespace
) SELECT replace(what, %(schema)s::text || '.procrastinate', 'procrastinate')
    FROM objects WHERE what NOT LIKE '%%automation%%' ORDER BY 1
"""


@pytest.fixture
def service(database: Database, tmp_path: Path) -> Iterator[Service]:
    """Every use case, and nobody who works."""
    with open_service(database, tmp_path / "data") as opened:
        yield opened


def gathering(service: Service) -> Walk:
    """A case that waits for records."""
    walk = Walk(service)
    walk.open()
    walk.prepare()
    return walk


def checks_of(service: Service, case: str) -> list[ImagingChecked]:
    """The checks that are on record."""
    events = [each.event for each in service.ledger.stream(f"case-{case}")]
    return [each for each in events if isinstance(each, ImagingChecked)]


def rows(database: Database, query: str = JOBS) -> list[tuple[Any, ...]]:
    """What the service sees."""
    with psycopg.connect(database.service_url) as connection:
        return connection.execute(query.encode()).fetchall()


def until(database: Database, held: Callable[[], object], channel: str = "ledger") -> None:
    """Wait until something holds; it is looked at whenever the log has grown, or a job has come in."""
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        for _ in range(WAIT_S * 20):
            if held():
                return
            list(connection.notifies(timeout=0.05, stop_after=1))
    raise AssertionError("it did not come to that")


class Scripted:
    """Imaging checks that fail as told, then succeed."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[tuple[str, str]] = []
        self.done = threading.Event()

    def run(self, request: Request, case: str) -> Outcome | None:
        """Fail with the next failure, if one is left."""
        self.asked.append((request.id, case))
        if self.failures:
            raise self.failures.pop(0)
        self.done.set()
        return None


def test_the_migration_is_the_locked_versions_own_schema(database: Database) -> None:
    """Columns, indexes, constraints, functions, triggers and enums are those that procrastinate itself makes."""
    own = (files("procrastinate.sql") / "schema.sql").read_text("utf-8")
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("CREATE SCHEMA theirs; SET LOCAL search_path = theirs")
        connection.execute(own.encode())
        connection.execute("SET LOCAL search_path = pg_catalog")
        theirs = connection.execute(CATALOGUE.encode(), {"schema": "theirs"}).fetchall()
        ours = connection.execute(CATALOGUE.encode(), {"schema": "jobs"}).fetchall()
    assert len(ours) > 70
    assert ours == theirs


def test_a_record_leads_to_a_check_that_is_on_record_once(database: Database, service: Service) -> None:
    """From the log to the verdict without anybody asking; the job that did it is gone, and it held an id only."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    loop = AutomationLoop(AFTER_A_RECORD, database.service_url)
    loop.start()
    try:
        until(database, lambda: rows(database), "procrastinate_any_queue_v1")
    finally:
        loop.stop()
    assert rows(database) == [({"case": walk.case}, "todo", 0)]
    workers = Workers(service.imaging_checks, database.service_url, 1, poll_s=0.2)
    workers.start()
    try:
        until(database, lambda: checks_of(service, walk.case))
    finally:
        workers.stop()
    assert [each.verdict for each in checks_of(service, walk.case)] == ["limited"]
    assert rows(database) == []
    assert service.ledger.stream(f"case-{walk.case}")[-1].statement.role == "service"


def test_what_came_in_while_nobody_ran_is_made_up_for(database: Database, service: Service) -> None:
    """The position is in the database: entries before it lead to nothing again, and those after it to a job each."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        while advance(connection, AFTER_A_RECORD, batch=3):
            pass
        assert len(rows(database)) == 1
        assert not advance(connection, AFTER_A_RECORD)
        walk.upload(MR_PROJECTIONS, check=False)
        assert not advance(connection, AFTER_A_RECORD)
        assert not advance(connection, AFTER_A_RECORD)
    assert [each[0] for each in rows(database)] == [{"case": walk.case}] * 2
    size = service.ledger.recorder.max_notification_id()
    assert rows(database, "SELECT name, position FROM jobs.automation") == [(IMAGING_CHECK, size)]


def test_a_crash_between_entry_and_job_loses_nothing(database: Database, service: Service) -> None:
    """Jobs and position are one transaction: after a failure there are neither, and the next time both."""
    walk = gathering(service)
    walk.upload(CT, check=False)

    def crashing(connection: psycopg.Connection[Any], cases: Any) -> None:
        AFTER_A_RECORD.enqueue(connection, cases)
        raise OSError("the process ends here")

    broken = Automation(name=IMAGING_CHECK, kinds=AFTER_A_RECORD.kinds, enqueue=crashing)
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        with pytest.raises(OSError, match="ends here"):
            advance(connection, broken)
        assert rows(database) == []
        advance(connection, AFTER_A_RECORD)
    assert len(rows(database)) == 1


def test_several_processes_enqueue_each_entry_once(database: Database, service: Service) -> None:
    """They wait for each other at the position."""
    for _ in range(3):
        gathering(service).upload(CT, check=False)

    def follow(number: int) -> None:
        with psycopg.connect(database.service_url, autocommit=True) as connection:
            while advance(connection, AFTER_A_RECORD, batch=2):
                pass

    assert in_threads(4, follow) == [None] * 4
    assert len(rows(database)) == 3
    assert len({each[0]["case"] for each in rows(database)}) == 3


def test_several_workers_record_each_verdict_once(database: Database, service: Service) -> None:
    """Twice the jobs that there are cases, done by two crews of two: one check a case."""
    cases = [gathering(service) for _ in range(4)]
    for walk in cases:
        walk.upload(CT, check=False)
    with psycopg.connect(database.service_url) as connection:
        jobs.enqueue(connection, [walk.case for walk in cases] * 2)
    crews = [Workers(service.imaging_checks, database.service_url, 2, poll_s=0.2) for _ in range(2)]
    for crew in crews:
        crew.start()
    try:
        until(database, lambda: not rows(database))
    finally:
        for crew in crews:
            crew.stop()
    assert [len(checks_of(service, walk.case)) for walk in cases] == [1] * 4


def test_checks_at_the_same_moment_come_to_one(service: Service) -> None:
    """Whoever is outrun looks again, and finds nothing unchecked."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    results = in_threads(4, lambda _: service.imaging_checks.run(request("service", SERVICE.id), walk.case))
    assert [type(each) for each in results if each is not None] == [Outcome]
    assert len(checks_of(service, walk.case)) == 1


def test_imaging_that_arrives_during_a_check_is_in_its_verdict(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of what there was is refused, and made again of all there is."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    checked, late = ImagingChecks._checked, [MR_PROJECTIONS]

    def outrun(self: ImagingChecks, by: Request, loaded: LoadedCase) -> Outcome:
        if late:
            walk.upload(late.pop(), check=False)
        return checked(self, by, loaded)

    monkeypatch.setattr(ImagingChecks, "_checked", outrun)
    service.imaging_checks.run(request("service", SERVICE.id), walk.case)
    (check,) = checks_of(service, walk.case)
    assert len(check.records) == 2


def test_a_failure_is_retried_with_growing_waits(database: Database) -> None:
    """It is back in the queue for later, until it succeeds."""
    checks = Scripted(DatabaseUnavailable("Markerwords"), DatabaseUnavailable("Markerwords"))
    with psycopg.connect(database.service_url) as connection:
        jobs.enqueue(connection, ["c-1"])
    crew = Workers(checks, database.service_url, 1, poll_s=0.1)
    crew.start()
    try:
        assert checks.done.wait(WAIT_S)
        until(database, lambda: not rows(database))
    finally:
        crew.stop()
    assert checks.asked == [("service", "c-1")] * 3


@pytest.mark.parametrize(("failure", "left"), [(BlobAltered(), [("failed", 1)]), (WrongPhase("signed"), [])])
def test_what_is_not_retried(database: Database, failure: Exception, left: list[tuple[str, int]]) -> None:
    """An altered blob stays on the table as failed; a case that has gone on needs nothing any more."""
    checks = Scripted(failure)
    with psycopg.connect(database.service_url) as connection:
        jobs.enqueue(connection, ["c-1"])
    crew = Workers(checks, database.service_url, 1, poll_s=0.1)
    crew.start()
    try:
        until(database, lambda: checks.asked and not [each for each in rows(database) if each[1] in ("todo", "doing")])
    finally:
        crew.stop()
    assert [each[1:] for each in rows(database)] == left
    assert len(checks.asked) == 1


def test_the_waits_double_up_to_a_bound_and_end() -> None:
    """One second, two, four, up to five minutes; then a person has to ask."""
    waits = []
    for attempts in range(jobs.MOST_ATTEMPTS + 1):
        job = jobs.Job(id=1, queue="q", lock=None, queueing_lock=None, task_name="t", attempts=attempts)
        decision = jobs.Backoff().get_retry_decision(exception=DatabaseUnavailable(), job=job)
        waits.append(None if decision is None else decision.retry_at)
    assert waits[-1] is waits[-2] is None
    assert all(waits[:-2])


def test_a_dead_workers_job_is_done_by_a_living_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was killed leaves its job as under way; it is tried again when its heart has stopped."""
    monkeypatch.setattr(jobs, "HEARTBEAT_S", 1)
    with psycopg.connect(database.service_url) as connection:
        jobs.enqueue(connection, ["c-1"])
        connection.execute(
            "WITH dead AS (INSERT INTO jobs.procrastinate_workers (last_heartbeat)"
            " VALUES (now() - interval '1 hour') RETURNING id)"
            " UPDATE jobs.procrastinate_jobs SET status = 'doing', worker_id = (SELECT id FROM dead)"
        )
    checks = Scripted()
    crew = Workers(checks, database.service_url, 1, poll_s=0.1)
    crew.start()
    try:
        assert checks.done.wait(WAIT_S)
    finally:
        crew.stop()


def test_workers_begin_again_when_the_database_comes_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their connections are cut; what is enqueued afterwards is done all the same."""
    monkeypatch.setattr(jobs, "_BACKOFF_S", 0.1)
    checks = Scripted()
    crew = Workers(checks, database.service_url, 1, poll_s=0.1)
    crew.start()
    try:
        until(database, lambda: rows(database, "SELECT id FROM jobs.procrastinate_workers"))
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            jobs_enqueued = psycopg.connect(database.service_url)
        with jobs_enqueued as own:
            jobs.enqueue(own, ["c-1"])
        assert checks.done.wait(WAIT_S)
    finally:
        crew.stop()


def test_stopping_finishes_the_job_under_way(database: Database) -> None:
    """A worker that is told to stop takes no more, and leaves none half done."""
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def run(self, request: Request, case: str) -> Outcome | None:
            begun.set()
            go.wait(WAIT_S)
            return None

    with psycopg.connect(database.service_url) as connection:
        jobs.enqueue(connection, ["c-1", "c-2"])
    crew = Workers(Slow(), database.service_url, 1, poll_s=0.1)
    crew.start()
    assert begun.wait(WAIT_S)
    stopping = threading.Thread(target=crew.stop)
    stopping.start()
    go.set()
    stopping.join(WAIT_S)
    assert not stopping.is_alive()
    assert {each[1] for each in rows(database)} <= {"todo"}


def test_the_service_role_cannot_change_the_schema_of_jobs(database: Database) -> None:
    """It works with the tables, and owns none."""
    with (
        psycopg.connect(database.service_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE jobs.mine ()")


def test_inadequate_imaging_gets_advice_and_its_report_is_readable(database: Database, service: Service) -> None:
    """What to send or acquire stands beside the verdict; who may reads the whole report, and that is on record."""
    walk = gathering(service)
    walk.upload(MR_PROJECTIONS)
    (*_, checked, advised) = (each.event for each in service.ledger.stream(f"case-{walk.case}"))
    assert isinstance(checked, ImagingChecked)
    assert isinstance(advised, RepeatImagingAdvised)
    assert {each.finding for each in advised.advice} <= set(checked.findings)
    assert all(each.what and each.why for each in advised.advice)
    before = service.ledger.recorder.max_notification_id() or 0
    report = service.imaging_checks.report(request(*COORDINATOR), walk.case)
    assert b'"verdict":"inadequate"' in report
    (read,) = service.ledger.read(before, before + 1)
    assert (read.statement.kind, read.event.what) == ("access.recorded.v1", "imaging_report")  # type: ignore[union-attr]


def test_another_patients_images_stop_and_a_release_checks_them_again(database: Database, service: Service) -> None:
    """The name in the headers is not the case's; who finds out that it is theirs after all releases them."""
    walk = gathering(service)
    walk.upload(CT, check=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "application.work.imaging_checks.identity_of",
            lambda patient: named("Somebody Else"),
        )
        service.imaging_checks.run(request("service", SERVICE.id), walk.case)
        state = service.cases.load(walk.case).state
        assert state.imaging is not None
        assert state.imaging.verdict == "stop"
        (record,) = state.records
        assert state.records[record].quarantined
        walk.act(("technician", "technician-1"), ReleaseRecord(record=record, reason="The label was wrong."))
        with psycopg.connect(database.service_url, autocommit=True) as connection:
            advance(connection, AFTER_A_RECORD)
        assert len(rows(database)) == 1
        service.imaging_checks.run(request("service", SERVICE.id), walk.case)
    assert [each.verdict for each in checks_of(service, walk.case)] == ["stop", "limited"]


def named(name: str) -> Any:
    """A patient of that name, as the check compares it."""
    from domain.imaging.model import PatientIdentity

    return PatientIdentity(name=name, digest="d")


def test_a_loop_without_a_database_keeps_trying_and_stops(tmp_path: Path) -> None:
    """Nothing that fails in the background ends the process, or keeps it from ending."""
    nowhere = f"host={tmp_path} dbname=x"
    loop = AutomationLoop(AFTER_A_RECORD, nowhere)
    loop.start()
    loop.stop()
    assert asyncio.run(jobs._waited(asyncio.Event(), 0.01)) is False


def test_work_does_jobs_and_nothing_else_until_it_is_told_to_stop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes beside one that only takes records in: the case is checked once, and both end in order."""
    for name in [name for name in os.environ if name.startswith("CASELEDGER_")]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="caseledger-", dir=scratch()) as folder:
        monkeypatch.setenv("CASELEDGER_DATA", str(Path(folder) / "ledger"))
        monkeypatch.setenv("CASELEDGER_DATABASE_URL", database.service_url)
        monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", database.owner_url)
        monkeypatch.setenv("CASELEDGER_WORKERS", "0")
        settings = read()
        with composition.database(settings) as urls, composition.opened(settings, urls) as service:
            walk = gathering(service)
            walk.upload(CT, check=False)
            children = [
                subprocess.Popen(
                    (sys.executable, "-m", "caseledger.cli", "work"),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for _ in range(2)
            ]
            try:
                until(database, lambda: checks_of(service, walk.case))
                # Who has printed its line has its handlers of signals.
                assert [child.stdout.readline() for child in children if child.stdout] == ["caseledger: working\n"] * 2
            finally:
                for child in children:
                    child.send_signal(signal.SIGTERM)
                ended = [child.communicate(timeout=WAIT_S) for child in children]
            assert [child.returncode for child in children] == [0, 0], ended
            assert len(checks_of(service, walk.case)) == 1
    assert not any("Marker" in each for pair in ended for each in pair)
