"""One frame of a DICOM file as grey values or colours: runs in the worker, on bytes that nobody vouches for.

Values are brought through the modality transformation (rescale, LUT) and the display is left to application/pictures/
display.py (PS3.3 C.7.6.3, C.11.1, C.11.2; enhanced images C.7.6.16.2.9 and .10).
"""

from io import BytesIO
from typing import Any, Final

import msgspec
import numpy as np
from pydicom import Dataset, config, dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

FRAME_VALUES: Final = 100_000_000
"""Most values of one frame: the largest radiographs have 30 million, whole-slide images are tiled."""

config.settings.reading_validation_mode = config.IGNORE


class Undrawable(Exception):
    """This frame gives no picture; the message is a code."""


class Decoded(msgspec.Struct, kw_only=True):
    """One frame. `values` are float32 (rows, columns) or, in colour, uint8 (rows, columns, 3)."""

    values: Any
    colour: bool
    ready: bool = False
    """Grey values that a VOI LUT has already brought to 0..255."""
    inverted: bool = False
    padding: Any = None
    """Boolean mask of pixels that are no image; None where nothing is said of any."""
    windows: tuple[tuple[float, float], ...] = ()
    """Centre and width, as the header has them."""
    function: str = "LINEAR"
    hounsfield: bool = False
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, float] | None = None
    """Millimetres between rows, between columns."""
    aspect: float = 1.0
    """Height of a pixel over its width."""


def read(data: bytes) -> Dataset:
    """The data set in these bytes, with or without preamble and meta group."""
    dataset = dcmread(BytesIO(data), force=True)
    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        meta.TransferSyntaxUID = syntax if little else ExplicitVRBigEndian
    return dataset


def decode(dataset: Dataset, frame: int) -> Decoded:
    """Frame number `frame`, from 0.

    Raises:
        Undrawable: too large, or without pixels; and whatever a decoder can raise.
    """
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if not rows or not columns or not any(each in dataset for each in ("PixelData", "FloatPixelData")):
        raise Undrawable("no-pixels")
    if rows * columns * samples > FRAME_VALUES:
        raise Undrawable("too-large")
    stored = np.asarray(pixel_array(dataset, index=frame))
    if stored.ndim not in (2, 3) or stored.size > FRAME_VALUES:
        raise Undrawable("cannot-be-decoded")
    spacing, aspect = _spacing(dataset, frame)
    orientation = _orientation(dataset, frame)
    photometric = str(dataset.get("PhotometricInterpretation") or "").strip().upper()
    if photometric == "PALETTE COLOR":
        colours = _eight_bits(apply_color_lut(stored, dataset))
        return Decoded(values=colours, colour=True, orientation=orientation, spacing=spacing, aspect=aspect)
    if stored.ndim == 3:
        colours = _eight_bits(stored[..., :3], int(dataset.get("BitsStored") or 8))
        return Decoded(values=colours, colour=True, orientation=orientation, spacing=spacing, aspect=aspect)
    values, voi_ready = _modality(dataset, stored, frame)
    windows, function = _windows(dataset, frame)
    # A shape of INVERSE goes with MONOCHROME1 and says the same thing once more (PS3.3 C.11.6): never twice.
    inverted = photometric == "MONOCHROME1" or _text(dataset, "PresentationLUTShape") == "INVERSE"
    return Decoded(
        values=values,
        colour=False,
        ready=voi_ready,
        inverted=inverted,
        padding=_padding(dataset, stored),
        windows=windows,
        function=function,
        hounsfield=_text(dataset, "Modality") == "CT" and _rescaled(dataset, frame),
        orientation=orientation,
        spacing=spacing,
        aspect=aspect,
    )


def _modality(dataset: Dataset, stored: Any, frame: int) -> tuple[Any, bool]:
    group = _group(dataset, frame, "PixelValueTransformationSequence")
    if group is not None:
        slope, intercept = float(group.get("RescaleSlope") or 1), float(group.get("RescaleIntercept") or 0)
        return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept), False
    values = apply_modality_lut(stored, dataset)
    if dataset.get("VOILUTSequence") and np.issubdtype(stored.dtype, np.integer):
        whole = np.rint(values).astype(np.int64)
        table = apply_voi(whole, dataset)
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2]) or 8
        return (table.astype(np.float32) * np.float32(255.0 / (2**bits - 1))), True
    values = values.astype(np.float32)
    return np.nan_to_num(values, copy=False), False


def _rescaled(dataset: Dataset, frame: int) -> bool:
    return "RescaleIntercept" in dataset or _group(dataset, frame, "PixelValueTransformationSequence") is not None


def _windows(dataset: Dataset, frame: int) -> tuple[tuple[tuple[float, float], ...], str]:
    source = _group(dataset, frame, "FrameVOILUTSequence") or dataset
    centres, widths = _numbers(source.get("WindowCenter")), _numbers(source.get("WindowWidth"))
    function = str(source.get("VOILUTFunction") or "LINEAR").strip().upper()
    pairs = tuple((centre, width) for centre, width in zip(centres, widths, strict=False) if width >= 1)
    return pairs, function


def _padding(dataset: Dataset, stored: Any) -> Any:
    """Pixels outside of the image (PS3.3 C.7.5.1.1.2): one value, or a range of them."""
    value = dataset.get("PixelPaddingValue")
    if value is None or isinstance(value, bytes):
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    limit = value if isinstance(limit, bytes) else limit
    low, high = sorted((int(value), int(limit)))
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() and not mask.all() else None


def _orientation(dataset: Dataset, frame: int) -> tuple[float, ...]:
    source = _group(dataset, frame, "PlaneOrientationSequence") or dataset
    found = _numbers(source.get("ImageOrientationPatient"))
    return found if len(found) == 6 else ()


def _spacing(dataset: Dataset, frame: int) -> tuple[tuple[float, float] | None, float]:
    source = _group(dataset, frame, "PixelMeasuresSequence") or dataset
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        found = _numbers(source.get(name))
        if len(found) == 2 and min(found) > 0 and 0.1 < found[0] / found[1] < 10:
            return ((found[0], found[1]) if name == "PixelSpacing" else None), found[0] / found[1]
    ratio = _numbers(dataset.get("PixelAspectRatio"))
    if len(ratio) == 2 and min(ratio) > 0 and 0.1 < ratio[0] / ratio[1] < 10:
        return None, ratio[0] / ratio[1]
    return None, 1.0


def _group(dataset: Dataset, frame: int, name: str) -> Dataset | None:
    """A functional group of one frame, its own before the shared one; None for an ordinary image."""
    for sequence, at in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(sequence)
        if items and at < len(items) and items[at].get(name):
            found: Dataset = items[at][name].value[0]
            return found
    return None


def _numbers(value: Any) -> tuple[float, ...]:
    if value is None or isinstance(value, bytes):
        return ()
    several = [value] if isinstance(value, str | int | float) else list(value)
    try:
        found = tuple(float(each) for each in several)
    except (TypeError, ValueError):
        return ()
    return found if all(np.isfinite(found)) else ()


def _text(dataset: Dataset, name: str) -> str:
    return str(dataset.get(name) or "").strip().upper()


def _eight_bits(colours: Any, bits: int = 0) -> Any:
    if colours.dtype == np.uint8 and bits in (0, 8):
        return colours
    most = bits or 8 * colours.dtype.itemsize
    return np.clip(colours.astype(np.float32) * (255.0 / (2**most - 1)), 0, 255).astype(np.uint8)
