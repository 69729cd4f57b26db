"""An upload session: files come in one by one, and become records, one per study or document, when it is finished.

Order of every crash-safe step: bytes durable in the vault, then a row that names them. A row never names
bytes that are not there, and bytes that no row names are removed with their upload. Nothing is visible as a
record before the caller has appended the event that carries the manifest's digest.
"""

import hashlib
from collections.abc import Callable, Container, Iterable
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from psycopg_pool import ConnectionPool
from uuid_utils import uuid7

from application.records import quota, uploads
from application.records.adding import Adding, Sealer, file_context, key_context, require_open, subject_of
from application.records.age import new_identity
from application.records.onepass import IngestedFile
from application.records.quota import Limits
from application.records.uploads import Connection, Named, Upload, UploadStatus
from application.records.vault import Vault
from domain.errors import (
    AlreadyDone,
    DigestMismatch,
    IntegrityFailure,
    MalformedBody,
    MissingPart,
    OtherContent,
    QuotaExceeded,
    TooLarge,
    TruncatedUpload,
    UploadBusy,
    UploadNotFound,
)
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
    """A study or document of a finished upload, ready to become a record by an event.

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
        self,
        pool: ConnectionPool[Any],
        vault: Vault,
        sealer: Sealer,
        *,
        file_bytes: int = FILE_BYTES,
        limits: Limits | None = None,
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._sealer = sealer
        self._file_bytes = file_bytes
        self.limits = limits or Limits()

    def open(self, case: str, actor: str, kind: RecordKind) -> str:
        """Begin an upload for this case; its id.

        Raises: QuotaExceeded, DatabaseUnavailable.
        """
        upload, record = str(uuid7()), str(uuid7())
        with self.transaction() as database:
            self._check_uploads(database, upload, case)
        sealed = self._sealer.seal(subject_of(record), key_context(upload), new_identity().encode())
        with self.transaction() as database:
            # Again, one after the other: many may have passed above at once.
            uploads.one_by_one(database, case)
            self._check_uploads(database, upload, case)
            uploads.insert(database, upload, case, actor, kind, record, sealed)
        return upload

    def _check_uploads(self, database: Connection, upload: str, case: str) -> None:
        if quota.usage(database, upload, case).case_uploads >= self.limits.case_uploads:
            raise QuotaExceeded(f"a case has at most {self.limits.case_uploads} uploads under way")

    def adding(self, upload: str, recorded: tuple[int, int] = (0, 0)) -> Adding:
        """The upload, to add files to; one look at it for any number of them.

        `recorded` are the bytes and the files of the case's records, which count against what a case may hold.

        Raises: UploadNotFound, AlreadyDone once finished, DatabaseUnavailable.
        """
        with self.transaction() as database:
            row = uploads.load(database, upload)
            require_open(row)
            uploads.touch(database, upload)
            used = quota.usage(database, upload, row.case).over(*recorded)
        identity = self.identity_of(row)
        return Adding(self.transaction, self._vault, self._sealer, row, identity, self._file_bytes, self.limits, used)

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

    def put_file(
        self,
        upload: str,
        file_id: str,
        name: str,
        chunks: Iterable[bytes],
        length: int | None = None,
        sha256: str | None = None,
        recorded: tuple[int, int] = (0, 0),
    ) -> tuple[FileEntry, bool]:
        """Take one file in that its sender calls `file_id`, and whether it is new; the same again changes nothing.

        Raises: OtherContent: another file came under this id; what `adding` and `Adding.add` raise.
        """
        checked_name(name)
        with self.transaction() as database:
            row = uploads.load(database, upload)
            require_open(row)
            earlier = uploads.sent(database, upload, file_id)
        if earlier is not None:
            entry = self._entry(row, earlier)
            _require_same(entry, name, chunks, length, sha256)
            return entry, False
        file = self.adding(upload, recorded).add(name, chunks, length, sha256, file_id=file_id)
        entry = FileEntry(
            name=name,
            sha256=file.sha256,
            bytes=file.bytes,
            media_type=file.media_type,
            header=file.header,
            reason=file.reason,
        )
        return entry, True

    def status(self, upload: str) -> UploadStatus:
        """How far an upload is.

        Raises: UploadNotFound.
        """
        with self.transaction() as database:
            row = uploads.load(database, upload)
            files, size = quota.under_way(database, upload)
            return msgspec.structs.replace(row.status(), arriving_files=files, arriving_bytes=size)

    def finish(self, upload: str) -> tuple[RecordDraft, ...]:
        """Write the manifests and close the upload; asked again, the same answer: a draft per study or document.

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
            drafts = self._drafts(database, row)
            digest = (
                drafts[0].digest if len(drafts) == 1 else digest_of("".join(each.digest for each in drafts).encode())
            )
            unnamed: list[tuple[str, str]] = []
            if row.state == "open":
                for each in drafts:
                    self._vault.put(each.record, each.identity, [each.manifest.encode()])
                    named = {each.digest, *(file.sha256 for file in each.manifest.files)}
                    unnamed += [(each.record, sha256) for sha256 in self._vault.objects(each.record) - named]
                uploads.mark_finished(database, upload, digest)
            elif row.digest != digest:
                raise IntegrityFailure("A finished upload no longer gives the manifest that it was finished with.")
            uploads.lease(database, upload, COMMIT_S)
        # What was there and unnamed before any event could be, nobody can name any more. What is made of the record
        # later, as a report, is not among it.
        for record, sha256 in unnamed:
            self._vault.delete(record, sha256)
        return drafts

    def _drafts(self, database: Connection, row: Upload) -> tuple[RecordDraft, ...]:
        records = {row.record: (row.kind, row.sealed_key or b"")}
        records |= {each.record: (each.kind, each.sealed_key) for each in uploads.all_beside(database, row.upload)}
        files: dict[str, list[Named]] = {each: [] for each in records}
        for named in uploads.files(database, row.upload):
            files[named.record].append(named)
        drafts = []
        for record, (kind, sealed_key) in records.items():
            if not files[record]:
                continue
            identity = self._sealer.open(subject_of(record), key_context(row.upload), sealed_key).decode()
            manifest = Manifest.of(kind, [self._entry(row, each) for each in files[record]])
            encoded = manifest.encode()
            if len(encoded) > MANIFEST_BYTES:
                raise TooLarge(f"A manifest has at most {MANIFEST_BYTES} bytes.")
            drafts.append(
                RecordDraft(
                    upload=row.upload,
                    record=record,
                    case=row.case,
                    actor=row.actor,
                    kind=kind,
                    digest=digest_of(encoded),
                    identity=identity,
                    manifest=manifest,
                )
            )
        if not drafts:
            raise MalformedBody("A record has at least one file.")
        return tuple(drafts)

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

        `recorded` tells whether the ledger has the record of a case. If it has one of them, the content stays, since
        all came by one append; if not, the content goes, unless `keep`. The question is asked under the upload's lock,
        and `finish` needs that lock to let an event go on its way: so what the ledger does not have now, it can no
        longer get.

        Raises: UploadNotFound, AlreadyDone when it is not finished, UploadBusy while its event may be on its way.
        """
        with self.transaction() as database:
            row = uploads.load(database, upload, lock=True)
            if row.state != "finished":
                raise AlreadyDone("Only a finished upload can be resolved.")
            if row.committing:
                raise UploadBusy
            records = uploads.records(database, upload)
            if found := any(recorded(row.case, each) for each in records):
                uploads.delete(database, upload)
            elif not keep:
                uploads.mark_abandoned(database, upload)
        if found:
            self._vault.delete_segments(row.record)
        elif not keep:
            self._delete(records)
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
            records = uploads.records(database, upload)
            uploads.mark_abandoned(database, upload)
        self._delete(records)

    def sweep(self, older_than_s: float) -> int:
        """Give up open uploads that nothing touches any more, and clear after the dead; how many went.

        An upload whose file is still arriving keeps touching itself and is left alone, and so is a finished
        one. The row of an abandoned upload outlives its content by the same time, so that a writer that comes
        late finds it.
        """
        with self.transaction() as database:
            gone = uploads.lock_untouched(database, older_than_s)
            records = {upload: uploads.records(database, upload) for upload, _ in gone}
            for upload, state in gone:
                if state == "open":
                    uploads.mark_abandoned(database, upload)
        for upload, state in gone:
            self._delete(records[upload])
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

    def sweep_late(self, named: Callable[[str, str], Container[str]]) -> int:
        """Remove what came below a record after its upload was settled; how many objects went.

        `named` gives the SHA-256 of everything that a case's record names, none where the ledger has no such record:
        it cannot get it any more.
        """
        gone = 0
        with self.transaction() as database:
            late = uploads.late(database)
        for record, case, sha256 in late:
            if sha256 not in named(case, record):
                self._vault.delete(record, sha256)
                gone += 1
            with self.transaction() as database:
                uploads.forget_late(database, record, sha256)
        return gone

    def transaction(self) -> AbstractContextManager[Connection]:
        """A transaction on the rows of uploads."""
        return uploads.transaction(self._pool)

    def identity_of(self, row: Upload) -> str:
        """The age key of the upload's record. It is a secret."""
        return self._sealer.open(subject_of(row.record), key_context(row.upload), row.sealed_key or b"").decode()

    def _entry(self, row: Upload, named: Named) -> FileEntry:
        context = file_context(row.upload, named.sha256, named.name_tag)
        return msgspec.json.decode(self._sealer.open(subject_of(named.record), context, named.sealed), type=FileEntry)

    def _delete(self, records: list[str]) -> None:
        for record in records:
            self._vault.delete_record(record)


def read_manifest(vault: Vault, record: str, identity: str, digest: str) -> Manifest:
    """The manifest of a record, out of the vault and checked against the digest that the ledger names.

    Raises: BlobAltered, Unavailable.
    """
    return decode_manifest(vault.read_bytes(record, identity, digest, limit=MANIFEST_BYTES), digest)


def _require_same(entry: FileEntry, name: str, chunks: Iterable[bytes], length: int | None, sha256: str | None) -> None:
    """Let the same file pass that came before under its id; nothing of it is stored."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > entry.bytes:
            raise OtherContent
        digest.update(chunk)
    if length is not None and size != length:
        raise TruncatedUpload(f"{length} bytes were announced and {size} arrived.")
    if sha256 is not None and digest.hexdigest() != sha256.lower():
        raise DigestMismatch
    if (digest.hexdigest(), name) != (entry.sha256, entry.name):
        raise OtherContent
