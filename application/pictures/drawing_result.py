"""What a worker says that it drew, believed only as far as it can be checked: it may have been taken over."""

import struct
from typing import Final, Literal

import msgspec

Tile = Literal["", "too-large", "no-pixels", "cannot-be-decoded"]

_SIDE: Final = 4096
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A sheet and its square thumbnail as PNG, of these sizes in pixels, and the outcome of each tile."""

    tiles: tuple[Tile, ...]
    width: int
    height: int
    thumbnail_side: int
    sheet: bytes
    thumbnail: bytes


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """The worker's own account."""

    tiles: tuple[Tile, ...]
    width: int
    height: int


def checked_output(results: tuple[bytes, ...], tiles: int) -> Checked | None:
    """The worker's results where they have the form of some, else None."""
    if len(results) != 3:
        return None
    try:
        said = msgspec.json.decode(results[0], type=_Said)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    sheet, thumbnail = _size(results[1]), _size(results[2])
    if len(said.tiles) != tiles or sheet != (said.width, said.height) or thumbnail is None:
        return None
    if thumbnail[0] != thumbnail[1]:
        return None
    return Checked(
        tiles=said.tiles,
        width=said.width,
        height=said.height,
        thumbnail_side=thumbnail[0],
        sheet=results[1],
        thumbnail=results[2],
    )


def _size(png: bytes) -> tuple[int, int] | None:
    """Width and height of something that begins as a PNG of a sensible size does (PNG 3rd edition, 11.2.1)."""
    if not png.startswith(_SIGNATURE) or len(png) < 24:
        return None
    width, height = struct.unpack_from(">II", png, 16)
    return (width, height) if 0 < width <= _SIDE and 0 < height <= _SIDE else None
