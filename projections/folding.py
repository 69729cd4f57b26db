"""Folding a stretch of the log into rows: read what is concerned, fold, write what came out."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from application.ledger.store import Ledger
from application.ledger.streams import LoggedEvent
from domain.errors import ChainBroken
from projections.model import Key, Projection, R, Seals
from projections.schema import table

BATCH = 1000
"""Entries a transaction."""


def read(ledger: Ledger, start: int, stop: int) -> list[LoggedEvent]:
    """Every entry with start <= index < stop, all of them committed.

    Raises:
        ChainBroken: entries below the head are missing.
        EntryAltered, PayloadAltered, UnknownTopic: see `Ledger.read`.
    """
    events = ledger.read(start, stop)
    if [each.index for each in events] != list(range(start, stop)):
        raise ChainBroken(f"entries between {start} and {stop} are missing")
    return events


def fold(
    connection: psycopg.Connection,
    schema: str,
    projection: Projection[R],
    events: Sequence[LoggedEvent],
    seals: Seals,
) -> None:
    """Fold events, in the log's order, into a projection's table; inside the caller's transaction."""
    touched = [(key, event) for event in events if (key := projection.key(event)) is not None]
    if not touched:
        return
    rows = _found(connection, schema, projection, list(dict.fromkeys(key for key, _ in touched)), seals)
    found = list(rows)
    for key, event in touched:
        rows[key] = projection.fold(rows.get(key), event)
    _write(connection, schema, projection, found, rows, seals)


def _found(
    connection: psycopg.Connection, schema: str, projection: Projection[R], keys: list[Key], seals: Seals
) -> dict[Key, R]:
    if projection.restore is None:
        return {}
    names = projection.column_names()
    query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s)").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), table(schema, projection), sql.Identifier(names[0])
    )
    rows = connection.execute(query, (keys,), binary=True).fetchall()
    return {row[0]: projection.restore(row, seals) for row in rows}


def _write(
    connection: psycopg.Connection,
    schema: str,
    projection: Projection[R],
    replaced: list[Key],
    rows: dict[Key, R],
    seals: Seals,
) -> None:
    names = projection.column_names()
    if replaced:
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(table(schema, projection), sql.Identifier(names[0])),
            (replaced,),
        )
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        table(schema, projection), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([type_ for _, type_ in projection.columns])
        for row in rows.values():
            copy.write_row(projection.store(row, seals))
