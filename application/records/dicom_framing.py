"""What frames a data set: preamble, command set, file meta group, transfer syntax (PS3.10 7); or something else.

Files in the wild have no preamble, no meta group, a wrong group length, or an encoding other than the one they state;
so the bytes themselves are asked.
"""

import struct
from typing import Final

from application.records.dicom_elements import VRS

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
IMPLICIT: Final = ("1.2.840.10008.1.2", "1.2.840.113619.5.2")
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DIRECTORIES: Final = ("1.2.840.10008.1.3.10",)
_LONG_VRS: Final = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"))
_LEADING_GROUPS: Final = frozenset((0x0000, 0x0002, 0x0004, 0x0008))
_SIGNATURES: Final = (
    (b"%PDF", "a PDF document"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"\xd0\xcf\x11\xe0", "an office document"),
    (b"<", "an HTML or XML text"),
)

_PLAUSIBLE: Final = 1024 * 1024
"""Bytes that a first element, or one of the file meta group, can have at most."""


def something_else(data: bytes) -> str:
    """What bytes without the DICM prefix are, "" when they may be a bare data set."""
    if not data:
        return "empty"
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if len(data) < 8:
        return "too short"
    group, element = struct.unpack_from("<HH", data)
    swapped = struct.unpack_from(">H", data)[0]
    if group not in _LEADING_GROUPS and swapped != 0x0008:
        return "a text" if _is_text(data) else "something else"
    explicit = data[4:6] in VRS
    length = struct.unpack_from("<I", data, 4)[0]
    if not explicit and swapped != 0x0008 and length > max(len(data), _PLAUSIBLE):
        return "something else"
    if element > 0x3000 and not explicit:
        return "something else"
    return ""


def _is_text(data: bytes) -> bool:
    sample = data[:512]
    return not any(byte < 9 or 13 < byte < 32 for byte in sample)


def after_command_set(data: bytes, offset: int) -> int:
    """Offset behind group 0000, which a file kept from the network may have in front (PS3.7 6.3)."""
    for _ in range(64):
        if len(data) < offset + 8:
            break
        group, _element, length = struct.unpack_from("<HHI", data, offset)
        if group != 0 or length > 4096:
            break
        offset += 8 + length
    return offset


def file_meta(data: bytes, offset: int) -> tuple[dict[int, bytes], int]:
    """Elements of group 0002 by element number, and the offset behind them (PS3.10 7.1).

    The stated group length is not used: it is often wrong or absent. Some writers use implicit VR here too.
    """
    meta: dict[int, bytes] = {}
    for _ in range(64):
        if len(data) < offset + 8 or data[offset : offset + 2] != b"\x02\0":
            break
        element, vr, length = struct.unpack_from("<H2sH", data, offset + 2)
        head = 8
        if vr not in VRS:
            length = struct.unpack_from("<I", data, offset + 4)[0]
        elif vr in _LONG_VRS:
            if len(data) < offset + 12:
                break
            length, head = struct.unpack_from("<I", data, offset + 8)[0], 12
        if length > _PLAUSIBLE:
            break
        meta[element] = data[offset + head : offset + head + min(length, 4096)]
        offset += head + length
    return meta, offset


def uid(value: bytes | None) -> str:
    """A UID as text, "" when absent."""
    return value.decode("latin-1").strip(" \0\t\r\n")[:64] if value else ""


def encoding(data: bytes, offset: int, syntax: str) -> tuple[bool, bool]:
    """(implicit VR, little endian) as the first element shows them; file meta is sometimes wrong."""
    if len(data) < offset + 6:
        return syntax in IMPLICIT, syntax != BIG_ENDIAN
    group, _element, vr = struct.unpack_from("<HH2s", data, offset)
    implicit = not (0x41 <= vr[0] <= 0x5A and 0x41 <= vr[1] <= 0x5A)
    little = {0x0008: True, 0x0800: False}.get(group, syntax != BIG_ENDIAN)
    return implicit, little
