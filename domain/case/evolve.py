"""How each event changes a case. Total: whatever the log holds, a state comes out."""

from collections.abc import Mapping
from typing import TypeVar

from msgspec.structs import replace

from domain.case import consent as consents
from domain.case import events as e
from domain.case.calendar import utc_day
from domain.case.phases import WITH_MATERIAL
from domain.case.state import (
    Assignment,
    CaseState,
    Clock,
    Imaging,
    Record,
    Share,
    SignedOpinion,
    newest,
)
from domain.event import Erased, Event, Meta

V = TypeVar("V")

_ERASED_PHASE: dict[str, e.Phase] = {
    "case.checklist_issued.v1": "gathering",
    "case.records_declared_complete.v1": "ready",
    "case.routed.v1": "routed",
    "case.review_accepted.v1": "in_review",
    "opinion.signed.v1": "signed",
    "opinion.delivered.v1": "delivered",
    "opinion.shared.v1": "follow_up",
    "case.closed.v1": "closed",
}
"""An erased entry still says what kind of thing happened, and so where the case stood."""


def evolve(state: CaseState | None, event: Event | Erased, meta: Meta) -> CaseState | None:
    """Fold one event of a case's stream. None before the opening; events of other streams change nothing."""
    match event:
        case e.CaseOpened():
            return CaseState(
                patient_account=event.patient_account, patient_actor=event.patient_actor, organ=event.organ
            )
        case Erased(topic="case.opened.v1"):
            return CaseState(gone=(event.topic,))
    return None if state is None else _evolve(state, event, meta)


def _evolve(state: CaseState, event: Event | Erased, meta: Meta) -> CaseState:
    match event:
        case Erased():
            return _erased(state, event, meta)
        case e.OriginalVerdictRecorded():
            return replace(state, original_verdict=event.verdict)
        case e.DisclaimerAcknowledged():
            return replace(state, disclaimer=True)
        case e.CoordinatorAssigned():
            return replace(state, coordinator=event.coordinator)
        case e.ConsentGranted():
            granted = replace(state, consents=_with(state.consents, event.consent, consents.granted(event)))
            return granted if event.supersedes is None else _ended(granted, event.supersedes, meta)
        case e.ConsentWithdrawn():
            return _ended(state, event.consent, meta)
        case e.ChecklistIssued():
            return replace(state, phase="gathering", checklist=event.items, imaging_site=event.imaging_site)
        case e.RecordReceived():
            return _received(state, event, meta)
        case e.RecordClassified():
            return _classified(state, event)
        case e.RecordQuarantined():
            return _quarantined(state, event)
        case e.ImagingChecked():
            return _checked(state, event)
        case e.RecordReleased():
            return _released(state, event)
        case e.ImagingVerdictOverruled():
            imaging = state.imaging and replace(state.imaging, verdict=event.verdict, accepted_limits=())
            return replace(state, phase=_judged(state.phase, event.verdict), imaging=imaging)
        case e.ImagingAccepted():
            return replace(state, imaging=state.imaging and replace(state.imaging, accepted_limits=event.limits))
        case e.RecordsDeclaredComplete():
            return _complete(state, event, meta)
        case e.CaseRouted():
            assignment = Assignment(
                specialist=event.specialist, actor=event.specialist_actor, country=event.centre_country
            )
            return replace(state, phase="routed", assignment=assignment)
        case e.ReviewAccepted():
            clock = state.clock and replace(state.clock, due_from=event.due_from, due_by=event.due_by)
            return replace(state, phase="in_review", clock=clock)
        case e.OpinionSigned():
            return replace(
                state,
                phase="signed",
                opinions=_with(
                    state.opinions,
                    event.opinion,
                    SignedOpinion(opinion=event.opinion, version=event.version),
                ),
                consents={name: consents.bound_to(each, event.opinion) for name, each in state.consents.items()},
            )
        case e.OpinionDelivered():
            delivered = SignedOpinion(opinion=event.opinion, version=event.version, delivered=True)
            return replace(
                state,
                phase="delivered",
                opinions=_with(state.opinions, event.opinion, delivered),
                clock=state.clock and replace(state.clock, stopped_at=meta.recorded_at),
            )
        case e.OpinionShared():
            share = Share(
                share=event.share,
                opinion=event.opinion,
                version=event.version,
                consent=event.consent,
                recipient=event.recipient,
            )
            return replace(state, phase="follow_up", shares=_with(state.shares, event.share, share))
        case e.CaseClosed():
            return _closed(state, meta)
        case e.ContentErased():
            return _content_erased(state, event)
    return state


def _with(mapping: Mapping[str, V], name: str, value: V) -> dict[str, V]:
    return {**mapping, name: value}


def _received(state: CaseState, event: e.RecordReceived, meta: Meta) -> CaseState:
    record = Record(
        record=event.record,
        kind=event.kind,
        manifest_sha256=event.manifest_sha256,
        uploader=meta.actor,
        received_index=len(state.records) + state.gone.count("record.received.v1"),
        bytes=event.bytes,
        files=event.files,
    )
    moves = event.kind == "imaging" and state.phase == "gathering"
    return replace(
        state,
        phase="imaging_check" if moves else state.phase,
        records=_with(state.records, event.record, record),
    )


def _classified(state: CaseState, event: e.RecordClassified) -> CaseState:
    record = state.records.get(event.record)
    if record is None:
        return state
    return replace(state, records=_with(state.records, event.record, replace(record, kind=event.kind)))


def _quarantined(state: CaseState, event: e.RecordQuarantined) -> CaseState:
    record = state.records.get(event.record)
    if record is None:  # it was erased
        return state
    after = replace(state, records=_with(state.records, event.record, replace(record, quarantined=True)))
    if after.phase == "imaging_check" and not after.usable_imaging():
        return replace(after, phase="gathering")
    return after


def _released(state: CaseState, event: e.RecordReleased) -> CaseState:
    """The record is as if it had just come in: no check has seen it."""
    record = state.records.get(event.record)
    if record is None:  # it was erased
        return state
    imaging = state.imaging
    if imaging is not None:
        imaging = replace(imaging, records=tuple(each for each in imaging.records if each != event.record))
    moves = record.kind == "imaging" and state.phase == "gathering"
    return replace(
        state,
        phase="imaging_check" if moves else state.phase,
        records=_with(state.records, event.record, replace(record, quarantined=False, released=True)),
        imaging=imaging,
    )


def _checked(state: CaseState, event: e.ImagingChecked) -> CaseState:
    known = [state.records[each] for each in event.records if each in state.records]
    imaging = Imaging(
        verdict=event.verdict,
        records=event.records,
        report_sha256=event.report_sha256,
        report_in=newest(known).record if known and len(known) == len(set(event.records)) else None,
        valid_until=event.valid_until,
    )
    return replace(state, phase=_judged(state.phase, event.verdict), imaging=imaging)


def _judged(phase: e.Phase, verdict: e.Verdict) -> e.Phase:
    # From gathering, too: see `phases`; or the imaging that led to this check has been erased, and its kind with it.
    if phase in ("gathering", "imaging_check"):
        return "imaging_check" if verdict in ("adequate", "limited") else "gathering"
    return phase


def _complete(state: CaseState, event: e.RecordsDeclaredComplete, meta: Meta) -> CaseState:
    before = state.clock
    clock = Clock(
        started_at=before.started_at if before else meta.recorded_at,
        running_since=utc_day(meta.recorded_at),
        ran=before.ran if before else (),
        due_from=event.due_from,
        due_by=event.due_by,
    )
    return replace(state, phase="ready", declared=tuple(each.record for each in event.records), clock=clock)


def _ended(state: CaseState, consent: str, meta: Meta) -> CaseState:
    """A consent ended. Where the review stood on it, the specialist's access is cut and the case goes back."""
    old = state.consents.get(consent)
    if old is None or old.ended:
        return state
    after = replace(state, consents=_with(state.consents, consent, replace(old, ended=True)))
    if (
        after.phase in WITH_MATERIAL
        and old.kind in consents.REVIEWING
        and not consents.still_stands(after, old.kind, meta.recorded_at)
    ):
        return _back_to_gathering(after, meta)
    return after


def _back_to_gathering(state: CaseState, meta: Meta) -> CaseState:
    clock = state.clock
    if clock is not None and clock.running_since is not None:
        stretch = (clock.running_since, utc_day(meta.recorded_at))
        clock = replace(clock, running_since=None, ran=(*clock.ran, stretch))
    return replace(state, phase="gathering", declared=(), assignment=None, clock=clock)


def _closed(state: CaseState, meta: Meta) -> CaseState:
    """Nobody reviews it any more; a clock that ran stops here."""
    clock = state.clock
    if clock is not None and clock.stopped_at is None:
        clock = replace(clock, stopped_at=meta.recorded_at)
    return replace(state, phase="closed", assignment=None, clock=clock)


def _content_erased(state: CaseState, event: e.ContentErased) -> CaseState:
    """Of a case nothing goes on; a single record is gone from it, and what cites it stays."""
    if event.scope == "case":
        return replace(state, phase="erased")
    after = replace(state, records={name: each for name, each in state.records.items() if name != event.record})
    if after.phase == "imaging_check" and not after.usable_imaging():
        return replace(after, phase="gathering")
    return after


def _erased(state: CaseState, event: Erased, meta: Meta) -> CaseState:
    """The event is gone, that it was there is not: the phase follows, and what it granted does not hold."""
    after = replace(state, phase=_ERASED_PHASE.get(event.topic, state.phase), gone=(*state.gone, event.topic))
    if event.topic == "case.consent_withdrawn.v1":
        # Which one was withdrawn cannot be told any more: none counts.
        for consent in state.consents:
            after = _ended(after, consent, meta)
    return after
