"""JPEG and PNG: a photographed or scanned page. Decoded once, to know that it is whole; never kept."""

from io import BytesIO
from typing import Final, Literal

from PIL import Image

from domain.documents import DocumentFacts, DocumentFinding

PIXELS: Final = 150_000_000
READABLE: Final = 1000
"""Pixels of the longer side from which an A4 page with ordinary print can be read (J): 86 dots an inch."""


def read_picture(data: bytes, form: Literal["jpeg", "png"]) -> DocumentFacts:
    """Facts of a picture: its size, and whether all of it is there."""
    Image.MAX_IMAGE_PIXELS = None  # the bound is ours, and asked before decoding
    width = height = 0
    try:
        with Image.open(BytesIO(data), formats=[form.upper()]) as image:
            width, height = image.size
            if width * height > PIXELS:
                told = f"The picture has {width} by {height} pixels, more than is looked at: please send it smaller."
                return _found(form, width, height, "DOC_TOO_LARGE", "inadequate", told, f"{width}x{height}")
            image.load()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a damaged file can raise
        told = "The picture is damaged or cut off: please send it again."
        return _found(form, width, height, "DOC_UNREADABLE", "inadequate", told, "")
    if max(width, height) < READABLE:
        told = "The picture is too small for a page to be read on: please photograph or scan it again, larger."
        return _found(form, width, height, "DOC_LOW_RESOLUTION", "limited", told, f"{width}x{height}")
    return DocumentFacts(format=form, pages=1, width=width, height=height)


def _found(
    form: Literal["jpeg", "png"],
    width: int,
    height: int,
    code: str,
    severity: Literal["inadequate", "limited"],
    told: str,
    value: str,
) -> DocumentFacts:
    limit = str(READABLE) if code == "DOC_LOW_RESOLUTION" else ""
    finding = DocumentFinding(code=code, severity=severity, message=told, value=value, limit=limit)
    return DocumentFacts(format=form, pages=1, width=width, height=height, findings=(finding,))
