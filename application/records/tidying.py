"""What keeps intake tidy while the service runs: a thread that ends what nobody ends."""

import threading
from collections.abc import Callable

import structlog

from application.records.receiving import Receiving
from domain.errors import CaseLedgerError

EVERY_S = 300.0
OPEN_S = 7 * 86_400.0
"""An upload that nothing has touched for so long is given up, finished or not."""
ORPHAN_S = 86_400.0
"""Objects that nothing names are removed when they are so old; no writer lives that long unseen."""

log = structlog.get_logger(__name__)


class Tidying:
    """Settles, gives up and sweeps, now and then; any number of processes may do so at once."""

    def __init__(self, receiving: Receiving, *, every_s: float = EVERY_S) -> None:
        self._receiving = receiving
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidying", daemon=True)

    def start(self) -> None:
        """Begin, with a first round at once: what a crash left is settled when the service is back."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is under way."""
        self._stopping.set()
        self._thread.join()

    def once(self) -> dict[str, int]:
        """One round; how much of each kind it ended. What fails is logged, and the next round does it."""
        ended: dict[str, int] = {}
        steps: dict[str, tuple[Callable[[float], int], float]] = {
            "reconciled": (self._receiving.reconcile, OPEN_S),
            "given_up": (self._receiving.sweep, OPEN_S),
            "orphans": (self._receiving.sweep_orphans, ORPHAN_S),
        }
        for what, (do, older_than_s) in steps.items():
            if self._stopping.is_set():
                break
            try:
                ended[what] = do(older_than_s)
            except CaseLedgerError as error:
                log.warning("tidying.failed", step=what, code=error.code)
        if any(ended.values()):
            log.info("tidying.done", **ended)
        return ended

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.once()
            self._stopping.wait(self._every_s)
