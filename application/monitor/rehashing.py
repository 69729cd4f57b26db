"""Re-hashing: stored bytes to leaves, leaves to tiles, all of it to every committed root, from the log's beginning.

The checkpoints on the way are still those that the log signed, and no payload is gone that was not erased.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

import msgspec
import psycopg

from application import sql
from application.ledger.entries import signatures
from application.ledger.nodes import differing_tile, no_levels
from application.monitor import judging
from application.monitor.restorations import Restoration, can_judge
from application.monitor.state import Bad
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.dsse import render
from domain.ledger.note import VerifierKey
from domain.ledger.tree import TILE_WIDTH, Frontier, leaf_hash

STEP_ENTRIES = 4 * TILE_WIDTH
_SQL = sql.beside(__file__)


class Followed(msgspec.Struct, frozen=True):
    """What is known of a log's end before its entries are hashed again."""

    head: Frontier
    last: Checkpoint | None
    """The newest checkpoint that was found good."""
    restored: tuple[Restoration, ...]


class Passed(msgspec.Struct, frozen=True):
    """A whole pass that ended well: the log's size, and when it began, microseconds UTC."""

    size: int
    began_at: int


class Rehashing:
    """Goes through the log by small steps, again and again; see `Watch` for what it is given."""

    def __init__(self, keys: Callable[[], Sequence[VerifierKey]], clock: Callable[[], int]) -> None:
        self._keys = keys
        self._clock = clock
        self.position = 0
        """Entries re-hashed in the pass that is under way, or that was the last."""
        self._target = 0
        self._frontier = Frontier()
        self._levels = no_levels()
        self._began_at = 0
        self._judged: dict[int, bytes] = {}
        """Of each step of a pass, by its first entry: the digest of the stored notes whose signatures were found good.
        Only what differs from that is judged again, since a signature costs more than all else of an entry."""

    def step(self, connection: psycopg.Connection, followed: Followed) -> Passed | None:
        """Go on by some entries; a pass that reaches its end is held against the head and begins anew.

        Raises:
            Bad: something does not hold.
            psycopg.Error: the database does not answer.
        """
        head, at = followed.head, self._frontier.size
        if at == 0:
            self._target, self._began_at = head.size, self._clock()
        stop = min(at + STEP_ENTRIES, self._target)
        leaves = [_leaf(*row) for row in _rows(connection, at, stop)]
        if (hole := connection.execute(_SQL["hole"], (at, stop), binary=True).fetchall()[0][0]) is not None:
            raise Bad("entry", hole, "the payload is missing, and its subject was not erased")
        self._levels[0] = leaves
        if (bad := differing_tile(connection, at // TILE_WIDTH, self._levels)) is not None:
            raise Bad("tile", bad.first_entry(), f"the stored tile {bad.tile.path()} is not what the entries give")
        self._frontier = self._compare_roots(connection, leaves, followed)
        self.position = self._frontier.size
        if self._frontier.size < self._target:
            return None
        if self._target == head.size and self._frontier != head:
            raise Bad("head", max(head.size - 1, 0), "the head is not what the entries give")
        self._frontier, self._levels = Frontier(), no_levels()
        return Passed(self._target, self._began_at)

    def _compare_roots(self, connection: psycopg.Connection, leaves: list[bytes], followed: Followed) -> Frontier:
        """Hold every committed root among these leaves, and what is signed over it, against them."""
        frontier, last = self._frontier, followed.last
        start, stop = frontier.size, frontier.size + len(leaves)
        known = {last.size: last.root} if last is not None else {}
        rows = connection.execute(_SQL["roots"], (start, stop), binary=True).fetchall()
        keys = judging.both_kinds(self._keys())
        digest = sha256("\n".join(map(str, keys)).encode())
        for _, _, note in rows:
            digest.update(sha256((note or "").encode()).digest())
        judged = self._judged.get(start) == digest.digest()
        for size, root, note in rows:
            frontier = frontier.extend(leaves[frontier.size - start : size - start])
            signed = root if note is None else judging.root_of(note)
            if any(each != frontier.root() for each in (root, known.get(size, root), signed)):
                raise Bad("root", size - 1, f"the root of size {size} is not what the entries give")
            if note is not None and not judged and can_judge(followed.restored, size, keys):
                judging.check_signatures(size, note, keys)
        self._judged[start] = digest.digest()
        return frontier.extend(leaves[frontier.size - start :])


def _rows(connection: psycopg.Connection, start: int, stop: int) -> list[tuple[int, str, bytes, bytes, bytes]]:
    rows = connection.execute(_SQL["entries"], (start, stop), binary=True).fetchall()
    for expected, row in enumerate(rows, start):
        if row[0] != expected:
            raise Bad("entry", expected, "the entry is missing")
    if len(rows) != stop - start:
        raise Bad("entry", start + len(rows), "the entry is missing")
    return rows


def _leaf(index: int, statement: str, actor: bytes | None, ledger: bytes, leaf: bytes) -> bytes:
    if leaf_hash(render(statement.encode(), signatures(actor, ledger))) != leaf:
        raise Bad("entry", index, "the stored bytes do not hash to the entry's leaf")
    return leaf
