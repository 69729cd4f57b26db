"""Nodes of the committed tree, read from tiles where they are full and from the entries where they are not yet."""

from psycopg import Connection

from domain.ledger.tree import HASH_BYTES, TILE_WIDTH, node_in_tile, tile_root

_TILE_HEIGHT = 8


class Nodes:
    """Reads nodes (`level`, `index`) of the tree of at least the given size; a proof touches a tile or two a level.

    Lives as long as one question; what it read it keeps.
    """

    def __init__(self, connection: Connection, size: int) -> None:
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
            "SELECT hashes FROM ledger.tile WHERE level = %s AND index = %s", (level, index)
        ).fetchone()
        if row is None:
            return None
        return [row[0][at : at + HASH_BYTES] for at in range(0, TILE_WIDTH * HASH_BYTES, HASH_BYTES)]

    def _built(self, level: int, index: int) -> list[bytes]:
        first = index * TILE_WIDTH
        complete = self._size >> (level * _TILE_HEIGHT)
        end = min(first + TILE_WIDTH, complete)
        if level == 0:
            rows = self._connection.execute(
                "SELECT leaf FROM ledger.entry WHERE index >= %s AND index < %s ORDER BY index", (first, end)
            ).fetchall()
            return [row[0] for row in rows]
        rows = self._connection.execute(
            "SELECT index, root FROM ledger.tile WHERE level = %s AND index >= %s AND index < %s",
            (level - 1, first, end),
        ).fetchall()
        roots: dict[int, bytes] = dict(rows)
        return [roots[at] if at in roots else tile_root(self.tile(level - 1, at)) for at in range(first, end)]


def store_full_tiles(connection: Connection, size: int) -> int:
    """Store the tiles that a tree of this size fills and that are not stored yet; returns how many.

    Each tile is one insert that changes nothing when it is there already, so that it can stop anywhere and two may run.
    """
    stored = 0
    for level in range(_TILE_HEIGHT):
        full = size >> (level * _TILE_HEIGHT) >> _TILE_HEIGHT
        if full == 0:
            break
        row = connection.execute(
            "SELECT coalesce(max(index) + 1, 0) FROM ledger.tile WHERE level = %s", (level,)
        ).fetchone()
        assert row is not None
        for index in range(row[0], full):
            hashes = Nodes(connection, size).tile(level, index)
            connection.execute(
                "INSERT INTO ledger.tile (level, index, hashes, root) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (level, index, b"".join(hashes), tile_root(hashes)),
            )
            stored += 1
    return stored
