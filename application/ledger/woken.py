"""A thread that is woken: by the database's notifications, by time, and by its end."""

import select
import socket
import threading
from collections.abc import Callable
from typing import Any

import psycopg


class WokenThread:
    """Runs `run`, which waits through this object and returns once it is `stopping`.

    A wake-up may be lost with its connection; nobody waits longer than `poll_s` seconds for one.
    """

    def __init__(self, run: Callable[[], None], name: str, poll_s: float) -> None:
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=run, name=name, daemon=True)

    @property
    def stopping(self) -> bool:
        """Whether the thread was told to end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Wake the thread for its end, and wait for that; it may never have been started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._waker.send(b"\0")
            self._thread.join()
        self._wake.close()
        self._waker.close()

    def wait(self, connection: psycopg.Connection[Any]) -> None:
        """Wait until this connection, which listens, has a notification, or for the poll's time or the end."""
        # One may have come in with the answer to a query; the socket would not tell of it again.
        if list(connection.notifies(timeout=0)):
            return
        select.select([connection.fileno(), self._wake.fileno()], [], [], self._poll_s)

    def rest(self, seconds: float) -> None:
        """Wait so long after a failure, or until the end."""
        self._stopping.wait(seconds)
