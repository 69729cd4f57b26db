"""Zip archives, member by member: nothing is unpacked anywhere but into whoever reads the member.

The central directory decides what there is, and Python's own `zipfile` reads it, from any seekable file. What it would
let through is looked at here: paths, encryption, bombs, archives in archives, names in no known character set.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import SEEK_END, SEEK_SET, RawIOBase
from typing import IO, Any, cast

import msgspec

from application.records.media import ARCHIVES, sniff
from domain.archive import check_ratio, check_whole, checked_path
from domain.charset import decoded
from domain.errors import (
    CaseLedgerError,
    EncryptedMember,
    MalformedArchive,
    NestedArchive,
    SuspectedBomb,
    TooLarge,
)
from domain.records import FILE_BYTES

DIRECTORY_BYTES = 8 * 1024 * 1024
"""Largest central directory that is read, in bytes: 50,000 entries of usual names."""
_READ_BYTES = 256 * 1024
_FIRST = 1024
_UTF8 = 0x800
_UNICODE_PATH = 0x7075


class Member(msgspec.Struct, frozen=True):
    """A file of an archive: its path, declared length in bytes, and either the reason to refuse it or its content.

    `raw` is the path as the archive has it, where what that is written in had to be guessed.
    """

    name: str
    raw: bytes | None
    bytes: int
    refused: CaseLedgerError | None
    info: Any = None


class Archive:
    """An open archive."""

    def __init__(self, packed: zipfile.ZipFile) -> None:
        self._packed = packed

    def members(self) -> Iterator[Member]:
        """Every file, in the archive's order; directories are left out."""
        infos = self._packed.infolist()
        charset = charset_of(infos)
        for info in infos:
            name, guessed = name_of(info, charset)
            if name.endswith(("/", "\\")):
                continue
            refused = None
            try:
                name = checked_path(name)
                _check(info)
            except CaseLedgerError as error:
                refused = error
            yield Member(name, guessed, info.file_size, refused, info)

    def content(self, member: Member) -> Iterator[bytes]:
        """A member's bytes.

        Raises:
            NestedArchive: they are an archive again.
            MalformedArchive: they do not unpack, to the declared length and checksum.
        """
        sent = 0
        try:
            with self._packed.open(member.info) as file:
                first = file.read(_FIRST)
                if sniff(first) in ARCHIVES:
                    raise NestedArchive
                chunk = first + file.read(_READ_BYTES - len(first))
                while chunk:
                    sent += len(chunk)
                    yield chunk
                    chunk = file.read(_READ_BYTES)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
            raise MalformedArchive("the member does not unpack") from error
        if sent != member.bytes:
            raise MalformedArchive("the member is not as long as the archive says")


@contextmanager
def opened(source: RawIOBase) -> Iterator[Archive]:
    """The archive in a seekable file.

    Raises:
        MalformedArchive: it is none, or its directory cannot be read.
        TooLarge, SuspectedBomb: at the sizes that it declares, before anything is unpacked.
    """
    try:
        packed = zipfile.ZipFile(cast("IO[bytes]", _Directory(source)))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, NotImplementedError, ValueError, EOFError) as error:
        raise MalformedArchive("the file is not a zip archive that can be read") from error
    with packed:
        check_whole(source.seek(0, SEEK_END), [(info.compress_size, info.file_size) for info in packed.infolist()])
        yield Archive(packed)


def told_name(info: zipfile.ZipInfo) -> str | None:
    """A member's name where the archive tells what it is written in; None where that has to be guessed.

    What says to be UTF-8, or is so by Info-ZIP's extra field, is; so is what happens to be, since text in another
    character set hardly ever is valid UTF-8.
    """
    if info.flag_bits & _UTF8:
        return info.orig_filename
    raw = _raw(info)
    for candidate in (_unicode_path(info.extra, raw), raw):
        try:
            if candidate:
                return candidate.decode("utf-8")
        except UnicodeDecodeError:
            continue
    return None if raw else ""


def charset_of(infos: Sequence[zipfile.ZipInfo]) -> str | None:
    """The character set that all names fit of which the archive does not tell it; None where none does."""
    return decoded([_raw(info) for info in infos if told_name(info) is None])


def name_of(info: zipfile.ZipInfo, charset: str | None) -> tuple[str, bytes | None]:
    """A member's name, and the bytes that it was guessed from, if it was.

    `charset` is the one that fits all such names of the archive. Without one they are read as code page 437, the
    format's own (APPNOTE.TXT D.1), which has a character for every byte.
    """
    if (told := told_name(info)) is not None:
        return told, None
    raw = _raw(info)
    if charset is None:
        return info.orig_filename, raw
    # A backslash is one now, and no half of a character.
    return raw.decode(charset).replace("\\", "/"), raw


def _raw(info: zipfile.ZipInfo) -> bytes:
    """A name as it stands in the directory; Python read it as code page 437, which loses nothing."""
    return info.orig_filename.encode("cp437", "replace")


def _unicode_path(extra: bytes, raw: bytes) -> bytes:
    """The name in the Info-ZIP Unicode Path Extra Field (APPNOTE.TXT 4.6.9), where it is that of these raw bytes."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        value, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(value) > 5 and value[0] == 1:
            (checksum,) = struct.unpack_from("<I", value, 1)
            return value[5:] if checksum == zlib.crc32(raw) else b""
    return b""


def _check(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 0x1 or info.flag_bits & 0x40 or info.compress_type == 99:
        raise EncryptedMember
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The other methods' decoders have no bound on what they give at once.
        raise MalformedArchive("the member is packed by a method that is not supported; use deflate")
    if info.file_size > FILE_BYTES:
        raise TooLarge(f"a file has at most {FILE_BYTES} bytes")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise SuspectedBomb("it is stored, and says to be of another size")
    check_ratio(info.compress_size, info.file_size)


class _Directory(RawIOBase):
    """A file as `zipfile` may see it: no huge directory, and none whose names are said to be UTF-8 and are not."""

    def __init__(self, source: RawIOBase) -> None:
        super().__init__()
        self._source = source

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """See `io`."""
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        """See `io`."""
        return self._source.tell()

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io`; a single read is bounded."""
        size = -1 if size is None else size
        if size < 0:
            here = self._source.tell()
            size = self._source.seek(0, SEEK_END) - here
            self._source.seek(here)
        if size > DIRECTORY_BYTES:
            raise TooLarge(f"an archive's directory has at most {DIRECTORY_BYTES} bytes")
        data = b""
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        return _honest(data) if data.startswith(b"PK\x01\x02") else data


def _honest(directory: bytes) -> bytes:
    """The central directory with the UTF-8 flag only on names that are (APPNOTE.TXT 4.3.12)."""
    fixed, at = bytearray(directory), 0
    while directory[at : at + 4] == b"PK\x01\x02" and at + 46 <= len(directory):
        flags, name, extra, comment = (
            *struct.unpack_from("<H", directory, at + 8),
            *struct.unpack_from("<HHH", directory, at + 28),
        )
        if flags & _UTF8:
            try:
                directory[at + 46 : at + 46 + name].decode("utf-8")
            except UnicodeDecodeError:
                struct.pack_into("<H", fixed, at + 8, flags & ~_UTF8)
        at += 46 + name + extra + comment
    return bytes(fixed)
