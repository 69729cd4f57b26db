"""What works in the background: the log leads to jobs, and workers do them. In `serve`, and alone in `work`."""

from collections.abc import Iterator
from contextlib import contextmanager

from application.automation import AutomationLoop
from application.jobs import AFTER_A_RECORD, Workers
from application.service import Service


@contextmanager
def working(conninfo: str, service: Service, workers: int) -> Iterator[None]:
    """Enqueue what the log leads to, and do so many jobs at once; with no workers they wait for another process."""
    loop = AutomationLoop(AFTER_A_RECORD, conninfo)
    crew = Workers(service.imaging_checks, conninfo, workers) if workers else None
    loop.start()
    try:
        if crew is not None:
            crew.start()
        yield
    finally:
        loop.stop()
        if crew is not None:
            crew.stop()
