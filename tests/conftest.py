"""A real PostgreSQL for every test that asks: one server and template a session, one database a test."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import sql

from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER, SERVICE, SUPERUSER
from migrations import runner

COUNTED = "counted: "
TEMPLATE = "template_head"
OPTIONS = {"max_connections": "200", "max_wal_size": "256MB"}
_numbers = itertools.count(1)


def scratch() -> Path | None:
    """A file system in memory with room for a session, where there is one; None stands for the usual place.

    A database is some 350 files, and ext4 without a journal avoids inodes that were freed within the last minute:
    after a few dozen tests CREATE DATABASE would take 250 ms instead of 15.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the directory that is made there is private
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        return None
    free = os.statvfs(memory)
    return memory if free.f_bavail * free.f_frsize >= 4 << 30 else None


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Tell how many of something a test went through; the run's summary says it, and so does a JUnit report."""

    def tell(what: str, number: int) -> None:
        record_property(f"{COUNTED}{what}", number)

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many published vectors and garbled inputs the tests that passed went through."""
    sums: dict[str, int] = {}
    for report in terminalreporter.getreports("passed"):
        for name, number in report.user_properties:
            if name.startswith(COUNTED) and isinstance(number, int):
                sums[name] = sums.get(name, 0) + number
    for name in sorted(sums):
        terminalreporter.write_line(f"{name.removeprefix(COUNTED)}: {sums[name]:,}")


class Database(msgspec.Struct, frozen=True):
    """One test's own database, seen as each of the three roles."""

    owner_url: str
    service_url: str
    superuser_url: str
    name: str


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """The session's server, in a directory of its own: pytest's are closed to the server's user."""
    data = Path(tempfile.mkdtemp(prefix="caseledger-", dir=scratch()))
    data.chmod(0o711)
    try:
        with EmbeddedPostgres(data, durable=False, options=OPTIONS) as running:
            yield running
    finally:
        shutil.rmtree(data)


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> str:
    """Name of a database with every migration, made once a session and copied for each test."""
    server.bootstrap(TEMPLATE)
    runner.upgrade(server.url(OWNER, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database(server: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """An empty ledger's database for one test, dropped afterwards whoever is still connected."""
    name = f"test_{next(_numbers)}"
    maintenance = server.url(SUPERUSER, "postgres")
    identifiers = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    identifiers |= {"owner": sql.Identifier(OWNER), "service": sql.Identifier(SERVICE)}
    with psycopg.connect(maintenance, autocommit=True) as connection:
        # A copy has the template's schemas and grants, but not the rights on the database itself.
        for statement in (
            "CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}",
            "REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {name} TO {service}",
        ):
            connection.execute(sql.SQL(statement).format(**identifiers))
        yield Database(
            owner_url=server.url(OWNER, name),
            service_url=server.url(SERVICE, name),
            superuser_url=server.url(SUPERUSER, name),
            name=name,
        )
        connection.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**identifiers))
