"""append-bulk, append-limit: an import, until every receipt is there, against what the disk and the signature take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger.bulk import Bulk
from application.ledger.entries import Appended
from benchmarks.events import bulk_of, imports
from benchmarks.ground import Ground, Opened
from benchmarks.model import Benchmark, Pair

_SIGNATURES = 8_000
_COLUMNS = "index, statement, actor_signature, ledger_signature, leaf, sealed, committed_at"
_TWIN = """
CREATE TABLE bench.twin (LIKE ledger.entry INCLUDING ALL);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON bench.twin FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
"""


class _Loaded:
    """A ledger that is filled in bulk, round by round."""

    def __init__(self, opened: Opened, bulk: Bulk, events: int) -> None:
        self._opened = opened
        self._bulk = bulk
        self._events = events

    def append(self) -> float:
        """Sealed, chained, proven events a second, from plain events to receipts."""
        made = imports(self._opened, self._events)
        began = time.perf_counter()
        answers = self._bulk.append(made)
        elapsed = time.perf_counter() - began
        assert all(isinstance(each, Appended) for each in answers)
        return self._events / elapsed


@contextmanager
def _prepare_copy(ground: Ground) -> Iterator[Pair]:
    events = ground.size(20_480, 40)
    with (
        ground.ledger() as opened,
        bulk_of(opened) as bulk,
        psycopg.connect(opened.superuser_url, autocommit=True) as connection,
    ):
        loaded = _Loaded(opened, bulk, events)
        loaded.append()
        # The very rows, in a table with the same columns and indexes; a quarter each time, as many as ours in all.
        connection.execute("CREATE SCHEMA bench")
        with connection.cursor() as cursor, cursor.copy(f"COPY ledger.entry ({_COLUMNS}) TO STDOUT") as copy:
            rows = [bytes(row) for row in copy]

        def peer() -> float:
            connection.execute("DROP TABLE IF EXISTS bench.twin")
            connection.execute(_TWIN)
            began = time.perf_counter()
            # Transactions as large as ours.
            for at in range(0, len(rows), 4096):
                with connection.cursor() as cursor, cursor.copy(f"COPY bench.twin ({_COLUMNS}) FROM STDIN") as copy:
                    copy.write(b"".join(rows[at : at + 4096]))
            return events / (time.perf_counter() - began)

        yield Pair(ours=loaded.append, peer=peer)


@contextmanager
def _prepare_limit(ground: Ground) -> Iterator[Pair]:
    with ground.ledger() as opened, bulk_of(opened) as bulk:
        loaded = _Loaded(opened, bulk, ground.size(20_480, 40))
        key, message, count = Ed25519PrivateKey.generate(), bytes(500), ground.size(_SIGNATURES, 5)

        def peer() -> float:
            began = time.perf_counter()
            for _ in range(count):
                key.sign(message)
            return count / (time.perf_counter() - began)

        yield Pair(ours=loaded.append, peer=peer)


BENCHMARKS = (
    Benchmark(
        name="append-bulk",
        unit="events/s",
        goal=0.3,
        beyond=0.5,
        better="more",
        ours="sealed import of 20,480 events, receipts included",
        peer="COPY of the same rows into the same columns and indexes, unsigned",
        prepare=_prepare_copy,
    ),
    Benchmark(
        name="append-limit",
        unit="events/s",
        goal=0.6,
        beyond=1,
        better="more",
        ours="the same",
        peer="Ed25519 signatures a second of one core",
        prepare=_prepare_limit,
    ),
)
