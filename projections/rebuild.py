"""Folding the log anew: to see whether the live views equal it, or to put new tables in the live ones' place."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from psycopg import sql
from psycopg_pool import ConnectionPool

from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from domain.errors import Unavailable
from projections import folding
from projections.comparing import Comparison, compare, outdated
from projections.model import Projection, Seals
from projections.registry import PROJECTIONS
from projections.schema import LIVE, create, folded_to, table

NEXT = "views_next"
"""Schema in which a rebuild makes its tables."""
_TEMPORARY = "pg_temp"
_SWAP_TRIES = 5

log = structlog.get_logger(__name__)


class _Replay:
    """Folds the log into a schema's empty tables, reading it once for all of them; holds one batch in memory."""

    def __init__(
        self, ledger: Ledger, keyring: Keyring, schema: str, projections: Sequence[Projection[Any]], batch: int
    ) -> None:
        self._ledger = ledger
        self._seals = Seals(keyring)
        self._schema = schema
        self._projections = projections
        self._batch = batch
        self.positions = {each.name: 0 for each in projections}

    def to(self, connection: psycopg.Connection, targets: Mapping[str, int]) -> None:
        """Fold on, each table up to its own target."""
        while behind := [each for each in self._projections if self.positions[each.name] < targets[each.name]]:
            start = min(self.positions[each.name] for each in behind)
            stop = min(start + self._batch, max(targets[each.name] for each in behind))
            events = folding.read(self._ledger, start, stop)
            with connection.transaction():
                for each in behind:
                    low, high = self.positions[each.name], min(stop, targets[each.name])
                    if low < high:
                        part = events[low - start : high - start]
                        folding.fold(connection, self._schema, each, part, self._seals)
            for each in behind:
                self.positions[each.name] = max(self.positions[each.name], min(stop, targets[each.name]))


def check(
    ledger: Ledger,
    pool: ConnectionPool,
    keyring: Keyring,
    projections: Sequence[Projection[Any]] = PROJECTIONS,
    *,
    batch: int = folding.BATCH,
) -> list[Comparison]:
    """Fold the log up to where each live view stands, into temporary tables, and compare. Changes nothing.

    Uses one connection of the pool throughout, and others to read the log.
    """
    with pool.connection() as connection:
        positions = {each.name: folded_to(connection, each) for each in projections}
        current = [each for each in projections if positions[each.name].current]
        with _temporary(connection, current):
            replay = _Replay(ledger, keyring, _TEMPORARY, current, batch)
            replay.to(connection, {each.name: positions[each.name].position for each in current})
            with connection.transaction():
                # One snapshot: rows and position of the same instant. What was folded meanwhile is caught up with here.
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                positions = {each.name: folded_to(connection, each) for each in projections}
                current = [each for each in current if positions[each.name].current]
                replay.to(connection, replay.positions | {each.name: positions[each.name].position for each in current})
                return [
                    compare(connection, each, positions[each.name].position, LIVE, _TEMPORARY)
                    if each in current
                    else outdated(each, positions[each.name].position)
                    for each in projections
                ]


def rebuild(
    owner_url: str,
    ledger: Ledger,
    keyring: Keyring,
    projections: Sequence[Projection[Any]] = PROJECTIONS,
    *,
    batch: int = folding.BATCH,
) -> list[Comparison]:
    """Fold the log into new tables beside the live ones, up to where those stand, compare, and swap them all at once.

    Followers go on until the swap, and after it from where they were; readers see the old table or the new one. What is
    returned says how the old ones compared; one that did not equal the log is replaced like any other.

    Raises:
        Unavailable: another rebuild runs, or readers did not let go of the old tables; the live views are as they were.
    """
    # Nothing is lost by a crash before the swap: a rebuild begins anew. The swap's own commit flushes what came before.
    with psycopg.connect(owner_url, autocommit=True, options="-c synchronous_commit=off") as connection:
        if connection.execute("SELECT pg_try_advisory_lock(hashtextextended('caseledger/rebuild', 0))").fetchone() != (
            True,
        ):
            raise Unavailable("another rebuild of the views is under way")
        # What a rebuild that was killed left behind.
        _drop_next(connection)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(NEXT)))
        try:
            for each in projections:
                create(connection, NEXT, each)
            replay = _Replay(ledger, keyring, NEXT, projections, batch)
            while True:
                targets = {each.name: folded_to(connection, each).position for each in projections}
                if all(targets[name] - position < batch for name, position in replay.positions.items()):
                    break
                replay.to(connection, targets)
            for each in projections:
                connection.execute(sql.SQL("ANALYZE {}").format(table(NEXT, each)))
            return _swap_patiently(connection, replay, projections)
        finally:
            if not connection.closed:
                _drop_next(connection)


def _swap_patiently(
    connection: psycopg.Connection, replay: _Replay, projections: Sequence[Projection[Any]]
) -> list[Comparison]:
    """Swap; a reader that holds an old table for long makes it wait for a while, and then start over."""
    for _ in range(_SWAP_TRIES):
        before = dict(replay.positions)
        try:
            return _swap(connection, replay, projections)
        except psycopg.errors.LockNotAvailable:
            # What was caught up with in there was rolled back.
            replay.positions = before
            log.warning("rebuild.swap_waits")
    raise Unavailable("the views are in use; the rebuild was given up")


def _swap(connection: psycopg.Connection, replay: _Replay, projections: Sequence[Projection[Any]]) -> list[Comparison]:
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '5s'")
        connection.execute("SET LOCAL synchronous_commit = on")
        # In the order of names, as everybody does who locks several.
        live = {
            each.name: folded_to(connection, each, lock=True)
            for each in sorted(projections, key=lambda each: each.name)
        }
        replay.to(connection, {name: folded.position for name, folded in live.items()})
        comparisons = [
            compare(connection, each, live[each.name].position, LIVE, NEXT)
            if live[each.name].current
            else outdated(each, live[each.name].position)
            for each in projections
        ]
        for each in projections:
            connection.execute(sql.SQL("DROP TABLE {}").format(table(LIVE, each)))
            connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(table(NEXT, each), sql.Identifier(LIVE)))
            connection.execute(
                "UPDATE views.position SET version = %s, shape = %s WHERE name = %s",
                (each.version, each.shape(), each.name),
            )
        return comparisons


def _drop_next(connection: psycopg.Connection) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(NEXT)))


@contextmanager
def _temporary(connection: psycopg.Connection, projections: Sequence[Projection[Any]]) -> Iterator[None]:
    """Empty tables that only this session sees."""
    with connection.transaction():
        for each in projections:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table(_TEMPORARY, each)))
            create(connection, _TEMPORARY, each)
    try:
        yield
    finally:
        if not connection.closed:
            with connection.transaction():
                for each in projections:
                    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table(_TEMPORARY, each)))
