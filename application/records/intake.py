"""An upload session: files come in one by one, and become a record only when all of it is finished.

Order of every crash-safe step: bytes durable in the vault, then a row that names them. A row never names
bytes that are not there, and bytes that no row names are removed with their upload. Nothing is visible as a
record before the caller has appended the event that carries the manifest's digest.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from psycopg_pool import ConnectionPool
from uuid_utils import uuid7

from application.records import uploads
from application.records.adding import Adding, Sealer, file_context, require_open, subject_of
from application.records.onepass import IngestedFile
from application.records.uploads import Connection, Upload, UploadStatus
from application.records.vault import Vault, new_identity
from domain.errors import AlreadyDone, IntegrityFailure, MissingPart, TooLarge, UploadBusy, UploadNotFound
from domain.records import (
    FILE_BYTES,
    MANIFEST_BYTES,
    FileEntry,
    Manifest,
    RecordKind,
    checked_name,
    decode_manifest,
    digest_of,
)

COMMIT_S = 600.0
"""How long an append may take at the very most: an order above its time-outs for queue, locks and statements."""


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
        sealed = self._sealer.seal(subject_of(record), _key_context(upload), new_identity().encode())
        with self.transaction() as database:
            uploads.insert(database, upload, case, actor, kind, record, sealed)
        return upload

    def adding(self, upload: str) -> Adding:
        """The upload, to add files to; one look at it for any number of them.

        Raises: UploadNotFound, AlreadyDone once finished, DatabaseUnavailable.
        """
        with self.transaction() as database:
            row = uploads.load(database, upload)
            require_open(row)
            uploads.touch(database, upload)
        return Adding(self.transaction, self._vault, self._sealer, row, self.identity_of(row), self._file_bytes)

    def add_file(
        self,
        upload: str,
        name: str,
        chunks: Iterable[bytes],
        length: int | None = None,
        sha256: str | None = None,
    ) -> IngestedFile:
        """Take one file in: see `Adding.add`.

        Raises: what `adding` and `Adding.add` raise.
        """
        checked_name(name)
        return self.adding(upload).add(name, chunks, length, sha256)

    def status(self, upload: str) -> UploadStatus:
        """How far an upload is.

        Raises: UploadNotFound.
        """
        with self.transaction() as database:
            return uploads.load(database, upload).status()

    def finish(self, upload: str) -> RecordDraft:
        """Write the manifest and close the upload; asked again, the same answer.

        From then on the event may be on its way into the ledger: for `COMMIT_S` nobody else can end the upload,
        unless the caller lets go of it by `release`.

        Raises: UploadNotFound, MalformedBody without a file, MissingPart while a transfer is under way,
        DatabaseUnavailable, Unavailable.
        """
        with self.transaction() as database:
            row = uploads.load(database, upload, lock=True)
            if row.state == "abandoned":
                raise UploadNotFound
            if uploads.arriving(database, upload):
                raise MissingPart("A transfer of this upload has not ended: go on with it, or cancel it.")
            identity = self.identity_of(row)
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
            uploads.lease(database, upload, COMMIT_S)
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

    def release(self, upload: str) -> None:
        """Say that the event of a finished upload is not on its way: the append was refused, and nothing is queued."""
        with self.transaction() as database:
            uploads.lease(database, upload, 0)

    def settle(self, upload: str) -> None:
        """Forget a finished upload whose event is in the ledger; its content stays.

        Raises: UploadNotFound, AlreadyDone when the upload is not finished.
        """
        with self.transaction() as database:
            row = uploads.load(database, upload, lock=True)
            if row.state != "finished":
                raise AlreadyDone("Only a finished upload can be settled.")
            uploads.delete(database, upload)
        self._vault.delete_segments(row.record)

    def resolve(self, upload: str, recorded: Callable[[str, str], bool], *, keep: bool = False) -> bool:
        """End a finished upload as the ledger says; whether it is recorded.

        `recorded` tells whether the ledger has the record of a case. If it has, the content stays; if not, the
        content goes, unless `keep`. The question is asked under the upload's lock, and `finish` needs that lock
        to let an event go on its way: so what the ledger does not have now, it can no longer get.

        Raises: UploadNotFound, AlreadyDone when it is not finished, UploadBusy while its event may be on its way.
        """
        with self.transaction() as database:
            row = uploads.load(database, upload, lock=True)
            if row.state != "finished":
                raise AlreadyDone("Only a finished upload can be resolved.")
            if row.committing:
                raise UploadBusy
            if found := recorded(row.case, row.record):
                uploads.delete(database, upload)
            elif not keep:
                uploads.mark_abandoned(database, upload)
        if found:
            self._vault.delete_segments(row.record)
        elif not keep:
            self._vault.delete_record(row.record)
        return found

    def unsettled(self, older_than_s: float) -> list[tuple[str, bool]]:
        """Finished uploads whose event is not on its way, and whether nothing touched them for so many seconds."""
        with self.transaction() as database:
            return [(upload, old) for upload, _, _, old in uploads.finished(database, older_than_s)]

    def abandon(self, upload: str) -> None:
        """Give an open upload up and remove its content; harmless when it was given up before.

        Raises: UploadNotFound, AlreadyDone once finished.
        """
        with self.transaction() as database:
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
        with self.transaction() as database:
            gone = uploads.lock_untouched(database, older_than_s)
            for upload, _, state in gone:
                if state == "open":
                    uploads.mark_abandoned(database, upload)
        for upload, record, state in gone:
            self._vault.delete_record(record)
            if state == "abandoned":
                with self.transaction() as database:
                    uploads.delete(database, upload)
        self._vault.sweep_staging(older_than_s)
        return len(gone)

    def sweep_orphans(self, older_than_s: float) -> int:
        """Remove objects of records that nobody knows, all of them that old; how many records went.

        An upload's row is there before its first byte and until its content is gone, and the key of a record is
        kept before that row goes: so what neither names was left by a writer that was killed.
        """
        candidates = self._vault.records(older_than_s)
        with self.transaction() as database:
            orphans = uploads.unknown(database, candidates) if candidates else set()
        for record in orphans:
            self._vault.delete_record(record)
        return len(orphans)

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction on the rows of uploads."""
        return uploads.transaction(self._pool)

    def identity_of(self, row: Upload) -> str:
        """The age key of the upload's record. It is a secret."""
        return self._sealer.open(subject_of(row.record), _key_context(row.upload), row.sealed_key or b"").decode()

    def _entries(self, database: Connection, row: Upload) -> list[FileEntry]:
        subject = subject_of(row.record)
        return [
            msgspec.json.decode(
                self._sealer.open(subject, file_context(row.upload, sha256, tag), sealed), type=FileEntry
            )
            for sha256, tag, sealed in uploads.files(database, row.upload)
        ]


def read_manifest(vault: Vault, record: str, identity: str, digest: str) -> Manifest:
    """The manifest of a record, out of the vault and checked against the digest that the ledger names.

    Raises: BlobAltered, Unavailable.
    """
    return decode_manifest(vault.read_bytes(record, identity, digest, limit=MANIFEST_BYTES), digest)


def _key_context(upload: str) -> str:
    return f"intake/key/{upload}"
