"""What a writer was told, held against the ledger afterwards: all of it there, proven, and once."""

import hashlib

import msgspec

from application.ledger.entries import Append, IdempotencyKey, signatures
from domain.ledger.dsse import render
from domain.ledger.receipt import Receipt, verify
from domain.ledger.statement import decode_statement
from domain.ledger.tree import EMPTY_ROOT, Frontier, leaf_hash
from tests.ledger_fixture import OpenLedger

ACTOR = "coordinator-1"
PATIENCE_S = 60.0


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a writer says of one acknowledged write."""

    stream: str
    rev: int
    receipt: Receipt


def keyed(one: OpenLedger, stream: str, rev: int, prev: str | None) -> Append:
    """A write under the Idempotency-Key that belongs to its place."""
    name = f"{stream}-{rev}"
    key = IdempotencyKey(actor=ACTOR, key=name, request_digest=hashlib.sha256(name.encode()).digest())
    return msgspec.structs.replace(one.sealed(stream, rev, prev), idempotency=key)


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, pair by pair; shares nothing with the code under test."""
    if not leaves:
        return EMPTY_ROOT
    level = leaves
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0]


class Held:
    """One ledger's log as it was when it was last read; each comparison raises an AssertionError."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []
        self._heads: dict[str, tuple[int, str]] = {}

    def compare(self, one: OpenLedger, said: list[Written]) -> None:
        """Every acknowledged write stands where its receipt says, and its receipt leads to a signed checkpoint."""
        pinned = one.checkpoints.pinned()
        rows = {row.index: row for row in one.recorder.range(len(self._leaves), 1 << 40)}
        for each in said:
            signed = verify(each.receipt, one.verifiers())
            assert pinned is not None, each
            assert signed.checkpoint.size <= pinned.size, each
            statement = rows[each.receipt.index].statement()
            assert (statement.stream, statement.rev) == (each.stream, each.rev), each
            assert rows[each.receipt.index].leaf.hex() == each.receipt.leaf, each
        places = {(each.stream, each.rev) for each in said}
        assert len(places) == len(said) == len({each.receipt.index for each in said})

    def repeat(self, one: OpenLedger, said: list[Written], streams: list[str]) -> tuple[int, int]:
        """The same key gives the same receipt; a write without an answer is in the log, or goes in, once.

        How many were without an answer, one a stream, and how many of these were in the log.
        """
        ends = dict.fromkeys(streams, (0, None)) | {
            each.stream: (each.rev, each.receipt.leaf) for each in sorted(said, key=lambda each: each.rev)
        }
        committed = 0
        again = [
            one.appender.submit(keyed(one, each.stream, each.rev, "0" * 64 if each.rev > 1 else None)) for each in said
        ]
        for each, future in zip(said, again, strict=True):
            appended = future.result(PATIENCE_S)
            assert appended.replayed, each
            assert appended.receipts == (each.receipt,), each
        for stream, (rev, leaf) in ends.items():
            appended = one.recorder.append(keyed(one, stream, rev + 1, leaf))
            committed += appended.replayed
            twice = one.recorder.append(keyed(one, stream, rev + 1, leaf))
            assert twice.replayed, stream
            assert twice.receipts == appended.receipts, stream
        return len(ends), committed

    def read_all(self, one: OpenLedger) -> int:
        """The whole log: indexes dense, leaves of their bytes, chains right, a key an entry, roots equal; its size."""
        with one.pool.connection() as connection:
            size, frontier = connection.execute("SELECT size, frontier FROM ledger.head").fetchall()[0]
            stored = connection.execute("SELECT index, leaf FROM ledger.entry ORDER BY index", binary=True).fetchall()
            keys = connection.execute("SELECT count(*), count(DISTINCT first_index) FROM ledger.idempotency").fetchall()
        assert [index for index, _ in stored] == list(range(size))
        assert keys == [(size, size)], "an entry without its key, or two of one"
        leaves = [leaf for _, leaf in stored]
        assert leaves[: len(self._leaves)] == self._leaves, "an entry of an earlier round is another one now"
        for row in one.recorder.range(len(self._leaves), size):
            assert leaf_hash(render(row.raw, signatures(row.actor_signature, row.ledger_signature))) == row.leaf
            statement = decode_statement(row.raw)
            rev, prev = self._heads.get(statement.stream, (0, None))
            assert (statement.rev, statement.prev) == (rev + 1, prev), row.index
            self._heads[statement.stream] = (statement.rev, row.leaf.hex())
        self._leaves = leaves
        pinned = one.checkpoints.pinned()
        assert pinned is not None
        assert naive_root(leaves) == Frontier.from_bytes(size, frontier).root() == pinned.root
        return size
