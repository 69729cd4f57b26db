"""An upload session: files come in one by one, and become a record only when all of it is finished.

Order of every crash-safe step: bytes durable in the vault, then a row that names them. A row never names
bytes that are not there, and bytes that no row names are removed with their upload. Nothing is visible as a
record before the caller has appended the event that carries the manifest's digest.
"""

import hmac
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout
from uuid_utils import uuid7

from application.records import uploads
from application.records.onepass import IngestedFile, ingest
from application.records.uploads import Connection, Upload, UploadStatus
from application.records.vault import Vault, new_identity
from domain.errors import AlreadyDone, DatabaseUnavailable, IntegrityFailure, TooLarge, UploadNotFound
from domain.records import (
    FILE_BYTES,
    FILES_PER_RECORD,
    MANIFEST_BYTES,
    FileEntry,
    Manifest,
    RecordKind,
    checked_name,
    decode_manifest,
    digest_of,
)

_TOUCH_EVERY_S = 60.0


class Sealer(Protocol):
    """Seals small personal things under a subject's key; `context` binds them to their place."""

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes:
        """The plaintext under the subject's key."""

    def open(self, subject: str, context: str, sealed: bytes) -> bytes:
        """What was sealed; raises when the key is gone, or the context another."""


class RecordDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A finished upload, ready to become a record by an event.

    `identity` is the age key of the record's blobs, a secret that the caller seals; `digest` is the SHA-256
    (hex) of the encoded manifest, which stands in the vault under it.
    """

    upload: str
    record: str
    case: str
    actor: str
    kind: RecordKind
    digest: str
    identity: str
    manifest: Manifest

    def __repr__(self) -> str:
        # Neither the key nor a file name ever reaches a log.
        return f"RecordDraft(record={self.record!r}, digest={self.digest!r}, files={len(self.manifest.files)})"


class Intake:
    """Uploads under way, in schema `intake` and vault; safe from many threads and processes at once."""

    def __init__(
        self, pool: ConnectionPool[Any], vault: Vault, sealer: Sealer, *, file_bytes: int = FILE_BYTES
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._sealer = sealer
        self._file_bytes = file_bytes

    def open(self, case: str, actor: str, kind: RecordKind) -> str:
        """Begin an upload for this case; its id."""
        upload, record = str(uuid7()), str(uuid7())
        sealed = self._sealer.seal(_subject(record), _key_context(upload), new_identity().encode())
        with self._transaction() as database:
            uploads.insert(database, upload, case, actor, kind, record, sealed)
        return upload

    def add_file(
        self,
        upload: str,
        name: str,
        chunks: Iterable[bytes],
        length: int | None = None,
        sha256: str | None = None,
    ) -> IngestedFile:
        """Take one file in; `length` (bytes) and `sha256` (hex) are what the sender announced, if so.

        The same bytes under the same name again change nothing. A refused file leaves the upload as it was,
        and open for the next one. No connection is held while bytes arrive.

        Raises: UploadNotFound, AlreadyDone once finished, what `checked_name` and `ingest` raise,
        DatabaseUnavailable.
        """
        checked_name(name)
        with self._transaction() as database:
            row = uploads.load(database, upload)
            _require_open(row)
            uploads.touch(database, upload)
        identity = self._identity(row)
        file = ingest(
            self._vault,
            row.record,
            identity,
            self._touching(upload, chunks),
            length=length,
            sha256=sha256,
            limit=self._file_bytes,
            imaging=row.kind is RecordKind.IMAGING,
        )
        entry = FileEntry(
            name=name,
            sha256=file.sha256,
            bytes=file.bytes,
            media_type=file.media_type,
            header=file.header,
            reason=file.reason,
        )
        tag = hmac.digest(identity.encode(), b"caseledger/intake/name/v1\0" + name.encode(), "sha256")
        sealed = self._sealer.seal(
            _subject(row.record),
            _file_context(upload, file.sha256, tag),
            msgspec.json.encode(entry, order="sorted"),
        )
        with self._transaction() as database:
            try:
                now = uploads.load(database, upload, lock=True)
                _require_open(now)
                if now.files >= FILES_PER_RECORD:
                    raise TooLarge(f"A record has at most {FILES_PER_RECORD} files.")
            except (UploadNotFound, AlreadyDone, TooLarge):
                # The upload ended meanwhile. Under its lock nobody else can name these bytes any more.
                if not uploads.names(database, upload, file.sha256):
                    self._vault.delete(row.record, file.sha256)
                raise
            uploads.add_file(database, upload, file.sha256, tag, file.bytes, sealed)
        return file

    def status(self, upload: str) -> UploadStatus:
        """How far an upload is.

        Raises: UploadNotFound.
        """
        with self._transaction() as database:
            return uploads.load(database, upload).status()

    def finish(self, upload: str) -> RecordDraft:
        """Write the manifest and close the upload; asked again, the same answer.

        Raises: UploadNotFound, MalformedBody without a file, DatabaseUnavailable, Unavailable.
        """
        with self._transaction() as database:
            row = uploads.load(database, upload, lock=True)
            if row.state == "abandoned":
                raise UploadNotFound
            identity = self._identity(row)
            manifest = Manifest.of(row.kind, self._entries(database, row))
            encoded = manifest.encode()
            if len(encoded) > MANIFEST_BYTES:
                raise TooLarge(f"A manifest has at most {MANIFEST_BYTES} bytes.")
            digest = digest_of(encoded)
            if row.state == "open":
                self._vault.put(row.record, identity, [encoded])
                uploads.mark_finished(database, upload, digest)
            elif row.digest != digest:
                raise IntegrityFailure("A finished upload no longer gives the manifest that it was finished with.")
        return RecordDraft(
            upload=upload,
            record=row.record,
            case=row.case,
            actor=row.actor,
            kind=row.kind,
            digest=digest,
            identity=identity,
            manifest=manifest,
        )

    def settle(self, upload: str, *, recorded: bool) -> None:
        """End a finished upload: recorded in the ledger (content stays), or refused for good (content goes).

        Warning: `recorded=False` destroys the content. Say it only when the append is known to have been
        refused.

        Raises: UploadNotFound, AlreadyDone when the upload is not finished.
        """
        with self._transaction() as database:
            row = uploads.load(database, upload, lock=True)
            if row.state != "finished":
                raise AlreadyDone("Only a finished upload can be settled.")
            if recorded:
                uploads.delete(database, upload)
            else:
                uploads.mark_abandoned(database, upload)
        if not recorded:
            self._vault.delete_record(row.record)

    def abandon(self, upload: str) -> None:
        """Give an upload up and remove its content; harmless when it was given up before.

        Raises: UploadNotFound, AlreadyDone once finished.
        """
        with self._transaction() as database:
            row = uploads.load(database, upload, lock=True)
            if row.state == "finished":
                raise AlreadyDone("The upload is finished.")
            uploads.mark_abandoned(database, upload)
        self._vault.delete_record(row.record)

    def sweep(self, older_than_s: float) -> int:
        """Give up open uploads that nothing touches any more, and clear after the dead; how many went.

        An upload whose file is still arriving keeps touching itself and is left alone, and so is a finished
        one. The row of an abandoned upload outlives its content by the same time, so that a writer that comes
        late finds it.
        """
        with self._transaction() as database:
            gone = uploads.lock_untouched(database, older_than_s)
            for upload, _, state in gone:
                if state == "open":
                    uploads.mark_abandoned(database, upload)
        for upload, record, state in gone:
            self._vault.delete_record(record)
            if state == "abandoned":
                with self._transaction() as database:
                    uploads.delete(database, upload)
        self._vault.sweep_staging(older_than_s)
        return len(gone)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._pool.connection() as connection, connection.transaction():
                yield connection
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise DatabaseUnavailable from error

    def _identity(self, row: Upload) -> str:
        return self._sealer.open(_subject(row.record), _key_context(row.upload), row.sealed_key or b"").decode()

    def _entries(self, database: Connection, row: Upload) -> list[FileEntry]:
        subject = _subject(row.record)
        return [
            msgspec.json.decode(
                self._sealer.open(subject, _file_context(row.upload, sha256, tag), sealed), type=FileEntry
            )
            for sha256, tag, sealed in uploads.files(database, row.upload)
        ]

    def _touching(self, upload: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        last = time.monotonic()
        for chunk in chunks:
            yield chunk
            if time.monotonic() - last > _TOUCH_EVERY_S:
                with self._transaction() as database:
                    uploads.touch(database, upload)
                last = time.monotonic()


def read_manifest(vault: Vault, record: str, identity: str, digest: str) -> Manifest:
    """The manifest of a record, out of the vault and checked against the digest that the ledger names.

    Raises: BlobAltered, Unavailable.
    """
    return decode_manifest(vault.read_bytes(record, identity, digest, limit=MANIFEST_BYTES), digest)


def _require_open(row: Upload) -> None:
    if row.state == "finished":
        raise AlreadyDone("The upload is finished.")
    if row.state == "abandoned":
        raise UploadNotFound("The upload was abandoned.")


def _subject(record: str) -> str:
    return f"record:{record}"


def _key_context(upload: str) -> str:
    return f"intake/key/{upload}"


def _file_context(upload: str, sha256: str, tag: bytes) -> str:
    return f"intake/file/{upload}/{sha256}/{tag.hex()}"
