"""Comparing a live view with one folded anew: digest by digest, and where they differ, by which row."""

import hashlib
from collections.abc import Iterator
from itertools import count
from typing import Any, Literal

import msgspec
import psycopg
from psycopg import sql

from projections.model import Key, Projection, Stored
from projections.schema import table

_FETCHED = 2000
_numbers = count()


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first row, by key, in which a live view is not what the log says; no content of it.

    `outdated`: another version folded the view, nothing was compared.
    """

    table: str
    key: Key | None
    what: Literal["altered", "missing", "extra", "outdated"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a live view equals the log up to `position` (a tree size); `rows` are the live ones.

    A digest is SHA-256 over the rows in the order of their keys, each a MessagePack array of its columns, as lower-case
    hex. Sealed columns are compared as they are stored, since sealing is deterministic.
    """

    projection: str
    position: int
    rows: int
    live_digest: str | None
    replayed_digest: str | None
    equal: bool
    difference: Difference | None = None


def outdated(projection: Projection[Any], position: int) -> Comparison:
    """The comparison of a view that another version folded."""
    return Comparison(
        projection=projection.name,
        position=position,
        rows=0,
        live_digest=None,
        replayed_digest=None,
        equal=False,
        difference=Difference(table=projection.name, key=None, what="outdated"),
    )


def compare(
    connection: psycopg.Connection, projection: Projection[Any], position: int, live: str, replayed: str
) -> Comparison:
    """Compare a projection's table in two schemas, both at `position`, within the caller's transaction."""
    rows, live_digest = digest(connection, projection, live)
    # Where the database finds no row that differs, the digest of the one is that of the other.
    equal = _equal(connection, projection, live, replayed)
    replayed_digest = live_digest if equal else digest(connection, projection, replayed)[1]
    return Comparison(
        projection=projection.name,
        position=position,
        rows=rows,
        live_digest=live_digest,
        replayed_digest=replayed_digest,
        equal=equal,
        difference=None if equal else _first_difference(connection, projection, live, replayed),
    )


def digest(connection: psycopg.Connection, projection: Projection[Any], schema: str) -> tuple[int, str]:
    """How many rows, and the digest over them."""
    hashed, rows = hashlib.sha256(), 0
    encoder = msgspec.msgpack.Encoder()
    for row in _rows(connection, projection, schema):
        hashed.update(encoder.encode(row))
        rows += 1
    return rows, hashed.hexdigest()


def _equal(connection: psycopg.Connection, projection: Projection[Any], live: str, replayed: str) -> bool:
    """Whether both tables hold the same rows, column by column."""
    names = [sql.Identifier(each) for each in projection.column_names()]
    one, other = (
        sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.Identifier(table_), name) for name in names)
        for table_ in ("live", "replayed")
    )
    query = sql.SQL(
        "SELECT NOT EXISTS (SELECT FROM {} AS live FULL JOIN {} AS replayed ON live.{key} = replayed.{key}"
        " WHERE ({}) IS DISTINCT FROM ({}))"
    ).format(table(live, projection), table(replayed, projection), one, other, key=names[0])
    return connection.execute(query).fetchone() == (True,)


def _rows(connection: psycopg.Connection, projection: Projection[Any], schema: str) -> Iterator[Stored]:
    """All rows in the order of their keys: numbers by size, texts by code point whatever the database's collation."""
    names = [sql.Identifier(each) for each in projection.column_names()]
    collation = sql.SQL(' COLLATE "C"' if projection.columns[0][1] == "text" else "")
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}{}").format(
        sql.SQL(", ").join(names), table(schema, projection), names[0], collation
    )
    with connection.cursor(f"rows_{next(_numbers)}") as cursor:
        cursor.itersize = _FETCHED
        yield from cursor.execute(query, binary=True)


def _first_difference(
    connection: psycopg.Connection, projection: Projection[Any], live: str, replayed: str
) -> Difference | None:
    lives, replays = _rows(connection, projection, live), _rows(connection, projection, replayed)
    while True:
        ours, theirs = next(lives, None), next(replays, None)
        if ours == theirs:
            if ours is None:
                return None
            continue
        if theirs is None or (ours is not None and ours[0] < theirs[0]):
            assert ours is not None  # noqa: S101 - they differ, so not both are None
            return Difference(table=projection.name, key=ours[0], what="extra")
        missing = ours is None or ours[0] > theirs[0]
        return Difference(table=projection.name, key=theirs[0], what="missing" if missing else "altered")
