"""Tiles and entry bundles: how they are named and laid out (C2SP tlog-tiles)."""

import re
from collections.abc import Sequence

import msgspec

from domain.errors import EntryAltered, InvalidInput, NotFound
from domain.ledger.tree import HASH_BYTES, MAX_SIZE, TILE_WIDTH

TILE_HEIGHT = 8
MAX_LEVEL = 63
_MAX_ENTRY = 0xFFFF
_PREFIX_BYTES = 2
_PATH = re.compile(
    r"(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class TileAddress(msgspec.Struct, frozen=True):
    """One tile: its level (None for a bundle of entries), its index in the level, and its width, 256 when full."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def start(self) -> int:
        """Index, within its level, of the tile's first hash; of a bundle's first entry."""
        return self.index * TILE_WIDTH

    @property
    def stop(self) -> int:
        """Index, within its level, behind the tile's last hash."""
        return self.start + self.width

    def path(self) -> str:
        """What stands behind `<prefix>/tile/`, such as `0/x001/x234/067.p/8`."""
        level = "entries" if self.level is None else str(self.level)
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"{level}/{_index_path(self.index)}{suffix}"

    def exists_in(self, size: int) -> bool:
        """Whether a tree of this size has so many complete hashes there."""
        return self.stop <= size >> (TILE_HEIGHT * (self.level or 0))


def parse_path(path: str) -> TileAddress:
    """The tile that a path names, behind `<prefix>/tile/`; each tile has one path.

    Raises:
        NotFound: no tile is written like that.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise NotFound("no tile is written like that")
    level = None if found["level"] == "entries" else int(found["level"])
    index = int(found["index"].replace("/", "").replace("x", ""))
    width = TILE_WIDTH if found["width"] is None else int(found["width"])
    if (level or 0) > MAX_LEVEL or width > TILE_WIDTH or index > MAX_SIZE:
        raise NotFound("no tile is written like that")
    address = TileAddress(level, index, width)
    if address.path() != path:
        # Needless leading elements, or a full tile written as a partial one.
        raise NotFound("no tile is written like that")
    return address


def _index_path(index: int) -> str:
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    return "/".join(reversed(parts))


def bundle_addresses(start: int, stop: int, size: int) -> list[TileAddress]:
    """The bundles that hold the entries start <= index < stop of a log of that size, widest as that size has them."""
    return [
        TileAddress(None, index, min(TILE_WIDTH, size - index * TILE_WIDTH))
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH))
    ]


def write_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry behind its length in two bytes, big-endian.

    Raises:
        InvalidInput: an entry has more than 65,535 bytes.
    """
    if any(len(entry) > _MAX_ENTRY for entry in entries):
        raise InvalidInput("an entry of a bundle has at most 65,535 bytes")
    return b"".join(len(entry).to_bytes(_PREFIX_BYTES, "big") + entry for entry in entries)


def read_entries(raw: bytes, count: int) -> list[bytes]:
    """Exactly `count` entries of a bundle.

    Raises:
        EntryAltered: there are fewer, or something follows them.
    """
    entries = []
    at = 0
    for _ in range(count):
        body = at + _PREFIX_BYTES
        end = body + int.from_bytes(raw[at:body], "big")
        if end > len(raw) or body > len(raw):
            raise EntryAltered(f"the bundle ends before its {count} entries do")
        entries.append(raw[body:end])
        at = end
    if at != len(raw):
        raise EntryAltered(f"the bundle goes on behind its {count} entries")
    return entries


def read_hashes(raw: bytes, count: int) -> list[bytes]:
    """Exactly `count` hashes of a tile.

    Raises:
        EntryAltered: the tile has another length.
    """
    if len(raw) != count * HASH_BYTES:
        raise EntryAltered(f"the tile has not {count} hashes of 32 bytes")
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
