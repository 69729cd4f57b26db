"""What reads show. Instants are RFC 3339, days ISO 8601."""

from typing import Literal

import msgspec

from api.clock import Instant, instant, instant_or_none
from application.reading import NOTICE, SignedOpinionText
from application.records.uploads import UploadStatus
from domain.case.events import ChecklistItem, ConsentKind, Coverage, Opinion, Phase, Reason, Recipient, RecordPin
from domain.case.events import RecordKind as Kind
from domain.records import Manifest
from domain.values import Organ, Resectability
from projections.case_view import CaseContent, CaseView
from projections.trail import TrailRow


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


def case_shown(view: CaseView, position: int, role: str) -> CaseShown:
    """A case, as far as this role sees it."""
    return CaseShown(
        case=view.case,
        revision=view.revision,
        position=position,
        opened_at=instant(view.opened_at),
        changed_at=instant(view.changed_at),
        phase=view.phase,
        coordinator=view.coordinator,
        assignee=view.assignee,
        imaging_verdict=view.imaging_verdict,
        due_from=view.due_from,
        due_by=view.due_by,
        clock=view.clock,
        content=None if view.content is None else _content(view.content, role),
    )


def _content(content: CaseContent, role: str) -> CaseContentShown:
    state, opened, original = content.state, content.opened, content.original
    records = () if state is None else tuple(state.records.values())
    inside = state is not None and role in ("patient", "coordinator")
    return CaseContentShown(
        reason=opened.reason if opened else None,
        diagnosis=opened.diagnosis if opened else None,
        organ=opened.organ if opened else None,
        home_country=opened.home_country if opened else None,
        original_verdict=None
        if original is None
        else OriginalVerdictShown(
            verdict=original.verdict, centre=original.centre, decided_on=original.decided_on, words=original.words
        ),
        disclaimer=state is not None and state.disclaimer,
        checklist=() if state is None else state.checklist,
        imaging_site=None if state is None else state.imaging_site,
        records=tuple(
            RecordShown(
                record=each.record,
                kind=each.kind,
                manifest_sha256=each.manifest_sha256,
                quarantined=each.quarantined,
            )
            for each in records
        ),
        opinions=_opinions(content, role),
        consents=_consents(content) if inside else None,
        shares=_shares(content) if inside else None,
    )


def _opinions(content: CaseContent, role: str) -> tuple[OpinionListed, ...]:
    """The patient sees of an opinion that it exists when it is delivered, and not before."""
    if content.state is None:
        return ()
    delivered = {each.opinion for each in content.state.opinions.values() if each.delivered}
    return tuple(
        OpinionListed(
            notice=NOTICE,
            opinion=each.opinion,
            version=each.version,
            resectability=each.resectability,
            surgery_recommended=each.surgery_recommended,
            signer=each.signer,
            signer_name=each.signer_name,
            signed_at=instant(each.signed_at),
            delivered=each.opinion in delivered,
        )
        for each in content.opinions.values()
        if role != "patient" or each.opinion in delivered
    )


def _consents(content: CaseContent) -> tuple[ConsentShown, ...]:
    return tuple(
        ConsentShown(
            consent=each.consent,
            kind=each.kind,
            recipient=each.recipient,
            covers=each.covers,
            valid_from=instant(each.valid_from),
            ends_at=instant_or_none(each.ends_at),
            ended=each.ended,
        )
        for each in (content.state.consents.values() if content.state else ())
    )


def _shares(content: CaseContent) -> tuple[ShareShown, ...]:
    return tuple(
        ShareShown(
            share=each.share,
            opinion=each.opinion,
            version=each.version,
            consent=each.consent,
            recipient=each.recipient,
        )
        for each in (content.state.shares.values() if content.state else ())
    )


def trail_entry(row: TrailRow) -> TrailEntry:
    """A row of the trail."""
    return TrailEntry(
        index=row.index,
        stream=row.stream,
        revision=row.rev,
        kind=row.kind,
        actor=row.actor,
        role=row.role,
        recorded_at=instant(row.recorded_at),
        committed_at=instant(row.committed_at),
        occurred_at=instant_or_none(row.occurred_at),
        purpose=row.purpose,
        cause=row.cause,
        object=row.object,
        version=row.version,
        outcome=row.outcome,
        leaf=row.leaf,
        erased=row.erased,
        summary=row.summary,
    )


def opinion_shown(text: SignedOpinionText) -> OpinionShown:
    """An opinion, with the notice that stands beside each."""
    return OpinionShown(
        notice=text.notice,
        opinion=text.opinion.opinion,
        version=text.opinion.version,
        content=text.opinion.content,
        relied_on=text.opinion.relied_on,
        accepted_limits=text.opinion.accepted_limits,
        signer=text.signed_by,
        signer_name=text.opinion.signer_name,
        meaning=text.opinion.meaning,
        signed_at=instant(text.signed_at),
        index=text.index,
        leaf=text.leaf,
    )


def manifest_shown(record: str, manifest: Manifest) -> ManifestShown:
    """A record's manifest, without what its files' headers said."""
    return ManifestShown(
        record=record,
        kind=manifest.kind.value,
        total_bytes=manifest.total_bytes,
        files=tuple(
            FileShown(
                name=each.name, sha256=each.sha256, bytes=each.bytes, media_type=each.media_type, reason=each.reason
            )
            for each in manifest.files
        ),
    )


def upload_shown(status: UploadStatus) -> UploadShown:
    """An upload, without its record's id, which is nobody's before there is a record."""
    return UploadShown(
        upload=status.upload,
        case=status.case,
        kind=status.kind.value,
        state=status.state,
        files=status.files,
        total_bytes=status.total_bytes,
        opened_at=instant(status.opened_at),
    )
