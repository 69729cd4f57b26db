"""Transfers that go on where they broke: received bytes are durable as segments, and become files once all are there.

An age file is one stream under one ephemeral key, which another process cannot continue. So each stretch of received
bytes, of at most `SEGMENT_BYTES`, is an age file of its own under the record's key; when the last has come, all are
read once more, checked, and go through the same single pass as any other file. At no time is a byte in clear on a disk.

Order of every crash-safe step: segment durable, then the row that names it; file named in the upload, then the part
done, then its segments gone. Who dies in between leaves a transfer that goes on, or is assembled again to the same end.
"""

import time
from collections.abc import Callable, Iterable
from uuid import uuid4

import msgspec
from uuid_utils import uuid7

from application.records import parts, quota, uploads
from application.records.adding import Adding, Sealer, require_open, subject_of
from application.records.archives import opened
from application.records.intake import Intake
from application.records.parts import Part, PartKind, Segment
from application.records.stretches import Feed, SegmentFile
from application.records.unpacking import Unpacked, unpack
from application.records.uploads import Upload
from application.records.vault import Vault
from domain.archive import ARCHIVE_BYTES, checked_path
from domain.errors import (
    AlreadyDone,
    Conflict,
    InvalidInput,
    NotFound,
    OffsetMismatch,
    Refused,
    TooLarge,
    TruncatedUpload,
    UploadBusy,
)
from domain.records import FILE_BYTES, checked_name

SEGMENT_BYTES = 8 * 1024**2
"""Longest segment, in bytes: what a killed process loses at most, and what reading an archive holds twice."""
PARTS = 64
"""Transfers that an upload may have under way at once."""
SEGMENTS = 16_384
"""Most segments of a part: an archive of the largest size in whole ones four times over."""
_BUSY_S = 120.0
_PROLONG_EVERY_S = 30.0


class Label(msgspec.Struct, frozen=True):
    """What a sender said of a part: its name, and the SHA-256 (hex) of the whole, if so."""

    name: str
    sha256: str | None = None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file: SHA-256 (hex), length in bytes, media type, and why a DICOM file has no header."""

    sha256: str
    bytes: int
    media_type: str
    reason: str | None = None


class PartStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a part is: bytes that are durable, and of the whole once announced; what became of it once done."""

    part: str
    kind: PartKind
    name: str
    done: bool
    offset: int
    length: int | None
    limit: int
    taken: Taken | None = None
    unpacked: Unpacked | None = None


class Resumable:
    """Parts of open uploads; safe from many threads and processes at once."""

    def __init__(self, intake: Intake, vault: Vault, sealer: Sealer, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._intake = intake
        self._vault = vault
        self._sealer = sealer
        self._segment_bytes = segment_bytes

    def begin(self, upload: str, kind: PartKind, name: str, length: int | None, sha256: str | None) -> PartStatus:
        """Begin a part; `length` (bytes) and `sha256` (hex) are those of the whole, if announced.

        Raises: UploadNotFound, AlreadyDone once finished, UnsafePath, TooLarge, what `checked_name` raises.
        """
        label = Label(checked_path(checked_name(name)), sha256)
        if length is not None and length > _limit(kind):
            raise TooLarge(f"at most {_limit(kind)} bytes are taken")
        part = str(uuid7())
        with self._intake.transaction() as database:
            row = uploads.load(database, upload, lock=True)
            require_open(row)
            if parts.count(database, upload) >= PARTS:
                raise TooLarge(f"at most {PARTS} transfers of an upload are under way at once")
            sealed = self._sealer.seal(subject_of(row.record), _context("label", part), msgspec.json.encode(label))
            parts.insert(database, part, upload, kind, length, sealed)
            uploads.touch(database, upload)
            return self._status(row.record, parts.load(database, upload, part))

    def status(self, upload: str, part: str) -> PartStatus:
        """How far a part is.

        Raises: UploadNotFound.
        """
        with self._intake.transaction() as database:
            row = uploads.load(database, upload)
            return self._status(row.record, parts.load(database, upload, part))

    def of_upload(self, upload: str) -> list[PartStatus]:
        """How far each part of an upload is; none once it was abandoned.

        Raises: UploadNotFound.
        """
        with self._intake.transaction() as database:
            row = uploads.load(database, upload)
            return [self._status(row.record, each) for each in parts.of_upload(database, upload)]

    def append(
        self,
        upload: str,
        part: str,
        offset: int,
        chunks: Iterable[bytes],
        *,
        complete: bool,
        length: int | None = None,
        recorded: tuple[int, int] = (0, 0),
    ) -> PartStatus:
        """Take more bytes of a part, from `offset` on; with `complete` they are its last, and it is assembled.

        What has arrived before the source fails is kept, and then the failure is raised. `recorded` are the bytes and
        the files of the case's records.

        Raises: UploadNotFound; AlreadyDone: the part is; OffsetMismatch, UploadBusy; TooLarge, QuotaExceeded;
        TruncatedUpload: not as long as announced; when complete, whatever becomes of a file (the part is given up
        then) or of an archive.
        """
        with self._intake.transaction() as database:
            row = uploads.load(database, upload)
            require_open(row)
            one = parts.load(database, upload, part)
            if one.state == "done":
                raise AlreadyDone("the transfer is complete")
            if one.received != offset:
                raise OffsetMismatch(f"the transfer goes on at byte {one.received}", expected=one.received)
            if length is not None and one.length not in (None, length):
                raise InvalidInput("the length is another than the one announced before")
            if length is not None and one.length is None:
                if length > _limit(one.kind):
                    raise TooLarge(f"at most {_limit(one.kind)} bytes are taken")
                parts.announce(database, part, length)
            known = one.length if one.length is not None else length
            used = quota.usage(database, upload, row.case).over(*recorded)
            quota.check(self._intake.limits, used, (known or offset) - offset)
        identity = self._intake.identity_of(row)
        feed = Feed(chunks, (known if known is not None else _limit(one.kind)) - offset)
        received = offset
        while feed.more():
            segment = str(uuid4())
            blob = self._vault.put_segment(row.record, segment, identity, feed.take(self._segment_bytes))
            self._name(row, part, Segment(received, blob.bytes, segment, blob.sha256), recorded)
            received += blob.bytes
        if feed.failure is not None:
            raise feed.failure
        if not complete:
            return self.status(upload, part)
        if known is not None and received != known:
            raise TruncatedUpload(f"{known} bytes were announced and {received} have arrived")
        return self._assemble(upload, row.record, part, identity, recorded)

    def cancel(self, upload: str, part: str) -> None:
        """Give a part up; what has arrived of it goes.

        Raises: UploadNotFound; AlreadyDone: it is done; UploadBusy: it is being assembled.
        """
        with self._intake.transaction() as database:
            record = uploads.load(database, upload).record
            if parts.load(database, upload, part, lock=True).state == "done":
                raise AlreadyDone("the transfer is complete")
            if not parts.claim(database, part, 0):
                raise UploadBusy
            gone = parts.segments(database, part)
            parts.delete(database, part)
        self._vault.delete_segments(record, [each.id for each in gone])

    def _name(self, row: Upload, part: str, segment: Segment, recorded: tuple[int, int]) -> None:
        upload, record = row.upload, row.record
        try:
            with self._intake.transaction() as database:
                require_open(uploads.load(database, upload, lock=True))
                if parts.count_segments(database, part) >= SEGMENTS:
                    raise TooLarge(f"a transfer comes in at most {SEGMENTS} pieces")
                used = quota.usage(database, upload, row.case).over(*recorded)
                quota.check(self._intake.limits, used, segment.bytes)
                if not parts.add_segment(database, part, segment):
                    expected = parts.load(database, upload, part).received
                    raise OffsetMismatch(f"the transfer goes on at byte {expected}", expected=expected)
                uploads.touch(database, upload)
        except (Refused, InvalidInput, NotFound, Conflict):
            # Nothing names these bytes. After any other failure something may, and they go with the upload.
            self._vault.delete_segments(record, [segment.id])
            raise

    def _assemble(self, upload: str, record: str, part: str, identity: str, recorded: tuple[int, int]) -> PartStatus:
        with self._intake.transaction() as database:
            if not parts.claim(database, part, _BUSY_S):
                raise UploadBusy
            one = parts.load(database, upload, part)
            found = parts.segments(database, part)
        label = self._label(record, one)
        segments = SegmentFile(found, lambda each: self._vault.read_segment(record, each.id, identity, each.sha256))
        segments.each = self._prolonging(part)
        try:
            status = self._taken(self._intake.adding(upload, recorded), one, label, segments)
        except InvalidInput:
            # The bytes are what they are: another attempt would end alike.
            with self._intake.transaction() as database:
                parts.delete(database, part)
            self._vault.delete_segments(record, [each.id for each in found])
            raise
        except BaseException:
            with self._intake.transaction() as database:
                parts.prolong(database, part, 0)
            raise
        answer = msgspec.json.encode(status)
        sealed = self._sealer.seal(subject_of(record), _context("answer", part), answer)
        with self._intake.transaction() as database:
            parts.finish(database, part, sealed)
        self._vault.delete_segments(record, [each.id for each in found])
        return status

    def _taken(self, adding: Adding, one: Part, label: Label, segments: "SegmentFile") -> PartStatus:
        status = PartStatus(
            part=one.part,
            kind=one.kind,
            name=label.name,
            done=True,
            offset=one.received,
            length=one.received,
            limit=_limit(one.kind),
        )
        if one.kind == "archive":
            with opened(segments) as archive:
                return msgspec.structs.replace(status, unpacked=unpack(archive, adding))
        file = adding.add(label.name, segments.whole(), one.received, label.sha256)
        taken = Taken(sha256=file.sha256, bytes=file.bytes, media_type=file.media_type, reason=file.reason)
        return msgspec.structs.replace(status, taken=taken)

    def _prolonging(self, part: str) -> Callable[[], None]:
        last = time.monotonic()

        def prolong() -> None:
            nonlocal last
            if time.monotonic() - last > _PROLONG_EVERY_S:
                with self._intake.transaction() as database:
                    parts.prolong(database, part, _BUSY_S)
                last = time.monotonic()

        return prolong

    def _status(self, record: str, one: Part) -> PartStatus:
        if one.answer is not None:
            answer = self._sealer.open(subject_of(record), _context("answer", one.part), one.answer)
            return msgspec.json.decode(answer, type=PartStatus)
        return PartStatus(
            part=one.part,
            kind=one.kind,
            name=self._label(record, one).name,
            done=False,
            offset=one.received,
            length=one.length,
            limit=_limit(one.kind),
        )

    def _label(self, record: str, one: Part) -> Label:
        sealed = self._sealer.open(subject_of(record), _context("label", one.part), one.sealed)
        return msgspec.json.decode(sealed, type=Label)


def _limit(kind: PartKind) -> int:
    return ARCHIVE_BYTES if kind == "archive" else FILE_BYTES


def _context(what: str, part: str) -> str:
    return f"intake/part/{what}/{part}"
