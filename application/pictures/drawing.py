"""The worker's task `sheet`: decodes the chosen frames and draws the contact sheet and its thumbnail.

A frame that cannot be decoded becomes a tile that says so; a step is told after each frame, so that the parent knows
which one a dying worker was at.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import msgspec
from PIL import Image, ImageDraw, ImageFont

from application.pictures.decoding import Decoded, Undrawable, decode, read
from application.pictures.display import edges, reduced, shown, windows_of
from application.pictures.plan import Sheet, Tile
from application.sandbox.worker import Emit, Parts

BOX: Final = 288
"""Pixels of a tile's side."""
THUMBNAIL: Final = 128
_GAP: Final = 6
_HEAD: Final = 58
_COLUMNS: Final = 4
_NARROWEST: Final = 2
_INK, _FAINT, _MARK, _GROUND = (235, 235, 235), (160, 160, 160), (255, 208, 90), (0, 0, 0)
_TELLS: Final = {
    "too-large": "too large to draw",
    "no-pixels": "no pixel data",
    "cannot-be-decoded": "cannot be decoded",
}


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """What a sheet shows: its tiles' outcomes in order, "" for a picture, and its size in pixels."""

    tiles: tuple[str, ...]
    width: int
    height: int


def run(job: dict[str, Any], parts: Parts, step: Emit) -> Iterator[bytes]:
    """The sheet's outcome as JSON, then the sheet and the thumbnail as PNG."""
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # decoders' own sizes are bounded by the header's and by memory
    sheet = msgspec.convert(job, Sheet)
    wanted: dict[int, list[tuple[int, Tile]]] = defaultdict(list)
    for number, tile in enumerate(sheet.tiles):
        wanted[tile.part].append((number, tile))
    frames: dict[int, Decoded] = {}
    failed: dict[int, str] = {}
    for at, part in enumerate(parts):
        try:
            dataset = read(part.read())
        except Exception:  # noqa: BLE001 - whatever hostile bytes can raise; the other files are drawn
            failed.update({number: "cannot-be-decoded" for number, _ in wanted[at]})
            step(b"")
            continue
        for number, tile in wanted[at]:
            try:
                frames[number] = reduced(decode(dataset, tile.frame), BOX)
            except Undrawable as error:
                failed[number] = str(error)
            except Exception:  # noqa: BLE001 - likewise
                failed[number] = "cannot-be-decoded"
        del dataset
        step(b"")
    picture, thumbnail = _draw(sheet, frames, failed)
    outcomes = tuple(failed.get(number, "") for number in range(len(sheet.tiles)))
    yield msgspec.json.encode(Drawn(tiles=outcomes, width=picture.width, height=picture.height))
    yield _png(picture)
    yield _png(thumbnail)


def _draw(sheet: Sheet, frames: dict[int, Decoded], failed: dict[int, str]) -> tuple[Image.Image, Image.Image]:
    windows = windows_of(frames)
    columns = max(_NARROWEST, min(_COLUMNS, len(sheet.tiles)))
    rows = max(1, -(-len(sheet.tiles) // columns))
    width = columns * BOX + (columns + 1) * _GAP
    picture = Image.new("RGB", (width, _HEAD + rows * (BOX + _GAP)), _GROUND)
    draw = ImageDraw.Draw(picture)
    _line(draw, (10, 8), sheet.title, 18, _INK, width - 20)
    _line(draw, (10, 34), sheet.subtitle, 13, _FAINT, width - 20)
    thumbnail = Image.new("RGB", (THUMBNAIL, THUMBNAIL), _GROUND)
    middle = sorted(frames)[len(frames) // 2] if frames else None
    for number, tile in enumerate(sheet.tiles):
        left = _GAP + number % columns * (BOX + _GAP)
        top = _HEAD + number // columns * (BOX + _GAP)
        if number in failed:
            _write(draw, (left + BOX / 2, top + BOX / 2), _TELLS.get(failed[number], "no picture"), 14, "mm", _FAINT)
            draw.rectangle((left, top, left + BOX - 1, top + BOX - 1), outline=(60, 60, 60))
            _write(draw, (left + 5, top + BOX - 4), tile.place, 12, "ls", _INK)
            continue
        frame = frames[number]
        window = windows.get(number)
        image = shown(frame, window or (0.0, 1.0))
        picture.paste(image, (left + (BOX - image.width) // 2, top + (BOX - image.height) // 2))
        _annotate(draw, left, top, frame, tile, None if frame.ready else window)
        if number == middle:
            small = image.copy()
            small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            thumbnail.paste(small, ((THUMBNAIL - small.width) // 2, (THUMBNAIL - small.height) // 2))
    return picture, thumbnail


def _annotate(
    draw: ImageDraw.ImageDraw, left: int, top: int, frame: Decoded, tile: Tile, window: tuple[float, float] | None
) -> None:
    """Edges' letters, place and position, window, and a scale of five centimetres."""
    right, bottom, middle_x, middle_y = left + BOX, top + BOX, left + BOX / 2, top + BOX / 2
    letters = edges(frame.orientation)
    if letters is not None:
        _write(draw, (left + 5, middle_y), letters[0], 17, "lm", _MARK)
        _write(draw, (right - 5, middle_y), letters[1], 17, "rm", _MARK)
        _write(draw, (middle_x, top + 4), letters[2], 17, "ma", _MARK)
        _write(draw, (middle_x, bottom - 3), letters[3], 17, "md", _MARK)
    else:
        _write(draw, (middle_x, top + 5), "orientation not stated", 11, "ma", _MARK)
    _write(draw, (left + 5, bottom - 4), tile.place, 12, "ls", _INK)
    if tile.position:
        _write(draw, (right - 5, bottom - 4), tile.position, 12, "rs", _INK)
    if window is not None:
        _write(draw, (left + 5, top + 4), f"W {window[1]:.0f}  L {window[0]:.0f}", 11, "la", _INK)
    if frame.spacing is not None:
        length = 50.0 / frame.spacing[0]
        if 20 <= length <= BOX / 2:
            _scale(draw, right - 7, middle_y + BOX / 4, length)


def _scale(draw: ImageDraw.ImageDraw, x: float, middle: float, length: float) -> None:
    # Beside the edge's letter, which stands in the middle of the same edge.
    top, bottom = middle - length / 2, middle + length / 2
    draw.line((x, top, x, bottom), fill=_INK, width=1)
    for y in (top, bottom):
        draw.line((x - 4, y, x, y), fill=_INK, width=1)
    _write(draw, (x - 6, middle), "5 cm", 10, "rm", _INK)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
    colour: tuple[int, int, int],
) -> None:
    draw.text(at, text, fill=colour, font=_font(size), anchor=anchor, stroke_width=1, stroke_fill=_GROUND)


def _line(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: tuple[int, int, int], width: int
) -> None:
    """One line of the head, cut where it would run out; letters that the font lacks are left to the list beside it."""
    plain = text if text.isascii() else "".join(each if ord(each) < 256 else "?" for each in text)
    font = _font(size)
    while plain and draw.textlength(plain, font=font) > width:
        plain = plain[:-2] + "\N{HORIZONTAL ELLIPSIS}" if len(plain) > 2 else ""
    draw.text(at, plain, fill=colour, font=font)


_fonts: dict[int, Any] = {}


def _font(size: int) -> Any:
    if size not in _fonts:
        _fonts[size] = ImageFont.load_default(size)
    return _fonts[size]


def _png(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG", optimize=False, compress_level=6)
    return out.getvalue()
