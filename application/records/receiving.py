"""Records come in: an upload of files, finished as one record behind one event."""

import re
from collections.abc import Iterable
from typing import Any

from application.cases import Cases
from application.outcome import Outcome
from application.records.blob_keys import BlobKeys
from application.records.intake import Intake, RecordDraft, read_manifest
from application.records.multipart import Multipart
from application.records.onepass import IngestedFile
from application.records.parts import PartKind
from application.records.resumable import PartStatus, Resumable
from application.records.stow import Said, store
from application.records.uploads import UploadStatus
from application.records.vault import Vault
from application.request import Request
from domain.archive import checked_path
from domain.case.actor import is_assignee, is_coordinator, is_patient
from domain.case.commands import Arrival, ReceiveRecord
from domain.case.material import require_receivable
from domain.case.state import CaseState
from domain.errors import (
    AlreadyDone,
    CaseLedgerError,
    CaseNotFound,
    Conflict,
    InvalidInput,
    NotFound,
    Refused,
    StaleRevision,
    SubjectErased,
    Unavailable,
    UploadBusy,
    UploadNotFound,
    WrongRole,
)
from domain.records import FileEntry, RecordKind, checked_name

_TRIES = 5
_FILE_ID = re.compile(r"[0-9a-f-]{16,64}")


class Receiving:
    """Uploads of a case's records. Nothing of an upload is visible as a record before its event is in the log."""

    def __init__(self, cases: Cases, intake: Intake, blob_keys: BlobKeys, resumable: Resumable, vault: Vault) -> None:
        self._vault = vault
        self._cases = cases
        self._intake = intake
        self._blob_keys = blob_keys
        self._resumable = resumable

    def begin(self, request: Request, case: str, kind: RecordKind) -> UploadStatus:
        """Begin an upload for a case.

        Raises:
            CaseNotFound, WrongRole, QuotaExceeded.
            WrongPhase, MissingConsent, SubjectErased: nothing is taken for this case as it stands.
        """
        state = self._not_erased(case)
        actor = _uploader(state, request)
        require_receivable(state, request.actor(), request.now)
        return self._intake.status(self._intake.open(case, actor, kind))

    def add_file(
        self,
        request: Request,
        case: str,
        upload: str,
        name: str,
        chunks: Iterable[bytes],
        length: int | None,
        sha256: str | None,
    ) -> IngestedFile:
        """Take in one file of an upload; refused as a whole, or there as a whole.

        Raises:
            UploadNotFound, WrongRole, AlreadyDone, WrongPhase, MissingConsent, SubjectErased.
            ControlCharacter, TooLarge, QuotaExceeded, TruncatedUpload, DigestMismatch, NotDicom: nothing of the file is
                kept.
        """
        recorded = self._open(request, case, upload)
        named = checked_path(checked_name(name))
        return self._intake.adding(upload, recorded).add(named, chunks, length, sha256)

    def put_file(
        self,
        request: Request,
        case: str,
        upload: str,
        file_id: str,
        name: str,
        chunks: Iterable[bytes],
        length: int | None,
        sha256: str | None,
    ) -> tuple[FileEntry, bool]:
        """Take in one file that its sender calls `file_id`, and whether it is new: the same again changes nothing.

        Raises:
            InvalidInput: not an id of 16 to 64 hexadecimal digits and hyphens, as a UUID is.
            OtherContent: another file came under this id.
            What `add_file` raises.
        """
        file_id = file_id.lower()
        if not _FILE_ID.fullmatch(file_id):
            raise InvalidInput("a file's id is a UUID, or 16 to 64 hexadecimal digits and hyphens")
        recorded = self._open(request, case, upload)
        named = checked_path(checked_name(name))
        return self._intake.put_file(upload, file_id, named, chunks, length, sha256, recorded)

    def begin_part(
        self,
        request: Request,
        case: str,
        upload: str,
        kind: PartKind,
        name: str,
        length: int | None,
        sha256: str | None,
    ) -> PartStatus:
        """Begin a file, or an archive of files, that may come in several goes.

        Raises:
            UploadNotFound, WrongRole, AlreadyDone, WrongPhase, MissingConsent, SubjectErased.
            ControlCharacter, UnsafePath, TooLarge, QuotaExceeded.
        """
        self._open(request, case, upload)
        return self._resumable.begin(upload, kind, name, length, sha256)

    def append_part(
        self,
        request: Request,
        case: str,
        upload: str,
        part: str,
        offset: int,
        chunks: Iterable[bytes],
        *,
        complete: bool,
        length: int | None = None,
    ) -> PartStatus:
        """Take more of a file or an archive, from byte `offset` on; what arrives before a failure is kept.

        Raises:
            UploadNotFound, WrongRole, AlreadyDone, OffsetMismatch, UploadBusy, TooLarge, TruncatedUpload; and, of the
            whole, what `add_file` raises, or MalformedArchive and SuspectedBomb.
        """
        recorded = self._open(request, case, upload)
        return self._resumable.append(upload, part, offset, chunks, complete=complete, length=length, recorded=recorded)

    def part(self, request: Request, case: str, upload: str, part: str) -> PartStatus:
        """How far a file or an archive is.

        Raises:
            UploadNotFound, WrongRole.
        """
        self._own(request, case, upload)
        return self._resumable.status(upload, part)

    def parts(self, request: Request, case: str, upload: str) -> list[PartStatus]:
        """How far every file and archive is that was begun by `begin_part`.

        Raises:
            UploadNotFound, WrongRole.
        """
        self._own(request, case, upload)
        return self._resumable.of_upload(upload)

    def cancel_part(self, request: Request, case: str, upload: str, part: str) -> None:
        """Give a file or an archive up that has not arrived whole.

        Raises:
            UploadNotFound, WrongRole, AlreadyDone, UploadBusy.
        """
        self._own(request, case, upload)
        self._resumable.cancel(upload, part)

    def store(
        self, request: Request, case: str, upload: str | None, body: Multipart, study: str | None
    ) -> tuple[list[Said], Outcome | None]:
        """Take in the instances of a STOW-RS request, each stored or given a reason.

        Into an upload that is open, or, without one, as a record of their own that is in the log when this returns;
        there is none where nothing could be stored.

        Raises:
            UploadNotFound, WrongRole, AlreadyDone, MalformedBody, TooLarge, TruncatedUpload, and whatever the decision
            refuses with: nothing of a request without an upload is kept then.
        """
        if upload is not None:
            recorded = self._open(request, case, upload)
            return store(self._intake.adding(upload, recorded), body, study), None
        own = self.begin(request, case, RecordKind.IMAGING).upload
        try:
            recorded = self._open(request, case, own)
            said = store(self._intake.adding(own, recorded), body, study)
            if any(each.reason is None for each in said):
                return said, self._finish_anyhow(request, case, own)
        except CaseLedgerError:
            self._drop(own)
            raise
        self._drop(own)
        return said, None

    def _finish_anyhow(self, request: Request, case: str, upload: str) -> Outcome:
        """Finish an upload, however the case moves meanwhile: the sender saw no revision that could be stale."""
        for _ in range(_TRIES):
            try:
                return self.finish(request, case, upload)
            except StaleRevision:
                continue
        return self.finish(request, case, upload)

    def _drop(self, upload: str) -> None:
        """Give up an upload that nobody else knows; where its event may be on its way, `reconcile` sees to it."""
        try:
            if self._intake.status(upload).state == "finished":
                self._intake.resolve(upload, self.recorded)
            else:
                self._intake.abandon(upload)
        except (UploadNotFound, AlreadyDone, UploadBusy, Unavailable):
            pass

    def status(self, request: Request, case: str, upload: str) -> UploadStatus:
        """How far an upload is.

        Raises:
            UploadNotFound, WrongRole.
        """
        return self._own(request, case, upload)

    def abandon(self, request: Request, case: str, upload: str) -> None:
        """Give an upload up; its content goes. A finished one, too, unless its record is in the log.

        Raises:
            UploadNotFound, WrongRole.
            AlreadyDone: its record is in the log.
            UploadBusy: its record may be on its way into the log.
        """
        if self._own(request, case, upload).state != "finished":
            self._intake.abandon(upload)
        elif self._intake.resolve(upload, self.recorded):
            raise AlreadyDone("the record is in the log")

    def finish(self, request: Request, case: str, upload: str) -> Outcome:
        """Make a record of each study and document of an upload, all by one append.

        Manifests and keys are durable first, then the events, then the upload is forgotten.

        After a crash between the steps the same call goes on where it stopped; once the event is in the log, the
        Idempotency-Key gives its receipt again.

        Raises:
            UploadNotFound, MalformedBody without a file, MissingPart while a transfer is under way, and whatever the
            decision refuses with. The content is kept then: every refusal can pass (a consent is granted, a phase
            changes, a case is reopened), so only who uploads gives it up, or time does.
        """
        try:
            self._own(request, case, upload)
        except UploadNotFound:
            # An upload that is settled is gone; only a repeated request knows what became of it.
            return self._cases.repeated(request)
        drafts = self._intake.finish(upload)
        for draft in drafts:
            self._blob_keys.keep(draft.record, draft.identity)
        try:
            outcome = self._cases.act(request, case, lambda state: _command(drafts))
        except (Refused, Conflict, NotFound):
            # Definite: nothing was appended. After any other failure the event may still get into the log.
            self._intake.release(upload)
            raise
        self._intake.settle(upload)
        return outcome

    def reconcile(self, expired_s: float) -> int:
        """Settle finished uploads whose record is in the log, and give up those that nobody finishes; how many ended.

        They are what a crash between the append and the settling leaves, or a refusal that nobody returned to.
        """
        ended = 0
        for upload, expired in self._intake.unsettled(expired_s):
            try:
                ended += self._intake.resolve(upload, self.recorded, keep=not expired) or expired
            except (UploadNotFound, AlreadyDone, UploadBusy):
                continue  # somebody was faster
        return ended

    def sweep(self, expired_s: float) -> int:
        """Give up open uploads that nobody goes on with; how many went."""
        return self._intake.sweep(expired_s)

    def sweep_orphans(self, older_than_s: float) -> int:
        """Remove objects that nothing names: whole records of them, and what came after an upload was settled.

        How many records, and single objects, that was of.
        """
        return self._intake.sweep_orphans(older_than_s) + self._intake.sweep_late(self._named)

    def _named(self, case: str, record: str) -> set[str]:
        try:
            known = self._cases.load(case).state.records.get(record)
            if known is None:
                return set()
            manifest = read_manifest(self._vault, record, self._blob_keys.of(record), known.manifest_sha256)
        except (NotFound, SubjectErased):
            return set()
        return {known.manifest_sha256, *(each.sha256 for each in manifest.files)}

    def recorded(self, case: str, record: str) -> bool:
        """Whether the log has this record of this case."""
        try:
            return record in self._cases.load(case).state.records
        except CaseNotFound:
            return False

    def _own(self, request: Request, case: str, upload: str) -> UploadStatus:
        return self._owned(self._cases.load(case).state, request, case, upload)

    def _owned(self, state: CaseState, request: Request, case: str, upload: str) -> UploadStatus:
        uploader = _uploader(state, request)
        status = self._intake.status(upload)
        if status.case != case:
            raise UploadNotFound
        if status.actor != uploader:
            raise WrongRole("an upload is continued by who began it")
        return status

    def _open(self, request: Request, case: str, upload: str) -> tuple[int, int]:
        """Let who may add to an upload pass, while the case takes records; bytes and files of its records."""
        state = self._not_erased(case)
        self._owned(state, request, case, upload)
        require_receivable(state, request.actor(), request.now)
        records = state.records.values()
        return sum(each.bytes for each in records), sum(each.files for each in records)

    def _not_erased(self, case: str) -> CaseState:
        state = self._cases.load(case).state
        if state.patient_account is None:
            raise SubjectErased
        return state


def _uploader(state: CaseState, request: Request) -> str:
    actor = request.actor()
    if is_patient(state, actor):
        return str(state.patient_actor)
    if is_coordinator(state, actor) or is_assignee(state, actor):
        return actor.id
    raise WrongRole("records are uploaded by the patient, the assigned coordinator or specialist")


def _command(drafts: tuple[RecordDraft, ...]) -> ReceiveRecord:
    first, *others = drafts
    return ReceiveRecord(**_said(first), beside=tuple(Arrival(**_said(each)) for each in others))


def _said(draft: RecordDraft) -> dict[str, Any]:
    return {
        "kind": draft.kind.value,
        "record": draft.record,
        "manifest_sha256": draft.digest,
        "files": len(draft.manifest.files),
        "bytes": draft.manifest.total_bytes,
    }
