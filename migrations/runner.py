"""Brings a database to a revision of the schema: Alembic configured in code, revisions written in SQL.

Each revision is one transaction, and its content is the .sql file beside it:

    from migrations.runner import execute, sql_beside

    def upgrade() -> None:
        execute(sql_beside(__file__))

There is no downgrade: the ledger only grows, and a step back would drop signed entries.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command, op
from alembic.config import Config
from psycopg import pq
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

SCHEMA = "migrations"
TABLE = "revision"
PACKAGE = Path(__file__).resolve().parent
LOCK = "caseledger/migrations"

IS_OWNER = "SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = current_database()"
# Which revision a database is at is no secret of it, and the service checks it at start.
PREPARE = """
CREATE SCHEMA IF NOT EXISTS migrations;
GRANT USAGE ON SCHEMA migrations TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA migrations GRANT SELECT ON TABLES TO PUBLIC;
"""


def upgrade(url: str, revision: str = "head", *, versions: Path = PACKAGE / "versions") -> None:
    """Runs what is missing up to a revision, as the database's owner; concurrent runs wait for each other.

    A revision that fails leaves its predecessors in place and nothing of itself.

    Raises:
        psycopg.errors.InsufficientPrivilege: the role does not own the database, so would own what it makes.
    """
    config = Config()
    # Alembic's options are interpolated, so a percent sign of a path must be doubled.
    config.set_main_option("script_location", _escaped(PACKAGE))
    config.set_main_option("version_locations", _escaped(versions))
    config.set_main_option("path_separator", "newline")
    with _connection(url) as connection:
        driver = _driver(connection)
        if driver.execute(IS_OWNER).fetchone() != (True,):
            raise psycopg.errors.InsufficientPrivilege("migrations run as the role that owns the database")
        # Held by the session, since every revision commits; it ends with the connection at the latest.
        driver.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (LOCK,))
        driver.execute(PREPARE)
        connection.commit()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def current(url: str) -> str | None:
    """The revision that a database is at; None where no revision ever ran."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regclass('migrations.revision') IS NOT NULL").fetchone()
        if found != (True,):
            return None
        row = connection.execute("SELECT version_num FROM migrations.revision").fetchone()
    return None if row is None else str(row[0])


def sql_beside(revision: str) -> str:
    """The SQL of a revision: the file of the same name, ending in .sql, beside the revision's `__file__`."""
    return Path(revision).with_suffix(".sql").read_text("utf-8")


def execute(statements: str) -> None:
    """Runs SQL inside the revision's transaction, verbatim: neither `%` nor `:name` is a placeholder.

    Raises:
        psycopg.errors.InvalidTransactionTermination: the SQL ended the transaction, which is Alembic's to
        end.
    """
    driver = _driver(op.get_bind())
    # bytes, since a str is expected to be a literal of the program; without parameters the driver parses
    # nothing.
    driver.execute(statements.encode(), prepare=False)
    if driver.info.transaction_status != pq.TransactionStatus.INTRANS:
        raise psycopg.errors.InvalidTransactionTermination("the SQL of a revision must not commit or roll back")


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    # The driver reads the URL itself: SQLAlchemy's own reading differs on sockets, several hosts and options.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url),
        poolclass=NullPool,
        pool_reset_on_return=None,
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _driver(connection: Connection) -> psycopg.Connection[tuple[object, ...]]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - narrows a type
    return driver


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
