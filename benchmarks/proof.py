"""proof: inclusion and consistency in a log of a million entries, against one of ten thousand."""

import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from application.proofs import Proofs
from benchmarks.ground import Ground, Opened
from benchmarks.model import Benchmark, Pair
from domain.ledger.tree import TILE_WIDTH, Frontier, tile_root

_PROOFS = 150


@contextmanager
def _prepare(ground: Ground) -> Iterator[Pair]:
    sizes = (1_000_000, 10_000) if not ground.tiny else (3_000, 300)
    times = ground.size(_PROOFS, 2)
    with ExitStack() as stack:
        proofs = [_log(stack.enter_context(ground.ledger()), size) for size in sizes]

        def timed(which: int) -> float:
            numbers = random.Random(7)
            began = time.perf_counter()
            for _ in range(times):
                proofs[which].inclusion(numbers.randrange(sizes[which]))
                proofs[which].consistency(numbers.randrange(1, sizes[which]))
            return (time.perf_counter() - began) / times * 1e6

        yield Pair(ours=lambda: timed(0), peer=lambda: timed(1))


def _log(opened: Opened, size: int) -> Proofs:
    """A log of that size as the tiler leaves it. Its leaves are made up: no proof looks behind them.

    Entries are there only where a proof reads them, which is behind the last full tile.
    """
    leaves = [hashlib.sha256(number.to_bytes(8)).digest() for number in range(size)]
    frontier = Frontier().extend(leaves)
    with psycopg.connect(opened.superuser_url) as connection, connection.cursor() as cursor:
        level, hashes = 0, leaves
        while len(hashes) >= TILE_WIDTH:
            full = [hashes[at : at + TILE_WIDTH] for at in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH)]
            roots = [tile_root(tile) for tile in full]
            with cursor.copy("COPY ledger.tile (level, index, hashes, root) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int2", "int8", "bytea", "bytea"])
                for index, (tile, root) in enumerate(zip(full, roots, strict=True)):
                    copy.write_row((level, index, b"".join(tile), root))
            level, hashes = level + 1, roots
        for index in range(size - size % TILE_WIDTH, size):
            statement = f'{{"stream":"made-up-{index}","rev":1,"kind":"made.up.v1"}}'
            cursor.execute(
                "INSERT INTO ledger.entry (index, statement, ledger_signature, leaf, committed_at)"
                " VALUES (%s, %s::text::json, %s, %s, 1)",
                (index, statement, bytes(64), leaves[index]),
            )
        cursor.execute("INSERT INTO ledger.root VALUES (%s, %s, 1)", (size, frontier.root()))
        cursor.execute("UPDATE ledger.head SET size = %s, frontier = %s", (size, frontier.to_bytes()))
    with psycopg.connect(opened.owner_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE ledger.tile")
    return Proofs(opened.service.pool, opened.service.checkpoints)


BENCHMARKS = (
    Benchmark(
        name="proof",
        unit="us",
        goal=1.6,
        better="less",
        ours="an inclusion and a consistency proof at 10^6 entries",
        peer="the same at 10^4",
        prepare=_prepare,
    ),
)
