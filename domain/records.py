"""What a record is: one manifest of files, of one kind, whose SHA-256 is the record's digest.

The manifest names every file by the SHA-256 of its plaintext and carries what its header said, so that
whoever holds the manifest can ask for any file and check it. Its encoding is canonical: the same files in any
order of arrival give the same bytes.
"""

import hashlib
import unicodedata
from enum import StrEnum
from typing import Annotated, Literal, Self

import msgspec

from domain.errors import BlobAltered, ControlCharacter, MalformedBody, TooLarge
from domain.imaging.model import InstanceHeader

NAME_CHARACTERS = 255
"""Longest original file name, in Unicode code points; the bound of the common file systems."""

FILES_PER_RECORD = 20_000
"""Most files in one record: several times the largest CT or MR examination in use."""

FILE_BYTES = 4 * 1024**3
"""Largest single file, in bytes: the most that one DICOM Part 10 element of explicit length can hold."""

MANIFEST_BYTES = 256 * 1024**2
"""Largest encoded manifest, in bytes."""

_REFUSED_CATEGORIES = frozenset({"Cc", "Zl", "Zp"})

Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class RecordKind(StrEnum):
    """What a record is a record of."""

    IMAGING = "imaging"
    RADIOLOGY_REPORT = "radiology_report"
    PATHOLOGY = "pathology"
    OPERATIVE_NOTE = "operative_note"
    ONCOLOGIST_LETTER = "oncologist_letter"
    BLOODS = "bloods"
    OTHER = "other"


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a record: original name, SHA-256 (hex) and length in bytes of its plaintext, what it is.

    `header` is there for a readable DICOM file; `reason` says why a DICOM file has none. `name_bytes` (hex) are those
    that the name was read from, where what it was written in had to be guessed.
    """

    name: str
    sha256: Digest
    bytes: Annotated[int, msgspec.Meta(ge=1, le=FILE_BYTES)]
    media_type: Annotated[str, msgspec.Meta(max_length=64)]
    header: InstanceHeader | None = None
    reason: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    name_bytes: Annotated[str, msgspec.Meta(pattern=r"\A(?:[0-9a-f]{2})+\Z", max_length=4096)] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All files of a record, ordered by name and digest; `total_bytes` sums their plaintext lengths."""

    version: Literal[1] = 1
    kind: RecordKind
    files: Annotated[tuple[FileEntry, ...], msgspec.Meta(min_length=1, max_length=FILES_PER_RECORD)]
    total_bytes: int

    @classmethod
    def of(cls, kind: RecordKind, files: list[FileEntry]) -> Self:
        """Manifest of these files, whatever their order.

        Raises: MalformedBody without a file, TooLarge above FILES_PER_RECORD.
        """
        if not files:
            raise MalformedBody("A record has at least one file.")
        if len(files) > FILES_PER_RECORD:
            raise TooLarge(f"A record has at most {FILES_PER_RECORD} files.")
        ordered = tuple(sorted(files, key=lambda file: (file.name, file.sha256)))
        return cls(kind=kind, files=ordered, total_bytes=sum(file.bytes for file in ordered))

    def encode(self) -> bytes:
        """Canonical bytes: sorted members, no white space, UTF-8."""
        return msgspec.json.encode(self, order="sorted")


def digest_of(encoded: bytes) -> str:
    """Digest of a record: SHA-256, in hex, of its encoded manifest."""
    return hashlib.sha256(encoded).hexdigest()


def decode_manifest(encoded: bytes, digest: str) -> Manifest:
    """Manifest in these bytes, which must hash to the digest that the ledger names.

    The stored bytes are what is hashed, never a new encoding: header facts may gain members later.

    Raises: BlobAltered when they do not, or are no manifest.
    """
    if digest_of(encoded) != digest:
        raise BlobAltered("The manifest is not the one that the record names.")
    try:
        manifest = msgspec.json.decode(encoded, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BlobAltered("The record's manifest cannot be read.") from error
    if manifest.total_bytes != sum(file.bytes for file in manifest.files):
        raise BlobAltered("The manifest's total is not the sum of its files.")
    return manifest


def checked_name(name: str) -> str:
    """The original file name, unchanged, when it is fit to be kept. It is shown, and never used as a path.

    Raises: MalformedBody when it is empty or not Unicode text, TooLarge above NAME_CHARACTERS,
    ControlCharacter when it holds a control character or a line or paragraph separator.
    """
    if not name.strip():
        raise MalformedBody("A file needs a name.")
    if len(name) > NAME_CHARACTERS:
        raise TooLarge(f"A file name has at most {NAME_CHARACTERS} characters.")
    categories = {unicodedata.category(character) for character in name}
    if categories & _REFUSED_CATEGORIES:
        raise ControlCharacter("The file name contains a control character.")
    if "Cs" in categories:
        raise MalformedBody("The file name is not Unicode text.")
    return name
