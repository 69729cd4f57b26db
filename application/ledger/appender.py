"""The appender: one writer thread a process that takes what waits and commits it as one batch.

Order of things in a batch, which the whole ledger's promises rest on:

1. lock the head's row: from here to the commit no other process appends;
2. in a statement of its own, so that it sees what the last holder of the lock committed, read the heads of all
   streams that the batch writes to or relies on;
3. let every append whose streams have moved or whose guards no longer hold fail alone;
4. insert entries with a dense index, idempotency rows, the root, and the new head; commit;
5. only then sign the checkpoint, store it, pin it outside the database, and answer with receipts.

So nothing is acknowledged that is not under a signed checkpoint, and no signature exists for a tree
that did not commit.
"""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec
import psycopg
import structlog

from application.ledger.checkpoints import Checkpoints
from application.ledger.entries import Append, Appended, SealedEntry
from application.ledger.nodes import store_full_tiles
from domain.errors import (
    CaseLedgerError,
    DatabaseUnavailable,
    GuardBroken,
    HeadBehindPin,
    HeadForked,
    IdempotencyKeyReused,
    IntegrityFailure,
    Misconfigured,
    QueueFull,
    StaleRevision,
    WrongOrigin,
)
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.receipt import Receipt
from domain.ledger.tree import TILE_WIDTH, BatchProver, Frontier

MAX_QUEUED = 4096
MAX_QUEUED_BYTES = 64 * 1024 * 1024
MAX_BATCH = 512

_SESSION = "-c lock_timeout=5s -c statement_timeout=10s -c idle_in_transaction_session_timeout=5s -c TimeZone=UTC"

_HEAD = """
SELECT origin, size, frontier, greatest(committed_at, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
FROM ledger.head FOR UPDATE
"""
_STREAM_HEADS = """
SELECT wanted.stream, last.rev, last.leaf
FROM unnest(%s::text[]) AS wanted (stream)
CROSS JOIN LATERAL (
    SELECT rev, leaf FROM ledger.entry AS e WHERE e.stream = wanted.stream ORDER BY rev DESC LIMIT 1
) AS last
"""
_IDEMPOTENCY = """
SELECT known.actor, known.key, known.request_digest, known.first_index, known.count
FROM ledger.idempotency AS known JOIN unnest(%s::text[], %s::text[]) AS wanted (actor, key) USING (actor, key)
"""
_COPY = """
COPY ledger.entry (index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at)
FROM STDIN (FORMAT BINARY)
"""
# `text` for the json column: psycopg would encode a json parameter a second time.
_COPY_TYPES = ("int8", "text", "bytea", "bytea", "bytea", "bytea", "int8")

log = structlog.get_logger(__name__)


class _Waiting(msgspec.Struct, frozen=True):
    append: Append
    future: "Future[Appended]"


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a committed batch gave: the new tree, and each caller's outcome in order."""

    checkpoint: Checkpoint
    committed_at: int
    prover: BatchProver
    outcomes: tuple["int | _Known | CaseLedgerError", ...]
    """First index of what was appended, where an earlier request had put it, or why not."""


class _Known(msgspec.Struct, frozen=True):
    request_digest: bytes
    first_index: int
    count: int


class Appender:
    """Appends to the ledger, for all threads of this process.

    Owns one connection and the thread that uses it. `submit` never blocks.
    """

    def __init__(self, conninfo: str, origin: str, checkpoints: Checkpoints) -> None:
        self._conninfo = conninfo
        self._origin = origin
        self._checkpoints = checkpoints
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._queued = 0
        self._queued_bytes = 0
        self._stopped: CaseLedgerError | None = None
        self._connection: psycopg.Connection | None = None
        self._last: Checkpoint | None = None
        self._tiled = 0
        self._thread = threading.Thread(target=self._run, name="appender", daemon=True)

    def start(self) -> None:
        """Open the ledger: make its head if the database is new, hold it against the pin, start the writer.

        Raises:
            WrongOrigin: the database holds another ledger.
            HeadBehindPin, HeadForked: the database does not extend the last released checkpoint.
        """
        connection = self._connected()
        with connection.transaction():
            connection.execute(
                "INSERT INTO ledger.head (origin, size, frontier, committed_at) VALUES (%s, 0, '', 0)"
                " ON CONFLICT DO NOTHING",
                (self._origin,),
            )
        with connection.transaction():
            origin, frontier, _ = _head(connection)
            self._check_origin(origin)
            self._last = self._checkpoints.check_head(connection, frontier)
        if frontier.size:
            self._checkpoints.signed(connection, frontier.size)
        self._thread.start()

    def submit(self, append: Append) -> "Future[Appended]":
        """Queue an append. The future gives its receipts, or raises.

        Raises (at once):
            QueueFull: 4,096 appends or 64 MiB wait already.
            IntegrityFailure: appends have stopped because the ledger contradicts itself.
        Raises (from the future):
            StaleRevision, GuardBroken, IdempotencyKeyReused: somebody else was first; nothing was appended.
            DatabaseUnavailable: not known to be appended; repeat it with the same Idempotency-Key.
        """
        future: Future[Appended] = Future()
        size = append.size()
        with self._guard:
            if self._stopped is not None:
                raise self._stopped
            if self._queued >= MAX_QUEUED or self._queued_bytes + size > MAX_QUEUED_BYTES:
                raise QueueFull
            self._queued += 1
            self._queued_bytes += size
            self._queue.put(_Waiting(append, future))
        return future

    def close(self) -> None:
        """Append what waits, then stop."""
        with self._guard:
            if self._stopped is None:
                self._stopped = DatabaseUnavailable("the ledger is closing")
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join()
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            ended = False
            while len(batch) < MAX_BATCH:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    ended = True
                    break
                batch.append(more)
            with self._guard:
                self._queued -= len(batch)
                self._queued_bytes -= sum(each.append.size() for each in batch)
            self._settle(batch)
            if ended:
                return

    def _settle(self, batch: Sequence[_Waiting]) -> None:
        """Commit a batch and answer its callers; a batch that the database refuses is tried caller by caller."""
        try:
            answers = self._commit([each.append for each in batch])
        except IntegrityFailure as error:
            self._stop(error, batch)
            return
        except psycopg.OperationalError as error:
            self._drop_connection()
            log.warning("append.unavailable", error=type(error).__name__, sqlstate=error.sqlstate)
            answers = [DatabaseUnavailable()] * len(batch)
        except psycopg.Error as error:
            if len(batch) > 1:
                for each in batch:
                    self._settle((each,))
                return
            self._drop_connection()
            log.error("append.failed", error=type(error).__name__, sqlstate=error.sqlstate)
            answers = [DatabaseUnavailable("the database refused the append")]
        except CaseLedgerError as error:
            answers = [error] * len(batch)
        except Exception as error:
            # The writer outlives whatever goes wrong with one batch; its callers are told.
            self._drop_connection()
            log.exception("append.failed", error=type(error).__name__)
            answers = [DatabaseUnavailable("the append failed")] * len(batch)
        for each, answer in zip(batch, answers, strict=True):
            if isinstance(answer, CaseLedgerError):
                each.future.set_exception(answer)
            else:
                each.future.set_result(answer)

    def _commit(self, appends: Sequence[Append]) -> "list[Appended | CaseLedgerError]":
        connection = self._connected()
        try:
            written = self._write(connection, appends)
        except psycopg.OperationalError:
            if not connection.broken:
                raise
            # The connection was lost, perhaps after the commit took effect. The sealed bytes are the same as before:
            # if that try committed, their leaves stand in the log.
            self._drop_connection()
            written = self._write(self._connected(), appends, again=True)
        connection = self._connected()
        note = b""
        if written.prover.size > written.prover.first:
            note = self._checkpoints.release(connection, written.checkpoint, written.committed_at)
            self._last = written.checkpoint
        answers: list[Appended | CaseLedgerError] = []
        for append, outcome in zip(appends, written.outcomes, strict=True):
            match outcome:
                case int():
                    answers.append(_answer(written.prover, outcome, append.entries, note))
                case _Known():
                    known = (outcome.first_index, outcome.count)
                    answers.append(self._checkpoints.receipts(connection, *known, replayed=True))
                case _:
                    answers.append(outcome)
        if written.checkpoint.size // TILE_WIDTH > self._tiled:
            store_full_tiles(connection, written.checkpoint.size)
            self._tiled = written.checkpoint.size // TILE_WIDTH
        return answers

    def _write(self, connection: psycopg.Connection, appends: Sequence[Append], *, again: bool = False) -> _Written:
        with connection.transaction():
            origin, frontier, committed_at = _head(connection)
            self._check_origin(origin)
            self._check_last(frontier)
            heads = _stream_heads(connection, appends)
            known = _known_requests(connection, appends)
            committed = _committed_before(connection, appends) if again else {}
            outcomes: list[int | _Known | CaseLedgerError] = []
            entries: list[SealedEntry] = []
            requests: list[tuple[str, str, bytes, int, int]] = []
            for append in appends:
                first = frontier.size + len(entries)
                refusal = committed.get(append.entries[0].leaf) or _refusal(append, heads, known)
                if refusal is not None:
                    outcomes.append(refusal)
                    continue
                outcomes.append(first)
                entries.extend(append.entries)
                for entry in append.entries:
                    heads[entry.statement.stream] = (entry.statement.rev, entry.leaf.hex())
                if (key := append.idempotency) is not None:
                    known[key.actor, key.key] = _Known(key.request_digest, first, len(append.entries))
                    requests.append((key.actor, key.key, key.request_digest, first, len(append.entries)))
            prover = BatchProver(frontier, [entry.leaf for entry in entries])
            if entries:
                _insert(connection, entries, requests, prover, committed_at)
            checkpoint = Checkpoint(origin, prover.size, prover.root)
            return _Written(checkpoint=checkpoint, committed_at=committed_at, prover=prover, outcomes=tuple(outcomes))

    def _check_origin(self, origin: str) -> None:
        if origin != self._origin:
            raise WrongOrigin

    def _check_last(self, head: Frontier) -> None:
        """Between batches the head may only grow; a database set back while we run is noticed here."""
        last = self._last
        if last is not None and head.size < last.size:
            raise HeadBehindPin
        if last is not None and head.size == last.size and head.root() != last.root:
            raise HeadForked

    def _stop(self, error: CaseLedgerError, batch: Sequence[_Waiting]) -> None:
        log.critical("append.stopped", code=error.code)
        with self._guard:
            self._stopped = error
        for each in batch:
            each.future.set_exception(error)
        while True:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                self._queue.put(None)
                break
            waiting.future.set_exception(error)

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._conninfo, autocommit=True, options=_SESSION)
            self._connection.prepare_threshold = 0
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _head(connection: psycopg.Connection) -> tuple[str, Frontier, int]:
    row = connection.execute(_HEAD, binary=True).fetchone()
    if row is None:
        raise Misconfigured("the database holds no ledger; it has to be opened first")
    return row[0], Frontier.from_bytes(row[1], row[2]), row[3]


def _stream_heads(connection: psycopg.Connection, appends: Sequence[Append]) -> dict[str, tuple[int, str]]:
    """(revision, leaf hex) of every stream that the batch concerns and that exists."""
    wanted = {entry.statement.stream for append in appends for entry in append.entries}
    wanted.update(guard.stream for append in appends for guard in append.guards)
    rows = connection.execute(_STREAM_HEADS, (sorted(wanted),), binary=True).fetchall()
    return {stream: (rev, leaf.hex()) for stream, rev, leaf in rows}


def _known_requests(connection: psycopg.Connection, appends: Sequence[Append]) -> dict[tuple[str, str], _Known]:
    keys = [append.idempotency for append in appends if append.idempotency is not None]
    if not keys:
        return {}
    rows = connection.execute(
        _IDEMPOTENCY, ([key.actor for key in keys], [key.key for key in keys]), binary=True
    ).fetchall()
    return {(actor, key): _Known(digest, first, count) for actor, key, digest, first, count in rows}


def _committed_before(connection: psycopg.Connection, appends: Sequence[Append]) -> dict[bytes, _Known]:
    """Appends that are in the log already, by the leaf of their first entry; a leaf never occurs twice."""
    found: dict[bytes, _Known] = {}
    for append in appends:
        first = append.entries[0]
        row = connection.execute(
            "SELECT index FROM ledger.entry WHERE stream = %s AND rev = %s AND leaf = %s",
            (first.statement.stream, first.statement.rev, first.leaf),
        ).fetchone()
        if row is not None:
            found[first.leaf] = _Known(b"", row[0], len(append.entries))
    return found


def _refusal(
    append: Append, heads: dict[str, tuple[int, str]], known: dict[tuple[str, str], _Known]
) -> "_Known | CaseLedgerError | None":
    """Why an append does not go in now, or where it already stands; None when it goes in."""
    if (key := append.idempotency) is not None and (earlier := known.get((key.actor, key.key))) is not None:
        return earlier if earlier.request_digest == key.request_digest else IdempotencyKeyReused()
    for guard in append.guards:
        if heads.get(guard.stream, (0, ""))[1] != guard.leaf:
            return GuardBroken()
    moved: dict[str, tuple[int, str]] = {}
    for entry in append.entries:
        stream = entry.statement.stream
        rev, leaf = moved.get(stream) or heads.get(stream, (0, ""))
        if entry.statement.rev != rev + 1 or (entry.statement.prev or "") != leaf:
            return StaleRevision()
        moved[stream] = (entry.statement.rev, entry.leaf.hex())
    return None


def _insert(
    connection: psycopg.Connection,
    entries: Sequence[SealedEntry],
    requests: Sequence[tuple[str, str, bytes, int, int]],
    prover: BatchProver,
    committed_at: int,
) -> None:
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for index, entry in enumerate(entries, prover.first):
            copy.write_row(
                (
                    index,
                    entry.raw.decode(),
                    entry.actor_signature,
                    entry.ledger_signature,
                    entry.leaf,
                    entry.sealed,
                    committed_at,
                )
            )
    with connection.pipeline():
        if requests:
            connection.cursor().executemany(
                "INSERT INTO ledger.idempotency (actor, key, request_digest, first_index, count)"
                " VALUES (%s, %s, %s, %s, %s)",
                requests,
            )
        connection.execute(
            "INSERT INTO ledger.root (size, root, committed_at) VALUES (%s, %s, %s)",
            (prover.size, prover.root, committed_at),
        )
        connection.execute(
            "UPDATE ledger.head SET size = %s, frontier = %s, committed_at = %s",
            (prover.size, prover.frontier.to_bytes(), committed_at),
        )
        connection.execute("SELECT pg_notify('ledger', %s)", (str(prover.size),))


def _answer(prover: BatchProver, first: int, entries: Sequence[SealedEntry], note: bytes) -> Appended:
    receipts = tuple(
        Receipt.make(index, entry.leaf, prover.proof(index), note) for index, entry in enumerate(entries, first)
    )
    return Appended(first_index=first, receipts=receipts)
