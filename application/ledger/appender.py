"""The appender: a bounded queue, and one thread a process that takes what waits and commits it as one batch.

`batch` has the transaction, `writer` what comes after the commit. Here every caller gets exactly one answer,
whatever happens.
"""

import queue
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec
import psycopg
import structlog

from application.ledger.checkpoints import Checkpoints
from application.ledger.entries import Append, Appended
from application.ledger.writer import Writer
from domain.errors import CaseLedgerError, DatabaseUnavailable, IntegrityFailure, QueueFull

MAX_QUEUED = 4096
MAX_QUEUED_BYTES = 64 * 1024 * 1024
MAX_BATCH = 512
MAX_BATCH_BYTES = 8 * 1024 * 1024

log = structlog.get_logger(__name__)


class _Waiting(msgspec.Struct, frozen=True):
    append: Append
    size: int
    future: "Future[Appended]"


class Appender:
    """Appends to the ledger, for all threads of this process.

    Owns the thread that writes. `submit` never blocks, and every future that it gives is answered.
    """

    def __init__(self, conninfo: str, origin: str, checkpoints: Checkpoints) -> None:
        self._writer = Writer(conninfo, origin, checkpoints)
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        # Held for whatever decides who may still enter the queue: nothing enters behind the None that ends it.
        self._guard = threading.Lock()
        self._queued = 0
        self._queued_bytes = 0
        self._stopped: CaseLedgerError | None = DatabaseUnavailable("the ledger is not open")
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the ledger: make its head if the database is new, hold it against the pin, start the writer.

        Raises:
            WrongOrigin: the database holds another ledger.
            HeadBehindPin, HeadForked: the database does not extend the last released checkpoint, or contradicts itself.
            DatabaseUnavailable: the database does not answer.
        """
        if self._thread is not None:
            raise RuntimeError("an appender starts once")
        try:
            self._writer.open()
        except psycopg.OperationalError as error:
            self._writer.disconnect()
            log.warning("append.unavailable", error=type(error).__name__, sqlstate=error.sqlstate)
            raise DatabaseUnavailable from None
        except BaseException:
            self._writer.disconnect()
            raise
        self._thread = threading.Thread(target=self._run, name="appender", daemon=True)
        self._stopped = None
        self._thread.start()

    def submit(self, append: Append) -> "Future[Appended]":
        """Queue an append. The future gives its receipts, or raises; one that is cancelled in time is not appended.

        Raises (at once):
            QueueFull: 4,096 appends or 64 MiB wait already.
            DatabaseUnavailable: the ledger is not open, or not any more.
            IntegrityFailure: appends have stopped because the ledger contradicts itself.
        Raises (from the future):
            StaleRevision, GuardBroken, IdempotencyKeyReused: somebody else was first; nothing was appended.
            SubjectErased: an entry is sealed under a key that is gone; nothing was appended.
            DatabaseUnavailable: not known to be appended; repeat it with the same Idempotency-Key.
        """
        if not append.entries:
            raise ValueError("an append has at least one entry")
        waiting = _Waiting(append, append.size(), Future())
        with self._guard:
            if self._stopped is not None:
                raise _again(self._stopped)
            if self._queued >= MAX_QUEUED or self._queued_bytes + waiting.size > MAX_QUEUED_BYTES:
                raise QueueFull
            self._queued += 1
            self._queued_bytes += waiting.size
            self._queue.put(waiting)
        return waiting.future

    def close(self) -> None:
        """Append what waits, then stop; a second time it changes nothing."""
        with self._guard:
            if self._stopped is None:
                self._stopped = DatabaseUnavailable("the ledger is closing")
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        self._writer.disconnect()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._take()
            if batch:
                self._settle(batch)
                self._store_derived()

    def _take(self) -> tuple[list[_Waiting], bool]:
        """What waits, up to a batch, as soon as anything does; and whether that was the last."""
        taken: list[_Waiting] = []
        ended = False
        size = 0
        while len(taken) < MAX_BATCH and size < MAX_BATCH_BYTES:
            try:
                waiting = self._queue.get(block=not taken)
            except queue.Empty:
                break
            if waiting is None:
                ended = True
                break
            taken.append(waiting)
            size += waiting.size
        with self._guard:
            self._queued -= len(taken)
            self._queued_bytes -= size
        # From here on a future cannot be cancelled any more, so answering it cannot fail.
        return [each for each in taken if each.future.set_running_or_notify_cancel()], ended

    def _settle(self, batch: Sequence[_Waiting]) -> None:
        """Commit a batch and answer its callers; a batch that fails for another reason than time is tried one by one.

        One by one is safe after a commit, too: what is in the log is recognised.
        """
        if isinstance(self._stopped, IntegrityFailure):
            _refuse(batch, self._stopped)
            return
        try:
            answers = self._writer.commit([each.append for each in batch])
        except IntegrityFailure as error:
            log.critical("append.stopped", code=error.code, reason=str(error))
            with self._guard:
                self._stopped = error
            _refuse(batch, error)
            return
        except Exception as error:  # noqa: BLE001 - the thread outlives every batch
            # The connection may be in any state.
            self._writer.disconnect()
            _log_failure(error, len(batch))
            if isinstance(error, psycopg.OperationalError):
                # Out of time, or the database is gone: one by one it would only take longer.
                _refuse(batch, DatabaseUnavailable())
            elif len(batch) > 1:
                for each in batch:
                    self._settle((each,))
            else:
                _refuse(batch, DatabaseUnavailable("the append failed"))
            return
        for each, answer in zip(batch, answers, strict=True):
            if isinstance(answer, CaseLedgerError):
                each.future.set_exception(answer)
            else:
                each.future.set_result(answer)

    def _store_derived(self) -> None:
        """What anybody could make again, after everybody has been answered; what fails now is made up for later."""
        try:
            self._writer.store_note()
            self._writer.store_tiles()
        except Exception as error:  # noqa: BLE001 - the thread outlives it
            self._writer.disconnect()
            _log_failure(error, 0)


def _refuse(batch: Sequence[_Waiting], error: CaseLedgerError) -> None:
    for each in batch:
        each.future.set_exception(_again(error))


def _again(error: CaseLedgerError) -> CaseLedgerError:
    """The same error as a new object: one that is raised many times keeps every traceback."""
    return type(error)(str(error))


def _log_failure(error: Exception, appends: int) -> None:
    """Kind and place, never the message: the database's may quote a row."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    log.error("append.failed", error=type(error).__name__, sqlstate=sqlstate, where=where, appends=appends)
