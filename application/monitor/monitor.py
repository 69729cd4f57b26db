"""The monitor: follows the log and never believes it. One step is small; a thread takes one after another, unhurried.

Two things go on by turns: looking at what is new (`following`), and hashing everything that is stored again
(`rehashing`), over and over. The first thing that does not hold is reported with its position, and stays reported.
"""

import time
from collections.abc import Callable, Sequence

import msgspec
import psycopg
import structlog

from application.monitor.following import Following
from application.monitor.rehashing import Followed, Rehashing
from application.monitor.state import Bad, Finding, MonitorState
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.note import VerifierKey

log = structlog.get_logger(__name__)


def server_clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Watch:
    """The monitor's work, step by step, without a thread.

    `pinned` gives the checkpoint that the log has to extend; `keys` all checkpoint keys that the log has had, each
    judging both lines that it signs (0x01, 0x04); `accepted` is told every note that was found good. `released` gives
    what the log itself released last, where somebody who watches with a pin of their own can know that.
    """

    def __init__(
        self,
        pinned: Callable[[], Checkpoint | None],
        keys: Callable[[], Sequence[VerifierKey]],
        *,
        accepted: Callable[[bytes], None] = lambda note: None,
        succeeded: Callable[[Checkpoint], None] = lambda pinned: None,
        released: Callable[[], Checkpoint | None] = lambda: None,
        clock: Callable[[], int] = server_clock,
    ) -> None:
        self._clock = clock
        self._following = Following(pinned, keys, accepted, succeeded, released)
        self._rehashing = Rehashing(keys, clock)
        self.state = MonitorState()

    def step(self, connection: psycopg.Connection) -> bool:
        """Look, and re-hash a little; whether a pass has just ended, or nothing can be done any more.

        Raises:
            psycopg.Error: the database does not answer.
        """
        if self.state.finding is not None:
            return True
        try:
            ended = self._step(connection)
        except Bad as bad:
            finding = Finding(what=bad.what, index=bad.index, message=str(bad), found_at=self._clock())
            self._set(verdict="bad", finding=finding, looked_at=self._clock())
            log.critical("monitor.bad", what=bad.what, index=bad.index)
            return True
        self._set(looked_at=self._clock(), error=None)
        return ended

    def failed(self, error: Exception) -> None:
        """Put on the state what keeps the monitor from looking: its class, never its message."""
        self._set(error=type(error).__name__)

    def _step(self, connection: psycopg.Connection) -> bool:
        following, rehashing = self._following, self._rehashing
        try:
            head = following.look(connection)
        finally:
            # What was seen before something was found is known, too.
            self._set(head=following.head, checkpoint=following.checkpoint, restored=following.restored)
        # A pass is not over while there are checkpoints that it has not come to.
        behind = following.behind
        try:
            passed = rehashing.step(connection, Followed(head, following.last, following.restored))
        finally:
            self._set(position=rehashing.position)
        if passed is None:
            return False
        self._set(
            verdict="good",
            passes=self.state.passes + 1,
            passed_size=passed.size,
            passed_at=self._clock(),
            began_at=passed.began_at,
        )
        return not behind

    def _set(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
