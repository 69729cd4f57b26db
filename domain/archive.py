"""What an archive, and a path inside a record, may be: bounds and rules, over plain values."""

import re
from typing import Final

from domain.errors import SuspectedBomb, TooLarge, UnsafePath

ARCHIVE_BYTES: Final = 32 * 1024**3
"""Largest archive, in bytes: several full DVDs."""

UNPACKED_BYTES: Final = 64 * 1024**3
"""Most that the members of one archive may come to, in bytes."""

MEMBERS: Final = 50_000
"""Most entries of an archive, directories and viewers' files among them."""

RATIO: Final = 200
"""Most times that an archive, or a large member, may be larger unpacked. Real CT packs 2 to 4 times, a mask 100."""

HARMLESS_BYTES: Final = 64 * 1024**2
"""Up to here no ratio matters: an empty slice packs a thousandfold, and does no harm."""

_DRIVE = re.compile(r"[A-Za-z]:")


def checked_path(path: str) -> str:
    """A file's path inside its folder, without empty parts; backslashes are separators as in archives from Windows.

    In a path beyond ASCII they are left as they are: in GB18030 and Shift JIS that byte is half of a character.

    Raises:
        UnsafePath: it is absolute, names a drive, or climbs.
    """
    parts = path.replace("\\", "/").split("/")
    if parts[0] == "" and len(parts) > 1:
        raise UnsafePath("the path is absolute")
    if _DRIVE.match(path):
        raise UnsafePath("the path names a drive")
    if ".." in parts:
        raise UnsafePath("the path climbs out of its folder")
    kept = parts if path.isascii() else path.split("/")
    return "/".join(part for part in kept if part not in ("", "."))


def check_whole(length: int, sizes: list[tuple[int, int]]) -> None:
    """Let an archive of `length` bytes pass whose members have these declared sizes, in bytes: packed, unpacked.

    Raises:
        TooLarge: more members, or more bytes, than an archive may have.
        SuspectedBomb: far more unpacked than packed.
    """
    if len(sizes) > MEMBERS:
        raise TooLarge(f"an archive has at most {MEMBERS} entries")
    # Members may overlap; what they share is there once.
    packed, unpacked = min(length, sum(each[0] for each in sizes)), sum(each[1] for each in sizes)
    if unpacked > UNPACKED_BYTES:
        raise TooLarge(f"an archive unpacks to at most {UNPACKED_BYTES} bytes")
    check_ratio(packed, unpacked)


def check_ratio(packed: int, unpacked: int) -> None:
    """Let these bytes pass.

    Raises:
        SuspectedBomb: far more unpacked than packed.
    """
    if unpacked > HARMLESS_BYTES and unpacked > RATIO * max(packed, 1):
        raise SuspectedBomb(f"it unpacks to more than {RATIO} times its size")
