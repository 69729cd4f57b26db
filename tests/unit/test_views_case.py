"""What a case's row becomes with each event, and how it is stored."""

from typing import Any

import pytest

from application.ledger.streams import LoggedEvent
from domain.case import events as e
from domain.case.evolve import evolve
from domain.case.state import CaseState
from domain.event import Erased, Event, register
from domain.ledger.statement import Statement
from projections import case_view
from projections.case_view import Row
from tests import cases_fixture as cases

VIEW = case_view.PROJECTION
SEALED = VIEW.column_names().index("sealed")


class Plain:
    """Seals that hide nothing; without a key they give nothing."""

    def __init__(self, *, key: bool = True) -> None:
        self._key = key

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes | None:
        return f"{subject} {context} ".encode() + plaintext if self._key else None

    def open(self, subject: str, context: str, sealed: bytes | None) -> bytes | None:
        if sealed is None or not self._key:
            return None
        prefix = f"{subject} {context} ".encode()
        assert sealed.startswith(prefix)
        return sealed.removeprefix(prefix)


PLAIN: Any = Plain()
GONE: Any = Plain(key=False)


def logged(index: int, event: Event | Erased, *, stream: str = "case-one", case: str | None = "one") -> LoggedEvent:
    """An event at its place in the log and, as if nothing else were there, in its stream."""
    topic = event.topic if isinstance(event, Erased) else register.of(event).topic
    return LoggedEvent(
        originator_id=stream,
        originator_version=index + 1,
        event=event,
        statement=Statement(
            origin="ledger.example/test",
            stream=stream,
            rev=index + 1,
            prev=cases.DIGEST if index else None,
            case=case,
            kind=topic,
            actor="coordinator-1",
            role="coordinator",
            recorded_at=1_000 + index,
            cause="cause-1",
            purpose="TREAT",
        ),
        index=index,
        leaf=cases.DIGEST,
        committed_at=2_000 + index,
    )


def folded(*events: Event | Erased, row: Row | None = None, start: int = 0) -> Row:
    """The row after some events."""
    for index, event in enumerate(events, start):
        row = VIEW.fold(row, logged(index, event))
    assert row is not None
    return row


def columns(row: Row, seals: Any = PLAIN) -> dict[str, Any]:
    """A row as it is stored, by column."""
    return dict(zip(VIEW.column_names(), VIEW.store(row, seals), strict=True))


def test_the_row_is_the_state_of_the_case() -> None:
    """The content holds what the case's own fold gives, and the latest revision, index and time."""
    state: CaseState | None = None
    events = cases.up_to_accepted()
    for index, event in enumerate(events):
        state = evolve(state, event, logged(index, event).meta())
    row = folded(*events)
    assert row.content is not None
    assert row.content.state == state
    assert (row.revision, row.last_index, row.opened_at, row.changed_at) == (12, 11, 1_000, 1_011)
    assert row.content.original == events[1]


def test_a_stored_row_is_folded_on_as_if_it_had_never_been_stored() -> None:
    """At every cut, storing and restoring in between gives equal bytes in the end."""
    events = [*cases.up_to_accepted(), cases.opinion(), cases.consent("share_opinion")]
    whole = VIEW.store(folded(*events), PLAIN)
    assert VIEW.restore is not None
    for cut in range(1, len(events)):
        restored = VIEW.restore(VIEW.store(folded(*events[:cut]), PLAIN), PLAIN)
        assert VIEW.store(folded(*events[cut:], row=restored, start=cut), PLAIN) == whole


def test_mappings_keep_the_order_of_arrival() -> None:
    """What arrived first stands first after a row was stored, whatever its name."""
    names = ["record-z", "record-a", "record-m"]
    row = folded(cases.opened(), *map(cases.record, names))
    assert VIEW.restore is not None
    restored = VIEW.restore(VIEW.store(row, PLAIN), PLAIN)
    assert restored.content is not None
    assert restored.content.state is not None
    assert list(restored.content.state.records) == names


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (1, {"phase": "intake", "coordinator": None, "clock": None}),
        (9, {"phase": "imaging_check", "coordinator": "coordinator-1", "imaging_verdict": "adequate"}),
        (10, {"phase": "ready", "clock": "running", "due_from": "2026-01-13", "assignee": None}),
        (11, {"phase": "routed", "assignee": "surgeon-1"}),
        (12, {"phase": "in_review", "due_by": "2026-01-16"}),
    ],
)
def test_the_queue_reads_its_columns_in_clear(count: int, wanted: dict[str, Any]) -> None:
    """Phase, staff, verdict, due days and clock stand in columns of their own."""
    stored = columns(folded(*cases.up_to_accepted()[:count]))
    assert {name: stored[name] for name in wanted} == wanted


def test_the_clock_stops_at_delivery_and_pauses_without_consent() -> None:
    """A delivered opinion stops the clock; a withdrawn consent to review pauses it."""
    accepted = cases.up_to_accepted()
    delivered = e.OpinionDelivered(opinion="opinion-1", version=1, channel="portal")
    assert columns(folded(*accepted, cases.opinion(), delivered))["clock"] == "stopped"
    withdrawn = columns(folded(*accepted, e.ConsentWithdrawn(consent="consent-review-0")))
    assert (withdrawn["clock"], withdrawn["assignee"], withdrawn["phase"]) == ("paused", None, "gathering")


def test_without_its_key_a_row_says_only_that_there_was_a_case() -> None:
    """Where the case's key is gone, whatever came from its events is gone from the row."""
    stored = columns(folded(*cases.up_to_accepted()), GONE)
    kept = {name: value for name, value in stored.items() if value is not None}
    assert kept == {
        "case_id": "one",
        "revision": 12,
        "last_index": 11,
        "opened_at": 1_000,
        "changed_at": 1_011,
        "phase": "erased",
    }


def test_an_erased_row_stays_erased() -> None:
    """Once a row was erased later events move revision and time and bring nothing back, even with a key at hand."""
    events = cases.up_to_accepted()
    assert VIEW.restore is not None
    blinded = VIEW.restore(VIEW.store(folded(*events), GONE), PLAIN)
    after = folded(cases.consent("share_opinion"), row=blinded, start=12)
    stored = columns(after)
    assert (stored["phase"], stored["revision"], stored["changed_at"], stored["sealed"]) == ("erased", 13, 1_012, None)


def test_an_erased_event_is_folded_as_one() -> None:
    """An opening whose payload is gone leaves a row without it, while the case's key is there."""
    row = folded(Erased("case.opened.v1"), *cases.up_to_accepted()[1:4])
    assert row.content is not None
    assert row.content.opened is None
    assert columns(row)["coordinator"] == "coordinator-1"


@pytest.mark.parametrize(
    ("stream", "case"), [("access-1", "one"), ("patient-1", None), ("case-two", "one"), ("case-one", None)]
)
def test_only_the_stream_of_a_case_changes_it(stream: str, case: str | None) -> None:
    """Entries that merely name a case, or none, are of no concern."""
    assert VIEW.key(logged(0, cases.opened(), stream=stream, case=case)) is None
    assert VIEW.key(logged(0, cases.opened())) == "one"
