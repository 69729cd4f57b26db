"""Raw bytes of one DICOM element into plain values: texts in any character set, numbers in any encoding.

pydicom's own conversion validates, warns with the value in the message, and costs more than reading the file; the
check needs some sixty fields, so they are decoded here, each by its own small rule. What cannot be decoded counts as
not stated.
"""

import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, Final

from application.records.dicom_elements import ENCODINGS
from domain.errors import UnreadableDicom

Raw = Mapping[int, Any]
"""Elements of a data set by tag: ours, or pydicom's RawDataElement, or DataElement (sequences of undefined length)."""

MAX_TEXT: Final = 1024
"""Characters kept of a text: LO has 64 (PS3.5 6.2), LT 10,240; nothing that the check reads needs more."""

MAX_READS: Final = 1_000_000
"""Reads of a long value, two an element: the groups of 20,000 frames fit, and hostile ones end within seconds."""
_SHORT: Final = 1024 * 1024

_DELIMITERS: Final = {0x0A, 0x0C, 0x0D, 0x09, 0x5C, 0x5E, 0x3D}
_BINARY: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160), 65279))


class _Counted(BytesIO):
    """A stream that gives up on endless tiny elements."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise UnreadableDicom("its header has too many elements")
        return super().read(size)


def bounded(data: bytes) -> BytesIO:
    """The bytes as a stream to parse; a long one ends with UnreadableDicom when it is read too many times.

    Short ones are not counted: they hold too few elements to matter, and counting costs a sixth of the reading.
    """
    return BytesIO(data) if len(data) <= _SHORT else _Counted(data)


@lru_cache(maxsize=64)
def encodings_of(charset: bytes) -> tuple[str, ...]:
    """Python encodings for a Specific Character Set (0008,0005) value; () when it names none."""
    names = [part.strip(" \0") for part in charset.decode("ascii", "replace").split("\\")]
    if len(names) == 1 and (not names[0] or names[0] in ENCODINGS):
        return (ENCODINGS[names[0]],) if names[0] else ()
    from application.records.dicom_library import convert_encodings

    return tuple(convert_encodings(names)) if any(names) else ()


def _decode(value: bytes, encodings: tuple[str, ...]) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    if b"\x1b" not in value and (not encodings or encodings[0] in ("iso8859", "latin_1")):
        # Undeclared, or declared as the default by habit: several bytes that form UTF-8 are no accident.
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            pass
    encodings = encodings or ("iso8859",)
    if b"\x1b" not in value:
        try:
            return value.decode(encodings[0])
        except (LookupError, UnicodeError):
            pass
    from application.records.dicom_library import decode_bytes

    return decode_bytes(value, list(encodings), _DELIMITERS)


def texts(raw: Raw, tag: int, encodings: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every value of a text element, trimmed, without control characters; () when absent or empty.

    The split at the backslash comes after decoding: in GB18030 and Shift JIS its byte is half of a character.
    """
    element = raw.get(tag)
    value = element.value if element is not None else None
    if not isinstance(value, bytes):
        return ()
    decoded = _decode(value[: 4 * MAX_TEXT], encodings)
    if decoded.isprintable():
        parts = tuple([part.strip()[:MAX_TEXT] for part in decoded.split("\\")])
    else:
        parts = tuple([part.translate(_CONTROL).strip()[:MAX_TEXT] for part in decoded.split("\\")])
    return parts if any(parts) else ()


def text(raw: Raw, tag: int, encodings: tuple[str, ...] = ()) -> str:
    """First value of a text element, "" when absent."""
    if (element := raw.get(tag)) is None:
        return ""
    value = element.value
    if isinstance(value, bytes) and len(value) <= MAX_TEXT and value.isascii() and b"\\" not in value:
        # Nearly all are like this, and what the detour costs is seen in a file's whole time.
        plain = value.decode("ascii")
        if plain.isprintable():
            return plain.strip()
    values = texts(raw, tag, encodings)
    return values[0] if values else ""


def whole_text(raw: Raw, tag: int, encodings: tuple[str, ...] = ()) -> str:
    """All values of a text element as one, for descriptions in which somebody typed a backslash."""
    return " ".join(part for part in texts(raw, tag, encodings) if part)


def numbers(raw: Raw, tag: int, vr: str = "DS") -> tuple[float, ...]:
    """Every value of a numeric element; () unless all are finite. `vr` is for files that do not state one."""
    element: Any = raw.get(tag)
    value = element.value if element is not None else None
    if not isinstance(value, bytes):
        return ()
    stated = element.VR if element.VR in _BINARY or element.VR in ("DS", "IS") else vr
    try:
        if stated in _BINARY:
            code = _BINARY[stated]
            count = min(len(value) // struct.calcsize("=" + code), 64)
            order = "<" if element.is_little_endian else ">"
            found = tuple(float(number) for number in struct.unpack_from(f"{order}{count}{code}", value))
        else:
            words = value[:MAX_TEXT].decode("latin-1").strip(" \0").replace(",", ".").split("\\")
            found = tuple(float(word.strip(" \0")) for word in words) if any(words) else ()
    except (ValueError, struct.error):
        return ()
    return found if all(map(math.isfinite, found)) else ()


def number(raw: Raw, tag: int, vr: str = "DS") -> float | None:
    """First value of a numeric element, None when absent or not a number."""
    if (element := raw.get(tag)) is None:
        return None
    stated, value = element.VR, element.value
    if isinstance(value, bytes):
        if stated == "US" and len(value) == 2:
            return float(int.from_bytes(value, "little" if element.is_little_endian else "big"))
        if stated in ("DS", "IS") and len(value) <= MAX_TEXT:
            try:
                plain = float(value)
            except ValueError:
                pass
            else:
                return plain if math.isfinite(plain) else None
    found = numbers(raw, tag, vr)
    return found[0] if found else None


def integer(raw: Raw, tag: int, vr: str = "IS") -> int | None:
    """First value of a numeric element as an integer below 2^53, None when absent or not one."""
    found = number(raw, tag, vr)
    return int(found) if found is not None and abs(found) < 2**53 and found == int(found) else None
