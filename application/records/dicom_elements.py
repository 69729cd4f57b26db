"""The elements of an ordinary little-endian data set (PS3.5 7), walked strictly; what is unusual is left to pydicom.

Where these functions answer, they answer as pydicom does; where the bytes are in any way out of order (an unknown VR, a
length that leads out, a character set of several bytes with escapes) they answer None. That saves the time of reading
with pydicom, and of importing it at all.
"""

import struct
from collections.abc import Container
from typing import Final

import msgspec

UNDEFINED: Final = 0xFFFFFFFF
PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
FIRST_PIXELS: Final = min(PIXELS)
"""What comes before it in group 7FE0 is a group length or an extended offset table, and no picture (PS3.5 A.4)."""
LONG_VRS: Final = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Value representations whose length has 32 bits (PS3.5 7.1.2)."""
VRS: Final = {
    code.encode(): code
    for code in (
        "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
    )
}
ENCODINGS: Final = {
    "ISO_IR 6": "iso8859",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso_ir_126",
    "ISO_IR 127": "iso_ir_127",
    "ISO_IR 138": "iso_ir_138",
    "ISO_IR 144": "iso_ir_144",
    "ISO_IR 148": "iso_ir_148",
    "ISO_IR 192": "UTF8",
    "GB18030": "GB18030",
}
"""Python's names of the character sets that stand alone, without escapes (PS3.3 C.12.1.1.2)."""

SEQUENCES: Final = frozenset((
    0x00081032, 0x00081110, 0x00081111, 0x00081115, 0x00081140, 0x00082112, 0x00082218, 0x00089124, 0x00101002,
    0x00180012, 0x00189112, 0x00189114, 0x00189115, 0x00189117, 0x00189226, 0x00189304, 0x00189314, 0x00189329,
    0x00209071, 0x00209111, 0x00209113, 0x00209116, 0x00289110, 0x00321064, 0x00400260, 0x00400275, 0x00400555,
    0x0040A170, 0x00540012, 0x00540016, 0x00540022, 0x52009229, 0x52009230,
))  # fmt: skip
"""Sequences that the check reads, and others that often hold some; with implicit VR no file says what is one."""

_CHARSET: Final = 0x00080005
_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_MOST_BYTES: Final = 1024 * 1024
"""Longer data sets hold too many elements to walk them twice if need be."""
_MOST_DEPTH: Final = 16
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_explicit = struct.Struct("<HH2sH").unpack_from
_implicit = struct.Struct("<HHI").unpack_from
_long = struct.Struct("<I").unpack_from


class Element(msgspec.Struct, frozen=True, gc=False):
    """An element as pydicom's RawDataElement has it; a sequence of undefined length has its items instead of bytes."""

    VR: str | None
    value: bytes | list[dict[int, "Element"]]
    is_implicit_VR: bool  # noqa: N815 - as pydicom names it
    is_little_endian: bool = True


class _Unusual(Exception):
    """Something that only pydicom knows what to make of."""


def data_set(
    data: bytes, at: int, implicit: bool, wanted: Container[int]
) -> tuple[dict[int, Element], tuple[int, int] | None] | None:
    """The wanted elements from byte `at` to the pixels or the end; and where the pixel element is and how long.

    None where the data set is unusual, or cut off before its pixels.
    """
    if len(data) > _MOST_BYTES:
        return None
    try:
        found, stop = _elements(data, at, len(data), implicit, wanted, 0)
        if stop == len(data):
            return found, None
        group, number, length = _implicit(data, stop)
        if not implicit and data[stop + 4 : stop + 6] in LONG_VRS:
            (length,) = _long(data, stop + 8)
        elif not implicit:
            length >>= 16
    except (_Unusual, struct.error):
        return None
    return found, (stop, length) if group << 16 | number in PIXELS else None


def items(value: bytes, implicit: bool) -> list[dict[int, Element]] | None:
    """The items of a sequence of defined length; None where it is unusual."""
    if len(value) > _MOST_BYTES:
        return None
    try:
        return _sequence(value, 0, len(value), implicit, False, 0)[0]
    except (_Unusual, struct.error):
        return None


def _elements(
    data: bytes, at: int, end: int, implicit: bool, wanted: Container[int] | None, depth: int
) -> tuple[dict[int, Element], int]:
    """Elements up to `end`, or to what ends them before: pixels at the top, a delimiter in an item."""
    found: dict[int, Element] = {}
    vr: str | None = None
    while at < end:
        if implicit:
            group, number, length = _implicit(data, at)
            start = at + 8
        else:
            group, number, code, length = _explicit(data, at)
            start = at + 8
            if (vr := VRS.get(code)) is None:
                if group == 0xFFFE and depth:
                    return found, at
                raise _Unusual
            if code in LONG_VRS:
                (length,) = _long(data, start)
                start += 4
        tag = group << 16 | number
        if tag >= FIRST_PIXELS and (group == 0xFFFE or not depth):
            return found, at
        if length != UNDEFINED:
            after = start + length
            if after > end:
                raise _Unusual
            if tag == _CHARSET and (vr not in ("CS", None) or not _is_plain(data[start:after])):
                raise _Unusual
            if wanted is None or tag in wanted:
                found[tag] = Element(vr, data[start:after], implicit)
        elif vr in ("SQ", None) and tag != _CHARSET:
            inner, after = _sequence(data, start, end, implicit, True, depth + 1)
            # Without a VR only a dictionary tells a sequence from a value, which ends at its first delimiter.
            sure = vr == "SQ" or tag in SEQUENCES or (group & 1 and inner)
            if not sure and data.find(_DELIMITER, start) != after - 8:
                raise _Unusual
            if wanted is None or tag in wanted:
                if not sure:
                    raise _Unusual
                found[tag] = Element("SQ", inner, implicit)
        else:
            raise _Unusual
        at = after
    return found, at


def _sequence(
    data: bytes, at: int, end: int, implicit: bool, undefined: bool, depth: int
) -> tuple[list[dict[int, Element]], int]:
    """Items up to `end`, or to the delimiter where the length is undefined; and the byte behind them."""
    if depth > _MOST_DEPTH:
        raise _Unusual
    found: list[dict[int, Element]] = []
    while undefined or at < end:
        group, number, length = _implicit(data, at)
        tag, at = group << 16 | number, at + 8
        if undefined and tag == _SEQUENCE_END:
            break
        stop = end if length == UNDEFINED else at + length
        if tag != _ITEM or stop > end:
            raise _Unusual
        elements, at = _elements(data, at, stop, implicit, None, depth + 1)
        found.append(elements)
        if length == UNDEFINED:
            group, number, length = _implicit(data, at)
            if group << 16 | number != _ITEM_END or length:
                raise _Unusual
            at += 8
        elif at != stop:
            raise _Unusual
    if at > end:
        raise _Unusual
    return found, at


def _is_plain(charset: bytes) -> bool:
    name = charset.decode("latin-1").strip(" \0")
    return not name or name in ENCODINGS
