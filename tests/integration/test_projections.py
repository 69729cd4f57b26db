"""Live views: what the follower folds, when, and what is left of it when something goes wrong."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from msgspec.structs import replace

from application.ledger.streams import LoggedEvent
from domain.case import events as e
from domain.errors import EntryAltered, PayloadAltered
from projections import case_view, schema, trail
from projections.follower import Follower, Followers, FollowerState
from projections.model import Projection
from projections.refold import refold
from tests import cases_fixture as cases
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger, open_ledger

PATIENCE_S = 20.0
FIRST = case_view.PROJECTION
TRAIL = trail.PROJECTION


@pytest.fixture
def one(database: Database, tmp_path: Path) -> Iterator[OpenLedger]:
    """An open ledger with its views installed."""
    schema.install(database.owner_url)
    with open_ledger(database, tmp_path / "data") as opened:
        yield opened


@contextmanager
def following(
    database: Database, one: OpenLedger, projection: Projection[Any] = FIRST, **options: Any
) -> Iterator[Follower]:
    """A follower that is stopped at the end."""
    follower = Follower(projection, one.ledger, one.keyring, database.service_url, **options)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def until(follower: Follower, wanted: Callable[[FollowerState], bool]) -> FollowerState:
    """The first state of a follower that is as wanted."""
    with follower._moved:
        assert follower._moved.wait_for(lambda: wanted(follower._state), PATIENCE_S), follower._state
        return follower._state


def rows(database: Database, table: str) -> list[tuple[Any, ...]]:
    """A view's rows as they stand."""
    with psycopg.connect(database.owner_url) as connection:
        return connection.execute(f"SELECT * FROM views.{table} ORDER BY 1").fetchall()


def erase(database: Database, subject: str) -> None:
    """What erasure does to a subject's key."""
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("INSERT INTO ledger.fence (subject) VALUES (%s)", (subject,))
        assert connection.execute("DELETE FROM ledger.subject_key WHERE subject = %s", (subject,)).rowcount == 1


def test_an_empty_log_is_followed_from_the_first_moment(database: Database, one: OpenLedger) -> None:
    """Over an empty log a follower has caught up, and shows nothing."""
    with following(database, one) as follower:
        state = until(follower, lambda state: state.status == "following")
        assert (state.position, state.head, state.error) == (0, 0, None)
        assert case_view.get(one.pool, one.keyring, "nobody") is None
        assert trail.of_case(one.pool, one.keyring, "nobody", content=True) == []


def test_what_was_appended_can_be_read_back(database: Database, one: OpenLedger) -> None:
    """Who waits for the position of an append reads the case as it is after it."""
    with following(database, one) as follower:
        size = cases.add_cases(one, ["one", "other"])
        assert follower.wait_for(size, PATIENCE_S) == size
        view = case_view.get(one.pool, one.keyring, "one")
        assert view is not None
        assert (view.revision, view.last_index, view.phase) == (12, 11, "in_review")
        assert (view.coordinator, view.assignee, view.imaging_verdict) == ("coordinator-1", "surgeon-1", "adequate")
        assert (view.due_from, view.due_by, view.clock) == ("2026-01-14", "2026-01-16", "running")
        assert view.content is not None
        assert view.content.opened == cases.opened(0)
        signed = cases.add_opinion(one, "one", cases.opinion()).receipt.index + 1
        assert follower.wait_for(signed, PATIENCE_S) == signed
        view = case_view.get(one.pool, one.keyring, "one")
        assert view is not None
        assert view.content is not None
        assert view.phase == "signed"
        assert view.content.opinions["opinion-1"].surgery_recommended


def test_the_trail_names_every_entry_of_a_case_in_order(database: Database, one: OpenLedger) -> None:
    """Events and accesses of a case stand in its trail, newest last, a page at a time, and nothing of other cases."""
    with following(database, one, TRAIL) as follower:
        cases.add_cases(one, ["one", "other"])
        leaf = cases.add_access(one, "one", 1).receipt.leaf
        cases.add_access(one, "other", 2)
        size = cases.add_more(one, "one", e.CoordinatorAssigned(coordinator="coordinator-2"))[0].receipt.index + 1
        assert follower.wait_for(size, PATIENCE_S) == size
    whole = trail.of_case(one.pool, one.keyring, "one", content=True)
    assert [each.index for each in whole] == [*range(12), 24, 26]
    assert {each.case for each in whole} == {"one"}
    access = whole[-2]
    assert (access.kind, access.object, access.outcome, access.leaf) == ("access.recorded.v1", "one", "allowed", leaf)
    assert access.summary == "case, on the basis: assigned"
    assert whole[-1].summary == "coordinator-2"
    page = trail.of_case(one.pool, one.keyring, "one", content=True, after=10, limit=2)
    assert page == whole[11:13]
    blind = trail.of_case(one.pool, one.keyring, "one", content=False)
    assert [replace(each, summary=None) for each in whole] == blind
    assert not any(each.erased for each in blind)


def test_an_access_changes_no_case(database: Database, one: OpenLedger) -> None:
    """An access names a case and leaves its view alone, and yet moves the view's position."""
    with following(database, one) as follower:
        cases.add_cases(one, ["one"])
        size = cases.add_access(one, "one", 1).receipt.index + 1
        assert follower.wait_for(size, PATIENCE_S) == size
    view = case_view.get(one.pool, one.keyring, "one")
    assert view is not None
    assert view.last_index == 11
    assert schema.position(one.pool, "case_view") == size


def test_nothing_personal_stands_in_clear(database: Database, one: OpenLedger) -> None:
    """No word about the patient is found in the tables of the views."""
    followers = Followers(one.ledger, one.keyring, database.service_url)
    followers.start()
    try:
        cases.add_cases(one, ["one"])
        size = cases.add_opinion(one, "one", cases.opinion()).receipt.index + 1
        assert [followers.wait_for(name, size, PATIENCE_S) for name in ("case_view", "trail")] == [size, size]
    finally:
        followers.stop()
    assert [each.status for each in followers.states()] == ["stopped", "stopped"]
    stored = repr([rows(database, table) for table in ("case_view", "trail", "position")])
    assert "coordinator-1" in stored
    assert [word for word in cases.SECRETS if word in stored] == []


def test_a_view_that_fell_behind_catches_up_in_batches(database: Database, one: OpenLedger) -> None:
    """What was appended while nobody followed is folded batch by batch, each one transaction."""
    size = cases.add_cases(one, [f"case-{number}" for number in range(40)])
    seen: list[tuple[int, int]] = []
    read = one.ledger.read

    def counted(start: int, stop: int) -> list[LoggedEvent]:
        seen.append((start, stop))
        return read(start, stop)

    one.ledger.read = counted  # type: ignore[method-assign]
    with following(database, one, batch=100) as follower:
        assert follower.wait_for(size, PATIENCE_S) == size
    assert seen == [(0, 100), (100, 200), (200, 300), (300, 400), (400, 480)]
    assert len(rows(database, "case_view")) == 40


def test_a_notification_wakes_the_follower(database: Database, one: OpenLedger) -> None:
    """An append is folded when it happens, long before the next poll."""
    with following(database, one, poll_s=3600) as follower:
        until(follower, lambda state: state.status == "following")
        for number in range(20):
            size = cases.add_cases(one, [f"case-{number}"])
            assert follower.wait_for(size, PATIENCE_S) == size


def test_a_lost_notification_costs_a_poll(database: Database, one: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no wake-up ever comes, the follower looks by itself."""
    monkeypatch.setattr(psycopg.Connection, "notifies", lambda *_, **__: iter(()))
    execute = psycopg.Connection.execute

    def deaf(self: psycopg.Connection, query: Any, *args: Any, **kwargs: Any) -> Any:
        return execute(self, "SELECT 1" if query == "LISTEN ledger" else query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "execute", deaf)
    with following(database, one, poll_s=0.05) as follower:
        until(follower, lambda state: state.status == "following")
        size = cases.add_cases(one, ["one"])
        assert follower.wait_for(size, PATIENCE_S) == size


def test_of_two_followers_one_leads(database: Database, one: OpenLedger) -> None:
    """The second follower of a view stands by, knows how far the leader is, and takes over when it stops."""
    with following(database, one, poll_s=0.1) as first:
        until(first, lambda state: state.status == "following")
        with following(database, one, poll_s=0.1) as second:
            until(second, lambda state: state.status == "standby")
            size = cases.add_cases(one, ["one"])
            assert [each.wait_for(size, PATIENCE_S) for each in (first, second)] == [size, size]
            assert second.state().status == "standby"
            first.stop()
            until(second, lambda state: state.status == "following")
            size = cases.add_cases(one, ["other"])
            assert second.wait_for(size, PATIENCE_S) == size
        assert first.state().status == "stopped"
    assert len(rows(database, "case_view")) == 2


LEADER = """
import sys, time
from pathlib import Path
from application.ledger.keyring import Keyring
from projections.follower import Follower
from projections.registry import PROJECTIONS
from tests.ledger_fixture import opened

with opened(sys.argv[1], Path(sys.argv[2]), start=False) as one:
    read = one.ledger.read
    def slow(start, stop):
        events = read(start, stop)
        if start >= 100:
            print("in a batch", flush=True)
            time.sleep(3600)
        return events
    one.ledger.read = slow
    projection = next(each for each in PROJECTIONS if each.name == "trail")
    Follower(projection, one.ledger, one.keyring, sys.argv[1], batch=100).start()
    time.sleep(3600)
"""


def test_a_leader_killed_in_a_batch_leaves_nothing_of_it(database: Database, one: OpenLedger, tmp_path: Path) -> None:
    """When a process is killed in the middle of a batch, another takes over: no entry is folded twice, none is lost."""
    size = cases.add_cases(one, [f"case-{number}" for number in range(20)])
    command = [sys.executable, "-c", LEADER, database.service_url, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as leader:
        assert leader.stdout is not None
        try:
            assert leader.stdout.readline() == b"in a batch\n"
            with following(database, one, TRAIL, poll_s=0.1) as follower:
                state = until(follower, lambda state: state.status == "standby")
                assert state.position == 100
                leader.send_signal(signal.SIGKILL)
                assert follower.wait_for(size, PATIENCE_S) == size
        finally:
            leader.kill()
    assert [row[0] for row in rows(database, "trail")] == list(range(size))


def test_a_lost_connection_is_made_again(database: Database, one: OpenLedger) -> None:
    """A batch whose connection dies leaves nothing, and is folded anew over another connection."""
    size = cases.add_cases(one, [f"case-{number}" for number in range(20)])
    read, killed = one.ledger.read, threading.Event()

    def killing(start: int, stop: int) -> list[LoggedEvent]:
        if start >= 100 and not killed.is_set():
            killed.set()
            with psycopg.connect(database.superuser_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                )
        return read(start, stop)

    one.ledger.read = killing  # type: ignore[method-assign]
    with following(database, one, TRAIL, batch=100) as follower:
        assert follower.wait_for(size, PATIENCE_S) == size
        assert killed.is_set()
    assert [row[0] for row in rows(database, "trail")] == list(range(size))


def test_a_fold_that_fails_stops_its_view_at_the_entry(database: Database, one: OpenLedger) -> None:
    """What comes before the entry is folded, the rest waits until the fold is mended; other views go on."""
    cases.add_cases(one, [f"case-{number}" for number in range(3)])
    broken = threading.Event()
    broken.set()

    def failing(row: Any, event: LoggedEvent) -> Any:
        if broken.is_set() and event.index == 20:
            raise ValueError(f"{cases.DIAGNOSIS} cannot be folded")
        return FIRST.fold(row, event)

    with (
        structlog.testing.capture_logs() as logged,
        following(database, one, replace(FIRST, fold=failing)) as follower,
        following(database, one, TRAIL) as other,
    ):
        state = until(follower, lambda state: state.failures >= 2)
        assert (state.status, state.position, state.error) == ("failing", 20, "ValueError")
        assert other.wait_for(36, PATIENCE_S) == 36
        assert follower.wait_for(36, 0.0) == 20
        broken.clear()
        assert follower.wait_for(36, PATIENCE_S) == 36
        assert (follower.state().error, follower.state().failures) == (None, 0)
    assert {"view.failing"} == {each["event"] for each in logged}
    assert "segments" not in repr(logged)
    assert [row[:3] for row in rows(database, "case_view")] == [(f"case-{n}", 12, n * 12 + 11) for n in range(3)]


@pytest.mark.parametrize("error", [EntryAltered, PayloadAltered])
def test_a_ledger_that_contradicts_itself_is_not_tried_again(
    database: Database, one: OpenLedger, error: type[Exception]
) -> None:
    """When an entry is not what was appended, the view stops for good and says why."""
    cases.add_cases(one, ["one"])
    tries: list[int] = []

    def contradicting(start: int, stop: int) -> list[LoggedEvent]:
        tries.append(start)
        raise error

    one.ledger.read = contradicting  # type: ignore[method-assign]
    with following(database, one, batch=1) as follower:
        state = until(follower, lambda state: state.status == "stopped")
        assert state.error == error("").code  # type: ignore[attr-defined]
        started = time.monotonic()
        assert follower.wait_for(12, PATIENCE_S) == 0
        assert time.monotonic() - started < PATIENCE_S / 2
    assert tries == [0]


def test_missing_entries_are_a_fault(database: Database, one: OpenLedger) -> None:
    """A hole below the head is never skipped."""
    cases.add_cases(one, ["one"])
    read = one.ledger.read
    one.ledger.read = lambda start, stop: [  # type: ignore[method-assign]
        each for each in read(start, stop) if each.index != 5
    ]
    with following(database, one) as follower:
        state = until(follower, lambda state: state.status == "stopped")
        assert (state.error, state.position) == ("chain-broken", 5)


def test_a_view_of_another_version_stands_still(database: Database, one: OpenLedger) -> None:
    """A view that another version folded is neither folded on nor made anew, until it is rebuilt."""
    cases.add_cases(one, ["one"])
    with following(database, one) as follower:
        assert follower.wait_for(12, PATIENCE_S) == 12
    newer = replace(FIRST, version=2)
    assert schema.install(database.owner_url, (newer, TRAIL)) == ["case_view"]
    cases.add_cases(one, ["other"])
    with following(database, one, newer) as follower:
        state = until(follower, lambda state: state.failures >= 1)
        assert (state.status, state.error) == ("failing", "misconfigured")
    assert schema.position(one.pool, "case_view") == 12
    assert schema.install(database.owner_url) == []


def test_waiting_ends_when_time_runs_out(database: Database, one: OpenLedger) -> None:
    """Who waits for a position that does not come is told how far the view is."""
    with following(database, one) as follower:
        size = cases.add_cases(one, ["one"])
        assert follower.wait_for(size + 1, 0.3) == size


def test_an_erased_case_leaves_its_rows_and_nothing_else(database: Database, one: OpenLedger) -> None:
    """Without the case's key the case shows as erased, its trail keeps every row, and other cases are as before."""
    followers = Followers(one.ledger, one.keyring, database.service_url)
    followers.start()
    try:
        size = cases.add_cases(one, ["one", "other"])
        for name in ("case_view", "trail"):
            assert followers.wait_for(name, size, PATIENCE_S) == size
        other = case_view.get(one.pool, one.keyring, "other")
        erase(database, "case:one")
        assert refold(one.ledger, one.pool, one.keyring, "case:one") == ["one"]
        assert rows(database, "case_view")[0][5:] == ("erased", *[None] * 7)
        view = case_view.get(one.pool, one.keyring, "one")
        assert view is not None
        assert (view.revision, view.last_index, view.content) == (12, 11, None)
        whole = trail.of_case(one.pool, one.keyring, "one", content=True)
        assert [each.index for each in whole] == list(range(12))
        assert [each.kind for each in whole if not each.erased] == [
            "case.consent_granted.v1",
            "case.consent_granted.v1",
            "record.received.v1",
        ]
        assert case_view.get(one.pool, one.keyring, "other") == other
        # The case goes on: entries about what is left may follow, and bring nothing back.
        size = cases.add_more(one, "one", cases.consent("share_opinion"))[0].receipt.index + 1
        for name in ("case_view", "trail"):
            assert followers.wait_for(name, size, PATIENCE_S) == size
        view = case_view.get(one.pool, one.keyring, "one")
        assert view is not None
        assert (view.revision, view.phase, view.content) == (13, "erased", None)
    finally:
        followers.stop()


def test_a_key_that_is_gone_blinds_reading_at_once(database: Database, one: OpenLedger) -> None:
    """Before anything was folded anew, nothing of an erased case is shown."""
    size = cases.add_cases(one, ["one"])
    with following(database, one) as follower, following(database, one, TRAIL) as other:
        assert [each.wait_for(size, PATIENCE_S) for each in (follower, other)] == [size, size]
    erase(database, "case:one")
    one.keyring.forget("case:one")
    view = case_view.get(one.pool, one.keyring, "one")
    assert view is not None
    assert (view.phase, view.assignee, view.content) == ("erased", None, None)
    assert trail.of_case(one.pool, one.keyring, "one", content=True)[0].erased


def test_an_erased_record_leaves_the_rest_of_its_case(database: Database, one: OpenLedger) -> None:
    """A record that is erased alone is gone from its case's view; the case itself can be read."""
    size = cases.add_cases(one, ["one"])
    with following(database, one) as follower:
        assert follower.wait_for(size, PATIENCE_S) == size
    erase(database, "record:record-0")
    assert refold(one.ledger, one.pool, one.keyring, "record:record-0") == ["one"]
    view = case_view.get(one.pool, one.keyring, "one")
    assert view is not None
    assert view.content is not None
    assert view.content.state is not None
    assert view.content.state.records == {}
    assert view.content.opened == cases.opened(0)


def test_a_row_that_somebody_else_wrote_does_not_open(database: Database, one: OpenLedger) -> None:
    """A sealed column that was moved from one case to another is refused when it is read."""
    size = cases.add_cases(one, ["one", "other"])
    with following(database, one) as follower:
        assert follower.wait_for(size, PATIENCE_S) == size
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(
            "UPDATE views.case_view SET sealed = (SELECT sealed FROM views.case_view WHERE case_id = 'other')"
            " WHERE case_id = 'one'"
        )
    with pytest.raises(PayloadAltered):
        case_view.get(one.pool, one.keyring, "one")
