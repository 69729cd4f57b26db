"""From the log to jobs: what is to be done after an entry is enqueued in the transaction that moves past the entry.

The position is durable, and each process may run the same automation: the position's row is locked while it moves. So
an entry leads to its jobs exactly once, whatever crashes in between, and however long nobody ran.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import psycopg
import structlog

from application import sql
from application.ledger.woken import WokenThread

POLL_S: Final = 1.0
"""A wake-up may be lost with its connection; nothing waits longer than this for it."""
MAX_BACKOFF_S: Final = 30.0
BATCH: Final = 10_000
"""Entries that one transaction moves past at most."""

_SQL = sql.beside(__file__)
_SESSION: Final = "-c lock_timeout=30s -c idle_in_transaction_session_timeout=60s"

log = structlog.get_logger(__name__)

Enqueue = Callable[[psycopg.Connection[Any], Sequence[str]], None]
"""Enqueues a job for each of these cases, in the transaction of that connection."""


class Automation(msgspec.Struct, frozen=True, kw_only=True):
    """What happens by itself after entries of these kinds, once for each case and batch."""

    name: str
    kinds: tuple[str, ...]
    enqueue: Enqueue


class AutomationLoop:
    """Follows the log for one automation. Owns a thread and, while that runs, a connection."""

    def __init__(self, automation: Automation, conninfo: str, *, poll_s: float = POLL_S) -> None:
        self._automation = automation
        self._conninfo = conninfo
        self._thread = WokenThread(self._run, f"automation-{automation.name}", poll_s)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the transaction that is under way, then stop."""
        self._thread.stop()

    def _run(self) -> None:
        failures = 0
        while not self._thread.stopping:
            try:
                with psycopg.connect(self._conninfo, autocommit=True, options=_SESSION) as connection:
                    connection.execute("LISTEN ledger")
                    while not self._thread.stopping:
                        while advance(connection, self._automation) and not self._thread.stopping:
                            pass
                        failures = 0
                        self._thread.wait(connection)
            except Exception as error:  # noqa: BLE001 - whatever fails is logged by its kind, and tried again
                failures += 1
                log.error("automation.failing", automation=self._automation.name, error=type(error).__name__)
                self._thread.rest(min(0.5 * 2**failures, MAX_BACKOFF_S))


def advance(connection: psycopg.Connection[Any], automation: Automation, *, batch: int = BATCH) -> bool:
    """Move past one batch of entries and enqueue what they lead to: both or neither. False where it is at the head."""
    with connection.transaction():
        connection.execute(_SQL["begin"], (automation.name,))
        start, head = connection.execute(_SQL["position"], (automation.name,)).fetchone() or (0, 0)
        stop = min(head, start + batch)
        if stop <= start:
            return False
        rows = connection.execute(_SQL["cases"], (start, stop, list(automation.kinds))).fetchall()
        if rows:
            automation.enqueue(connection, [case for (case,) in rows])
        connection.execute(_SQL["move"], (stop, automation.name))
    return stop < head
