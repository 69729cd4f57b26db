"""Every trap of the event sourcing library that DESIGN.md names, shown not to catch this ledger.

Of the library's recorder nothing is left: no table, no composite type, no stored function, no lock, no retry. Ours is
handed in, and the environment is not read.
"""

import importlib
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from eventsourcing.domain import CanMutateProtocol

from application.ledger import batch, writer
from application.ledger.store import Ledger
from domain.errors import DatabaseUnavailable
from domain.event import register
from tests.conftest import Database
from tests.ledger_fixture import ACT, SUBJECT, OpenLedger, in_threads, new_event, open_ledger, some_event

GOLDEN = Path(__file__).parents[1] / "golden"
MODULES = ("domain.access", "domain.case.events", "domain.patient", "domain.signing_key", "domain.specialist")


def count(state: int | None, *_: object) -> int:
    """A fold that counts."""
    return (state or 0) + 1


def test_no_event_is_lost_for_a_follower(one: OpenLedger) -> None:
    """Trap: lost events and gaps. Read in order while 8 threads write, ids are dense, and each is its index + 1."""
    seen: list[Any] = []
    ended = threading.Event()

    def follow() -> None:
        while True:
            last = ended.is_set()
            found = one.recorder.select_notifications(len(seen), 7, inclusive_of_start=False)
            seen.extend(found)
            if last and not found:
                return

    follower = threading.Thread(target=follow)
    follower.start()

    def fill(number: int) -> None:
        after: tuple[int, str | None] = (0, None)
        for rev in range(1, 31):
            after = (rev, one.add(f"case-{number}", after=after)[0].receipt.leaf)

    assert in_threads(8, fill) == [None] * 8
    ended.set()
    follower.join(30)
    assert [each.id for each in seen] == list(range(1, 241))
    rows = one.recorder.range(0, 240)
    assert [(row.statement().stream, row.index + 1) for row in rows] == [(each.originator_id, each.id) for each in seen]
    assert one.recorder.max_notification_id() == 240


def test_selection_of_notifications(one: OpenLedger) -> None:
    """The library's own bounds hold: start and stop are inclusive, or start is not; topics select, ids stay dense."""
    one.ledger.append([new_event("case-a", rev) for rev in range(1, 7)], ACT)
    select = one.recorder.select_notifications

    def ids(*args: Any, **kwargs: Any) -> list[int]:
        return [each.id for each in select(*args, **kwargs)]

    assert ids(2, 10, 4) == [2, 3, 4]
    assert ids(2, 10, 4, inclusive_of_start=False) == [3, 4]
    assert ids(None, 2) == [1, 2]
    assert ids(1, 10, topics=["case.opened.v1"]) == []
    assert ids(5, 10, topics=["case.coordinator_assigned.v1"]) == [5, 6]
    assert [item.id for item in one.ledger.notification_log["2,4"].items] == [2, 3, 4]


def test_no_table_lock(one: OpenLedger, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: a table lock that blocks VACUUM. While an append holds the head, VACUUM runs on the ledger's tables."""
    one.add("case-a")
    released = threading.Event()
    inside = threading.Event()
    original = batch._insert

    def holding(connection: psycopg.Connection, *rest: Any) -> None:
        original(connection, *rest)
        connection.execute("SELECT 1").fetchone()
        inside.set()
        released.wait(4)

    monkeypatch.setattr(batch, "_insert", holding)
    # The way on which the transaction stays open for a while; a batch that is one statement takes the same locks.
    one.appender._writer._head = None
    try:
        future = one.appender.submit(one.sealed("case-b"))
        assert inside.wait(4)
        with psycopg.connect(database.superuser_url, autocommit=True, options="-c lock_timeout=500ms") as connection:
            locks = connection.execute(
                "SELECT DISTINCT mode FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
                " WHERE relnamespace = 'ledger'::regnamespace AND pid = %s",
                (one.appender._writer._connection.info.backend_pid,),  # type: ignore[union-attr]
            ).fetchall()
            assert (
                {"RowExclusiveLock"}
                <= {mode for (mode,) in locks}
                <= {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
            )
            for table in ("head", "entry", "root", "idempotency"):
                connection.execute(psycopg.sql.SQL("VACUUM ledger.{}").format(psycopg.sql.Identifier(table)))
        assert not future.done()
    finally:
        released.set()
    assert future.result(10).first_index == 1


def test_no_stale_cache(one: OpenLedger, database: Database, tmp_path: Path) -> None:
    """Trap: a stale cache. There is none: what another process appended is there at the next load."""
    leaf = one.add("case-a")[0].receipt.leaf
    first = one.ledger.load("case-a", count)
    assert one.ledger.repository.cache is None
    with open_ledger(database, tmp_path / "data") as two:
        two.add("case-a", after=(1, leaf))
    second = one.ledger.load("case-a", count)
    assert first is not None
    assert second is not None
    assert (first.version, second.version, second.state) == (1, 2, 2)


def test_own_projector(one: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: isinstance against a protocol for each event. Our projector folds, and the library's is never asked."""

    def asked(*_: object) -> bool:
        raise AssertionError

    one.add("case-a", some_event(), some_event())
    monkeypatch.setattr(type(CanMutateProtocol), "__instancecheck__", asked)
    monkeypatch.setattr("eventsourcing.application.project_aggregate", asked)
    loaded = one.ledger.load("case-a", count)
    monkeypatch.undo()
    assert loaded is not None
    assert loaded.state == 2
    event = one.ledger.read(0, 1)[0]
    assert not isinstance(event, CanMutateProtocol)


def test_mapper_maps_structs(one: OpenLedger) -> None:
    """Trap: the default mapper cannot map Structs. Every event of every topic comes back from the log as it went in."""
    for module in MODULES:
        importlib.import_module(module)
    events = [
        register.decode(path.name.removesuffix(".json"), path.read_bytes().strip()) for path in GOLDEN.glob("*.json")
    ]
    if not events:
        pytest.skip("there are no golden files of events")
    new = [
        new_event(f"case-{number}", 1, event)
        for number, event in enumerate(events)
        if register.of(event).topic != "opinion.signed.v1"  # counts only with its actor's signature
    ]
    one.ledger.append(new, ACT)
    assert [each.event for each in one.ledger.read(0, len(new) + 1)] == [each.event for each in new]


def test_no_retry_multiplies_a_time_out(one: OpenLedger, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: retries that make a lock's time-out last ten times. It lasts once, for a whole batch; then all is well."""
    monkeypatch.setattr(writer, "_SESSION", writer._SESSION.replace("lock_timeout=5s", "lock_timeout=600ms"))
    one.add("case-a")
    session = one.appender._writer._connected().info.backend_pid
    with psycopg.connect(database.superuser_url) as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s, 5000)", (session,))
    with psycopg.connect(database.service_url) as holder:
        holder.execute("SELECT 1 FROM ledger.head FOR UPDATE")
        first = one.appender.submit(one.sealed("case-b"))
        started = time.monotonic()
        rest = [one.appender.submit(one.sealed(f"case-{number}")) for number in range(5)]
        for future in (first, *rest):
            assert isinstance(future.exception(5), DatabaseUnavailable)
        # One batch for the first, one for all others: two time-outs at most.
        assert time.monotonic() - started < 2
    assert one.add("case-b")[0].receipt.index == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PERSISTENCE_MODULE", "eventsourcing.sqlite"),
        ("PERSISTENCE_MODULE", "no.such.module"),
        ("LEDGER_PERSISTENCE_MODULE", "no.such.module"),
        ("POSTGRES_DBNAME", "elsewhere"),
        ("POSTGRES_HOST", "192.0.2.1"),
        ("POSTGRES_ENABLE_DB_FUNCTIONS", "y"),
        ("CREATE_TABLE", "n"),
        ("CIPHER_KEY", "not a key"),
        ("CIPHER_TOPIC", "no.such:Cipher"),
        ("COMPRESSOR_TOPIC", "zlib"),
        ("TRANSCODER_TOPIC", "no.such:Transcoder"),
        ("MAPPER_TOPIC", "no.such:Mapper"),
        ("IS_SNAPSHOTTING_ENABLED", "y"),
        ("AGGREGATE_CACHE_MAXSIZE", "1000"),
        ("AGGREGATE_CACHE_FASTFORWARD", "n"),
    ],
)
def test_environment_has_no_effect(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Trap: settings from the environment. None of the library's variables changes how a ledger works."""
    monkeypatch.setenv(name, value)
    with open_ledger(database, tmp_path / "data") as one:
        one.add("case-a")
        loaded = one.ledger.load("case-a", count)
        assert loaded is not None
        assert loaded.state == 1
        assert one.ledger.snapshots is None
        assert one.ledger.repository.cache is None
        assert (one.ledger.mapper.cipher, one.ledger.mapper.compressor) == (None, None)
        assert one.recorder.rows("case-a", None, None, False, None)[0].sealed is not None


def test_nothing_of_the_librarys_in_the_database(one: OpenLedger, database: Database) -> None:
    """Trap: its composite type is needed even where it makes no tables. Ours appends and reads without any of it."""
    one.add("case-a")
    with psycopg.connect(database.superuser_url) as connection:
        types = connection.execute("SELECT typname FROM pg_type WHERE typname ~ 'stored_event'").fetchall()
        functions = connection.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'es\\_%'").fetchall()
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE tablename ~ 'events|tracking' AND schemaname <> 'jobs'"
        ).fetchall()
    assert (types, functions, tables) == ([], [], [])


def test_what_is_not_offered(one: OpenLedger) -> None:
    """Trap: a subscription that can lose a wake-up, snapshots, trackings. They are refused, not half there."""
    factory = one.ledger.factory
    for refused in (
        one.recorder.subscribe,
        factory.aggregate_recorder,
        factory.application_recorder,
        factory.tracking_recorder,
        factory.process_recorder,
    ):
        with pytest.raises(TypeError):
            refused()
    assert isinstance(one.ledger, Ledger)
    assert one.keyring.get(SUBJECT)


def test_reads_by_revision(one: OpenLedger) -> None:
    """A stream is read forwards and backwards between revisions, and folded up to one."""
    leaf = one.add("case-a", *(some_event(f"c-{number}") for number in range(4)))[-1].receipt.leaf
    backwards = one.recorder.rows("case-a", 1, 3, True, None)
    assert [row.statement().rev for row in backwards] == [3, 2]
    assert [event.originator_version for event in one.ledger.events.get("case-a", gt=2)] == [3, 4]
    loaded = one.ledger.load("case-a", lambda state, event, meta: (state or 0) + 1, version=3)
    assert loaded is not None
    assert (loaded.version, loaded.state) == (3, 3)
    assert one.ledger.load("case-b", lambda state, event, meta: state) is None
    whole = one.ledger.load("case-a", lambda state, event, meta: event)
    assert whole is not None
    assert (whole.head, whole.state) == (leaf, some_event("c-3"))
    assert one.keyring.get(SUBJECT)
