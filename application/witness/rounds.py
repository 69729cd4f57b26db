"""The thread that does rounds of cosignatures on a period."""

import threading
import traceback

import structlog

from application.witness.witnessing import Condition, Witnessing

log = structlog.get_logger(__name__)


class Rounds:
    """The thread that does rounds on a period; owns nothing but itself."""

    def __init__(self, witnessing: Witnessing, period_s: float) -> None:
        self._witnessing = witnessing
        self._period_s = period_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witnessing", daemon=True)

    def condition(self) -> Condition | None:
        """What the last round left; None before the first is over."""
        return self._witnessing.condition()

    def start(self) -> None:
        """Begin; the first round is at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the round that is under way, which the time-outs of what it asks bound."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._witnessing.round()
            except Exception as error:  # noqa: BLE001 - the next round tries again, whatever it was
                where = traceback.extract_tb(error.__traceback__)[-1]
                log.error("witnessing.failed", error=type(error).__name__, at=f"{where.name}:{where.lineno}")
            if self._stopping.wait(self._period_s):
                return
