"""A decoded frame as it is shown: reduced to a tile, windowed, upright as stored, with the letters of its edges.

Letters are those of the patient-based coordinate system (PS3.3 C.7.6.2.1.1): +x is to the patient's left, +y to the
back, +z to the head.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image

from application.pictures.decoding import Decoded

BODY_WINDOW: Final = (40.0, 400.0)
"""Centre and width, in Hounsfield units, of a CT that states no window: soft tissue of the trunk."""
SAMPLES: Final = 20_000
_AIR: Final = -150.0
"""Hounsfield units below which there is air, or a table in it: a CT whose scale is right."""
_LETTERS: Final = (("R", "L"), ("A", "P"), ("F", "H"))
_OBLIQUE: Final = 0.38
"""Cosine from which a second axis is named: 22 degrees off."""


def reduced(frame: Decoded, box: int) -> Decoded:
    """The frame at the size of its tile, its pixels square, as large as fits a box of so many pixels."""
    rows, columns = frame.values.shape[:2]
    height, width = rows * frame.aspect, float(columns)
    scale = box / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    padding = frame.padding
    if frame.colour:
        values = np.asarray(Image.fromarray(frame.values, "RGB").resize(size, _filter(scale)))
    else:
        stored = frame.values
        if padding is not None:
            stored = stored.copy()
            stored[padding] = stored[~padding].min()
            mask = Image.fromarray(padding.astype(np.uint8) * 255, "L").resize(size, Image.Resampling.BILINEAR)
            padding = np.asarray(mask) > 127
        values = np.asarray(Image.fromarray(stored, "F").resize(size, _filter(scale)))
    spacing = None if frame.spacing is None else (frame.spacing[1] / scale,) * 2
    return Decoded(
        values=values,
        colour=frame.colour,
        ready=frame.ready,
        inverted=frame.inverted,
        padding=padding,
        windows=frame.windows,
        function=frame.function,
        hounsfield=frame.hounsfield,
        orientation=frame.orientation,
        spacing=spacing,
    )


def _filter(scale: float) -> Image.Resampling:
    return Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.BICUBIC


def samples(frame: Decoded) -> Any:
    """Some grey values of a frame that are image, evenly taken."""
    values = frame.values if frame.padding is None else frame.values[~frame.padding]
    values = values.ravel()
    return values[:: max(1, values.size // SAMPLES)]


def windows_of(frames: Mapping[int, Decoded]) -> dict[int, tuple[float, float]]:
    """A window for each grey frame of a sheet: the header's first, where it shows anything in any frame that has it.

    A CT without one gets the window for the body; all else shares what the values say (`pooled_window`).
    """
    grey = {number: (frame, samples(frame)) for number, frame in frames.items() if not frame.colour}
    useful: set[tuple[float, float]] = set()
    for frame, seen in grey.values():
        for centre, width in frame.windows:
            inside = np.count_nonzero((seen > centre - width / 2) & (seen < centre + width / 2))
            if inside * 200 > seen.size:
                useful.add((centre, width))
    found: dict[int, tuple[float, float]] = {}
    rest: dict[int, Any] = {}
    for number, (frame, seen) in grey.items():
        stated = next((each for each in frame.windows if each in useful), None)
        if stated is not None:
            found[number] = stated
        elif frame.hounsfield and seen.size and seen.min() < _AIR:
            found[number] = BODY_WINDOW
        else:
            rest[number] = seen
    if rest:
        found |= dict.fromkeys(rest, pooled_window(list(rest.values())))
    return found


def pooled_window(pool: list[Any]) -> tuple[float, float]:
    """One window for all frames that state none, so that a sheet has one brightness: percentiles 1 and 99."""
    together = np.concatenate(pool) if pool else np.zeros(1, np.float32)
    low, high = (float(each) for each in np.percentile(together, (1.0, 99.0)))
    if high - low < 1e-6:
        low, high = float(together.min()), float(together.max())
    return (low + high) / 2, max(high - low, 1e-6)


def shown(frame: Decoded, window: tuple[float, float]) -> Image.Image:
    """The tile as an image in eight bits (PS3.3 C.11.2.1.2 and .1.3)."""
    if frame.colour:
        return Image.fromarray(frame.values, "RGB")
    values = frame.values
    if frame.ready:
        grey = values
    else:
        centre, width = window
        if frame.function == "SIGMOID":
            grey = 255.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -60.0, 60.0)))
        elif frame.function == "LINEAR_EXACT" or width <= 1:
            grey = ((values - centre) / width + 0.5) * 255.0
        else:
            grey = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255.0
    grey = np.clip(grey, 0.0, 255.0)
    if frame.inverted:
        grey = 255.0 - grey
    if frame.padding is not None:
        grey = np.where(frame.padding, 0.0, grey)
    return Image.fromarray(np.rint(grey).astype(np.uint8), "L").convert("RGB")


def edges(orientation: tuple[float, ...]) -> tuple[str, str, str, str] | None:
    """Letters at the left, right, top and bottom edge; None where the header does not say how the image lies."""
    if len(orientation) != 6:
        return None
    row, column = _towards(orientation[:3]), _towards(orientation[3:])
    if not row or not column:
        return None
    return _opposite(row), row, _opposite(column), column


def _towards(direction: tuple[float, ...]) -> str:
    """Letters of a direction, the strongest axis first, at most two."""
    strongest = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    found = [axis for axis in strongest if abs(direction[axis]) >= _OBLIQUE][:2]
    return "".join(_LETTERS[axis][direction[axis] > 0] for axis in found)


def _opposite(letters: str) -> str:
    return letters.translate(str.maketrans("RLAPFH", "LRPAHF"))
