"""A thread that is woken: by a notification, by its poll, and by its end."""

import time
from collections.abc import Callable
from threading import Event

import psycopg
import pytest

from application.ledger.woken import WokenThread
from tests.conftest import Database

LONG_S = 60.0
SOON_S = 10.0


class Waiting:
    """A thread that waits again and again; `woken` is set whenever a wait has ended, `listening` before the first."""

    def __init__(self, database: Database, poll_s: float) -> None:
        self.url = database.service_url
        self.listening, self.woken = Event(), Event()
        self.thread = WokenThread(self.run, "waiting", poll_s)

    def run(self) -> None:
        """Listen, until stopped."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("LISTEN ledger")
            self.listening.set()
            while not self.thread.stopping:
                self.thread.wait(connection)
                self.woken.set()


def notify(waiting: Waiting) -> None:
    """Somebody appends."""
    with psycopg.connect(waiting.url, autocommit=True) as connection:
        connection.execute("NOTIFY ledger")


def nothing(waiting: Waiting) -> None:
    """Nobody does."""


@pytest.mark.parametrize(("poll_s", "do"), [(LONG_S, notify), (0.05, nothing)])
def test_a_notification_wakes_it_and_so_does_time(
    database: Database, poll_s: float, do: Callable[[Waiting], None]
) -> None:
    """Long before its poll where there is a notification, and by its poll where there is none."""
    waiting = Waiting(database, poll_s)
    waiting.thread.start()
    try:
        assert waiting.listening.wait(SOON_S)
        do(waiting)
        assert waiting.woken.wait(SOON_S)
    finally:
        waiting.thread.stop()


def test_its_end_wakes_it(database: Database) -> None:
    """Whoever stops it does not wait for the poll, nor for the rest after a failure."""
    waiting = Waiting(database, LONG_S)
    resting = WokenThread(lambda: resting.rest(LONG_S), "resting", LONG_S)
    waiting.thread.start()
    resting.start()
    assert waiting.listening.wait(SOON_S)
    began = time.monotonic()
    waiting.thread.stop()
    resting.stop()
    assert time.monotonic() - began < SOON_S
    assert waiting.thread.stopping


def test_one_that_never_started_is_stopped(database: Database) -> None:
    """There is nothing to wait for."""
    waiting = Waiting(database, LONG_S)
    waiting.thread.stop()
    assert not waiting.woken.is_set()
