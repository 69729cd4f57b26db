"""Backups of a test's database, and putting one back, as an operator does with the service stopped."""

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from caseledger.embedded.roles import OWNER, SERVICE
from tests.conftest import Database


def back_up(database: Database, name: str) -> str:
    """Copy the database, to which nobody may be connected; the copy's name."""
    copy = f"{database.name}_{name}"
    _copy(database, database.name, copy)
    return copy


def put_back(database: Database, copy: str) -> None:
    """Replace the database by a copy of it."""
    with psycopg.connect(make_conninfo(database.superuser_url, dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))
    _copy(database, copy, database.name)


def _copy(database: Database, old: str, new: str) -> None:
    names = {"new": sql.Identifier(new), "old": sql.Identifier(old)}
    names |= {"owner": sql.Identifier(OWNER), "service": sql.Identifier(SERVICE)}
    with psycopg.connect(make_conninfo(database.superuser_url, dbname="postgres"), autocommit=True) as connection:
        for statement in (
            "CREATE DATABASE {new} TEMPLATE {old} OWNER {owner}",
            "REVOKE ALL ON DATABASE {new} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {new} TO {service}",
        ):
            connection.execute(sql.SQL(statement).format(**names))
