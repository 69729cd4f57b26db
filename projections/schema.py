"""The tables of the read models: made by the owner, filled and read by the service."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from domain.errors import Misconfigured
from projections.model import Projection
from projections.registry import PROJECTIONS

LIVE = "views"
SERVICE = "caseledger_service"

_POSITION = "SELECT position, version, shape FROM views.position WHERE name = %s"


def install(owner_url: str, projections: Sequence[Projection[Any]] = PROJECTIONS) -> list[str]:
    """Make what is missing, as the database's owner, after the migrations; to do it again changes nothing.

    Returns the names of views that another version folded: they stand still until they are rebuilt.
    """
    with psycopg.connect(owner_url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('caseledger/views', 0))")
        connection.execute(Path(__file__).with_name("views.sql").read_text("utf-8").encode())
        # `replay --check` folds into temporary tables of its own session.
        connection.execute(
            sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(
                sql.Identifier(connection.info.dbname), sql.Identifier(SERVICE)
            )
        )
        for projection in projections:
            if connection.execute(_POSITION, (projection.name,)).fetchone() is None:
                create(connection, LIVE, projection)
                connection.execute(
                    "INSERT INTO views.position (name, version, shape, position) VALUES (%s, %s, %s, 0)",
                    (projection.name, projection.version, projection.shape()),
                )
        return [each.name for each in projections if not folded_to(connection, each).current]


def create(connection: psycopg.Connection, schema: str, projection: Projection[Any]) -> None:
    """Make a projection's empty table in a schema, for the service to fill."""
    connection.execute(sql.SQL(projection.sql()).format(schema=sql.Identifier(schema)))
    if schema != "pg_temp":
        connection.execute(
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}").format(
                table(schema, projection), sql.Identifier(SERVICE)
            )
        )


def table(schema: str, projection: Projection[Any]) -> sql.Identifier:
    """Name of a projection's table in a schema."""
    return sql.Identifier(schema, projection.name)


def position(pool: ConnectionPool, name: str) -> int:
    """How far a live view is folded, as a tree size; 0 where there is no such view."""
    with pool.connection() as connection:
        row = connection.execute("SELECT position FROM views.position WHERE name = %s", (name,)).fetchone()
    return 0 if row is None else int(row[0])


class Folded(msgspec.Struct, frozen=True):
    """How far a live view is folded, and whether this version's fold did it."""

    position: int
    current: bool


def folded_to(connection: psycopg.Connection, projection: Projection[Any], *, lock: bool = False) -> Folded:
    """How far the live view is folded. With `lock`, nobody else moves it before this transaction ends.

    Raises:
        Misconfigured: the view is not installed.
    """
    query = _POSITION + " FOR UPDATE" if lock else _POSITION
    row = connection.execute(query, (projection.name,)).fetchone()
    if row is None:
        raise Misconfigured(f"the view {projection.name} is not installed")
    return Folded(row[0], (row[1], row[2]) == (projection.version, projection.shape()))
