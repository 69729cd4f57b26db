"""The directory of a zip archive, judged before a byte of it is unpacked: what is read, and what is refused and why.

Bounds hold by what the directory declares, and reading never goes beyond what was declared.
"""

import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Final

import msgspec

from application.records.archives import charset_of, name_of
from domain.archive import check_ratio, checked_path
from domain.errors import MalformedBody, SuspectedBomb, TooLarge, UnsafePath
from domain.records import FILE_BYTES

MOST_MEMBERS: Final = 200_000
MOST_DIRECTORY: Final = 64 * 1024 * 1024
"""Bytes of the archive's own directory, which is held in memory."""
MOST_BYTES: Final = 256 * 1024**3
"""Declared bytes of all members together."""

_END: Final = b"PK\x05\x06"
_UNPRINTABLE: Final = r"[^\x20-\x7e\u00a1-\ud7ff\uf900-\uffef]"
"""Not compiled before it is needed: that takes as long as a dozen headers."""
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The other methods' decoders have no bound on what they give at once."""


class Member(msgspec.Struct, frozen=True):
    """One file of an archive: its place in the directory, and why it is refused, "" where it is not."""

    number: int
    name: str
    size: int
    refused: str = ""


def members_of(path: Path) -> tuple[list[Member], list[Member]]:
    """Members to read, and members that are refused.

    Raises:
        MalformedBody: not a zip archive, or a damaged one. TooLarge: a directory that does not fit into memory.
    """
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError, struct.error, OverflowError):
        raise MalformedBody(f"{path} is a damaged zip archive") from None
    if len(infos) > MOST_MEMBERS:
        raise TooLarge(f"{path} has more than {MOST_MEMBERS} files")
    overlapping = _overlapping(infos)
    kept: list[Member] = []
    refused: list[Member] = []
    total = 0
    charset = charset_of(infos)
    for number, info in enumerate(infos):
        if info.is_dir():
            continue
        name, _ = name_of(info, charset)
        why = _why_not(name, info, number in overlapping, total)
        total += 0 if why else info.file_size
        member = Member(number=number, name=name, size=info.file_size, refused=why)
        (refused if why else kept).append(member)
    return kept, refused


def _why_not(name: str, info: zipfile.ZipInfo, overlaps: bool, total: int) -> str:
    try:
        checked_path(name)
        check_ratio(info.compress_size, info.file_size)
    except UnsafePath as error:
        return f"{error}: {_shown(name)}"
    except SuspectedBomb:
        return f"it declares {info.file_size} bytes in {info.compress_size}: not unpacked"
    if info.flag_bits & 0x1:
        return "it is encrypted in the archive"
    if info.compress_type not in _METHODS:
        return f"it is packed by method {info.compress_type}, which cannot be read"
    # S_IFLNK: the content of such a member is a path, and no image.
    if info.external_attr >> 16 & 0xF000 == 0xA000:
        return "it is a link"
    if overlaps:
        return "it shares its bytes with another file of the archive"
    if info.file_size > FILE_BYTES or total + info.file_size > MOST_BYTES:
        return f"it declares {info.file_size} bytes, more than is accepted"
    return ""


def _shown(name: str) -> str:
    return re.sub(_UNPRINTABLE, "?", name)[:80]


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[int]:
    """Members whose packed bytes begin inside another's: one kernel of bytes, unpacked many times."""
    order = sorted(range(len(infos)), key=lambda number: infos[number].header_offset)
    found: set[int] = set()
    end = -1
    for number in order:
        info = infos[number]
        if info.header_offset < end:
            found.add(number)
        # A local header has at least 30 bytes and the name.
        end = max(end, info.header_offset + 30 + info.compress_size)
    return found


def _check_directory(path: Path) -> None:
    """Refuse a directory that would fill the memory before its length is known to zipfile."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 22 - 0xFFFF - 20 - 56))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise MalformedBody(f"{path} is a damaged zip archive")
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if length == 0xFFFFFFFF and (wide := tail.rfind(b"PK\x06\x06", 0, at)) >= 0 and len(tail) >= wide + 48:
        (length,) = struct.unpack_from("<Q", tail, wide + 40)
    if length > MOST_DIRECTORY:
        raise TooLarge(f"the directory of {path} has {length} bytes, more than is accepted")
