"""The log as tiles and entry bundles (C2SP tlog-tiles), and the thread that stores full tiles.

Full tiles are stored, partial ones built on request: any width up to what is committed, so also every width that a
checkpoint ever had.
"""

import threading

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from application import sql
from application.ledger.entries import signatures
from application.ledger.nodes import Nodes, store_full_tiles
from domain.errors import IntegrityFailure, NotFound
from domain.ledger.dsse import render
from domain.ledger.tile import TileAddress, write_entries

POLL_S = 1.0
"""How long a new full tile may wait for the tiler; until it is stored it is built from entries."""
MAX_BACKOFF_S = 30.0
_STEP = 8
_SESSION = "-c lock_timeout=5s -c statement_timeout=10s -c idle_in_transaction_session_timeout=5s -c TimeZone=UTC"
_SQL = sql.beside(__file__)

log = structlog.get_logger(__name__)


class Tiles:
    """Reads tiles of the committed log."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def hashes(self, address: TileAddress) -> bytes:
        """The hashes of a tile, one after another.

        Raises:
            NotFound: the committed tree does not fill it.
        """
        with sql.borrowed(self._pool) as connection:
            size = committed(connection)
            if address.level is None or not address.exists_in(size):
                raise NotFound("the log has no such tile")
            return b"".join(Nodes(connection, size).tile(address.level, address.index)[: address.width])

    def entries(self, address: TileAddress) -> bytes:
        """An entry bundle: envelopes, each behind its length.

        Raises:
            NotFound: the committed log does not fill it.
            IntegrityFailure: an entry is missing.
        """
        with sql.borrowed(self._pool) as connection:
            if address.level is not None or not address.exists_in(committed(connection)):
                raise NotFound("the log has no such entry bundle")
            rows = connection.execute(_SQL["envelopes"], (address.start, address.stop), binary=True).fetchall()
        if [row[0] for row in rows] != list(range(address.start, address.stop)):
            raise IntegrityFailure("an entry is missing")
        return write_entries([render(raw.encode(), signatures(actor, ledger)) for _, raw, actor, ledger in rows])


def committed(connection: psycopg.Connection) -> int:
    """Size of the committed log; 0 where it was never opened."""
    row = connection.execute("SELECT size FROM ledger.head").fetchone()
    return 0 if row is None else int(row[0])


class Tiler:
    """Stores the tiles that have become full. Owns a thread and, while that runs, a connection of its own.

    The appender stores a few after each batch; what it leaves, after a bulk import or a restore without tiles, is done
    here, so that no append waits for it. It keeps no state: killed at any statement, the next one goes on.
    """

    def __init__(self, conninfo: str, *, poll_s: float = POLL_S) -> None:
        self._conninfo = conninfo
        self._poll_s = poll_s
        self._failures = 0
        """Sessions in a row that stored nothing."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tiler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the tile that is under way, then stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._session()
            except Exception as error:  # noqa: BLE001 - derived data: whatever fails is tried again
                # Kind only: the database's message may quote a row.
                log.warning("tiles.failing", error=type(error).__name__)
                self._failures += 1
                self._stopping.wait(min(self._poll_s * 2**self._failures, MAX_BACKOFF_S))

    def _session(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True, options=_SESSION) as connection:
            while not self._stopping.is_set():
                stored = store_full_tiles(connection, committed(connection), _STEP)
                self._failures = 0
                if not stored:
                    self._stopping.wait(self._poll_s)
