"""The library's recorder interface over the ledger's tables: appends through the appender, reads entries back."""

from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import starmap
from typing import Any, NoReturn
from uuid import UUID

import msgspec
import psycopg
from eventsourcing.persistence import ApplicationRecorder, Notification, StoredEvent
from psycopg.types.string import ByteaBinaryLoader
from psycopg_pool import ConnectionPool

from application import sql
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.entries import Append, Appended, IdempotencyKey
from domain.errors import DatabaseUnavailable, IdempotencyKeyReused
from domain.ledger.dsse import render
from domain.ledger.statement import Statement, decode_statement

ANSWER_TIMEOUT_S = 30.0

_SQL = sql.beside(__file__)
_NO_LIMIT = 2**62


class EntryRow(msgspec.Struct, frozen=True, gc=False):
    """One row of ledger.entry, as it stands there."""

    index: int
    raw: bytes
    actor_signature: bytes | None
    ledger_signature: bytes
    leaf: bytes
    sealed: bytes | None
    committed_at: int

    def statement(self) -> Statement:
        """The statement, read strictly."""
        return decode_statement(self.raw)

    def envelope(self) -> bytes:
        """The entry's bytes, rendered anew."""
        actor, ledger = self.actor_signature, self.ledger_signature
        return render(self.raw, (ledger,) if actor is None else (actor, ledger))


class LedgerRecorder(ApplicationRecorder):
    """Appends and reads entries. A notification's id is its entry's index + 1."""

    def __init__(self, pool: ConnectionPool, appender: Appender, checkpoints: Checkpoints) -> None:
        self._pool = pool
        self._appender = appender
        self._checkpoints = checkpoints
        self.live = checkpoints.live

    def append(self, append: Append) -> Appended:
        """Append, and wait for the receipts.

        Raises:
            DatabaseUnavailable: no answer in time; repeat with the same Idempotency-Key.
            StaleRevision, GuardBroken, IdempotencyKeyReused, QueueFull, IntegrityFailure: see `Appender.submit`.
        """
        future = self._appender.submit(append)
        try:
            return future.result(ANSWER_TIMEOUT_S)
        except FutureTimeoutError:
            if future.cancel():
                raise DatabaseUnavailable("the append waited too long, and was not tried") from None
            raise DatabaseUnavailable("the append was not answered in time") from None

    def refresh_keys(self) -> None:
        """Sign with the keys that are in use now.

        Raises:
            Misconfigured: they are not among the key files.
        """
        with sql.borrowed(self._pool) as connection:
            self.live.refresh(connection)

    def appended_under(self, key: IdempotencyKey) -> Appended | None:
        """What an earlier request under this key appended, with the receipts that it was given; None for a new key.

        Raises:
            IdempotencyKeyReused: the key came with another request.
        """
        with sql.borrowed(self._pool) as connection:
            row = connection.execute(
                "SELECT request_digest, first_index, count FROM ledger.idempotency WHERE actor = %s AND key = %s",
                (key.actor, key.key),
            ).fetchone()
            if row is None:
                return None
            if row[0] != key.request_digest:
                raise IdempotencyKeyReused
            return self._checkpoints.receipts(connection, row[1], row[2], replayed=True)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append already sealed entries (`append`); the library's own stored events are not enough for an entry."""
        append: Append = kwargs["append"]
        first = self.append(append).first_index
        return range(first + 1, first + 1 + len(append.entries))

    def rows(self, stream: str, gt: int | None, lte: int | None, desc: bool, limit: int | None) -> list[EntryRow]:
        """Entries of a stream by revision."""
        statement = _SQL["stream_backwards" if desc else "stream"]
        with sql.borrowed(self._pool) as connection:
            return _rows(connection, statement, (stream, gt or 0, _NO_LIMIT if lte is None else lte, limit))

    def range(self, start: int, stop: int) -> list[EntryRow]:
        """Entries with start <= index < stop, in order."""
        with sql.borrowed(self._pool) as connection:
            return _rows(connection, _SQL["range"], (start, stop))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Stored events of a stream; their state is still sealed."""
        rows = self.rows(str(originator_id), gt, lte, desc, limit)
        return [_stored(row) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Entries in the log's order, still sealed; ids are dense, so a gap is a fault and not a wait."""
        first = 0 if start is None else start - 1 if inclusive_of_start else start
        end = _NO_LIMIT if stop is None else stop
        with sql.borrowed(self._pool) as connection:
            wanted = (max(first, 0), end, list(topics) or None, list(topics), limit)
            return [_notification(row) for row in _rows(connection, _SQL["log"], wanted)]

    def max_notification_id(self) -> int | None:
        """Size of the log; None while it is empty."""
        with sql.borrowed(self._pool) as connection:
            row = connection.execute("SELECT size FROM ledger.head").fetchone()
        return row[0] if row is not None and row[0] else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> NoReturn:
        """Not offered: the library's subscription can lose a wake-up. The follower in projections/ is used instead."""
        raise TypeError("this ledger is followed by projections.follower, not by the library's subscription")


def _rows(connection: psycopg.Connection, statement: bytes, values: tuple[object, ...]) -> list[EntryRow]:
    with connection.cursor(binary=True) as cursor:
        # The statement's text as it stands there; the driver would parse it.
        cursor.adapters.register_loader("json", ByteaBinaryLoader)
        return list(starmap(EntryRow, cursor.execute(statement, values).fetchall()))


def _stored(row: EntryRow) -> StoredEvent:
    statement = row.statement()
    return StoredEvent(statement.stream, statement.rev, statement.kind, row.sealed or b"")


def _notification(row: EntryRow) -> Notification:
    stored = _stored(row)
    return Notification(stored.originator_id, stored.originator_version, stored.topic, stored.state, id=row.index + 1)
