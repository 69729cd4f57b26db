"""What reads show. Instants are RFC 3339, days ISO 8601."""

from typing import Literal

import msgspec

from api.clock import Instant
from domain.case.events import ChecklistItem, ConsentKind, Coverage, Opinion, Phase, Reason, Recipient, RecordPin
from domain.case.events import RecordKind as Kind
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
    """What a case is about. Consents and shares are shown to the patient and the coordinator."""

    reason: Reason | None
    diagnosis: str | None
    organ: Organ | None
    home_country: str | None
    original_verdict: OriginalVerdictShown | None
    disclaimer: bool
    checklist: tuple[ChecklistItem, ...]
    imaging_site: str | None
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
    """One file of a record; `reason` says why a DICOM file could not be read."""

    name: str
    sha256: str
    bytes: int
    media_type: str
    reason: str | None


class ManifestShown(Shown, frozen=True, kw_only=True):
    """What a record consists of."""

    record: str
    kind: Kind
    total_bytes: int
    files: tuple[FileShown, ...]


class UploadShown(Shown, frozen=True, kw_only=True):
    """How far an upload is."""

    upload: str
    case: str
    kind: Kind
    state: Literal["open", "finished", "abandoned"]
    files: int
    total_bytes: int
    opened_at: Instant


class FileTaken(Shown, frozen=True, kw_only=True):
    """A file that has arrived whole; `reason` says why a DICOM file could not be read."""

    sha256: str
    bytes: int
    media_type: str
    reason: str | None


class KeyShown(Shown, frozen=True, kw_only=True):
    """An actor's signing key; its signatures count once it is `enrolled`."""

    key: str
    algorithm: Literal["ed25519"]
    public_key: str
    owner: str
    owner_role: str
    enrolled: bool
    revision: int


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
