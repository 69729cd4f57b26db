"""A log laid out as C2SP tlog-tiles in a directory, from a ledger in memory; tests damage it there."""

from pathlib import Path

from domain.ledger import bundle, encoding
from domain.ledger.tile import TileAddress, write_entries
from domain.ledger.tree import TILE_WIDTH, leaf_hash, tile_root
from tests.ledger_builder import LedgerBuilder


def publish(ledger: LedgerBuilder, place: Path) -> Path:
    """Write checkpoint, entry bundles, hash tiles of all levels, and openings of the key streams."""
    bundles(place, ledger.entries)
    hashes, level = [leaf_hash(entry) for entry in ledger.entries], 0
    while hashes:
        parts = [hashes[at : at + TILE_WIDTH] for at in range(0, len(hashes), TILE_WIDTH)]
        for index, part in enumerate(parts):
            _write(place, TileAddress(level, index, len(part)), b"".join(part))
        hashes, level = [tile_root(part) for part in parts if len(part) == TILE_WIDTH], level + 1
    (place / "checkpoint").write_bytes(ledger.checkpoint())
    (place / "key-openings").write_bytes(key_openings(ledger))
    return place


def bundles(place: Path, entries: list[bytes]) -> None:
    """Write the entry bundles of these entries."""
    for index, at in enumerate(range(0, len(entries), TILE_WIDTH)):
        part = entries[at : at + TILE_WIDTH]
        _write(place, TileAddress(None, index, len(part)), write_entries(part))


def key_openings(ledger: LedgerBuilder) -> bytes:
    """Openings of every entry of a key's stream, one a line."""
    lines = [
        encoding.encode(bundle.Disclosure(index=index, blinding=opening.blinding, payload=opening.payload))
        for index, (statement, opening) in enumerate(zip(ledger.statements, ledger.openings, strict=True))
        if statement.stream.startswith("key-") and opening is not None
    ]
    return b"".join(line + b"\n" for line in lines)


def _write(place: Path, address: TileAddress, content: bytes) -> None:
    path = place / "tile" / address.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
