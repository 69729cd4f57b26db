"""Records come in: an upload of files, finished as one record behind one event."""

from collections.abc import Iterable

from application.cases import Cases
from application.outcome import Outcome
from application.records.blob_keys import BlobKeys
from application.records.intake import Intake, RecordDraft
from application.records.onepass import IngestedFile
from application.records.uploads import UploadStatus
from application.request import Request
from domain.case.actor import is_assignee, is_coordinator, is_patient
from domain.case.commands import ReceiveRecord
from domain.errors import UploadNotFound, WrongRole
from domain.records import RecordKind


class Receiving:
    """Uploads of a case's records. Nothing of an upload is visible as a record before its event is in the log."""

    def __init__(self, cases: Cases, intake: Intake, blob_keys: BlobKeys) -> None:
        self._cases = cases
        self._intake = intake
        self._blob_keys = blob_keys

    def begin(self, request: Request, case: str, kind: RecordKind) -> UploadStatus:
        """Begin an upload for a case.

        Raises:
            CaseNotFound, WrongRole.
        """
        actor = self._uploader(request, case)
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
            UploadNotFound, WrongRole, AlreadyDone.
            ControlCharacter, TooLarge, TruncatedUpload, DigestMismatch, NotDicom: nothing of the file is kept.
        """
        self._own(request, case, upload)
        return self._intake.add_file(upload, name, chunks, length, sha256)

    def status(self, request: Request, case: str, upload: str) -> UploadStatus:
        """How far an upload is.

        Raises:
            UploadNotFound, WrongRole.
        """
        return self._own(request, case, upload)

    def abandon(self, request: Request, case: str, upload: str) -> None:
        """Give an upload up; its content goes.

        Raises:
            UploadNotFound, WrongRole, AlreadyDone.
        """
        self._own(request, case, upload)
        self._intake.abandon(upload)

    def finish(self, request: Request, case: str, upload: str) -> Outcome:
        """Make a record of an upload: manifest and keys are durable, then the event, then the upload is forgotten.

        After a crash between the steps the same call goes on where it stopped; once the event is in the log, the
        Idempotency-Key gives its receipt again.

        Raises:
            UploadNotFound, MalformedBody without a file, and whatever the decision refuses with: the content is
            kept then, until the upload is abandoned.
        """
        try:
            self._own(request, case, upload)
        except UploadNotFound:
            # An upload that is settled is gone; only a repeated request knows what became of it.
            return self._cases.repeated(request)
        draft = self._intake.finish(upload)
        self._blob_keys.keep(draft.record, draft.identity)
        outcome = self._cases.act(request, case, lambda state: _command(draft))
        self._intake.settle(upload, recorded=True)
        return outcome

    def _uploader(self, request: Request, case: str) -> str:
        state, actor = self._cases.load(case).state, request.actor()
        if is_patient(state, actor):
            return str(state.patient_actor)
        if is_coordinator(state, actor) or is_assignee(state, actor):
            return actor.id
        raise WrongRole("records are uploaded by the patient, the assigned coordinator or specialist")

    def _own(self, request: Request, case: str, upload: str) -> UploadStatus:
        uploader = self._uploader(request, case)
        status = self._intake.status(upload)
        if status.case != case:
            raise UploadNotFound
        if status.actor != uploader:
            raise WrongRole("an upload is continued by who began it")
        return status


def _command(draft: RecordDraft) -> ReceiveRecord:
    return ReceiveRecord(
        kind=draft.kind.value,
        record=draft.record,
        manifest_sha256=draft.digest,
        files=len(draft.manifest.files),
        bytes=draft.manifest.total_bytes,
    )
