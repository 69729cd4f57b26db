"""The writer of one process: commits batches over its own connection, then signs, pins and proves what it committed.

So nothing is acknowledged that is not under a signed checkpoint, and no signature exists for a tree that did not
commit.
"""

from collections.abc import Sequence

import psycopg
import structlog

from application.ledger import batch, direct
from application.ledger.batch import Known, New, Written
from application.ledger.checkpoints import Checkpoints
from application.ledger.entries import Append, Appended
from application.ledger.nodes import Nodes, store_full_tiles
from domain.errors import CaseLedgerError, GuardBroken, WrongOrigin
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.receipt import Receipt
from domain.ledger.succession import ROTATED
from domain.ledger.tree import TILE_WIDTH, Frontier

_SESSION = (
    "-c lock_timeout=5s -c statement_timeout=10s -c idle_in_transaction_session_timeout=5s -c TimeZone=UTC"
    # Its statements look rows up by index, whatever the values: to plan each anew took a tenth of an append. What
    # was planned while a table was small must not read all of it later.
    " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
)
_CONNECT_TIMEOUT_S = 5
_TCP_TIMEOUT_MS = 15_000
# Appends wait while these are stored, about a millisecond each; what is left is the tiler's.
_TILES_AT_ONCE = 4
# The server ended the connection: shutdown, crash, not up yet, or this process stood still in a transaction.
# Or it knows our prepared statement no more (26000): the driver forgets all of them with a rollback.
_ENDED = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "26000"})

log = structlog.get_logger(__name__)


class Writer:
    """Commits batches, one at a time: not thread-safe. Owns its connection."""

    def __init__(self, conninfo: str, origin: str, checkpoints: Checkpoints, *, bulk: bool = False) -> None:
        self._conninfo = conninfo
        self._origin = origin
        self._checkpoints = checkpoints
        self._bulk = bulk
        self._connection: psycopg.Connection | None = None
        self._last: Checkpoint | None = None
        # The head where nobody but this process has moved it since it looked last: the next batch may go in directly.
        self._head: Frontier | None = None
        self._unstored: tuple[int, bytes] | None = None
        self._tiled = 0

    def open(self) -> None:
        """Make the head if the database is new; hold the ledger against the pin; sign what a crash left unsigned.

        Raises:
            WrongOrigin: the database holds another ledger.
            HeadBehindPin, HeadForked: the database does not extend the last released checkpoint, or contradicts itself.
            psycopg.Error: the database does not answer.
        """
        pinned = self._checkpoints.pinned()
        connection = self._connected()
        # One transaction, so that a database which is not this ledger's is left as it was.
        with connection.transaction():
            connection.execute(
                "INSERT INTO ledger.head (origin, size, frontier, committed_at) VALUES (%s, 0, '', 0)"
                " ON CONFLICT DO NOTHING",
                (self._origin,),
            )
            head = _head(connection, self._origin)
            self._checkpoints.check_pin(connection, head, pinned)
        # Outside of the transaction: nobody waits while every leaf is hashed again.
        self._last = self._checkpoints.check_head(connection, head, pinned)
        self._head = head
        if head.size:
            self._checkpoints.signed(connection, head.size)

    def commit(self, appends: Sequence[Append]) -> list[Appended | CaseLedgerError]:
        """Commit a batch; each append's receipts, or why it did not go in.

        A connection that is lost is replaced once, and the batch repeated byte by byte: what a lost commit had
        appended is recognised by that. Time-outs are not repeated.

        Raises:
            IntegrityFailure: the ledger contradicts itself.
            psycopg.Error: nothing is known to be appended.
        """
        try:
            return self._attempt(appends)
        except psycopg.Error as error:
            if not self._lost(error):
                raise
            log.warning("append.reconnecting", error=type(error).__name__, sqlstate=error.sqlstate)
            self.disconnect()
            return self._attempt(appends)

    def store_note(self) -> None:
        """Store the note of the last batch, so that nobody has to sign it again; what fails is not tried again."""
        unstored, self._unstored = self._unstored, None
        if unstored is not None:
            self._checkpoints.store_quickly(self._connected(), *unstored)

    def store_tiles(self) -> None:
        """Store a few of the tiles that have become full since the last call; the tiler does the rest."""
        size = 0 if self._last is None else self._last.size
        if size // TILE_WIDTH > self._tiled:
            store_full_tiles(self._connected(), size, _TILES_AT_ONCE)
            self._tiled = size // TILE_WIDTH

    def disconnect(self) -> None:
        """Close the connection, in whatever state it is; an open transaction is rolled back by that."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _attempt(self, appends: Sequence[Append]) -> list[Appended | CaseLedgerError]:
        connection = self._connected()
        written = self._written(connection, appends)
        live = self._checkpoints.live
        if live.enrolled() and any(isinstance(each, GuardBroken) for each in written.outcomes):
            # The guard may be the log's own key: what is sealed from here on is sealed with the one in use.
            live.refresh(connection)
        receipts: list[Receipt] = []
        if written.prover.size > written.prover.first:
            if any(entry.statement.kind == ROTATED for append in appends for entry in append.entries):
                live.refresh(connection)
            note = self._checkpoints.release(written.checkpoint, written.committed_at)
            receipts = Receipt.of_batch(written.prover, note)
            self._unstored = (written.checkpoint.size, note)
        self._last = written.checkpoint
        read: dict[int, Nodes] = {}
        return [
            self._answer(connection, *each, receipts, written.prover.first, read)
            for each in zip(appends, written.outcomes, strict=True)
        ]

    def _written(self, connection: psycopg.Connection, appends: Sequence[Append]) -> Written:
        """The batch, committed: as one statement where that is possible, else by asking first."""
        if self._head is not None and not self._bulk:
            written = direct.write(connection, appends, self._origin, self._head)
            if written is not None:
                self._head = written.prover.frontier
                return written
        written = batch.write(connection, appends, self._origin, self._last, self._bulk)
        alone = self._last is not None and self._last.size == written.prover.first
        self._head = written.prover.frontier if alone else None
        return written

    def _answer(
        self,
        connection: psycopg.Connection,
        append: Append,
        outcome: batch.Outcome,
        receipts: Sequence[Receipt],
        began: int,
        read: dict[int, Nodes],
    ) -> Appended | CaseLedgerError:
        match outcome:
            case New(first):
                own = receipts[first - began : first - began + len(append.entries)]
                return Appended(first_index=first, receipts=tuple(own))
            case Known(first, count, itself):
                return self._checkpoints.receipts(connection, first, count, replayed=not itself, read=read)
            case _:
                return outcome

    def _lost(self, error: psycopg.Error) -> bool:
        return self._connection is None or self._connection.broken or error.sqlstate in _ENDED

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._conninfo,
                autocommit=True,
                options=_SESSION,
                connect_timeout=_CONNECT_TIMEOUT_S,
                tcp_user_timeout=_TCP_TIMEOUT_MS,
            )
            self._connection.prepare_threshold = 0
            direct.enable(self._connection)
            self._checkpoints.enable(self._connection)
        return self._connection


def _head(connection: psycopg.Connection, origin: str) -> Frontier:
    rows = connection.execute("SELECT size, frontier, origin FROM ledger.head").fetchall()
    for size, frontier, found in rows:
        if found == origin:
            return Frontier.from_bytes(size, frontier)
    raise WrongOrigin
