"""Reading a small zip of known members from bytes that nobody vouches for (PKWARE APPNOTE 4.3).

Stricter than the format: one directory at the very end, no comment, no ZIP64, no encryption, stored or deflated only.
CRC-32 protects nothing here, so a mismatch is remarked, not refused: what an altered member holds is for the verifier
to judge.
"""

import copy
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from types import MappingProxyType

from domain.errors import MalformedBundle

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20
_MAX_DIRECTORY_BYTES = 64 * 1024
_REFUSED_FLAGS = 0x1 | 0x20 | 0x40 | 0x2000  # encrypted, patched, strongly encrypted, masked headers
# What zipfile and zlib are known to raise over bytes that are no zip.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, ValueError, EOFError, OSError,
    OverflowError, LookupError, AttributeError, TypeError,
)  # fmt: skip


def members(
    raw: bytes, limits: Mapping[str, int], total: int, optional: Mapping[str, int] = MappingProxyType({})
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The content of a zip with exactly the members that `limits` names, each at most so many bytes, and remarks.

    Those that `optional` names may be there too.

    Raises:
        MalformedBundle: not such a zip, or a member, or all together, above their bounds, declared or real.
    """
    declared = _check_end(raw, len(limits), len(limits) + len(optional))
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            found = archive.infolist()
            # Not `filename`, which ends at the first NUL.
            names = sorted(info.orig_filename for info in found)
            if len(names) != declared or names != sorted({*limits, *(name for name in names if name in optional)}):
                raise MalformedBundle(f"a bundle has exactly the members {', '.join(limits)}")
            for info in found:
                if info.file_size > (limits[info.filename] if info.filename in limits else optional[info.filename]):
                    raise MalformedBundle("the member is larger than allowed", member=info.filename)
            if sum(info.file_size for info in found) > total or sum(info.compress_size for info in found) > len(raw):
                raise MalformedBundle("the members together are larger than allowed")
            content = {info.filename: _member(archive, info) for info in found}
    except _BROKEN:
        raise MalformedBundle("the zip's directory, or a member's header, is damaged") from None
    wrong = (info.filename for info in found if zlib.crc32(content[info.filename]) != info.CRC)
    return content, tuple(f"the zip's CRC-32 of {name} does not match; it proves nothing" for name in wrong)


def _check_end(raw: bytes, least: int, most: int) -> int:
    """Bounds what zipfile will read before it reads: number of members, which it gives, and size of the directory."""
    if len(raw) < _END.size:
        raise MalformedBundle("the bundle is not a zip, or it is truncated")
    signature, disk, first_disk, here, everywhere, size, offset, comment = _END.unpack(raw[-_END.size :])
    if signature != _END_SIGNATURE or comment:
        raise MalformedBundle("the bundle does not end in a zip's directory: not a zip, or truncated")
    before = raw[-_END.size - _ZIP64_LOCATOR_BYTES :][: len(_ZIP64_LOCATOR)]
    if disk or first_disk or here != everywhere or before == _ZIP64_LOCATOR:
        raise MalformedBundle("a bundle is one zip file, without ZIP64")
    if not least <= everywhere <= most:
        count = f"exactly {least}" if least == most else f"{least} to {most}"
        raise MalformedBundle(f"a bundle has {count} members, this one has {everywhere}")
    if size > _MAX_DIRECTORY_BYTES or offset + size + _END.size != len(raw):
        raise MalformedBundle("the zip's directory is not where it has to be")
    return int(everywhere)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.flag_bits & _REFUSED_FLAGS or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedBundle("the member is encrypted, or neither stored nor deflated", member=info.filename)
    # Read the packed bytes as they stand: zipfile would cut off in silence a stream that goes on.
    packed_info = copy.copy(info)
    packed_info.compress_type, packed_info.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed_info.CRC  # without it zipfile does not check
    with archive.open(packed_info) as file:
        packed = file.read()
    if info.compress_type == zipfile.ZIP_STORED:
        content, complete = packed, len(packed) == info.compress_size
    else:
        content, complete = _inflate(packed, info.file_size, info.filename)
    if not complete or len(content) != info.file_size:
        raise MalformedBundle("the member does not have the size that the zip declares", member=info.filename)
    return content


def _inflate(packed: bytes, size: int, name: str) -> tuple[bytes, bool]:
    """At most one byte more than declared is ever unpacked."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, size + 1)
    except zlib.error:
        raise MalformedBundle("the member's compressed bytes are damaged", member=name) from None
    return content, inflater.eof and not inflater.unused_data
