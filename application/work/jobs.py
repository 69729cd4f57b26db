"""Jobs, by procrastinate on the ledger's own PostgreSQL: the imaging check of a case, and what people will look at.

A job holds ids and nothing else. It may run twice, at once or after a crash: the log decides what it comes to.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

import msgspec
import structlog
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from psycopg import Connection, connect

from application.outcome import Outcome
from application.request import Request
from application.work.automation import Automation
from domain.case.actor import SERVICE
from domain.errors import CaseLedgerError, CaseNotFound, IntegrityFailure, Refused, SubjectErased

MOST_ATTEMPTS: Final = 12
"""Some half an hour in all; after that the job stays in the table as failed, and a person can ask for the check."""
LONGEST_WAIT_S: Final = 300
FORGOTTEN_S: Final = 7 * 86_400
"""A failed preparation is counted for so long. What it did not make is made when somebody asks for it."""
HEARTBEAT_S: Final = 10
STALLED_S: Final = 40
"""A worker that is silent so long is dead, and its job anybody's."""
_BACKOFF_S: Final = 5.0
_SCHEMA: Final = "-c search_path=jobs"

log = structlog.get_logger(__name__)


class Work(Protocol):
    """What a job does to a case, as the service: the imaging checks, or preparing."""

    def run(self, request: Request, case: str) -> Outcome | None:
        """Do what is to be done; None where nothing of it goes on record."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of job, and the queue that it waits in."""

    name: str
    queue: str


CHECK: Final = Task(name="imaging-check", queue="imaging")
PREPARATION: Final = Task(name="preparation", queue="preparation")
"""A queue of its own: drawing takes longer than checking, and nobody waits for it."""
IMAGING_CHECK: Final = CHECK.name


class Backoff(BaseRetryStrategy):
    """Twice as long each time; never after the ledger has contradicted itself."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """When to try again, if ever."""
        if isinstance(exception, IntegrityFailure) or job.attempts + 1 >= MOST_ATTEMPTS:
            return None
        return RetryDecision(retry_in={"seconds": min(2**job.attempts, LONGEST_WAIT_S)})


def enqueue(connection: Connection[Any], cases: Sequence[str], task: Task = CHECK) -> None:
    """Enqueue a job for each of these cases, in the transaction of that connection."""
    connection.execute("SET LOCAL search_path = jobs")
    # Never opened: what it needs of a connection is handed in.
    app = App(connector=SyncPsycopgConnector())
    deferrer = app.configure_task(task.name, queue=task.queue, connection=connection)
    arguments: list[dict[str, Any]] = [{"case": case} for case in cases]
    deferrer.batch_defer(*arguments)


_ARRIVED: Final = ("record.received.v1", "record.released.v1")
AFTER_A_RECORD: Final = Automation(name=CHECK.name, kinds=_ARRIVED, enqueue=enqueue)
"""What kind of record came in is sealed, and so for the job to find out: where no imaging is unchecked, it ends."""
TO_LOOK_AT: Final = Automation(name=PREPARATION.name, kinds=_ARRIVED, enqueue=partial(enqueue, task=PREPARATION))


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs of a queue: how many wait or are under way, and how many have failed for good."""

    queue: str
    waiting: int
    failed: int


def queued(connection: Connection[Any]) -> tuple[Queued, ...]:
    """The jobs that are not done, queue by queue."""
    rows = connection.execute(
        "SELECT queue_name, count(*) FILTER (WHERE status IN ('todo', 'doing')),"
        " count(*) FILTER (WHERE status = 'failed') FROM jobs.procrastinate_jobs GROUP BY queue_name"
    ).fetchall()
    known = {queue: (waiting, failed) for queue, waiting, failed in rows}
    return tuple(
        Queued(queue=each.queue, waiting=known.get(each.queue, (0, 0))[0], failed=known.get(each.queue, (0, 0))[1])
        for each in (CHECK, PREPARATION)
    )


def given_up(connection: Connection[Any], case: str) -> bool:
    """Whether the imaging check of a case has failed for good, and no other waits."""
    row = connection.execute(
        "SELECT bool_or(status = 'failed') AND NOT bool_or(status IN ('todo', 'doing'))"
        " FROM jobs.procrastinate_jobs WHERE task_name = %s AND args @> jsonb_build_object('case', %s::text)",
        (CHECK.name, case),
    ).fetchone()
    return row is not None and row[0] is True


def forget_failed(connection: Connection[Any], case: str, task: Task = CHECK) -> None:
    """Forget the failed jobs of a case: it has a verdict now, or what was to be made is made."""
    with connection.transaction():
        # The triggers of the table look for their objects there.
        connection.execute("SET LOCAL search_path = jobs")
        connection.execute(
            "DELETE FROM procrastinate_jobs WHERE task_name = %s AND status = 'failed'"
            " AND args @> jsonb_build_object('case', %s::text)",
            (task.name, case),
        )


def forget_old(connection: Connection[Any], task: Task, older_than_s: float) -> int:
    """Forget jobs that failed for good so long ago; how many there were."""
    with connection.transaction():
        connection.execute("SET LOCAL search_path = jobs")
        return connection.execute(
            "DELETE FROM procrastinate_jobs AS j WHERE j.task_name = %s AND j.status = 'failed' AND NOT EXISTS (SELECT"
            " FROM procrastinate_events AS e WHERE e.job_id = j.id AND e.at > now() - make_interval(secs => %s))",
            (task.name, older_than_s),
        ).rowcount


class Workers:
    """Works jobs off in a thread of its own, `count` at once, until stopped; any number of processes may."""

    def __init__(
        self,
        work: Work,
        conninfo: str,
        count: int,
        *,
        task: Task = CHECK,
        poll_s: float = 5.0,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._task = task
        self._todo = work
        self._conninfo = conninfo
        self._count = count
        self._poll_s = poll_s
        self._clock = clock
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._supervise()), name=f"workers-{task.queue}", daemon=True
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._running = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._running.wait()

    def stop(self) -> None:
        """Take no more jobs, finish those under way, then stop."""
        if self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop = None

    async def _supervise(self) -> None:
        """Work; where the database is lost, begin again."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._running.set()
        while not self._stopping.is_set():
            try:
                await self._work(self._stopping)
            except Exception as error:  # noqa: BLE001 - whatever fails is logged by its kind, and tried again
                log.error("workers.failing", error=type(error).__name__)
                await _waited(self._stopping, _BACKOFF_S)

    async def _work(self, stopping: asyncio.Event) -> None:
        app = self._app()
        async with app.open_async():
            worker = asyncio.create_task(
                app.run_worker_async(
                    queues=[self._task.queue],
                    concurrency=self._count,
                    fetch_job_polling_interval=self._poll_s,
                    delete_jobs="successful",
                    install_signal_handlers=False,
                    update_heartbeat_interval=HEARTBEAT_S,
                    stalled_worker_timeout=STALLED_S,
                )
            )
            rescue = asyncio.create_task(self._rescue(app, stopping))
            await asyncio.wait({worker, rescue}, return_when=asyncio.FIRST_COMPLETED)
            # Cancelled, a worker takes no more jobs, and ends when those under way have.
            for task in (worker, rescue):
                task.cancel()
            ended = await asyncio.gather(worker, rescue, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception):
                raise each

    async def _rescue(self, app: App, stopping: asyncio.Event) -> None:
        """Give the jobs of dead workers to living ones, now and then, until it is time to stop."""
        while True:
            for job in await app.job_manager.get_stalled_jobs(
                queue=self._task.queue, seconds_since_heartbeat=STALLED_S
            ):
                try:
                    if job.attempts + 1 >= MOST_ATTEMPTS:
                        await app.job_manager.finish_job(job, Status.FAILED, delete_job=False)
                    else:
                        await app.job_manager.retry_job(job)
                except ConnectorException:
                    continue  # somebody else was first
                log.warning("job.rescued", job=job.task_name, attempts=job.attempts, **job.task_kwargs)
            if await _waited(stopping, HEARTBEAT_S):
                return

    def _app(self) -> App:
        connector = PsycopgConnector(
            conninfo=self._conninfo, kwargs={"options": _SCHEMA}, min_size=1, max_size=2 + self._count
        )
        app = App(connector=connector)
        app.task(name=self._task.name, queue=self._task.queue, retry=Backoff())(self._do)
        return app

    def _do(self, case: str) -> None:
        request = Request(id=SERVICE.id, role=SERVICE.role, cause=str(uuid4()), now=self._clock())
        try:
            outcome = self._todo.run(request, case)
        except (Refused, CaseNotFound, SubjectErased) as error:
            # The case has gone on, or gone: what was to be done is not to be done any more.
            log.warning("job.refused", job=self._task.name, case=case, code=error.code)
        except Exception as error:
            code = error.code if isinstance(error, CaseLedgerError) else type(error).__name__
            log.warning("job.failed", job=self._task.name, case=case, error=code)
            raise
        else:
            if outcome is not None:
                log.info("job.done", job=self._task.name, case=case, index=outcome.index)
            if outcome is not None or self._task == PREPARATION:
                # A preparation that ran through has made whatever an earlier one could not.
                with connect(self._conninfo, autocommit=True) as connection:
                    forget_failed(connection, case, self._task)
                    forget_old(connection, PREPARATION, FORGOTTEN_S)


async def _waited(event: asyncio.Event, seconds: float) -> bool:
    """Wait so long for an event; whether it came."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
