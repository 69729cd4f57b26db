"""Given, when, then for cases: `given(*events).when(command, by=..., at=...).then(*events)` or `.refused(WrongPhase)`.

`story(phase)` is the shortest honest way to a phase. Ids, people and texts are made up.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from domain.case import commands as c
from domain.case import events as e
from domain.case.access import Permission, What, may_read
from domain.case.actor import SERVICE, Actor, acting_id
from domain.case.calendar import CALENDARS, DAY, end_of
from domain.case.decide import decide
from domain.case.evolve import evolve
from domain.case.state import CaseState
from domain.errors import CaseLedgerError
from domain.event import Erased, Event, Meta
from domain.specialist import Specialist, Volume

HOUR = DAY // 24
NOW = end_of("2026-03-01") + 9 * HOUR
"""Monday 2026-03-02, 09:00 UTC, in microseconds."""


def digest(letter: str) -> str:
    """A SHA-256 that is easy to tell apart."""
    return letter * 64


PATIENT = Actor(id="account-1", role="patient", account="account-1")
OTHER_PATIENT = Actor(id="account-2", role="patient", account="account-2")
COORDINATOR = Actor(id="coordinator-1", role="coordinator")
OTHER_COORDINATOR = Actor(id="coordinator-2", role="coordinator")
TECHNICIAN = Actor(id="technician-1", role="technician")
SURGEON = Actor(id="surgeon-1", role="specialist")
OTHER_SURGEON = Actor(id="surgeon-2", role="specialist")
ONCOLOGIST = Actor(id="oncologist-1", role="oncologist")
OTHER_ONCOLOGIST = Actor(id="oncologist-2", role="oncologist")
COMPLIANCE = Actor(id="compliance-1", role="compliance")
ADMINISTRATOR = Actor(id="administrator-1", role="administrator")
TRANSLATOR = Actor(id="translator-1", role="translator")

SPECIALIST = Specialist(
    specialist="s-1",
    actor=SURGEON.id,
    name="Dr. Asha Rao",
    country="IN",
    calendar="india",
    subspecialty="hpb",
    volumes=(Volume(organ="liver", operations_a_year=140, evidence_sha256=digest("1")),),
)
RECIPIENT = e.Recipient(country="GB", organisation="Example Hospital", actor=ONCOLOGIST.id)
ALL_RECORDS = e.Coverage(all_records=True)

OPENED = e.CaseOpened(
    patient="patient-1",
    patient_account="account-1",
    patient_actor="p-random",
    reason="told_unresectable",
    diagnosis="colorectal liver metastases",
    organ="liver",
    home_country="GB",
)
ASSIGNED = e.CoordinatorAssigned(coordinator=COORDINATOR.id)
DISCLAIMED = e.DisclaimerAcknowledged(text_sha256=digest("d"), language="en")


def consent(name: str, kind: e.ConsentKind, **more: Any) -> e.ConsentGranted:
    """A consent that holds from NOW on, under its own name as id."""
    given_: dict[str, Any] = {
        "consent": name,
        "kind": kind,
        "purpose": "second opinion",
        "valid_from": NOW,
        "language": "en",
        "text_sha256": digest("c"),
    }
    return e.ConsentGranted(**(given_ | more))


PROCESS = consent("c-process", "process")
REVIEW = consent("c-review", "review", covers=ALL_RECORDS)
TRANSFER = consent("c-transfer", "transfer_to_country", covers=ALL_RECORDS, recipient=e.Recipient(country="IN"))
SHARING = consent("c-share", "share_opinion", recipient=RECIPIENT, covers=e.Coverage(opinions=("opinion-1",)))


def item(kind: e.RecordKind) -> e.ChecklistItem:
    """An item of the checklist that asks for that kind."""
    return e.ChecklistItem(item=f"item-{kind}".replace("_", "-"), kind=kind, description=f"latest {kind}")


CHECKLIST = e.ChecklistIssued(items=(item("imaging"), item("pathology")), imaging_site="any")


def received(record: str, kind: e.RecordKind, letter: str, duplicate_of: str | None = None) -> e.RecordReceived:
    """A record whose manifest is that letter, 64 times."""
    return e.RecordReceived(
        record=record, kind=kind, manifest_sha256=digest(letter), files=7, bytes=7000, duplicate_of=duplicate_of
    )


IMAGING = received("r-ct", "imaging", "a")
PATHOLOGY = received("r-path", "pathology", "b")


def checked(verdict: e.Verdict, *records: str) -> e.ImagingChecked:
    """An imaging check made on Monday 2026-03-02."""
    return e.ImagingChecked(
        records=records or ("r-ct",),
        verdict=verdict,
        findings=("uneven_spacing",) if verdict != "adequate" else (),
        report_sha256=digest("f"),
        requirement="any",
        requirement_version=1,
        checker_version=1,
        checked_on="2026-03-02",
    )


def pin(record: str, letter: str) -> e.RecordPin:
    """A record as it was."""
    return e.RecordPin(record=record, manifest_sha256=digest(letter))


COMPLETE = e.RecordsDeclaredComplete(
    records=(pin("r-path", "b"), pin("r-ct", "a")), calendar="service", due_from="2026-03-09", due_by="2026-03-11"
)
ROUTED = e.CaseRouted(
    specialist="s-1",
    specialist_actor=SURGEON.id,
    subspecialty="hpb",
    centre_country="IN",
    yearly_volume=140,
    rule_version=1,
    decided_by="rule",
    consents=("c-review", "c-transfer"),
)
ACCEPTED = e.ReviewAccepted(calendar="india", due_from="2026-03-09", due_by="2026-03-11")
CONTENT = e.Opinion(
    resectability="potentially_resectable_after_conversion",
    surgery_recommended=False,
    surgical_approach=e.NotApplicable(why="decided after conversion"),
    conversion_strategy=e.Stated(text="four cycles, then restaging"),
    additional_investigations=e.Stated(text="MRI of the liver with contrast"),
    trial_eligibility=e.NotApplicable(why="no trial is open"),
    vascular_involvement=e.Stated(text="right portal vein"),
    future_liver_remnant=e.Stated(text="about 30 percent"),
    circumferential_resection_margin=e.NotApplicable(why="not a rectal tumour"),
    rationale="The left hepatic vein is free.",
)
SIGNED = e.OpinionSigned(
    opinion="opinion-1",
    version=1,
    content=CONTENT,
    relied_on=(pin("r-path", "b"), pin("r-ct", "a")),
    signer_name="Dr. Asha Rao",
    meaning="authorship",
)
DELIVERED = e.OpinionDelivered(opinion="opinion-1", version=1, channel="portal")
SHARED = e.OpinionShared(share="share-1", opinion="opinion-1", version=1, consent="c-share", recipient=RECIPIENT)
WAY: tuple[tuple[e.Phase, tuple[Event, ...]], ...] = (
    ("intake", (OPENED, ASSIGNED, DISCLAIMED, PROCESS, REVIEW, TRANSFER)),
    ("gathering", (CHECKLIST, PATHOLOGY)),
    ("imaging_check", (IMAGING, checked("adequate"))),
    ("ready", (COMPLETE,)),
    ("routed", (ROUTED,)),
    ("in_review", (ACCEPTED,)),
    ("signed", (SIGNED,)),
    ("delivered", (DELIVERED, SHARING)),
    ("follow_up", (SHARED,)),
)
ACTS: dict[type[Event], Actor] = {
    e.RecordReceived: PATIENT,
    e.ImagingChecked: SERVICE,
    e.RecordQuarantined: SERVICE,
    e.RepeatImagingAdvised: SERVICE,
    e.ImagingVerdictOverruled: TECHNICIAN,
    e.RecordReleased: TECHNICIAN,
    e.ReviewAccepted: SURGEON,
    e.OpinionSigned: SURGEON,
    e.ConsentGranted: PATIENT,
    e.ConsentWithdrawn: PATIENT,
    e.DisclaimerAcknowledged: PATIENT,
    e.ShareOpened: ONCOLOGIST,
}


def story(phase: e.Phase) -> tuple[Event, ...]:
    """The events that lead to a phase, all at NOW."""
    events: tuple[Event, ...] = ()
    for name, more in WAY:
        events += more
        if name == phase:
            return events
    raise AssertionError(phase)


class Said(msgspec.Struct, frozen=True):
    """An event with who did it, and when."""

    event: Event | Erased
    by: Actor
    at: int


def said(event: Event | Erased, by: Actor = COORDINATOR, at: int = NOW) -> Said:
    """An event by somebody else, or at another time, than `given` assumes."""
    return Said(event, by, at)


def fold(state: CaseState | None, event: Event | Erased, by: Actor, at: int) -> CaseState | None:
    """Evolve, with the actor's id as the log would name it."""
    name = "p-random" if by.account == "account-1" else by.id
    return evolve(state, event, Meta(actor=name, role=by.role, recorded_at=at))


def given(*history: Event | Erased | Said) -> Given:
    """A case to which these events have happened."""
    state = None
    for each in history:
        step = each if isinstance(each, Said) else Said(each, ACTS.get(type(each), COORDINATOR), NOW)
        state = fold(state, step.event, step.by, step.at)
    return Given(state)


class Given:
    """A case, before something is asked of it."""

    def __init__(self, state: CaseState | None) -> None:
        self._state = state

    @property
    def state(self) -> CaseState:
        assert self._state is not None
        return self._state

    def when(self, command: c.Command, by: Actor = COORDINATOR, at: int = NOW) -> Outcome:
        try:
            return Outcome(self._state, decide(self._state, command, by, at, CALENDARS), None, by, at)
        except CaseLedgerError as error:
            return Outcome(self._state, (), error, by, at)

    def reads(self, by: Actor, what: What, thing: str | None = None, at: int = NOW) -> Permission:
        return may_read(self.state, by, what, at, thing)

    def refuses(
        self, kind: type[CaseLedgerError], by: Actor, what: What, thing: str | None = None, at: int = NOW
    ) -> None:
        with pytest.raises(kind) as caught:
            may_read(self.state, by, what, at, thing)
        assert caught.type is kind


class Outcome:
    """What came of it: events, or an error."""

    def __init__(
        self, before: CaseState | None, events: tuple[Event, ...], error: CaseLedgerError | None, by: Actor, at: int
    ) -> None:
        self._before, self._events, self._error, self._by, self._at = before, events, error, by, at

    @property
    def events(self) -> tuple[Event, ...]:
        if self._error is not None:
            raise self._error
        return self._events

    def then(self, *events: Event) -> CaseState:
        """Exactly these events; returns the state after them."""
        assert self.events == events
        state = self._before
        for event in events:
            state = fold(state, event, self._by, self._at)
        assert state is not None
        assert acting_id(state, self._by)
        return state

    def refused(self, kind: type[CaseLedgerError], saying: str = "") -> None:
        """Exactly this error, and nothing happened."""
        assert self._events == ()
        assert type(self._error) is kind, self._error or "it was allowed"
        assert saying in str(self._error)
