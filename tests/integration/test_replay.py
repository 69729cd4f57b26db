"""Folding the log anew: whether live views equal it, and new tables in place of the old."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from application.ledger.streams import LoggedEvent
from domain.errors import EntryAltered, Unavailable
from projections import case_view, rebuild, schema, trail
from projections.comparing import Difference
from projections.follower import Followers
from projections.model import Projection
from projections.refold import refold
from projections.registry import PROJECTIONS
from tests import cases_fixture as cases
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger, open_ledger

PATIENCE_S = 20.0
CASES = ["case-b", "case-a", "case-c"]


@pytest.fixture
def one(database: Database, tmp_path: Path) -> Iterator[OpenLedger]:
    """An open ledger with its views installed."""
    schema.install(database.owner_url)
    with open_ledger(database, tmp_path / "data") as opened:
        yield opened


def follow(database: Database, one: OpenLedger, size: int) -> None:
    """Fold everything into the live views, then stop."""
    followers = Followers(one.ledger, one.keyring, database.service_url)
    followers.start()
    try:
        assert [followers.wait_for(each.name, size, PATIENCE_S) for each in PROJECTIONS] == [size, size]
    finally:
        followers.stop()


@pytest.fixture
def followed(database: Database, one: OpenLedger) -> OpenLedger:
    """Three cases and an access, folded."""
    cases.add_cases(one, CASES)
    follow(database, one, cases.add_access(one, "case-a", 1).receipt.index + 1)
    return one


def damage(database: Database, statement: str) -> None:
    """Change a view behind its follower's back."""
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute(statement).rowcount == 1


def differences(one: OpenLedger, **options: Any) -> list[Difference | None]:
    """What `check` finds, a view each."""
    return [each.difference for each in rebuild.check(one.ledger, one.pool, one.keyring, **options)]


def oids(database: Database) -> list[int]:
    """Which tables the live views are."""
    with psycopg.connect(database.owner_url) as connection:
        return [
            row[0]
            for row in connection.execute("SELECT c.oid FROM pg_class c WHERE relnamespace = 'views'::regnamespace"
            " AND relname = ANY(%s) ORDER BY relname", ([each.name for each in PROJECTIONS],))
        ]  # fmt: skip


def test_views_of_an_empty_log_equal_it(one: OpenLedger) -> None:
    """Of nothing there is nothing, and it compares equal."""
    for comparison in rebuild.check(one.ledger, one.pool, one.keyring):
        assert (comparison.equal, comparison.position, comparison.rows) == (True, 0, 0)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_live_views_equal_the_log(followed: OpenLedger, batch: int) -> None:
    """However the log is cut into batches, the views folded from it have equal digests."""
    comparisons = rebuild.check(followed.ledger, followed.pool, followed.keyring, batch=batch)
    assert [(each.projection, each.rows, each.position) for each in comparisons] == [
        ("case_view", 3, 37),
        ("trail", 37, 37),
    ]
    for comparison in comparisons:
        assert comparison.equal
        assert comparison.live_digest == comparison.replayed_digest
        assert comparison.difference is None


def test_a_check_goes_as_far_as_the_view(followed: OpenLedger) -> None:
    """A view that lags behind equals the log up to where it is."""
    cases.add_more(followed, "case-a", cases.consent("share_opinion"))
    comparisons = rebuild.check(followed.ledger, followed.pool, followed.keyring)
    assert [(each.equal, each.position) for each in comparisons] == [(True, 37), (True, 37)]


def test_a_check_leaves_nothing_behind(database: Database, followed: OpenLedger) -> None:
    """After a check there are no tables but the live ones, and they are the same."""
    before = oids(database)
    for _ in range(3):
        assert differences(followed) == [None, None]
    with psycopg.connect(database.owner_url) as connection:
        tables = connection.execute("SELECT relname FROM pg_class WHERE relname IN ('case_view', 'trail')").fetchall()
    assert len(tables) == 2
    assert oids(database) == before


@pytest.mark.parametrize(
    ("statement", "table", "key", "what"),
    [
        ("UPDATE views.case_view SET phase = 'closed' WHERE case_id = 'case-b'", "case_view", "case-b", "altered"),
        ("UPDATE views.case_view SET sealed = NULL WHERE case_id = 'case-a'", "case_view", "case-a", "altered"),
        (
            "UPDATE views.case_view SET sealed = set_byte(sealed, 9, get_byte(sealed, 9) # 1) WHERE case_id = 'case-c'",
            "case_view",
            "case-c",
            "altered",
        ),
        ("DELETE FROM views.case_view WHERE case_id = 'case-c'", "case_view", "case-c", "missing"),
        (
            "INSERT INTO views.case_view SELECT 'case-aa', 1, 1, 1, 1, 'intake'",
            "case_view",
            "case-aa",
            "extra",
        ),
        ("UPDATE views.trail SET actor = 'nobody' WHERE index = 36", "trail", 36, "altered"),
        ("DELETE FROM views.trail WHERE index = 9", "trail", 9, "missing"),
        ("UPDATE views.trail SET index = 99 WHERE index = 36", "trail", 36, "missing"),
    ],
)
def test_a_row_that_somebody_changed_is_named(
    database: Database, followed: OpenLedger, statement: str, table: str, key: str | int, what: Any
) -> None:
    """A check names table and key of the first row that is not what the log says; a rebuild puts it right."""
    damage(database, statement)
    by_name = {each.projection: each for each in rebuild.check(followed.ledger, followed.pool, followed.keyring)}
    damaged = by_name.pop(table)
    assert not damaged.equal
    assert damaged.live_digest != damaged.replayed_digest
    assert damaged.difference == Difference(table=table, key=key, what=what)
    assert [each.equal for each in by_name.values()] == [True]
    found = rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring)
    assert [each.difference for each in found if not each.equal] == [damaged.difference]
    assert differences(followed) == [None, None]


def test_a_rebuild_puts_new_tables_in_place(database: Database, followed: OpenLedger) -> None:
    """The new tables show what the old ones did, and followers fill them on from where they were."""
    before = oids(database)
    view = case_view.get(followed.pool, followed.keyring, "case-a")
    comparisons = rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring)
    assert [each.equal for each in comparisons] == [True, True]
    assert not set(before) & set(oids(database))
    assert case_view.get(followed.pool, followed.keyring, "case-a") == view
    size = cases.add_more(followed, "case-a", cases.consent("share_opinion"))[0].receipt.index + 1
    follow(database, followed, size)
    assert differences(followed) == [None, None]


def test_readers_never_see_half_a_view(database: Database, one: OpenLedger) -> None:
    """While events come in and views are rebuilt again and again, nobody who looks sees fewer rows than before."""
    first = cases.add_cases(one, CASES)
    followers = Followers(one.ledger, one.keyring, database.service_url)
    followers.start()
    ended, seen, failed = threading.Event(), [0], []

    def look() -> None:
        try:
            while not ended.is_set():
                entries = len(trail.of_case(one.pool, one.keyring, "case-a", content=False))
                view = case_view.get(one.pool, one.keyring, "case-a")
                assert view is not None
                assert entries >= seen[-1]
                seen.append(entries)
        except Exception as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    try:
        assert [followers.wait_for(each.name, first, PATIENCE_S) for each in PROJECTIONS] == [first, first]
        reader = threading.Thread(target=look)
        reader.start()
        size = first
        for number in range(5):
            for _ in range(5):
                size = cases.add_more(one, "case-a", cases.consent("review", number))[0].receipt.index + 1
            compared = rebuild.rebuild(database.owner_url, one.ledger, one.keyring, batch=10)
            assert [each.equal for each in compared] == [True, True]
        assert [followers.wait_for(each.name, size, PATIENCE_S) for each in PROJECTIONS] == [size, size]
        ended.set()
        reader.join()
    finally:
        ended.set()
        followers.stop()
    assert failed == []
    assert len(seen) > 10
    assert differences(one) == [None, None]


def test_a_check_while_events_come_in_compares_one_instant(database: Database, one: OpenLedger) -> None:
    """A view that moves while it is checked is compared as it was at one instant."""
    first = cases.add_cases(one, CASES)
    followers = Followers(one.ledger, one.keyring, database.service_url)
    followers.start()
    try:
        assert [followers.wait_for(each.name, first, PATIENCE_S) for each in PROJECTIONS] == [first, first]
        read = one.ledger.read
        moved: list[int] = []

        def moving(start: int, stop: int) -> list[LoggedEvent]:
            if threading.current_thread() is threading.main_thread() and len(moved) < 3:
                size = cases.add_more(one, "case-a", cases.consent("review"))[0].receipt.index + 1
                moved.append(followers.wait_for("case_view", size, PATIENCE_S))
            return read(start, stop)

        one.ledger.read = moving  # type: ignore[method-assign]
        comparisons = rebuild.check(one.ledger, one.pool, one.keyring, batch=10)
    finally:
        followers.stop()
    assert [each.equal for each in comparisons] == [True, True]
    assert comparisons[0].position == first + 3


def test_a_view_of_another_version_is_rebuilt(database: Database, followed: OpenLedger) -> None:
    """A check says that another version folded the view; a rebuild makes it this version's, columns and all."""
    newer = replace(trail.PROJECTION, version=trail.PROJECTION.version + 1)
    views: tuple[Projection[Any], ...] = (case_view.PROJECTION, newer)
    outdated = Difference(table="trail", key=None, what="outdated")
    assert differences(followed, projections=views) == [None, outdated]
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("ALTER TABLE views.trail DROP COLUMN purpose")
    compared = rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring, views)
    assert [each.difference for each in compared] == [None, outdated]
    assert schema.install(database.owner_url, views) == []
    assert differences(followed, projections=views) == [None, None]
    assert len(trail.of_case(followed.pool, followed.keyring, "case-a", content=True)) == 13


def test_a_rebuild_that_fails_changes_nothing(database: Database, followed: OpenLedger) -> None:
    """Where the log cannot be folded the live views stay, and nothing else is left."""
    before, read = oids(database), followed.ledger.read

    def failing(start: int, stop: int) -> list[LoggedEvent]:
        if start >= 20:
            raise EntryAltered("entry 20 does not hash to its leaf")
        return read(start, stop)

    followed.ledger.read = failing  # type: ignore[method-assign]
    with pytest.raises(EntryAltered):
        rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring, batch=10)
    followed.ledger.read = read  # type: ignore[method-assign]
    assert oids(database) == before
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("SELECT to_regnamespace('views_next')").fetchone() == (None,)
    assert differences(followed) == [None, None]


def test_what_a_killed_rebuild_left_is_in_nobodys_way(database: Database, followed: OpenLedger) -> None:
    """Half-filled tables of a rebuild that was killed are dropped by the next one."""
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("CREATE SCHEMA views_next")
        schema.create(connection, "views_next", trail.PROJECTION)
    compared = rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring)
    assert [each.equal for each in compared] == [True, True]


def test_one_rebuild_at_a_time(database: Database, followed: OpenLedger) -> None:
    """A second rebuild is refused while one runs."""
    read, refused = followed.ledger.read, []

    def reading(start: int, stop: int) -> list[LoggedEvent]:
        followed.ledger.read = read  # type: ignore[method-assign]
        with pytest.raises(Unavailable) as error:
            rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring)
        refused.append(error.value.code)
        return read(start, stop)

    followed.ledger.read = reading  # type: ignore[method-assign]
    rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring, batch=10)
    assert refused == ["unavailable"]


def test_a_reader_that_holds_a_view_makes_the_swap_wait(
    database: Database, followed: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's open transaction is not cut off: the swap is tried again, and done when the reader is gone."""
    swap, tries = rebuild._swap, []
    reader = psycopg.connect(database.service_url)

    def counted(connection: psycopg.Connection, *args: Any) -> Any:
        tries.append(None)
        if len(tries) > 1:
            reader.close()
        else:
            cases.add_more(followed, "case-a", cases.consent("review"))
            real = connection.execute

            def impatient(query: Any, *more: Any, **options: Any) -> Any:
                query = "SET LOCAL lock_timeout = '200ms'" if str(query).startswith("SET LOCAL") else query
                return real(query, *more, **options)

            monkeypatch.setattr(connection, "execute", impatient)
        return swap(connection, *args)

    monkeypatch.setattr(rebuild, "_swap", counted)
    with reader:
        reader.execute("SELECT 1 FROM views.trail LIMIT 1")
        compared = rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring)
    assert len(tries) == 2
    assert [each.equal for each in compared] == [True, True]
    assert differences(followed) == [None, None]


@pytest.mark.parametrize(
    ("subject", "named"),
    [("case:case-a", ["case-a", 12]), ("record:record-1", ["case-a", 19]), ("accountability:case-a", ["case-a", 16])],
)
def test_after_an_erasure_views_equal_what_is_left(
    database: Database, followed: OpenLedger, subject: str, named: list[str | int]
) -> None:
    """A check names the rows that still hold what was erased; folded anew, they equal the log again."""
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("INSERT INTO ledger.fence (subject) VALUES (%s)", (subject,))
        connection.execute("DELETE FROM ledger.subject_key WHERE subject = %s", (subject,))
    followed.keyring.forget(subject)
    assert [each.key if each else None for each in differences(followed)] == named
    refold(followed.ledger, followed.pool, followed.keyring, subject)
    assert differences(followed) == [None, None]
    assert [each.equal for each in rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring)] == [
        True,
        True,
    ]


def test_ten_thousand_events_are_folded_in_ten_batches(database: Database, one: OpenLedger) -> None:
    """A long log is read a thousand entries at a time, once for all views."""
    number = 84
    size = 0
    for case in range(number):
        events = [cases.opened(case), *(cases.consent("review", each) for each in range(119))]
        size = cases.add_cases(one, [f"case-{case}"], events)
    assert size > 10_000
    follow(database, one, size)
    read, seen = one.ledger.read, []

    def counted(start: int, stop: int) -> list[LoggedEvent]:
        seen.append(stop - start)
        return read(start, stop)

    one.ledger.read = counted  # type: ignore[method-assign]
    assert differences(one) == [None, None]
    assert seen == [1000] * 10 + [size - 10_000]


def test_views_at_different_positions_are_each_checked_at_their_own(database: Database, followed: OpenLedger) -> None:
    """One view is ahead of another: each equals the log up to where it is, before and after a rebuild."""
    size = cases.add_more(followed, "case-a", cases.consent("share_opinion"))[0].receipt.index + 1
    ahead = Followers(followed.ledger, followed.keyring, database.service_url, (trail.PROJECTION,))
    ahead.start()
    try:
        assert ahead.wait_for("trail", size, PATIENCE_S) == size
    finally:
        ahead.stop()
    for batch in (10, 1000):
        checked = rebuild.check(followed.ledger, followed.pool, followed.keyring, batch=batch)
        rebuilt = rebuild.rebuild(database.owner_url, followed.ledger, followed.keyring, batch=batch)
        assert [(each.position, each.equal) for each in checked] == [(37, True), (38, True)]
        assert rebuilt == checked


@pytest.mark.parametrize("what", ["check", "rebuild"])
def test_what_is_folded_during_the_comparison_does_not_disturb_it(
    database: Database, one: OpenLedger, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Events that come in while rows are compared leave it equal, and none of them is lost in the swap."""
    first = cases.add_cases(one, CASES)
    followers = Followers(one.ledger, one.keyring, database.service_url)
    followers.start()
    compare, sizes = rebuild.compare, [first]

    def disturbed(*args: Any) -> Any:
        sizes.append(cases.add_more(one, "case-a", cases.consent("review"))[0].receipt.index + 1)
        for each in PROJECTIONS:
            # A check lets the followers go on; a rebuild that swaps makes them wait.
            followers.wait_for(each.name, sizes[-1], PATIENCE_S if what == "check" else 0.3)
        return compare(*args)

    try:
        assert [followers.wait_for(each.name, first, PATIENCE_S) for each in PROJECTIONS] == [first, first]
        monkeypatch.setattr(rebuild, "compare", disturbed)
        if what == "check":
            comparisons = rebuild.check(one.ledger, one.pool, one.keyring)
        else:
            comparisons = rebuild.rebuild(database.owner_url, one.ledger, one.keyring)
        monkeypatch.undo()
        assert [followers.wait_for(each.name, sizes[-1], PATIENCE_S) for each in PROJECTIONS] == [sizes[-1]] * 2
    finally:
        followers.stop()
    assert [(each.position, each.equal) for each in comparisons] == [(first, True), (first, True)]
    assert differences(one) == [None, None]
