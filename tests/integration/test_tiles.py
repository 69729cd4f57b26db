"""Tiles and proofs from a real database: their bytes, their bounds, and the thread that stores them."""

import base64
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from application.ledger.nodes import Nodes, store_full_tiles
from application.ledger.tiles import Tiler, Tiles
from application.proofs import Proofs
from domain.errors import EntryNotFound, InvalidInput, NotFound
from domain.ledger import tlog_proof
from domain.ledger.batch_prover import BatchProver
from domain.ledger.tile import TileAddress, read_entries, read_hashes
from domain.ledger.tree import (
    TILE_WIDTH,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger, open_ledger

STATEMENT = '{"stream":"case-%s","rev":1,"kind":"case.opened.v1"}'
DEADLINE_S = 30


def fill(url: str, size: int, *, tiles: bool = True) -> list[bytes]:
    """Put entries whose leaves are hashes of their numbers into the table, past every check; their leaves."""
    leaves = [sha256(b"%d" % index).digest() for index in range(size)]
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.cursor().copy(
            "COPY ledger.entry (index, statement, ledger_signature, leaf, committed_at) FROM STDIN"
        ) as copy:
            for index, leaf in enumerate(leaves):
                copy.write_row((index, STATEMENT % index, bytes(64), leaf, index))
        head = Frontier().extend(leaves)
        connection.execute("INSERT INTO ledger.root VALUES (%s, %s, 1)", (size, head.root()))
        connection.execute("INSERT INTO ledger.head VALUES (true, 'x', %s, %s, 1)", (size, head.to_bytes()))
        if tiles:
            fill_tiles(connection, leaves)
        connection.execute("ANALYZE ledger.entry, ledger.tile")
    return leaves


def fill_tiles(connection: psycopg.Connection[Any], leaves: list[bytes]) -> None:
    """Every full tile, hashed once and copied."""
    hashes, level = leaves, 0
    while len(hashes) >= TILE_WIDTH:
        roots = []
        with connection.cursor().copy("COPY ledger.tile (level, index, hashes, root) FROM STDIN") as copy:
            for index in range(len(hashes) // TILE_WIDTH):
                tile = hashes[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
                roots.append(Frontier().extend(tile).root())
                copy.write_row((level, index, b"".join(tile), roots[-1]))
        hashes, level = roots, level + 1


class Counting(psycopg.Connection[Any]):
    """Counts queries and the rows that they give."""

    queries = 0
    rows = 0

    def execute(self, *asked: Any, **more: Any) -> Any:
        """A query."""
        cursor = super().execute(*asked, **more)
        self.queries += 1
        self.rows += max(cursor.rowcount, 0)
        return cursor


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_a_proof_reads_a_bounded_number_of_rows(database: Database, size: int) -> None:
    """At 10^6 entries as at 10^4: at most three queries, and 256 rows a level, whatever is asked."""
    leaves = fill(database.superuser_url, size)
    with Counting.connect(database.service_url, autocommit=True) as connection:
        for index, older in ((0, 1), (size // 3, size // 2), (size - 1, size - 1), (size // 2, 12_345 % size)):
            connection.queries = connection.rows = 0
            nodes = Nodes(connection, size)
            root, old, inclusion, consistency = nodes.ask(
                lambda node, index=index, older=older: (  # type: ignore[misc]
                    root_at(size, node),
                    root_at(older, node),
                    inclusion_proof(index, size, node),
                    consistency_proof(older, size, node),
                )
            )
            verify_inclusion(leaves[index], index, size, inclusion, root)
            verify_consistency(older, size, old, root, consistency)
            assert connection.queries <= 3
            assert connection.rows <= 3 * TILE_WIDTH
        assert root == Frontier().extend(leaves).root()


@pytest.fixture
def opened(database: Database, tmp_path: Path) -> Iterator[OpenLedger]:
    """A ledger of 600 real entries, in batches of several sizes."""
    with open_ledger(database, tmp_path / "data") as one:
        for batch in (1, 2, 7, 90, 200, 300):
            at = one.recorder.max_notification_id() or 0
            appends = [one.appender.submit(one.sealed(f"case-{at}-{number}")) for number in range(batch)]
            for append in appends:
                append.result(DEADLINE_S)
        yield one


def test_tiles_hold_the_hashes_of_the_committed_tree(opened: OpenLedger) -> None:
    """Full, partial and upper tiles as the specification has them; none that is empty or beyond."""
    tiles = Tiles(opened.pool)
    leaves = [row.leaf for row in opened.recorder.range(0, 600)]
    assert read_hashes(tiles.hashes(TileAddress(0, 1)), 256) == leaves[256:512]
    assert read_hashes(tiles.hashes(TileAddress(0, 2, 88)), 88) == leaves[512:]
    assert read_hashes(tiles.hashes(TileAddress(0, 0, 7)), 7) == leaves[:7]
    roots = [Frontier().extend(leaves[at : at + 256]).root() for at in (0, 256)]
    assert read_hashes(tiles.hashes(TileAddress(1, 0, 2)), 2) == roots
    for beyond in (
        TileAddress(0, 2),
        TileAddress(0, 2, 89),
        TileAddress(1, 0, 3),
        TileAddress(2, 0, 1),
        TileAddress(63, 0, 1),
    ):
        with pytest.raises(NotFound):
            tiles.hashes(beyond)


def test_entry_bundles_hash_to_the_leaves(opened: OpenLedger) -> None:
    """Each entry of a bundle is the pre-image of its hash in the level-0 tile."""
    tiles = Tiles(opened.pool)
    for address in (TileAddress(None, 0), TileAddress(None, 2, 88), TileAddress(None, 1, 3)):
        entries = read_entries(tiles.entries(address), address.width)
        hashes = tiles.hashes(TileAddress(0, address.index, address.width))
        assert [leaf_hash(each) for each in entries] == read_hashes(hashes, address.width)
    with pytest.raises(NotFound):
        tiles.entries(TileAddress(None, 2, 89))


def test_proofs_hold_between_any_two_sizes(opened: OpenLedger) -> None:
    """Roots, inclusion and consistency agree with a tree hashed in memory; signed sizes come with their note."""
    proofs = Proofs(opened.pool, opened.checkpoints)
    leaves = [row.leaf for row in opened.recorder.range(0, 600)]
    for size in (1, 2, 3, 255, 256, 257, 511, 512, 599, 600):
        root = Frontier().extend(leaves[:size]).root()
        for index in {0, size // 2, size - 1}:
            found = proofs.inclusion(index, size)
            assert (found.tree.size, found.tree.root, found.leaf) == (size, root.hex(), leaves[index].hex())
            verify_inclusion(leaves[index], index, size, [base64.b64decode(each) for each in found.proof], root)
        both = proofs.consistency(size)
        assert (both.from_.root, both.to.size) == (root.hex(), 600)
        verify_consistency(
            size, 600, root, bytes.fromhex(both.to.root), [base64.b64decode(each) for each in both.proof]
        )
        assert (both.from_.checkpoint is not None) == (size in committed(opened))
        if size in committed(opened):
            parsed = tlog_proof.parse(proofs.tlog_proof(size - 1, size))
            assert tlog_proof.verify(parsed, leaves[size - 1], opened.verifiers()).checkpoint.size == size
        else:
            with pytest.raises(EntryNotFound):
                proofs.tlog_proof(0, size)
    for call in (
        lambda: proofs.inclusion(0, 601), lambda: proofs.inclusion(600), lambda: proofs.inclusion(5, 5),
        lambda: proofs.inclusion(-1), lambda: proofs.consistency(1, 601), lambda: proofs.inclusion(0, 0),
    ):  # fmt: skip
        with pytest.raises(EntryNotFound):
            call()
    for pair in ((0, 5), (6, 5)):
        with pytest.raises(InvalidInput):
            proofs.consistency(*pair)


def committed(opened: OpenLedger) -> set[int]:
    """Sizes that a batch ended at."""
    with opened.pool.connection() as connection:
        return {size for (size,) in connection.execute("SELECT size FROM ledger.root")}


def tiled(url: str) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """Every stored tile."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT level, index, hashes, root FROM ledger.tile").fetchall()
    return {(level, index): (hashes, root) for level, index, hashes, root in rows}


def store_slowly(url: str) -> None:
    """A process that stores one tile after another (a process's target)."""
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            store_full_tiles(connection, 70_000, most=1)


def test_a_tiler_that_is_killed_anywhere_is_gone_on_with(database: Database) -> None:
    """Killed again and again between and inside of tiles, the next goes on; in the end each is there, and right."""
    leaves = fill(database.superuser_url, 70_000, tiles=False)
    kinds = multiprocessing.get_context("spawn")
    seen = [0]
    while seen[-1] < 120:
        process = kinds.Process(target=store_slowly, args=(database.service_url,))
        process.start()
        until(database, seen[-1] + 20)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        seen.append(len(tiled(database.service_url)))
    assert len(seen) > 2
    with stored_by_tiler(database):
        found = tiled(database.service_url)
    assert set(found) == {(0, index) for index in range(273)} | {(1, 0)}
    with psycopg.connect(database.superuser_url) as connection:
        assert root_at(70_000, Nodes(connection, 70_000)) == Frontier().extend(leaves).root()
    for index in range(273):
        tile = leaves[index * 256 : (index + 1) * 256]
        assert found[0, index] == (b"".join(tile), Frontier().extend(tile).root())


def until(database: Database, least: int) -> None:
    """Wait for that many stored tiles."""
    deadline = time.monotonic() + DEADLINE_S
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute("SELECT count(*) FROM ledger.tile").fetchone()
            if row is not None and row[0] >= least:
                return
            time.sleep(0.001)
    raise TimeoutError


@contextmanager
def stored_by_tiler(database: Database) -> Iterator[None]:
    """The tiler has run until nothing was left to store."""
    tiler = Tiler(database.service_url, poll_s=0.01)
    tiler.start()
    try:
        until(database, 274)
        yield
    finally:
        tiler.stop()


def test_the_tiler_survives_its_connection(database: Database) -> None:
    """Its session is ended by the server; it connects again and goes on."""
    fill(database.superuser_url, 70_000, tiles=False)
    tiler = Tiler(database.service_url, poll_s=0.01)
    tiler.start()
    try:
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            for least in (20, 60, 100):
                until(database, least)
                ended = connection.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE usename = 'caseledger_service' AND datname = current_database()"
                ).fetchone()
                assert ended is not None
                assert ended[0] >= 1
        until(database, 274)
    finally:
        tiler.stop()
    assert len(tiled(database.service_url)) == 274


def test_proofs_need_no_tiles(database: Database) -> None:
    """Where none is stored yet they are built from entries, and every hash is the same."""
    leaves = fill(database.superuser_url, 5_000, tiles=False)
    prover = BatchProver(Frontier(), leaves)
    with (
        ConnectionPool(database.service_url, min_size=1, max_size=1, open=True) as pool,
        pool.connection() as connection,
    ):
        nodes = Nodes(connection, 5_000)
        for index in (0, 255, 256, 4_095, 4_999):
            assert nodes.ask(lambda node, index=index: inclusion_proof(index, 5_000, node)) == prover.proof(index)  # type: ignore[misc]
