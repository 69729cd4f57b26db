"""What reads show. Instants are RFC 3339, days ISO 8601."""

from typing import Literal

import msgspec

from api.clock import Instant
from domain.case.events import (
    ChecklistItem,
    ConsentKind,
    Coverage,
    Opinion,
    Phase,
    Reason,
    Recipient,
    RecordPin,
    RepeatAdvice,
)
from domain.case.events import RecordKind as Kind
from domain.privacy import Ground, Scope, Status
from domain.privacy import Reason as ErasureReason
from domain.service_key import Purpose, ServiceKeyStatus
from domain.signing_key import KeyStatus
from domain.values import Organ, Resectability


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a read shows."""


class OriginalVerdictShown(Shown, frozen=True, kw_only=True):
    """What the first centre said."""

    verdict: Resectability
    centre: str
    decided_on: str
    words: str


class ConsentShown(Shown, frozen=True, kw_only=True):
    """A consent; it holds from `valid_from` until, and not at, `ends_at`, unless it `ended` before."""

    consent: str
    kind: ConsentKind
    recipient: Recipient | None
    covers: Coverage
    valid_from: Instant
    ends_at: Instant | None
    ended: bool


class RecordShown(Shown, frozen=True, kw_only=True):
    """A record of a case."""

    record: str
    kind: Kind
    manifest_sha256: str
    quarantined: bool


class OverruledShown(Shown, frozen=True, kw_only=True):
    """That a technician judged otherwise than the check."""

    was: str
    by: str
    reason: str


class ImagingShown(Shown, frozen=True, kw_only=True):
    """The newest imaging check, and what people made of it. `findings` are codes; the report explains them."""

    verdict: str
    records: tuple[str, ...]
    findings: tuple[str, ...]
    report_sha256: str
    requirement: str
    checked_on: str
    valid_until: str | None
    accepted_limits: tuple[str, ...]
    overruled: OverruledShown | None
    advice: tuple[RepeatAdvice, ...]


class OpinionListed(Shown, frozen=True, kw_only=True):
    """What an opinion comes to."""

    notice: str
    opinion: str
    version: int
    resectability: Resectability
    surgery_recommended: bool
    signer: str
    signer_name: str
    signed_at: Instant
    delivered: bool


class ShareShown(Shown, frozen=True, kw_only=True):
    """An opinion version that was made available to somebody outside."""

    share: str
    opinion: str
    version: int
    consent: str
    recipient: Recipient


class CaseContentShown(Shown, frozen=True, kw_only=True):
    """What a case is about. Consents and shares are shown to the patient and the coordinator.

    For a specialist there are the records that live consents cover, and an imaging check that looked at no other.
    """

    reason: Reason | None
    diagnosis: str | None
    organ: Organ | None
    home_country: str | None
    original_verdict: OriginalVerdictShown | None
    disclaimer: bool
    checklist: tuple[ChecklistItem, ...]
    imaging_site: str | None
    imaging: ImagingShown | None
    imaging_unchecked: tuple[str, ...]
    """Imaging records that no check has seen."""
    imaging_check: Literal["queued", "failed"] | None
    """Whether their check comes by itself, or was given up after many tries: then somebody has to ask for one."""
    records: tuple[RecordShown, ...]
    opinions: tuple[OpinionListed, ...]
    consents: tuple[ConsentShown, ...] | None
    shares: tuple[ShareShown, ...] | None


class CaseShown(Shown, frozen=True, kw_only=True):
    """A case as it stands after the first `position` entries of the log; `content` is null once it was erased."""

    case: str
    revision: int
    position: int
    opened_at: Instant
    changed_at: Instant
    phase: Phase
    coordinator: str | None
    assignee: str | None
    imaging_verdict: str | None
    due_from: str | None
    due_by: str | None
    clock: Literal["running", "paused", "stopped"] | None
    content: CaseContentShown | None


class HoldShown(Shown, frozen=True, kw_only=True):
    """A legal hold."""

    hold: str
    reason: str
    authority: str
    placed_by: str
    placed_at: Instant
    released_at: Instant | None


class HoldsShown(Shown, frozen=True, kw_only=True):
    """The holds of a case after the first `position` entries of the log; `revision` is theirs, 0 for none."""

    case: str
    revision: int
    position: int
    stands: bool
    holds: tuple[HoldShown, ...]


class ErasureStep(Shown, frozen=True, kw_only=True):
    """One thing that happened to an erasure request."""

    index: int
    kind: str
    actor: str
    role: str
    recorded_at: Instant


class ErasureRequestShown(Shown, frozen=True, kw_only=True):
    """What became of an erasure request, after the first `position` entries of the log; the checkpoint covers them."""

    request: str
    case: str
    scope: Scope
    record: str | None
    reason: ErasureReason
    status: Status
    due_by: str
    overdue: bool
    """Neither refused nor executed, and its month is over."""
    ground: Ground | None
    explanation: str | None
    steps: tuple[ErasureStep, ...]
    revision: int
    position: int
    checkpoint: str


class TrailEntry(Shown, frozen=True, kw_only=True):
    """One entry of a trail; `summary` is null where its content is not for the reader, or was erased."""

    index: int
    stream: str
    revision: int
    kind: str
    actor: str
    role: str
    recorded_at: Instant
    committed_at: Instant
    occurred_at: Instant | None
    purpose: str
    cause: str
    object: str | None
    version: str | None
    outcome: str | None
    leaf: str
    erased: bool
    summary: str | None


class TrailShown(Shown, frozen=True, kw_only=True):
    """A page of a case's trail, as of the first `position` entries of the log.

    `next` is the `after` of the page behind, null on the last. `checkpoint` is the newest signed one, of that many
    entries or more.
    """

    case: str
    position: int
    checkpoint: str
    entries: tuple[TrailEntry, ...]
    next: int | None


class OpinionShown(Shown, frozen=True, kw_only=True):
    """An opinion as it was signed; `index` and `leaf` are its entry's in the log."""

    notice: str
    opinion: str
    version: int
    content: Opinion
    relied_on: tuple[RecordPin, ...]
    accepted_limits: tuple[str, ...]
    signer: str
    signer_name: str
    meaning: Literal["authorship"]
    signed_at: Instant
    index: int
    leaf: str


class FileShown(Shown, frozen=True, kw_only=True):
    """One file of a record; `reason` says why a DICOM file could not be read.

    `name_bytes` (hex) are those that the name was read from, where what it was written in had to be guessed.
    """

    name: str
    sha256: str
    bytes: int
    media_type: str
    reason: str | None
    name_bytes: str | None


class ManifestShown(Shown, frozen=True, kw_only=True):
    """What a record consists of."""

    record: str
    kind: Kind
    total_bytes: int
    files: tuple[FileShown, ...]


class FileRefused(Shown, frozen=True, kw_only=True):
    """A file of an archive that was not taken: its path, the code of a problem, and a sentence."""

    name: str
    code: str
    reason: str


class TransferShown(Shown, frozen=True, kw_only=True):
    """How far a file, or an archive, is that may come in several goes, and what became of it once it is `done`.

    `offset` is the byte where it goes on, `length` the bytes of the whole once announced. Of an archive, so many files
    were `taken`, so many directories of media `skipped`, and these `refused`.
    """

    transfer: str
    kind: Literal["file", "archive"]
    name: str
    done: bool
    offset: int
    length: int | None
    file: "FileTaken | None" = None
    taken: int | None = None
    skipped: int | None = None
    refused: tuple[FileRefused, ...] = ()


class UploadShown(Shown, frozen=True, kw_only=True):
    """How far an upload is: files that are there whole, what arrives right now, and transfers that began."""

    upload: str
    case: str
    kind: Kind
    state: Literal["open", "finished", "abandoned"]
    files: int
    total_bytes: int
    arriving_files: int
    arriving_bytes: int
    opened_at: Instant
    transfers: tuple[TransferShown, ...] = ()


class FileTaken(Shown, frozen=True, kw_only=True):
    """A file that has arrived whole; `reason` says why a DICOM file could not be read."""

    sha256: str
    bytes: int
    media_type: str
    reason: str | None


class KeyShown(Shown, frozen=True, kw_only=True):
    """An actor's signing key; its signatures count while it is `enrolled`.

    Of a key that was replaced or revoked, those up to the log's entry `stopped_at` do, and those made since
    `compromised_since` are in doubt.
    """

    key: str
    algorithm: Literal["ed25519"]
    public_key: str
    owner: str
    owner_role: str
    enrolled: bool
    status: KeyStatus
    successor: str | None
    stopped_at: int | None
    compromised_since: Instant | None
    revision: int


class ServiceKeyShown(Shown, frozen=True, kw_only=True):
    """A key of the log's own, or of a witness, in the verifier key notation of C2SP signed-note.

    One that is `enrolled` is in use. One that is `deactivated` was in use under an origin that the log had before it
    was restored, and ended by that: it signs nothing any more, and what it signed still verifies.
    """

    key: str
    purpose: Purpose
    vkey: str
    status: ServiceKeyStatus
    replaces: str | None
    successor: str | None


class SuspectShown(Shown, frozen=True, kw_only=True):
    """An entry whose actor's signature is in doubt; it holds, and somebody has to look at it."""

    index: int
    case: str | None
    kind: str
    actor: str
    recorded_at: Instant


class PreparedShown(Shown, frozen=True, kw_only=True):
    """A statement to sign (DSSE PAE) before `expires_at`, and what its commitment opens to. Bytes are base64."""

    statement: bytes
    blinding: bytes
    payload: bytes
    expires_at: Instant
    preparation: bytes


class Health(Shown, frozen=True, kw_only=True):
    """The service answers, and its database does."""

    status: Literal["ok"]
