"""The monitor's thread: a watch, one small step after another, with a rest behind each."""

import threading
import time

import psycopg
import structlog

from application.monitor.monitor import Watch
from application.monitor.state import MonitorState

POLL_S = 1.0
REST = 9.0
"""How much longer than a step the monitor rests after it: a tenth of one core at most."""
MAX_BACKOFF_S = 30.0
_SESSION = "-c lock_timeout=5s -c statement_timeout=30s -c default_transaction_read_only=on -c TimeZone=UTC"

log = structlog.get_logger(__name__)


class Monitor:
    """A watch with a thread and, while that runs, a read-only connection of its own."""

    def __init__(self, conninfo: str, watch: Watch, *, poll_s: float = POLL_S, rest: float = REST) -> None:
        self._conninfo = conninfo
        self._watch = watch
        self._poll_s = poll_s
        self._rest = rest
        self._failures = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the step that is under way, then stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def state(self) -> MonitorState:
        """What is known."""
        return self._watch.state

    def _run(self) -> None:
        while not self._stopping.is_set() and self._watch.state.finding is None:
            try:
                self._session()
            except Exception as error:  # noqa: BLE001 - whatever fails is shown in the state, and tried again
                self._watch.failed(error)
                log.warning("monitor.failing", error=type(error).__name__)
                self._failures += 1
                self._stopping.wait(min(self._poll_s * 2**self._failures, MAX_BACKOFF_S))

    def _session(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True, options=_SESSION) as connection:
            while not self._stopping.is_set() and self._watch.state.finding is None:
                began = time.monotonic()
                ended = self._watch.step(connection)
                took = time.monotonic() - began
                self._failures = 0
                self._stopping.wait(max(took * self._rest, self._poll_s if ended else 0.0))
