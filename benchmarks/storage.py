"""storage: what an event takes in PostgreSQL, tables and indexes, when so many writers append one action at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from benchmarks.events import SUBJECT, fill, new_case
from benchmarks.ground import Ground
from benchmarks.library import LibraryCases, assign, library, opened_case
from benchmarks.model import Benchmark, Pair
from caseledger.embedded.roles import OWNER

_WRITERS = 8
_SIZE = """
SELECT sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class AS c WHERE c.relkind = 'r' AND c.relnamespace = %s::regnamespace
"""


@contextmanager
def _prepare(ground: Ground) -> Iterator[Pair]:
    events = ground.size(100, 2)
    with (
        ground.ledger() as opened,
        ground.database() as name,
        library(ground, name) as application,
        ThreadPoolExecutor(_WRITERS) as threads,
        psycopg.connect(opened.owner_url, autocommit=True) as our_place,
        psycopg.connect(ground.server.url(OWNER, name), autocommit=True) as their_place,
    ):
        ledger = opened.service.ledger
        opened.service.keyring.create(SUBJECT)
        written = {"ours": 0, "peer": 0}

        # All that was written so far counts: tables grow by steps of many pages, and ever finer ones in proportion.
        def ours() -> float:
            list(threads.map(lambda _: fill(ledger, new_case(), events), range(_WRITERS)))
            written["ours"] += _WRITERS * events
            return _size(our_place, "ledger") / written["ours"]

        def peer() -> float:
            list(threads.map(lambda number: _fill(application, number, events), range(_WRITERS)))
            written["peer"] += _WRITERS * events
            return _size(their_place, "library") / written["peer"]

        yield Pair(ours=ours, peer=peer)


def _fill(application: LibraryCases, number: int, events: int) -> None:
    case = opened_case(number)
    application.save(case)
    for _ in range(events - 1):
        assign(case)
        application.save(case)


def _size(connection: psycopg.Connection, schema: str) -> int:
    """Bytes of all tables of a schema with their indexes and TOAST."""
    row = connection.execute(_SIZE, (schema,)).fetchone()
    assert row is not None
    return int(row[0])


BENCHMARKS = (
    Benchmark(
        name="storage",
        unit="bytes/event",
        goal=3.5,
        beyond=2.5,
        better="less",
        ours=f"all tables and indexes of the ledger, {_WRITERS} writers",
        peer="eventsourcing's own table and index, the same events",
        prepare=_prepare,
    ),
)
