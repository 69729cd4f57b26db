"""The follower: folds the log into a live view as it grows, one thread a view.

Of all processes that follow a view one leads, by an advisory lock that its connection holds; the others stand by. The
leader folds on that same connection, so who loses the lock loses the transaction with it. A transaction takes up to
1,000 entries and moves the view's position with its rows: whole or not at all, so no entry is folded twice.

Woken by NOTIFY, and every second in case a wake-up was lost.
"""

import threading
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import psycopg
import structlog
from psycopg import sql

from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from application.ledger.tiles import committed
from application.ledger.woken import WokenThread
from domain.errors import CaseLedgerError, IntegrityFailure, Misconfigured
from projections import folding
from projections.model import Projection, Seals
from projections.registry import PROJECTIONS
from projections.schema import LIVE, folded_to

POLL_S = 1.0
MAX_BACKOFF_S = 30.0
_FIRST_BACKOFF_S = 0.5

_CHANNEL = "views"
"""Who stands by, and whoever waits there, hears on this channel how far the leader is."""

# A rebuild holds the lock on a position for as long as it compares; the follower tries again after that.
_SESSION = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s -c TimeZone=UTC"

Status = Literal["starting", "following", "standby", "failing", "stopped"]

log = structlog.get_logger(__name__)


class FollowerState(msgspec.Struct, frozen=True, kw_only=True):
    """How a view fares. Positions are tree sizes."""

    projection: str
    status: Status
    position: int
    head: int
    """Size of the log when it was last looked at."""
    error: str | None = None
    """Code or class of what fails, never its message; it is tried again unless the ledger contradicts itself."""
    failures: int = 0
    """How often in a row."""


class Follower:
    """Follows the log for one projection. Owns a thread and, while that runs, a connection of its own."""

    def __init__(
        self,
        projection: Projection[Any],
        ledger: Ledger,
        keyring: Keyring,
        conninfo: str,
        *,
        batch: int = folding.BATCH,
        poll_s: float = POLL_S,
    ) -> None:
        self._projection = projection
        self._ledger = ledger
        self._seals = Seals(keyring)
        self._conninfo = conninfo
        self._most = self._batch = batch
        self._moved = threading.Condition()
        self._state = FollowerState(projection=projection.name, status="starting", position=0, head=0)
        self._thread = WokenThread(self._run, f"follow-{projection.name}", poll_s)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the transaction that is under way, then stop; a view stays as it is."""
        self._thread.stop()

    def state(self) -> FollowerState:
        """How the view fares, as far as this process knows."""
        with self._moved:
            return self._state

    def wait_for(self, position: int, timeout_s: float) -> int:
        """Wait until the view holds every entry below a position; returns how far it is, less if time ran out.

        Who just appended an entry waits for its index + 1, and reads it back. Returns at once when following has ended.
        """
        with self._moved:
            self._moved.wait_for(lambda: self._state.position >= position or self._state.status == "stopped", timeout_s)
            return self._state.position

    def _run(self) -> None:
        try:
            while not self._thread.stopping:
                try:
                    self._session()
                except IntegrityFailure as error:
                    # Nothing that is tried again makes this right.
                    self._failed(error)
                    log.critical("view.stopped", view=self._projection.name, code=error.code)
                    return
                except Exception as error:  # noqa: BLE001 - whatever fails is shown in the state, and tried again
                    self._failed(error)
                    self._thread.rest(min(_FIRST_BACKOFF_S * 2 ** (self._state.failures - 1), MAX_BACKOFF_S))
        finally:
            self._set(status="stopped")

    def _session(self) -> None:
        """Lead or stand by, until stopped or something fails; then the lock is anybody's."""
        with psycopg.connect(self._conninfo, autocommit=True, options=_SESSION) as connection:
            connection.execute("LISTEN ledger")
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(_CHANNEL)))
            leads = False
            while not self._thread.stopping:
                leads = leads or self._takes_lead(connection)
                if leads:
                    self._catch_up(connection)
                else:
                    self._look(connection)
                self._thread.wait(connection)

    def _takes_lead(self, connection: psycopg.Connection) -> bool:
        row = connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"caseledger/view/{self._projection.name}",)
        ).fetchone()
        if row != (True,):
            return False
        connection.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(_CHANNEL)))
        return True

    def _look(self, connection: psycopg.Connection) -> None:
        position = folded_to(connection, self._projection).position
        self._set(status="standby", position=position, head=committed(connection), error=None, failures=0)

    def _catch_up(self, connection: psycopg.Connection) -> None:
        while not self._thread.stopping:
            head = committed(connection)
            try:
                position = self._advance(connection, head)
            except psycopg.OperationalError:
                raise
            except Exception:
                # What comes before the entry that fails is still folded: ever smaller steps lead up to it.
                if self._batch == 1:
                    raise
                self._batch = max(1, self._batch // 8)
                continue
            self._batch = min(self._batch * 2, self._most)
            self._set(status="following", position=position, head=head, error=None, failures=0)
            if position >= head:
                return

    def _advance(self, connection: psycopg.Connection, head: int) -> int:
        """Fold one batch, or nothing when the view is at the head; returns the new position."""
        projection = self._projection
        with connection.transaction():
            folded = folded_to(connection, projection, lock=True)
            if not folded.current:
                raise Misconfigured(f"another version folded the view {projection.name}; rebuild it")
            stop = min(head, folded.position + self._batch)
            if stop <= folded.position:
                return folded.position
            events = folding.read(self._ledger, folded.position, stop)
            folding.fold(connection, LIVE, projection, events, self._seals)
            connection.execute("UPDATE views.position SET position = %s WHERE name = %s", (stop, projection.name))
            connection.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, f"{projection.name} {stop}"))
        return stop

    def _failed(self, error: Exception) -> None:
        # The message may quote a row, so only what kind of error it is leaves this place.
        code = error.code if isinstance(error, CaseLedgerError) else type(error).__name__
        state = self.state()
        self._set(status="failing", error=code, failures=state.failures + 1)
        log.error(
            "view.failing", view=self._projection.name, error=code, position=state.position, failures=state.failures + 1
        )

    def _set(self, **changes: Any) -> None:
        with self._moved:
            self._state = msgspec.structs.replace(self._state, **changes)
            self._moved.notify_all()


class Followers:
    """The followers of all views in one process."""

    def __init__(
        self,
        ledger: Ledger,
        keyring: Keyring,
        conninfo: str,
        projections: Sequence[Projection[Any]] = PROJECTIONS,
    ) -> None:
        self._followers = {each.name: Follower(each, ledger, keyring, conninfo) for each in projections}

    def start(self) -> None:
        """Start them all."""
        for follower in self._followers.values():
            follower.start()

    def stop(self) -> None:
        """Stop them all."""
        for follower in self._followers.values():
            follower.stop()

    def states(self) -> list[FollowerState]:
        """How each view fares."""
        return [each.state() for each in self._followers.values()]

    def wait_for(self, view: str, position: int, timeout_s: float) -> int:
        """See `Follower.wait_for`."""
        return self._followers[view].wait_for(position, timeout_s)
