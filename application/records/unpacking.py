"""An archive's members into an open upload: each taken, skipped or refused by itself, and the batch goes on."""

import msgspec

from application.records.adding import Adding
from application.records.archives import Archive
from application.records.onepass import IngestedFile
from domain.errors import AlreadyDone, CaseLedgerError, InvalidInput, UploadNotFound


class RefusedFile(msgspec.Struct, frozen=True):
    """A file that was not taken: its path, the error's code, and a sentence."""

    name: str
    code: str
    reason: str


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an archive: files taken, directory records skipped, and what was refused."""

    taken: int
    skipped: int
    refused: tuple[RefusedFile, ...]


class _Skipped(CaseLedgerError):
    """A directory of a medium, which is no record of anybody."""


def unpack(archive: Archive, adding: Adding) -> Unpacked:
    """Add every file of the archive; each bad one gets its own reason.

    Raises: UploadNotFound, AlreadyDone when the upload ended meanwhile; Unavailable.
    """
    taken, skipped = 0, 0
    refused: list[RefusedFile] = []
    for member in archive.members():
        directory = member.name.rpartition("/")[2].upper() == "DICOMDIR"
        try:
            if member.refused is not None:
                raise member.refused
            adding.add(member.name, archive.content(member), member.bytes, accept=_no_directory, name_bytes=member.raw)
        except _Skipped:
            skipped += 1
        except (UploadNotFound, AlreadyDone):
            raise
        except InvalidInput as error:
            if directory and error.code in ("not-dicom", "truncated-upload"):
                skipped += 1
            else:
                refused.append(RefusedFile(member.name, error.code, str(error)))
        else:
            taken += 1
    return Unpacked(taken=taken, skipped=skipped, refused=tuple(refused))


def _no_directory(file: IngestedFile) -> None:
    if file.header is not None and file.header.is_directory:
        raise _Skipped
