"""Adding files to an open upload: each is there whole or not at all, in the record of its study or document."""

import hmac
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import uuid4

import msgspec
from uuid_utils import uuid7

from application.records import quota, uploads
from application.records.age import new_identity
from application.records.onepass import SELF_CONTAINED, IngestedFile, ingest
from application.records.quota import Limits, Usage
from application.records.uploads import Beside, Connection, Upload
from application.records.vault import Vault
from domain.errors import AlreadyDone, CaseLedgerError, OtherContent, QuotaExceeded, TooLarge, UploadNotFound
from domain.imaging.model import InstanceHeader
from domain.records import FILES_PER_RECORD, FileEntry, RecordKind, checked_name

RECORDS = 200
"""Most records that an upload becomes: studies, and documents beside them."""
LOOK_EVERY_S = 2.0
"""How long what a case takes up is believed while files are added."""
_TOUCH_EVERY_S = 2.0
_PLACING = tuple(threading.Lock() for _ in range(64))


class Sealer(Protocol):
    """Seals small personal things under a subject's key; `context` binds them to their place."""

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes:
        """The plaintext under the subject's key."""

    def open(self, subject: str, context: str, sealed: bytes) -> bytes:
        """What was sealed; raises when the key is gone, or the context another."""


class Place(msgspec.Struct, frozen=True):
    """A record of an upload, and the age key of its blobs, which is a secret; whether it is the upload's own."""

    record: str
    identity: str
    own: bool

    @property
    def beside(self) -> str | None:
        """The record as rows of files name it."""
        return None if self.own else self.record


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
        limits: Limits,
        used: Usage,
    ) -> None:
        self._transaction = transaction
        self._vault = vault
        self._sealer = sealer
        self._row = row
        self._own = Place(row.record, identity, own=True)
        self._places = {row.tag: self._own}
        self._file_bytes = file_bytes
        self._limits = limits
        self._used = used
        self._at_start = row.total_bytes, row.files
        self._looked = time.monotonic()
        # As far as the last file named: what is above a limit then is refused before it is read.
        self._grown = 0, 0

    def add(
        self,
        name: str | Callable[[IngestedFile], str],
        chunks: Iterable[bytes],
        length: int | None = None,
        sha256: str | None = None,
        accept: Callable[[IngestedFile], None] = lambda file: None,
        *,
        durable: bool = True,
        file_id: str | None = None,
        name_bytes: bytes | None = None,
    ) -> IngestedFile:
        """Take one file in, under a name that may depend on what it is.

        `length` (bytes) and `sha256` (hex) are what the sender announced, if so, `file_id` what the sender calls the
        file, and `name_bytes` those that the name was guessed from. The same bytes under the same name again change
        nothing. A refused file, be it by `accept`, leaves the upload as it was, and open for the next one. No
        connection is held while bytes arrive. Its bytes are durable when this returns; without `durable`, the row
        that names them is only after `settle`.

        Raises: UploadNotFound, AlreadyDone once finished, QuotaExceeded, OtherContent: another came under this id;
        what `checked_name`, `ingest` and `accept` raise, DatabaseUnavailable.
        """
        if isinstance(name, str):
            checked_name(name)
        quota.check(self._limits, self._used, self._grown[0] + (length or 0), self._grown[1] + 1)
        placed = self._own

        def place(media_type: str, header: InstanceHeader | None) -> tuple[str, str]:
            nonlocal placed
            placed = self._place(name if isinstance(name, str) else "", media_type, header)
            return placed.record, placed.identity

        file = ingest(
            self._vault,
            placed.record,
            placed.identity,
            self._saying(chunks),
            length=length,
            sha256=sha256,
            limit=self._file_bytes,
            imaging=self._row.kind is RecordKind.IMAGING,
            accept=accept,
            place=place,
        )
        named = name if isinstance(name, str) else checked_name(name(file))
        entry = FileEntry(
            name=named,
            sha256=file.sha256,
            bytes=file.bytes,
            media_type=file.media_type,
            header=file.header,
            reason=file.reason,
            name_bytes=name_bytes.hex() if name_bytes else msgspec.UNSET,
        )
        tag = hmac.digest(placed.identity.encode(), b"caseledger/intake/name/v1\0" + named.encode(), "sha256")
        sealed = self._sealer.seal(
            subject_of(placed.record),
            file_context(self._row.upload, file.sha256, tag),
            msgspec.json.encode(entry, order="sorted"),
        )
        with self._transaction() as database, database.pipeline():
            if not durable:
                database.execute("SET LOCAL synchronous_commit = off")
            try:
                self._name(database, placed, file, tag, sealed, file_id)
                failure = None
            except (UploadNotFound, AlreadyDone, TooLarge, QuotaExceeded, OtherContent) as error:
                self._unnamed(database, placed, file.sha256)
                failure = error
        if failure is not None:
            raise failure
        return file

    def settle(self) -> None:
        """Make every row durable that names a file: a commit that waits for the disk takes all before it along.

        Raises: DatabaseUnavailable.
        """
        with self._transaction() as database:
            uploads.touch(database, self._row.upload)

    def _name(
        self, database: Connection, placed: Place, file: IngestedFile, tag: bytes, sealed: bytes, file_id: str | None
    ) -> None:
        upload = self._row.upload
        now = uploads.load(database, upload, lock=True)
        require_open(now)
        if now.files >= FILES_PER_RECORD and uploads.files_of(database, upload, placed.beside) >= FILES_PER_RECORD:
            raise TooLarge(f"A record has at most {FILES_PER_RECORD} files.")
        if time.monotonic() - self._looked > LOOK_EVERY_S:
            self._look_again(database, now)
        self._grown = now.total_bytes - self._at_start[0], now.files - self._at_start[1]
        quota.check(self._limits, self._used, self._grown[0] + file.bytes, self._grown[1] + 1)
        earlier = None if file_id is None else uploads.sent(database, upload, file_id)
        if earlier is not None and (earlier.sha256, earlier.name_tag) != (file.sha256, tag):
            raise OtherContent
        uploads.add_file(database, upload, placed.beside, file.sha256, tag, file.bytes, sealed)
        if file_id is not None and earlier is None:
            uploads.mark_sent(database, upload, file_id, file.sha256, tag)

    def _look_again(self, database: Connection, now: Upload) -> None:
        """See what the case's other uploads have come to: many may go on at once, each for hours."""
        self._grown = 0, 0
        self._at_start = now.total_bytes, now.files
        used = quota.usage(database, now.upload, now.case)
        self._used = used.over(self._used.recorded_bytes, self._used.recorded_files)
        self._looked = time.monotonic()

    def _unnamed(self, database: Connection, placed: Place, sha256: str) -> None:
        """Remove bytes that will not be named, unless something else names them."""
        upload = self._row.upload
        if not uploads.records(database, upload):
            # Settled meanwhile, or gone: the record may be in the ledger, and have these very bytes.
            uploads.came_late(database, placed.record, self._row.case, sha256)
        elif not uploads.names(database, upload, placed.beside, sha256):
            # Under the lock of its row nobody else can name them any more.
            self._vault.delete(placed.record, sha256)

    def _place(self, name: str, media_type: str, header: InstanceHeader | None) -> Place:
        """The record that a file is of: that of its study, or of its own where it is a document by itself.

        Everything else goes with what came first: an image that cannot be read, the pages of a letter.
        """
        imaging = self._row.kind is RecordKind.IMAGING
        if imaging and header is not None and header.study_uid:
            which, kind = b"study\0" + header.study_uid.encode(), RecordKind.IMAGING
        elif media_type in SELF_CONTAINED:
            which, kind = b"document\0" + name.encode(), RecordKind.OTHER if imaging else self._row.kind
        else:
            return self._own
        tag = hmac.digest(self._own.identity.encode(), b"caseledger/intake/record/v1\0" + which, "sha256")
        if (known := self._places.get(tag)) is None:
            # One at a time, so that no key is made in vain; between processes the row decides.
            with _PLACING[hash(self._row.upload) % len(_PLACING)]:
                known = self._places[tag] = self._found(tag, kind) or self._made(tag, kind)
        return known

    def _found(self, tag: bytes, kind: RecordKind) -> Place | None:
        with self._transaction() as database:
            row = uploads.load(database, self._row.upload, lock=True)
            require_open(row)
            if row.tag is None and kind is row.kind:
                uploads.claim(database, row.upload, tag)
                return self._own
            if row.tag == tag:
                return self._own
            found = uploads.beside(database, row.upload, tag)
        if found is None:
            return None
        context = key_context(self._row.upload)
        return Place(
            found.record,
            self._sealer.open(subject_of(found.record), context, found.sealed_key).decode(),
            own=False,
        )

    def _made(self, tag: bytes, kind: RecordKind) -> Place:
        record, identity = str(uuid7()), new_identity()
        sealed = self._sealer.seal(subject_of(record), key_context(self._row.upload), identity.encode())
        with self._transaction() as database:
            require_open(uploads.load(database, self._row.upload, lock=True))
            if len(uploads.records(database, self._row.upload)) >= RECORDS:
                raise TooLarge(f"an upload has at most {RECORDS} studies and documents")
            uploads.add_beside(database, self._row.upload, Beside(record=record, tag=tag, kind=kind, sealed_key=sealed))
        found = self._found(tag, kind)
        if found is None:
            raise UploadNotFound
        return found

    def _saying(self, chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
        """The same chunks; says now and then how much has arrived, and whether more may."""
        last, size, arriving, said = time.monotonic(), 0, str(uuid4()), False
        try:
            for chunk in chunks:
                size += len(chunk)
                yield chunk
                if time.monotonic() - last > _TOUCH_EVERY_S:
                    said = True
                    self._say(arriving, size)
                    last = time.monotonic()
        finally:
            if said:
                self._say_no_more(arriving)

    def _say(self, arriving: str, size: int) -> None:
        upload = self._row.upload
        with self._transaction() as database:
            require_open(uploads.load(database, upload))
            uploads.touch(database, upload)
            quota.arrives(database, arriving, upload, size)
            now = quota.usage(database, upload, self._row.case)
        recorded = self._used.recorded_bytes, self._used.recorded_files
        quota.check(self._limits, now.over(*recorded))

    def _say_no_more(self, arriving: str) -> None:
        try:
            with self._transaction() as database:
                quota.arrived(database, arriving)
        except CaseLedgerError:
            pass  # it is believed for two minutes more


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


def key_context(upload: str) -> str:
    """Where a record's sealed age key stands, while the record arrives."""
    return f"intake/key/{upload}"
