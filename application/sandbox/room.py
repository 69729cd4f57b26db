"""Room for what takes long: so many at once, so many waiting for it, and nobody for long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from domain.errors import Unavailable


class Room:
    """Bounds how many threads do something slow, or wait to; all others are told to come again."""

    def __init__(self, at_once: int, waiting: int, patience_s: float) -> None:
        self.patience_s = patience_s
        self._places = threading.BoundedSemaphore(at_once)
        self._in = threading.BoundedSemaphore(at_once + waiting)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A place, until the block ends.

        Raises:
            Unavailable: there was none within `patience_s` seconds, or too many wait for one already.
        """
        if not self._in.acquire(blocking=False):
            raise Unavailable("too many wait for a picture already")
        try:
            if not self._places.acquire(timeout=self.patience_s):
                raise Unavailable("others are being drawn")
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._in.release()
