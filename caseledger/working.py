"""What works in the background: the log leads to jobs, and workers do them. In `serve`, and alone in `work`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from application.sandbox.sandbox import Sandbox
from application.service import Service
from application.work.automation import AutomationLoop
from application.work.jobs import AFTER_A_RECORD, PREPARATION, TO_LOOK_AT, Workers
from application.work.preparing import Preparing
from domain.errors import CaseLedgerError

log = structlog.get_logger(__name__)


@contextmanager
def working(conninfo: str, service: Service, workers: int) -> Iterator[None]:
    """Enqueue what the log leads to, and do so many jobs at once; with no workers they wait for another process."""
    loops = [AutomationLoop(each, conninfo) for each in (AFTER_A_RECORD, TO_LOOK_AT)]
    preparing = Preparing(service.cases, service.pictures, service.documents)
    crews: list[Workers] = []
    if workers:
        # One draws at a time, however many check: whoever asks for a picture meanwhile finds room in the sandbox.
        crews = [
            Workers(service.imaging_checks, conninfo, workers),
            Workers(preparing, conninfo, 1, task=PREPARATION),
        ]
    for loop in loops:
        loop.start()
    # Beside the start, which waits for nothing that a worker's start takes.
    threading.Thread(target=_tell_bounds, args=(service.sandbox,), name="sandbox-probe", daemon=True).start()
    try:
        for crew in crews:
            crew.start()
        yield
    finally:
        for loop in loops:
            loop.stop()
        preparing.stop()
        for crew in crews:
            crew.stop()


def _tell_bounds(sandbox: Sandbox) -> None:
    """Say at start what the workers that decode hostile content could reach."""
    try:
        found = sandbox.bounds()
    except (CaseLedgerError, OSError) as error:
        log.warning("sandbox.untried", error=type(error).__name__)
        return
    weaker = (found.network, found.files) != ("closed", "closed")
    (log.warning if weaker else log.info)("sandbox.bounds", network=found.network, files=found.files)
