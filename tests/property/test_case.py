"""Random commands by random people: whatever is asked in whatever order, the rules hold.

What is checked here is written down a second time, from the events alone: it shares no code with the decisions.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.case import commands as c
from domain.case import events as e
from domain.case.access import may_read
from domain.case.actor import SERVICE, Actor, acting_id
from domain.case.calendar import CALENDARS, DAY
from domain.case.decide import decide
from domain.case.evolve import evolve
from domain.case.state import CaseState
from domain.errors import CaseLedgerError
from domain.event import Erased, Event, Meta, encode, register
from tests.unit import case_builder as b
from tests.unit.test_case_consent import ask
from tests.unit.test_case_material import check, receive

Made = Callable[[CaseState | None, int], c.Command]

ACTORS = (b.PATIENT, b.OTHER_PATIENT, b.COORDINATOR, b.OTHER_COORDINATOR, b.TECHNICIAN, b.SURGEON, b.OTHER_SURGEON,
          b.ONCOLOGIST, b.OTHER_ONCOLOGIST, b.COMPLIANCE, b.ADMINISTRATOR, SERVICE)  # fmt: skip
MOVES = {
    ("intake", "gathering", e.ChecklistIssued),
    ("gathering", "imaging_check", e.RecordReceived),
    ("gathering", "imaging_check", e.ImagingChecked),  # imaging that came back unchecked
    ("imaging_check", "gathering", e.ImagingChecked),
    ("imaging_check", "gathering", e.RecordQuarantined),
    ("gathering", "imaging_check", e.RecordReleased),
    ("gathering", "imaging_check", e.ImagingVerdictOverruled),
    ("imaging_check", "gathering", e.ImagingVerdictOverruled),
    ("imaging_check", "ready", e.RecordsDeclaredComplete),
    ("gathering", "ready", e.RecordsDeclaredComplete),  # came back with imaging that is still adequate
    ("ready", "routed", e.CaseRouted),
    ("routed", "in_review", e.ReviewAccepted),
    ("ready", "gathering", e.ConsentWithdrawn),
    ("routed", "gathering", e.ConsentWithdrawn),
    ("in_review", "gathering", e.ConsentWithdrawn),
    ("ready", "gathering", e.ConsentGranted),
    ("routed", "gathering", e.ConsentGranted),
    ("in_review", "gathering", e.ConsentGranted),
    ("in_review", "signed", e.OpinionSigned),
    ("signed", "delivered", e.OpinionDelivered),
    ("delivered", "follow_up", e.OpinionShared),
}
"""The phases table, as far as it is built; a grant moves only where it supersedes."""


def grant(event: e.ConsentGranted) -> Made:
    """A new consent like this one."""
    return lambda state, n: ask(event, consent=f"c-{n}", valid_from=b.NOW)


def supersede(event: e.ConsentGranted) -> Made:
    """A consent like this one, in place of one of its kind."""

    def made(state: CaseState | None, n: int) -> c.Command:
        old = [name for name, each in (state.consents if state else {}).items() if each.kind == event.kind]
        return ask(event, consent=f"c-{n}", valid_from=b.NOW, supersedes=old[n % len(old)] if old else None)

    return made


def withdraw(state: CaseState | None, n: int) -> c.Command:
    """A withdrawal of some consent, or of none there is."""
    names = [*(state.consents if state else {}), "c-none"]
    return c.WithdrawConsent(consent=names[n % len(names)])


def arrive(kind: e.RecordKind) -> Made:
    """A new record; every sixteenth has the bytes of an earlier one."""
    return lambda state, n: receive(b.received(f"r-{n}", kind, "0123456789abcdef"[n % 16]))


def look(verdict: e.Verdict) -> Made:
    """A check of all imaging there is."""

    def made(state: CaseState | None, n: int) -> c.Command:
        return check(b.checked(verdict, *(each.record for each in (state.usable_imaging() if state else ()))))

    return made


def sign(state: CaseState | None, n: int) -> c.Command:
    """An opinion on every record; now and then on none of the imaging."""
    records = state.records.values() if state else ()
    pins = tuple(
        e.RecordPin(record=x.record, manifest_sha256=x.manifest_sha256) for x in records if n % 5 or x.kind != "imaging"
    )
    return c.SignOpinion(opinion="opinion-1", content=b.CONTENT, relied_on=pins, signer_name="Dr. Asha Rao")


def share(state: CaseState | None, n: int) -> c.Command:
    """A share under some consent."""
    names = [name for name, each in (state.consents if state else {}).items() if each.kind == "share_opinion"]
    consent = names[n % len(names)] if names else "c-none"
    return c.ShareOpinion(share=f"share-{n}", opinion="opinion-1", consent=consent, recipient=b.RECIPIENT)


def open_(state: CaseState | None, n: int) -> c.Command:
    """An opening of some share."""
    names = [*(state.shares if state else {}), *(() if state and state.shares else ("share-none",))]
    return c.OpenShare(share=names[n % len(names)])


def release(state: CaseState | None, n: int) -> c.Command:
    """A release of some record in quarantine."""
    names = [name for name, each in (state.records if state else {}).items() if each.quarantined]
    return c.ReleaseRecord(record=names[n % len(names)] if names else "r-none", reason="it is the patient's")


def fixed(command: c.Command) -> Made:
    """The same command always."""
    return lambda state, n: command


SHARING = replace(b.SHARING, covers=e.Coverage(next_opinion=True, opinions=("opinion-1",)))
BRIEF = replace(SHARING, valid_until=b.NOW + 2 * DAY)
STEPS: tuple[tuple[Made, Actor, str], ...] = (
    (fixed(c.AssignCoordinator(coordinator=b.COORDINATOR.id)), b.COORDINATOR, "intake"),
    (fixed(c.AcknowledgeDisclaimer(text_sha256=b.digest("d"), language="en")), b.PATIENT, "intake signed"),
    (grant(b.PROCESS), b.PATIENT, "intake gathering"),
    (fixed(c.IssueChecklist(items=b.CHECKLIST.items, imaging_site="any")), b.COORDINATOR, "intake"),
    (arrive("pathology"), b.PATIENT, "gathering imaging_check in_review"),
    (arrive("imaging"), b.COORDINATOR, "gathering in_review"),
    (look("adequate"), SERVICE, "imaging_check gathering in_review"),
    (look("limited"), SERVICE, "imaging_check"),
    (fixed(c.AcceptLimitedImaging(limits=("thick slices",), reason="cannot be repeated")), b.COORDINATOR, ""),
    (look("stop"), SERVICE, ""),
    (look("inadequate"), b.TECHNICIAN, ""),
    (release, b.TECHNICIAN, ""),
    (fixed(c.OverruleImagingVerdict(verdict="adequate", reason="seen")), b.TECHNICIAN, ""),
    (fixed(c.OverruleImagingVerdict(verdict="inadequate", reason="seen")), b.TECHNICIAN, ""),
    (fixed(c.DeclareRecordsComplete()), b.COORDINATOR, "imaging_check gathering"),
    (grant(b.REVIEW), b.PATIENT, "ready"),
    (grant(b.TRANSFER), b.PATIENT, "ready"),
    (supersede(b.REVIEW), b.PATIENT, ""),
    (fixed(c.RouteCase(specialist=b.SPECIALIST)), b.COORDINATOR, "ready"),
    (fixed(c.AcceptReview(specialist=b.SPECIALIST)), b.SURGEON, "routed"),
    (sign, b.SURGEON, "in_review"),
    (fixed(c.DeliverOpinion(opinion="opinion-1", channel="portal")), b.COORDINATOR, "signed"),
    (grant(SHARING), b.PATIENT, "delivered"),
    (grant(BRIEF), b.PATIENT, "delivered"),
    (share, b.PATIENT, "delivered follow_up"),
    (open_, b.ONCOLOGIST, "follow_up"),
    (withdraw, b.PATIENT, ""),
    (withdraw, b.PATIENT, "follow_up"),
)
REACHED: Counter[str] = Counter()


class Journal:
    """What the events say, and nothing else."""

    def __init__(self) -> None:
        self.log: list[tuple[Event, Meta]] = []
        self.consents: dict[str, e.ConsentGranted] = {}
        self.ended: set[str] = set()
        self.quarantined: set[str] = set()
        self.uploaders: dict[str, str] = {}
        self.routed: e.CaseRouted | None = None

    def holds(self, consent: str, at: int) -> bool:
        grant_ = self.consents[consent]
        until = grant_.valid_until
        return consent not in self.ended and grant_.valid_from <= at and (until is None or at < until)

    def any_holds(self, kind: str, at: int) -> bool:
        return any(each.kind == kind and self.holds(name, at) for name, each in self.consents.items())

    def take(self, event: Event, meta: Meta) -> None:
        """Check the event against all before it, then note it."""
        at = meta.recorded_at
        match event:
            case e.ConsentGranted():
                self.consents[event.consent] = event
                self.ended |= {event.supersedes} - {None}  # type: ignore[arg-type]
            case e.ConsentWithdrawn():
                self.ended.add(event.consent)
            case e.ChecklistIssued() | e.RecordReceived():
                assert self.any_holds("process", at)
                if isinstance(event, e.RecordReceived):
                    self.uploaders[event.record] = meta.actor
            case e.RecordQuarantined():
                self.quarantined.add(event.record)
            case e.ImagingChecked():
                assert meta.role in ("service", "technician")
                assert meta.actor not in {self.uploaders[each] for each in event.records}
            case e.RecordsDeclaredComplete():
                assert not self.quarantined & {each.record for each in event.records}
                assert event.due_from <= event.due_by
            case e.CaseRouted():
                assert all(self.holds(each, at) for each in event.consents)
                assert {self.consents[each].kind for each in event.consents} == {"review", "transfer_to_country"}
                self.routed = event
            case e.ReviewAccepted() | e.OpinionSigned():
                assert self.routed is not None
                assert (meta.actor, meta.role) == (self.routed.specialist_actor, "specialist")
                assert self.any_holds("review", at)
                assert self.any_holds("transfer_to_country", at)
                if isinstance(event, e.OpinionSigned):
                    assert not self.quarantined & {each.record for each in event.relied_on}
            case e.OpinionDelivered():
                assert any(isinstance(each, e.DisclaimerAcknowledged) for each, _ in self.log)
            case e.OpinionShared() | e.ShareOpened():
                assert self.holds(event.consent, at)
                assert self.consents[event.consent].kind == "share_opinion"
                assert event.opinion in self.consents[event.consent].covers.opinions
        self.log.append((event, meta))


@settings(max_examples=300)
@given(st.data())
def test_the_rules_hold_whatever_is_asked(data: st.DataObject) -> None:
    """Phases move along the table, releases rest on consents, and replaying the log gives the same state."""
    draw: Callable[[st.SearchStrategy[Any]], Any] = data.draw
    journal, state, at = Journal(), None, b.NOW
    for n in range(draw(st.integers(1, 60))):
        at += draw(st.sampled_from((0, 1, DAY // 3, DAY)))
        if state is None:
            command: c.Command = opening()
            by = b.PATIENT
        else:
            useful = [step for step in STEPS if state.phase in step[2].split()]
            made, by, _ = draw(st.sampled_from(useful if useful and draw(st.integers(0, 9)) else STEPS))
            command = made(state, n)
            if not draw(st.integers(0, 9)):
                by = draw(st.sampled_from(ACTORS))
        try:
            events = decide(state, command, by, at, CALENDARS)
        except CaseLedgerError:
            continue
        assert events
        for event in events:
            before = state.phase if state else None
            opened = state or evolve(None, event, Meta(actor="", role="patient", recorded_at=at))
            meta = Meta(actor=acting_id(opened, by), role=by.role, recorded_at=at)
            journal.take(event, meta)
            state = evolve(state, event, meta)
            assert state is not None
            assert before in (None, state.phase) or (before, state.phase, type(event)) in MOVES
            assert (state.assignment is not None) == (
                state.phase in ("routed", "in_review", "signed", "delivered", "follow_up")
            )
            assert {each.record for each in state.records.values() if each.quarantined} == journal.quarantined
            REACHED[state.phase] += 1
    replayed = None
    for event, meta in journal.log:
        topic = register.of(event).topic
        replayed = evolve(replayed, register.decode(topic, encode(event)), meta)
    assert replayed == state


def test_the_walk_reaches_every_phase() -> None:
    """Otherwise the test above would show little."""
    if not REACHED:
        test_the_rules_hold_whatever_is_asked()
    assert set(REACHED) == {phase for phase, _ in b.WAY}


@given(st.lists(st.sampled_from([x for _, events in b.WAY for x in events]), max_size=30), st.data())
def test_any_payload_may_be_erased(events: list[Event], data: st.DataObject) -> None:
    """Whichever events of a story lost their payload, in whatever order: a state comes out, and reading it answers."""
    state: CaseState | None = None
    for event in (b.OPENED, *events):
        gone = data.draw(st.booleans())
        topic = register.of(event).topic
        state = evolve(state, Erased(topic) if gone else event, Meta(actor="x", role="service", recorded_at=b.NOW))
    assert state is not None
    for actor in ACTORS:
        for made, _, _ in STEPS:
            with suppress(CaseLedgerError):
                decide(state, made(state, 1), actor, b.NOW, CALENDARS)
            with suppress(CaseLedgerError):
                may_read(state, actor, "opinion", b.NOW, "opinion-1")


def opening() -> c.OpenCase:
    """The command that opens the case."""
    return c.OpenCase(**{name: getattr(b.OPENED, name) for name in b.OPENED.__struct_fields__})
