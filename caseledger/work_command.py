"""`caseledger work`: jobs and nothing else, until SIGTERM or SIGINT; as many processes as there are machines for."""

import signal
import threading
from types import FrameType

import structlog

from caseledger.composition import database, opened
from caseledger.settings import Settings
from caseledger.working import working

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Work until told to stop: jobs under way end first. At least one job at a time, whatever the setting says."""
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise SystemExit(1)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    with (
        database(settings) as urls,
        opened(settings, urls) as service,
        working(urls.service, service, max(settings.workers, 1)),
    ):
        print("caseledger: working", flush=True)
        log.info("work.ready")
        # In slices, since a wait without an end would keep Python from handling the signal on some platforms.
        while not stop.wait(1.0):
            pass
        log.info("work.stopping")
    log.info("work.stopped")
    return 0
