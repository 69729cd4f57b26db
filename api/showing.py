"""How state, views and texts become what reads show, and how much of it a role sees."""

from collections.abc import Sequence
from typing import Literal

from api.clock import instant, instant_or_none
from api.shown import (
    CaseContentShown,
    CaseShown,
    ConsentShown,
    FileRefused,
    FileShown,
    FileTaken,
    ImagingShown,
    ManifestShown,
    OpinionListed,
    OpinionShown,
    OriginalVerdictShown,
    OverruledShown,
    RecordShown,
    ShareShown,
    TrailEntry,
    TransferShown,
    UploadShown,
)
from application.reading import NOTICE, SignedOpinionText
from application.records.resumable import PartStatus
from application.records.uploads import UploadStatus
from domain.case.access import visible_records
from domain.case.actor import Actor
from domain.records import Manifest
from projections.case_view import CaseContent, CaseView
from projections.trail import TrailRow


def case_shown(
    view: CaseView, position: int, actor: Actor, now: int, given_up: Literal["failed"] | None = None
) -> CaseShown:
    """A case, as far as this reader sees it; `given_up` where nothing is tried any more to check its imaging.

    Records that no consent lets a specialist see are not there for them, nor is an imaging check that looked at one.
    """
    state = None if view.content is None else view.content.state
    seen = frozenset[str]() if state is None else visible_records(state, actor, now)
    whole = state is None or state.imaging is None or seen.issuperset(state.imaging.records)
    return CaseShown(
        case=view.case,
        revision=view.revision,
        position=position,
        opened_at=instant(view.opened_at),
        changed_at=instant(view.changed_at),
        phase=view.phase,
        coordinator=view.coordinator,
        assignee=view.assignee,
        imaging_verdict=view.imaging_verdict if whole else None,
        due_from=view.due_from,
        due_by=view.due_by,
        clock=view.clock,
        content=None if view.content is None else _content(view.content, actor.role, given_up, seen, whole),
    )


def _content(
    content: CaseContent, role: str, given_up: Literal["failed"] | None, seen: frozenset[str], whole: bool
) -> CaseContentShown:
    state, opened, original = content.state, content.opened, content.original
    records = () if state is None else tuple(each for each in state.records.values() if each.record in seen)
    unchecked = () if state is None else tuple(each.record for each in state.unchecked_imaging() if each.record in seen)
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
        imaging=_imaging(content) if whole else None,
        imaging_unchecked=unchecked,
        imaging_check=(given_up or "queued") if unchecked else None,
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


def _imaging(content: CaseContent) -> ImagingShown | None:
    state, facts = content.state, content.imaging
    if state is None or state.imaging is None or facts is None:
        return None
    overruled = None
    if facts.was is not None:
        overruled = OverruledShown(was=facts.was, by=facts.overruled_by or "", reason=facts.overruled_because or "")
    return ImagingShown(
        verdict=state.imaging.verdict,
        records=state.imaging.records,
        findings=facts.findings,
        report_sha256=state.imaging.report_sha256,
        requirement=facts.requirement,
        checked_on=facts.checked_on,
        valid_until=state.imaging.valid_until,
        accepted_limits=state.imaging.accepted_limits,
        overruled=overruled,
        advice=facts.advice,
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
                name=each.name,
                sha256=each.sha256,
                bytes=each.bytes,
                media_type=each.media_type,
                reason=each.reason,
                name_bytes=each.name_bytes or None,
            )
            for each in manifest.files
        ),
    )


def upload_shown(status: UploadStatus, parts: Sequence[PartStatus] = ()) -> UploadShown:
    """An upload, without its record's id, which is nobody's before there is a record."""
    return UploadShown(
        upload=status.upload,
        case=status.case,
        kind=status.kind.value,
        state=status.state,
        files=status.files,
        total_bytes=status.total_bytes,
        arriving_files=status.arriving_files,
        arriving_bytes=status.arriving_bytes,
        opened_at=instant(status.opened_at),
        transfers=tuple(map(transfer_shown, parts)),
    )


def transfer_shown(status: PartStatus) -> TransferShown:
    """A transfer, for who sends it."""
    file, unpacked = status.taken, status.unpacked
    refused = unpacked.refused if unpacked else ()
    return TransferShown(
        transfer=status.part,
        kind=status.kind,
        name=status.name,
        done=status.done,
        offset=status.offset,
        length=status.length,
        file=FileTaken(sha256=file.sha256, bytes=file.bytes, media_type=file.media_type, reason=file.reason)
        if file
        else None,
        taken=unpacked.taken if unpacked else None,
        skipped=unpacked.skipped if unpacked else None,
        refused=tuple(FileRefused(name=each.name, code=each.code, reason=each.reason) for each in refused),
    )
