"""The peer of most rows: an application of the event sourcing library as its tutorial has it, on the same server."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from psycopg import sql

from benchmarks.ground import Ground
from caseledger.embedded.roles import OWNER


class LibraryCase(Aggregate):
    """An aggregate of the default kind; its event says what ours says."""

    def __init__(self, case: str, actor: str, role: str, purpose: str) -> None:
        self.case = case
        self.coordinator = ""

    @event("CoordinatorAssigned")
    def assign(self, coordinator: str, actor: str, role: str, purpose: str, cause: str, recorded_at: int) -> None:
        """The same facts as in our statement and payload, but for the digests, which it has no use for."""
        self.coordinator = coordinator


class LibraryCases(Application[UUID]):
    """Application.save as it comes: JSON, one transaction a save, nothing signed or sealed."""


def opened_case(number: int) -> LibraryCase:
    """A new aggregate, not saved yet."""
    return LibraryCase(f"case-{number}", "coordinator-1", "coordinator", "TREAT")


def assign(case: LibraryCase) -> None:
    """One more event."""
    case.assign("coordinator-1", "coordinator-1", "coordinator", "TREAT", "cause-1", 1_700_000_000_000_000)


@contextmanager
def library(ground: Ground, name: str) -> Iterator[LibraryCases]:
    """The application over a schema of its own in the database of that name."""
    with psycopg.connect(ground.server.url(OWNER, name), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS library"))
    application = LibraryCases(ground.library_environment(name))
    try:
        yield application
    finally:
        application.close()
