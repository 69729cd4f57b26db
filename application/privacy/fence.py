"""The fence outside the database, and how processes hear that it has grown.

`<data>/fence` has a line for every subject that was erased, ids and nothing else, and only ever grows. A database that
comes back from a backup does not know of later erasures; before anything is opened on it, they are done again.
"""

import fcntl
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from application import sql
from application.ledger.keyring import Keyring

_SUBJECT = re.compile(r"[a-z]{1,20}:[0-9a-z-]{1,64}")
_RETRY_S = 1.0
_SESSION = "-c TimeZone=UTC"
_DEAD_AFTER: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""A connection over which nothing can come any more is noticed in seconds; until then keys live `CACHE_S` at most."""

log = structlog.get_logger(__name__)


class FenceFile:
    """The list of erased subjects of one data directory; processes that share the directory share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> frozenset[str]:
        """Every subject in it; a line that a crash cut off is none."""
        try:
            text = self._path.read_text("ascii", errors="replace")
        except FileNotFoundError:
            return frozenset()
        return frozenset(line for line in text.split("\n") if _SUBJECT.fullmatch(line))

    def add(self, subjects: Iterable[str]) -> None:
        """Add what is not in it, durably."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = self.read()
            missing = [each for each in dict.fromkeys(subjects) if each not in known]
            if missing:
                size = os.fstat(file).st_size
                # What a crash cut off stays a line of its own.
                broken = size > 0 and os.pread(file, 1, size - 1) != b"\n"
                content = ("\n" if broken else "") + "".join(f"{each}\n" for each in missing)
                os.write(file, content.encode())
            # Even where nothing was missing: who added it may have died before this.
            os.fsync(file)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        finally:
            os.close(file)


def reapply(owner_url: str, file: FenceFile) -> int:
    """Erase again what a restored database still has, and note what the file lacks; how many were erased again.

    To be called with the owner's rights after the migrations, before anything else is opened.
    """
    with psycopg.connect(owner_url) as connection:
        fenced = {subject for (subject,) in connection.execute("SELECT subject FROM ledger.fence")}
        missing = sorted(file.read() - fenced)
        if missing:
            # Looks through the whole log, since which cases these were stood in what was lost.
            connection.execute("SELECT ledger.destroy(%s, NULL, NULL, NULL)", (missing,))
            log.warning("fence.reapplied", subjects=len(missing))
    file.add(sorted(fenced))
    return len(missing)


def of_request(pool: ConnectionPool[Any], request: str) -> tuple[str, ...]:
    """The subjects that a privacy request erased, sorted; uploads that never became records are among them."""
    with sql.borrowed(pool) as connection:
        rows = connection.execute("SELECT subject FROM ledger.fence WHERE request = %s ORDER BY subject", (request,))
        return tuple(subject for (subject,) in rows)


class FenceWatch:
    """Drops every key from a process's memory as soon as another process has erased something. Owns a thread.

    While it does not hear the database, the keyring holds nothing in memory.
    """

    def __init__(self, keyring: Keyring, conninfo: str) -> None:
        self._keyring = keyring
        self._conninfo = conninfo
        self._stopping = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fence", daemon=True)

    def start(self, timeout_s: float = 5.0) -> None:
        """Start, and wait a while until it listens; keys are not held in memory before it does."""
        self._keyring.cache(allowed=False)
        self._thread.start()
        self._listening.wait(timeout_s)

    def stop(self) -> None:
        """Stop; keys live as long as they would without it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._keyring.cache(allowed=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._session()
            except psycopg.Error as error:
                self._listening.clear()
                log.warning("fence.not_heard", error=type(error).__name__)
            self._keyring.cache(allowed=False)
            self._stopping.wait(_RETRY_S)

    def _session(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True, options=_SESSION, **_DEAD_AFTER) as connection:
            connection.execute("LISTEN fence")
            # What was erased before this is gone from the database, and what is erased from here on is heard.
            self._keyring.cache(allowed=True)
            self._listening.set()
            while not self._stopping.is_set():
                for _ in connection.notifies(timeout=_RETRY_S, stop_after=1):
                    self._keyring.clear()
                # An answer shows that the connection is alive.
                connection.execute("SELECT 1")
