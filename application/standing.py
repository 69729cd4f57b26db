"""Whether a read that was allowed still is: asked again while it goes on.

A read is decided, and recorded, before its first byte. A long one would outlast that: withdrawal of a consent is
immediate, and quarantine, a conflict or an erasure cut off who is reading at that moment, too.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Final

import msgspec

from application.accesses import Accesses
from application.request import Request
from domain.case.access import What
from domain.errors import Unavailable

AGAIN_S: Final = 1.0
"""How long an answer holds, in seconds. By time and not by bytes: a slow reader is cut off as soon as a fast one."""
AWAY_S: Final = 10.0
"""How long it holds where nobody can be asked: a database that starts anew does not end every download."""


class Standing:
    """One read that was allowed; call it as often as there is something to give out."""

    def __init__(self, accesses: Accesses, request: Request, case: str, what: What, item: str | None = None) -> None:
        self._accesses = accesses
        self._request = request
        self._read = (case, what, item)
        self._began = self._asked = self._allowed = time.monotonic()

    def __call__(self) -> None:
        """Let the read go on, as it was a second ago at the most.

        Raises:
            Refused, NotFound, SubjectErased: no more for this caller, and recorded.
            Unavailable: nobody could be asked for some time.
        """
        at = time.monotonic()
        if at - self._asked < AGAIN_S:
            return
        self._asked = at
        # A consent may have run out since as well: it is judged at this instant, and not at the request's.
        now = self._request.now + int((at - self._began) * 1_000_000)
        try:
            self._accesses.require_still(msgspec.structs.replace(self._request, now=now), *self._read)
        except Unavailable:
            if at - self._allowed > AWAY_S:
                raise
        else:
            self._allowed = at

    def over(self, chunks: Generator[bytes, None, None]) -> Iterator[bytes]:
        """The same content, which breaks off where the read is allowed no more.

        Raises:
            What calling this raises, and what `chunks` raises.
        """
        with closing(chunks):
            for chunk in chunks:
                self()
                yield chunk
        # Whoever holds the last chunk back gives it out after this only.
        self()
