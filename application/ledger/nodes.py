"""Nodes of the committed tree, read from tiles where they are full and from the entries where they are not yet."""

import msgspec
import psycopg

from application import sql
from domain.errors import HeadForked
from domain.ledger.tree import EMPTY_ROOT, HASH_BYTES, TILE_WIDTH, Frontier, node_in_tile, tile_root

_TILE_HEIGHT = 8
_CHUNK = 64 * TILE_WIDTH
_SQL = sql.beside(__file__)


class Nodes:
    """Reads nodes (`level`, `index`) of the tree of at least the given size; a proof touches a tile or two a level.

    Lives as long as one question; what it read it keeps.
    """

    def __init__(self, connection: psycopg.Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Hash of the perfect subtree of 2**level leaves number `index`."""
        tile_level, height = divmod(level, _TILE_HEIGHT)
        first = index << height
        tile = self.tile(tile_level, first // TILE_WIDTH)
        return node_in_tile(tile, height, index - (first // TILE_WIDTH * TILE_WIDTH >> height))

    def tile(self, level: int, index: int) -> list[bytes]:
        """The complete hashes of a tile, up to 256 of them."""
        known = self._tiles.get((level, index))
        if known is None:
            known = self._tiles[level, index] = self._stored(level, index) or self._built(level, index)
        return known

    def _stored(self, level: int, index: int) -> list[bytes] | None:
        row = self._connection.execute(
            "SELECT hashes FROM ledger.tile WHERE level = %s AND index = %s", (level, index), binary=True
        ).fetchone()
        if row is None:
            return None
        return [row[0][at : at + HASH_BYTES] for at in range(0, TILE_WIDTH * HASH_BYTES, HASH_BYTES)]

    def _built(self, level: int, index: int) -> list[bytes]:
        first = index * TILE_WIDTH
        complete = self._size >> (level * _TILE_HEIGHT)
        end = min(first + TILE_WIDTH, complete)
        if level == 0:
            return _leaves(self._connection, first, end)
        rows = self._connection.execute(_SQL["tile_roots"], (level - 1, first, end), binary=True).fetchall()
        roots: dict[int, bytes] = dict(rows)
        return [roots[at] if at in roots else tile_root(self.tile(level - 1, at)) for at in range(first, end)]


def store_full_tiles(connection: psycopg.Connection, size: int) -> int:
    """Store the tiles that a tree of this size fills and that are not stored yet; returns how many.

    Each tile is one insert that changes nothing when it is there already, so that it can stop anywhere and two may run.
    """
    stored = 0
    for level in range(_TILE_HEIGHT):
        full = size >> (level * _TILE_HEIGHT) >> _TILE_HEIGHT
        if full == 0:
            break
        present = connection.execute(_SQL["tiles_stored"], (level,)).fetchall()[0][0]
        for index in range(present, full):
            hashes = Nodes(connection, size).tile(level, index)
            connection.execute(_SQL["insert_tile"], (level, index, b"".join(hashes), tile_root(hashes)))
            stored += 1
    return stored


class Recomputed(msgspec.Struct, frozen=True):
    """A tree hashed again from its leaves, and its root when it was smaller."""

    head: Frontier
    earlier_root: bytes


def recompute(connection: psycopg.Connection, size: int, earlier: int) -> Recomputed:
    """Hash the tree again from the stored leaves, and compare every stored tile on the way. Memory: a chunk of leaves.

    Raises:
        HeadForked: a leaf is missing, or a tile is not what the leaves give.
    """
    levels: list[list[bytes]] = [[] for _ in range(_TILE_HEIGHT + 1)]
    head = Frontier()
    earlier_root = EMPTY_ROOT
    for first in range(0, size, _CHUNK):
        leaves = _leaves(connection, first, min(first + _CHUNK, size))
        if len(leaves) != min(_CHUNK, size - first):
            raise HeadForked("an entry is missing")
        if first < earlier <= first + len(leaves):
            earlier_root = head.extend(leaves[: earlier - first]).root()
        head = head.extend(leaves)
        levels[0] = leaves
        _check_tiles(connection, first // TILE_WIDTH, levels)
    return Recomputed(head, earlier_root)


def _check_tiles(connection: psycopg.Connection, first: int, levels: list[list[bytes]]) -> None:
    """Compare the stored level-0 tiles from `first` on with their leaves; then, one row each, those above.

    `levels[n]` for n > 0 holds the roots of level n - 1 that do not fill a tile of level n yet.
    """
    leaves = levels[0]
    full = len(leaves) // TILE_WIDTH
    stored = _tiles(connection, 0, first, first + full)
    for at in range(full):
        tile = leaves[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]
        index, level, root = first + at, 0, tile_root(tile)
        _compare(stored.get(index), tile, root)
        levels[1].append(root)
        while level + 1 < len(levels) and len(levels[level + 1]) == TILE_WIDTH:
            tile, levels[level + 1] = levels[level + 1], []
            index, level, root = index // TILE_WIDTH, level + 1, tile_root(tile)
            _compare(_tiles(connection, level, index, index + 1).get(index), tile, root)
            if level + 1 < len(levels):
                levels[level + 1].append(root)


def _compare(stored: tuple[bytes, bytes] | None, tile: list[bytes], root: bytes) -> None:
    if stored is not None and stored != (b"".join(tile), root):
        raise HeadForked("a stored tile is not what the entries give")


def _tiles(connection: psycopg.Connection, level: int, start: int, stop: int) -> dict[int, tuple[bytes, bytes]]:
    rows = connection.execute(_SQL["tiles"], (level, start, stop), binary=True).fetchall()
    return {index: (hashes, root) for index, hashes, root in rows}


def _leaves(connection: psycopg.Connection, start: int, stop: int) -> list[bytes]:
    return [leaf for (leaf,) in connection.execute(_SQL["leaves"], (start, stop), binary=True).fetchall()]
