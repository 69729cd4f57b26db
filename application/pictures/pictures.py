"""The use case: pictures of a record, made on demand or by a job, kept as blobs under the record's own key."""

import threading
from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec

from application.accesses import Accesses
from application.cases import Cases
from application.ledger.store import Ledger
from application.pictures.drawing_result import Checked, checked_output
from application.pictures.page import Facts, page
from application.pictures.plan import SERIES, Series, plan
from application.records.blob_keys import BlobKeys
from application.records.intake import read_manifest
from application.records.requirements import requirement
from application.records.vault import Vault
from application.request import Request
from application.sandbox.room import Room
from application.sandbox.sandbox import Answer, Death, Sandbox
from application.standing import Standing
from application.work.derived import Derived
from domain.case.access import require_whole
from domain.case.events import ImagingChecked
from domain.case.state import CaseState
from domain.errors import BlobAltered, MissingConsent, NotFound, SubjectErased, Unavailable, Undecodable
from domain.imaging.findings import Report
from domain.records import Digest, FileEntry, Manifest

VERSION: Final = 1
"""Goes up whenever the same files would be drawn in another way: what was kept before is drawn anew."""
REPORT_BYTES: Final = 32 * 1024**2
_TRIES: Final = 3
"""Workers that one series may cost: each that dies names the file that it was at, and the next goes without it."""

Reason = Literal["", "no-picture", "no-pixels", "too-large", "too-many", "cannot-be-decoded", Death]


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A PNG of a record: SHA-256 (hex) and length of its bytes, width and height in pixels."""

    sha256: Digest
    bytes: int
    width: int
    height: int


class SeriesPictures(msgspec.Struct, frozen=True, kw_only=True):
    """What one series has come to: its contact sheet and thumbnail, or why it has none.

    `tiles` has an outcome for each picture on the sheet, "" for one that shows.
    """

    series: str
    label: str
    modality: str
    role: str
    images: int
    slices: int
    sheet: Picture | None = None
    thumbnail: Picture | None = None
    tiles: tuple[Reason, ...] = ()
    reason: Reason = ""


class PictureIndex(msgspec.Struct, frozen=True, kw_only=True):
    """All pictures of one record, by series number."""

    version: int
    manifest_sha256: Digest
    series: tuple[SeriesPictures, ...]


class Pictures:
    """Pictures and reports of imaging records; safe to use from many threads."""

    def __init__(
        self,
        ledger: Ledger,
        cases: Cases,
        accesses: Accesses,
        vault: Vault,
        blob_keys: BlobKeys,
        derived: Derived,
        sandbox: Sandbox,
        room: Room,
    ) -> None:
        self._ledger = ledger
        self._cases = cases
        self._accesses = accesses
        self._vault = vault
        self._blob_keys = blob_keys
        self._derived = derived
        self._sandbox = sandbox
        self._room = room
        self._making = tuple(threading.Lock() for _ in range(16))

    def listing(self, request: Request, case: str, record: str) -> PictureIndex:
        """The pictures of a record, which are made now where they have not been.

        Raises:
            CaseNotFound, NotFound, SubjectErased; WrongRole, MissingConsent, WrongPhase: refused, and recorded.
            Undecodable: no picture could be made of anything in it that is an image.
            BlobAltered, Unavailable.
        """
        standing = Standing(self._accesses, request, case, "record", record)
        self._accesses.read(request, case, "record", record)
        index = self._made(case, record, standing)
        drawn = [each for each in index.series if each.reason != "no-picture"]
        if drawn and not any(each.sheet for each in drawn):
            raise Undecodable("no picture can be made of these images within the bounds of memory and time")
        return index

    def picture(self, request: Request, case: str, record: str, sha256: str) -> bytes:
        """One picture of a record, as PNG.

        Raises:
            As `listing`; NotFound: the record has no such picture.
        """
        standing = Standing(self._accesses, request, case, "record", record)
        self._accesses.read(request, case, "record", record)
        for series in self._made(case, record, standing).series:
            for picture in (series.sheet, series.thumbnail):
                if picture is not None and picture.sha256 == sha256:
                    return self._read(record, sha256, picture.bytes)
        raise NotFound("the record has no such picture")

    def report(self, request: Request, case: str, record: str) -> str:
        """One page of HTML about the imaging of a record: what the latest check that looked at it says.

        Raises:
            As `listing`, but Undecodable; NotFound: no check has looked at it; MissingConsent: the check looked at a
            record that this specialist may not see.
        """
        standing = Standing(self._accesses, request, case, "record", record)
        self._accesses.read(request, case, "record", record)
        state = self._cases.load(case).state
        _require_imaging(state, record)
        checked = self._check(case, record)
        try:
            require_whole(state, request.actor(), checked.records, request.now)
        except MissingConsent as refusal:
            self._accesses.refused(request, case, "imaging_report", refusal)
            raise
        report = self._report(state, checked)
        manifest = self._manifest(state, record)
        index = self._made(case, record, standing)
        thumbnails = {
            each.series: self._read(record, each.thumbnail.sha256, each.thumbnail.bytes)
            for each in reversed(index.series)
            if each.thumbnail is not None
        }
        on_record = state.imaging
        overruled = on_record is not None and record in on_record.records and on_record.verdict != report.verdict
        facts = Facts(
            case=case,
            record=record,
            manifest_sha256=state.records[record].manifest_sha256,
            report_sha256=checked.report_sha256,
            headers=tuple(each.header for each in manifest.files if each.header is not None),
            files=len(manifest.files),
            bytes=manifest.total_bytes,
            verdict=on_record.verdict if on_record is not None and overruled else report.verdict,
            accepted_limits=on_record.accepted_limits if on_record is not None else (),
        )
        return page(report, facts, thumbnails)

    def _made(self, case: str, record: str, standing: Standing) -> PictureIndex:
        """The pictures of a record for a request, which waits for no more than a few others to be drawn."""
        digest = _require_imaging(self._cases.load(case).state, record)
        kept = self._kept(record, digest)
        if kept and not any(each.reason == "late" for each in kept):
            return PictureIndex(version=VERSION, manifest_sha256=digest, series=kept)
        with self._room.taken():
            index = self.make(case, record, standing, self._room.patience_s)
        standing()
        return index

    def make(
        self, case: str, record: str, go_on: Callable[[], None] = lambda: None, patience_s: float = -1
    ) -> PictureIndex:
        """The pictures of a record out of the vault, or made now; for a job, too: nobody's access is asked here.

        `go_on` is asked before each series is drawn, and ends it all by raising. `patience_s` is how long to wait where
        they are being made already; for ever if it is negative.

        Raises:
            CaseNotFound; NotFound: no imaging record of this case.
            SubjectErased, BlobAltered, Unavailable.
        """
        state = self._cases.load(case).state
        digest = _require_imaging(state, record)
        making = self._making[hash(record) % len(self._making)]
        if not making.acquire(timeout=patience_s):
            raise Unavailable("these pictures are being drawn")
        try:
            # A machine that was busy may do better the next time; all else would only fail again.
            earlier = self._kept(record, digest)
            kept = {(each.series, each.role): each for each in earlier if each.reason != "late"}
            if earlier and len(kept) == len(earlier):
                return PictureIndex(version=VERSION, manifest_sha256=digest, series=earlier)
            planned = plan(self._manifest(state, record).files, requirement("any").vocabulary)
            made = tuple(
                kept.get((series.series, series.role)) or self._drawn(record, series, number, go_on)
                for number, series in enumerate(planned)
            )
            index = PictureIndex(version=VERSION, manifest_sha256=digest, series=made)
            self._derived.keep(record, "pictures", msgspec.json.encode(index))
            return index
        finally:
            making.release()

    def _kept(self, record: str, digest: str) -> tuple[SeriesPictures, ...]:
        kept = self._derived.load(record, "pictures")
        if kept is None:
            return ()
        index = msgspec.json.decode(kept, type=PictureIndex)
        return index.series if (index.version, index.manifest_sha256) == (VERSION, digest) else ()

    def _drawn(self, record: str, series: Series, number: int, go_on: Callable[[], None]) -> SeriesPictures:
        if number >= SERIES:
            return _undrawn(series, "too-many")
        if series.reason:
            return _undrawn(series, msgspec.convert(series.reason, Reason))
        go_on()
        outcome, culprits = self._sheet(record, series)
        if isinstance(outcome, str):
            return _undrawn(series, outcome)
        tiles = tuple(
            culprits.get(tile.part, told) for tile, told in zip(series.sheet.tiles, outcome.tiles, strict=True)
        )
        return SeriesPictures(
            series=series.series,
            label=series.label,
            modality=series.modality,
            role=series.role,
            images=series.images,
            slices=series.slices,
            sheet=self._put(record, outcome.sheet, outcome.width, outcome.height),
            thumbnail=self._put(record, outcome.thumbnail, outcome.thumbnail_side, outcome.thumbnail_side),
            tiles=tiles,
        )

    def _sheet(self, record: str, series: Series) -> tuple[Checked | Reason, dict[int, Reason]]:
        """The sheet, or why there is none; and which files cost a worker its life, and how."""
        culprits: dict[int, Reason] = {}
        died: Reason = "failed"
        for _ in range(_TRIES):
            answer: Answer = self._sandbox.run("sheet", series.sheet, self._parts(record, series.files, culprits))
            if not answer.died:
                drawn = checked_output(answer.results, len(series.sheet.tiles))
                if drawn is None:
                    return "failed", culprits
                if any(not told for told in drawn.tiles):
                    return drawn, culprits
                return (died if culprits else "cannot-be-decoded"), culprits
            died = answer.died
            culprit = len(answer.steps)
            if culprit >= len(series.files) or culprit in culprits:
                break
            culprits[culprit] = died
            if len(culprits) == len(series.files):
                break
        return died, culprits

    def _parts(
        self, record: str, files: tuple[FileEntry, ...], without: dict[int, Reason]
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        identity = self._blob_keys.of(record)
        for number, file in enumerate(files):
            if number in without:
                yield 0, iter(())
            else:
                yield file.bytes, self._vault.stream(record, identity, file.sha256)

    def _put(self, record: str, content: bytes, width: int, height: int) -> Picture:
        blob = self._vault.put(record, self._blob_keys.of(record), [content])
        return Picture(sha256=blob.sha256, bytes=blob.bytes, width=width, height=height)

    def _read(self, record: str, sha256: str, length: int) -> bytes:
        return self._vault.read_bytes(record, self._blob_keys.of(record), sha256, limit=length)

    def _manifest(self, state: CaseState, record: str) -> Manifest:
        digest = state.records[record].manifest_sha256
        return read_manifest(self._vault, record, self._blob_keys.of(record), digest)

    def _check(self, case: str, record: str) -> ImagingChecked:
        found: ImagingChecked | None = None
        for logged in self._ledger.stream(f"case-{case}"):
            match logged.event:
                case ImagingChecked() as event if record in event.records:
                    found = event
        if found is None:
            raise NotFound("no imaging check has looked at this record")
        return found

    def _report(self, state: CaseState, checked: ImagingChecked) -> Report:
        """The report of a check; it lies with the newest of the records that it is about."""
        known = [state.records[each] for each in checked.records if each in state.records]
        failure: BlobAltered | SubjectErased | None = None
        for record in sorted(known, key=lambda each: -each.received_index):
            try:
                identity = self._blob_keys.of(record.record)
                content = self._vault.read_bytes(record.record, identity, checked.report_sha256, limit=REPORT_BYTES)
            except (BlobAltered, SubjectErased) as error:
                failure = failure or error
                continue
            return msgspec.json.decode(content, type=Report)
        raise failure or SubjectErased()


def _undrawn(series: Series, reason: Reason) -> SeriesPictures:
    return SeriesPictures(
        series=series.series,
        label=series.label,
        modality=series.modality,
        role=series.role,
        images=series.images,
        slices=series.slices,
        reason=reason,
    )


def _require_imaging(state: CaseState, record: str) -> str:
    """Digest of an imaging record's manifest.

    Raises:
        NotFound: the case has no such imaging record.
    """
    found = state.records.get(record)
    if found is None or found.kind != "imaging":
        raise NotFound("the case has no such imaging record")
    return found.manifest_sha256
