"""Nodes of the committed tree, read from tiles where they are full and from the entries where they are not yet."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import psycopg

from application import sql
from domain.errors import HeadForked
from domain.ledger.tile import TILE_HEIGHT, TileAddress, read_hashes
from domain.ledger.tree import EMPTY_ROOT, MAX_SIZE, TILE_WIDTH, Frontier, NodeReader, node_hash, tile_root

_LEVELS = 8
"""Levels that are stored; a tree that needs more is larger than any index."""
_CHUNK = 64 * TILE_WIDTH
_NOTHING = bytes(32)
_SQL = sql.beside(__file__)

T = TypeVar("T")


class Nodes:
    """Reads nodes (`level`, `index`) of the tree of at least the given size; a proof touches a tile or two a level.

    Lives as long as one question; what it read it keeps.
    """

    def __init__(self, connection: psycopg.Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self._tiles: dict[tuple[int, int], list[bytes]] = {}
        self._inside: dict[tuple[int, int], list[list[bytes]]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Hash of the perfect subtree of 2**level leaves number `index`."""
        tile_level, tile_index, height, at = _place(level, index)
        rows = self._inside.setdefault((tile_level, tile_index), [])
        if not rows:
            rows.append(self.tile(tile_level, tile_index))
        while len(rows) <= height:
            pairs = iter(rows[-1])
            rows.append([node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)])
        return rows[height][at]

    def tile(self, level: int, index: int) -> list[bytes]:
        """The complete hashes of a tile, up to 256 of them."""
        if (level, index) not in self._tiles:
            self.fetch(((level, index),))
        return self._tiles[level, index]

    def ask(self, question: Callable[[NodeReader], T]) -> T:
        """Answer a question that reads nodes, and whose way through the tree does not depend on what it reads.

        It is asked twice: to learn which tiles it needs, and, when they have come in at most three queries, in earnest.
        """
        wanted: set[tuple[int, int]] = set()

        def note(level: int, index: int) -> bytes:
            wanted.add(_place(level, index)[:2])
            return _NOTHING

        question(note)
        self.fetch(wanted)
        return question(self)

    def fetch(self, tiles: Iterable[tuple[int, int]]) -> None:
        """Read tiles: the stored ones, then, for those that are not full or not stored yet, what they are made of."""
        missing = sorted(set(tiles) - self._tiles.keys())
        if not missing:
            return
        levels, indexes = [level for level, _ in missing], [index for _, index in missing]
        stored = self._connection.execute(_SQL["some_tiles"], (levels, indexes), binary=True)
        self._tiles.update({(level, index): read_hashes(hashes, TILE_WIDTH) for level, index, hashes in stored})
        built = [each for each in missing if each not in self._tiles]
        for level, index in built:
            if level == 0:
                start, stop = self._range(level, index)
                self._tiles[level, index] = _leaves(self._connection, start, stop)
        if upper := [each for each in built if each[0] > 0]:
            self._build(upper)

    def _build(self, tiles: list[tuple[int, int]]) -> None:
        """Make tiles above level 0 of the roots of those below; of these, what is not stored is made too."""
        ranges = {each: self._range(*each) for each in tiles}
        asked = (
            [level - 1 for level, _ in tiles],
            [start for start, _ in ranges.values()],
            [stop for _, stop in ranges.values()],
        )
        rows = self._connection.execute(_SQL["some_roots"], asked, binary=True).fetchall()
        roots: dict[tuple[int, int], bytes] = {(level, index): root for level, index, root in rows}
        for (level, index), (start, stop) in ranges.items():
            self._tiles[level, index] = [
                roots[level - 1, at] if (level - 1, at) in roots else tile_root(self.tile(level - 1, at))
                for at in range(start, stop)
            ]

    def _range(self, level: int, index: int) -> tuple[int, int]:
        """Where, within its level, a tile's complete hashes begin and end."""
        start = index * TILE_WIDTH
        return start, min(start + TILE_WIDTH, self._size >> (level * TILE_HEIGHT))


def _place(level: int, index: int) -> tuple[int, int, int, int]:
    """Where a node stands: its tile's level and index, how high in that tile, and its index at that height."""
    tile_level, height = divmod(level, TILE_HEIGHT)
    tile_index = (index << height) // TILE_WIDTH
    return tile_level, tile_index, height, index - (tile_index * TILE_WIDTH >> height)


def store_full_tiles(connection: psycopg.Connection, size: int, most: int = MAX_SIZE) -> int:
    """Store up to `most` of the tiles that a tree of this size fills and that are not stored yet; returns how many.

    From the left and from below, each in a statement of its own that changes nothing when it is there already: it can
    stop anywhere, two may run, and whoever comes next goes on behind the last one.
    """
    stored = 0
    for level in range(_LEVELS):
        full = size >> (level * TILE_HEIGHT) >> TILE_HEIGHT
        if full == 0 or stored == most:
            break
        present = connection.execute(_SQL["tiles_stored"], (level,)).fetchall()[0][0]
        for index in range(present, min(full, present + most - stored)):
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
    levels = no_levels()
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
        if (bad := differing_tile(connection, first // TILE_WIDTH, levels)) is not None:
            raise HeadForked(f"the stored tile {bad.tile.path()} is not what the entries give")
    return Recomputed(head, earlier_root)


class Differing(msgspec.Struct, frozen=True):
    """A stored tile that is not what the entries give: which, and from which of its hashes on."""

    tile: TileAddress
    number: int

    def first_entry(self) -> int:
        """Index in the log of the first entry under that hash."""
        return (self.tile.start + self.number) << TILE_HEIGHT * (self.tile.level or 0)


def no_levels() -> list[list[bytes]]:
    """What `differing_tile` begins with, at the log's first entry."""
    return [[] for _ in range(_LEVELS + 1)]


def differing_tile(connection: psycopg.Connection, first: int, levels: list[list[bytes]]) -> Differing | None:
    """Compare the stored level-0 tiles from `first` on with their leaves; then, one row each, those above.

    `levels[0]` holds the leaves; `levels[n]` for n > 0 the roots of level n - 1 that do not fill a tile of level n yet,
    and is kept from call to call. Returns the first tile that is stored and is not what it should be.
    """
    leaves = levels[0]
    full = len(leaves) // TILE_WIDTH
    stored = _tiles(connection, 0, first, first + full)
    for at in range(full):
        tile = leaves[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]
        index, level, root = first + at, 0, tile_root(tile)
        if (bad := _difference(stored.get(index), tile, root)) is not None:
            return Differing(TileAddress(level, index), bad)
        levels[1].append(root)
        while level + 1 < len(levels) and len(levels[level + 1]) == TILE_WIDTH:
            tile, levels[level + 1] = levels[level + 1], []
            index, level, root = index // TILE_WIDTH, level + 1, tile_root(tile)
            above = _tiles(connection, level, index, index + 1).get(index)
            if (bad := _difference(above, tile, root)) is not None:
                return Differing(TileAddress(level, index), bad)
            if level + 1 < len(levels):
                levels[level + 1].append(root)
    return None


def _difference(stored: tuple[bytes, bytes] | None, tile: list[bytes], root: bytes) -> int | None:
    """Number of the first hash that differs; 0 where only the root does; None where nothing does, or is stored."""
    if stored is None or stored == (b"".join(tile), root):
        return None
    pairs = enumerate(zip(read_hashes(stored[0], TILE_WIDTH), tile, strict=True))
    return next((at for at, (there, here) in pairs if there != here), 0)


def _tiles(connection: psycopg.Connection, level: int, start: int, stop: int) -> dict[int, tuple[bytes, bytes]]:
    rows = connection.execute(_SQL["tiles"], (level, start, stop), binary=True).fetchall()
    return {index: (hashes, root) for index, hashes, root in rows}


def _leaves(connection: psycopg.Connection, start: int, stop: int) -> list[bytes]:
    return [leaf for (leaf,) in connection.execute(_SQL["leaves"], (start, stop), binary=True).fetchall()]
