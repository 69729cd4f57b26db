"""What works in the background: the log leads to jobs, and workers do them. In `serve`, and alone in `work`."""

from collections.abc import Iterator
from contextlib import contextmanager

from application.automation import AutomationLoop
from application.jobs import AFTER_A_RECORD, PREPARATION, TO_LOOK_AT, Workers
from application.preparing import Preparing
from application.service import Service


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
