"""Clearing away after erasures: wired for a data directory, and as a thread of `serve`."""

import threading
from pathlib import Path

import psycopg
import structlog
from psycopg import sql

from application.ledger.keyring import CACHE_S
from application.privacy.erasure import Clearing
from application.privacy.fence import FenceFile
from application.service import Service
from domain.errors import CaseLedgerError
from projections.refold import refold
from projections.registry import PROJECTIONS
from projections.schema import LIVE

FENCE = "fence"
"""File in the data directory with the subjects that were erased."""
POLL_S = 1.0
MAX_BACKOFF_S = 60.0
_VACUUMED = (
    ("ledger", "entry"),
    ("ledger", "subject_key"),
    ("records", "blob_key"),
    ("records", "derived"),
    ("intake", "upload"),
    ("intake", "file"),
    ("intake", "part"),
    ("intake", "segment"),
    *((LIVE, each.name) for each in PROJECTIONS),
)

log = structlog.get_logger(__name__)


def clearing(data: Path, owner_url: str, service: Service, *, settle_s: float = CACHE_S) -> Clearing:
    """What clears away after the erasures of a data directory's ledger."""

    def refolded(subject: str) -> list[str]:
        return refold(service.ledger, service.pool, service.keyring, subject)

    return Clearing(
        service.pool,
        service.ledger,
        service.keyring,
        service.privacy,
        service.vault,
        FenceFile(data / FENCE),
        service.keks,
        refolded,
        lambda: vacuum(owner_url),
        settle_s=settle_s,
    )


def vacuum(owner_url: str) -> None:
    """Free the rows, and the out-of-line values, that an erasure has left dead; with their owner's rights."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        for name in _VACUUMED:
            connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(*name)))


class ClearingLoop:
    """Looks every second whether an erasure is to be completed, and completes it. Owns a thread."""

    def __init__(self, work: Clearing, *, poll_s: float = POLL_S) -> None:
        self._work = work
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clearing", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the step that is under way, then stop; the rest is done by whoever comes next."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._poll_s
        while not self._stopping.wait(pause):
            try:
                self._work.run()
            except Exception as error:  # noqa: BLE001 - whatever fails is logged by its kind, and tried again
                code = error.code if isinstance(error, CaseLedgerError) else type(error).__name__
                log.error("clearing.failing", error=code)
                pause = min(pause * 2, MAX_BACKOFF_S)
            else:
                pause = self._poll_s
