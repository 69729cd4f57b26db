"""Adding files to an open upload: each is there whole or not at all."""

import hmac
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from application.records import uploads
from application.records.onepass import IngestedFile, ingest
from application.records.uploads import Connection, Upload
from application.records.vault import Vault
from domain.errors import AlreadyDone, TooLarge, UploadNotFound
from domain.records import FILES_PER_RECORD, FileEntry, RecordKind, checked_name

_TOUCH_EVERY_S = 60.0


class Sealer(Protocol):
    """Seals small personal things under a subject's key; `context` binds them to their place."""

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes:
        """The plaintext under the subject's key."""

    def open(self, subject: str, context: str, sealed: bytes) -> bytes:
        """What was sealed; raises when the key is gone, or the context another."""


class Adding:
    """One open upload, to which files are added."""

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        vault: Vault,
        sealer: Sealer,
        row: Upload,
        identity: str,
        file_bytes: int,
    ) -> None:
        self._transaction = transaction
        self._vault = vault
        self._sealer = sealer
        self._row = row
        self._identity = identity
        self._file_bytes = file_bytes

    def add(
        self,
        name: str | Callable[[IngestedFile], str],
        chunks: Iterable[bytes],
        length: int | None = None,
        sha256: str | None = None,
        accept: Callable[[IngestedFile], None] = lambda file: None,
        *,
        durable: bool = True,
    ) -> IngestedFile:
        """Take one file in, under a name that may depend on what it is.

        `length` (bytes) and `sha256` (hex) are what the sender announced, if so. The same bytes under the same name
        again change nothing. A refused file, be it by `accept`, leaves the upload as it was, and open for the next
        one. No connection is held while bytes arrive. Its bytes are durable when this returns; without `durable`,
        the row that names them is only after `settle`.

        Raises: UploadNotFound, AlreadyDone once finished, what `checked_name`, `ingest` and `accept` raise,
        DatabaseUnavailable.
        """
        upload, record, identity = self._row.upload, self._row.record, self._identity
        if isinstance(name, str):
            checked_name(name)
        file = ingest(
            self._vault,
            record,
            identity,
            self._touching(chunks),
            length=length,
            sha256=sha256,
            limit=self._file_bytes,
            imaging=self._row.kind is RecordKind.IMAGING,
            accept=accept,
        )
        named = name if isinstance(name, str) else checked_name(name(file))
        entry = FileEntry(
            name=named,
            sha256=file.sha256,
            bytes=file.bytes,
            media_type=file.media_type,
            header=file.header,
            reason=file.reason,
        )
        tag = hmac.digest(identity.encode(), b"caseledger/intake/name/v1\0" + named.encode(), "sha256")
        sealed = self._sealer.seal(
            subject_of(record),
            file_context(upload, file.sha256, tag),
            msgspec.json.encode(entry, order="sorted"),
        )
        with self._transaction() as database:
            if not durable:
                database.execute("SET LOCAL synchronous_commit = off")
            try:
                now = uploads.load(database, upload, lock=True)
                require_open(now)
                if now.files >= FILES_PER_RECORD:
                    raise TooLarge(f"A record has at most {FILES_PER_RECORD} files.")
            except (UploadNotFound, AlreadyDone, TooLarge):
                # The upload ended meanwhile. Under its lock nobody else can name these bytes any more.
                if not uploads.names(database, upload, file.sha256):
                    self._vault.delete(record, file.sha256)
                raise
            uploads.add_file(database, upload, file.sha256, tag, file.bytes, sealed)
        return file

    def settle(self) -> None:
        """Make every row durable that names a file: a commit that waits for the disk takes all before it along.

        Raises: DatabaseUnavailable.
        """
        with self._transaction() as database:
            uploads.touch(database, self._row.upload)

    def _touching(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        last = time.monotonic()
        for chunk in chunks:
            yield chunk
            if time.monotonic() - last > _TOUCH_EVERY_S:
                with self._transaction() as database:
                    uploads.touch(database, self._row.upload)
                last = time.monotonic()


def require_open(row: Upload) -> None:
    """Let an open upload pass.

    Raises: AlreadyDone, UploadNotFound.
    """
    if row.state == "finished":
        raise AlreadyDone("The upload is finished.")
    if row.state == "abandoned":
        raise UploadNotFound("The upload was abandoned.")


def subject_of(record: str) -> str:
    """Whose key seals what is known of a record that is still arriving."""
    return f"record:{record}"


def file_context(upload: str, sha256: str, tag: bytes) -> str:
    """Where a file's sealed entry stands."""
    return f"intake/file/{upload}/{sha256}/{tag.hex()}"
