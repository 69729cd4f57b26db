"""The monitor: what it says of a sound log, and the first bad position of one that was altered past every check."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger import keyfiles
from application.ledger.checkpoints import Checkpoints
from application.ledger.pin import Pin
from application.monitor import judging
from application.monitor.monitor import Watch
from application.monitor.monitoring import Monitor
from application.monitor.state import MonitorState
from caseledger import monitor_command
from domain.ledger.checkpoint import Checkpoint, read_unverified, sign
from domain.ledger.note import ED25519, Note, NoteSignature, VerifierKey
from domain.ledger.tree import Frontier
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger, open_ledger

SIZE = 1_500
DEADLINE_S = 30.0
Alter = Callable[[psycopg.Connection[Any], OpenLedger], None]


@pytest.fixture
def opened(database: Database, tmp_path: Path) -> Iterator[OpenLedger]:
    """A ledger of 1,500 entries."""
    with open_ledger(database, tmp_path / "data") as one:
        grow(one, SIZE)
        yield one


def grow(one: OpenLedger, count: int) -> None:
    """Some more entries."""
    at = one.recorder.max_notification_id() or 0
    appends = [one.appender.submit(one.sealed(f"case-{at + number}")) for number in range(count)]
    for append in appends:
        append.result(DEADLINE_S)


def committed(one: OpenLedger, after: int) -> list[int]:
    """Sizes above `after` that a batch ended at."""
    with one.pool.connection() as connection:
        return [size for (size,) in connection.execute("SELECT size FROM ledger.root WHERE size > %s", (after,))]


def watch(one: OpenLedger, **more: Any) -> Watch:
    """A watch with the ledger's own pin and keys."""
    return Watch(one.checkpoints.pinned, lambda: one.verifiers()[:1], **more)


def run(work: Watch, database: Database, passes: int = 1) -> MonitorState:
    """Steps until so many more passes have ended, or something was found."""
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        wanted = work.state.passes + passes
        for _ in range(1_000):
            work.step(connection)
            if work.state.passes >= wanted or work.state.finding is not None:
                return work.state
    raise TimeoutError


def test_a_sound_log_is_good_and_stays_good_as_it_grows(database: Database, opened: OpenLedger) -> None:
    """It follows, pass by pass, and says how far it got and how old that is."""
    accepted: list[bytes] = []
    times = iter(range(1_000_000))
    work = watch(opened, accepted=accepted.append, clock=lambda: next(times))
    assert work.state.verdict == "starting"
    state = run(work, database)
    assert (state.verdict, state.head, state.checkpoint, state.passed_size) == ("good", SIZE, SIZE, SIZE)
    assert state.began_at is not None
    assert state.passed_at is not None
    assert state.looked_at is not None
    assert state.began_at < state.passed_at < state.looked_at
    grow(opened, 300)
    state = run(work, database)
    assert (state.verdict, state.checkpoint, state.passed_size, state.passes) == ("good", SIZE + 300, SIZE + 300, 2)
    assert [read_unverified(each).size for each in accepted] == sorted(committed(opened, SIZE))


def test_each_step_is_small(database: Database, opened: OpenLedger) -> None:
    """A step re-hashes 1,024 entries at most, and a pass goes on where the last step ended."""
    work = watch(opened)
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        assert not work.step(connection)
        assert (work.state.position, work.state.verdict) == (1024, "starting")
        assert work.step(connection)
    assert work.state.verdict == "good"


def test_an_empty_ledger_is_good(database: Database, tmp_path: Path) -> None:
    """Nothing is there, and nothing is wrong."""
    with open_ledger(database, tmp_path / "data") as one:
        state = run(watch(one), database)
    assert (state.verdict, state.passed_size) == ("good", 0)


def replace_statement(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """One letter of a statement."""
    connection.execute(
        "UPDATE ledger.entry SET statement = replace(statement::text, 'TREAT', 'TREAD')::json WHERE index = 700"
    )


def flip_signature(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """One bit of a signature."""
    connection.execute(
        "UPDATE ledger.entry SET ledger_signature = set_bit(ledger_signature, 9, 1 - get_bit(ledger_signature, 9))"
        " WHERE index = 1200"
    )


def flip_leaf(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """One bit of a leaf."""
    connection.execute("UPDATE ledger.entry SET leaf = set_bit(leaf, 0, 1 - get_bit(leaf, 0)) WHERE index = 3")


def delete_in_the_middle(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """A row is gone."""
    connection.execute("DELETE FROM ledger.entry WHERE index = 900")


def delete_the_tail(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """The newest rows are gone."""
    connection.execute("DELETE FROM ledger.entry WHERE index >= 1490")


def swap(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """Two rows changed places, as they are."""
    for was, becomes in ((40, 10**9), (41, 40), (10**9, 41)):
        connection.execute("UPDATE ledger.entry SET index = %s WHERE index = %s", (becomes, was))


def flip_tile(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """One bit of a stored tile."""
    connection.execute(
        "UPDATE ledger.tile SET hashes = set_bit(hashes, 1, 1 - get_bit(hashes, 1)) WHERE level = 0 AND index = 2"
    )


def flip_root(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """One bit of the newest committed root."""
    connection.execute("UPDATE ledger.root SET root = set_bit(root, 1, 1 - get_bit(root, 1)) WHERE size = 1500")


def flip_checkpoint(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """A stored note speaks of another root."""
    note = sign(Checkpoint(one.keys.origin, SIZE, bytes(32)), one.keys.checkpoint, 1)
    connection.execute("UPDATE ledger.checkpoint SET note = %s WHERE size = %s", (note.decode(), SIZE))


def flip_a_signature_of_a_note(line: int) -> Alter:
    """The last bit of one of a stored note's two signatures: the plain one (-2), or the one with the time (-1)."""

    def alter(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
        rows = connection.execute("SELECT size, note FROM ledger.checkpoint ORDER BY size LIMIT 1").fetchall()
        ((size, note),) = rows
        parsed = Note.parse(note.encode())
        lines = list(parsed.signatures)
        spoiled = lines[line].signature[:-1] + bytes([lines[line].signature[-1] ^ 1])
        lines[line] = NoteSignature(lines[line].name, lines[line].key_hash, spoiled)
        altered = Note(parsed.text, tuple(lines)).render().decode()
        connection.execute("UPDATE ledger.checkpoint SET note = %s WHERE size = %s", (altered, size))

    return alter


def strip_a_signature_of_a_note(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """The signature that carries the commit time is gone."""
    note = connection.execute("SELECT note FROM ledger.checkpoint WHERE size = %s", (SIZE,)).fetchall()[0][0]
    stripped = note.removesuffix("\n").rpartition("\n")[0] + "\n"
    connection.execute("UPDATE ledger.checkpoint SET note = %s WHERE size = %s", (stripped, SIZE))


def flip_frontier(connection: psycopg.Connection[Any], one: OpenLedger) -> None:
    """The head is another tree's."""
    connection.execute("UPDATE ledger.head SET frontier = set_bit(frontier, 1, 1 - get_bit(frontier, 1))")


ALTERATIONS: list[tuple[Alter, str, int]] = [
    (replace_statement, "entry", 700),
    (flip_signature, "entry", 1200),
    (flip_leaf, "entry", 3),
    (delete_in_the_middle, "entry", 900),
    (delete_the_tail, "entry", 1490),
    (swap, "tile", 40),
    (flip_tile, "tile", 512),
    (flip_root, "root", SIZE - 1),
    (flip_checkpoint, "root", SIZE - 1),
    (strip_a_signature_of_a_note, "checkpoint", SIZE - 1),
    (flip_frontier, "head", SIZE - 1),
]


@pytest.mark.parametrize(("alter", "what", "index"), ALTERATIONS, ids=lambda each: getattr(each, "__name__", None))
def test_what_was_altered_is_found_where_it_is(
    database: Database, opened: OpenLedger, alter: Alter, what: str, index: int
) -> None:
    """By a superuser who switches the triggers off, while the monitor runs; it stays bad, and names the first place."""
    work = watch(opened)
    assert run(work, database).verdict == "good"
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for table in ("entry", "tile", "root", "checkpoint", "head"):
            connection.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER")
        alter(connection, opened)
    state = run(work, database)
    assert state.finding is not None
    assert (state.verdict, state.finding.what, state.finding.index) == ("bad", what, index)
    assert run(work, database).finding == state.finding


@pytest.mark.parametrize("line", [-2, -1])
@pytest.mark.parametrize("first_pass", [True, False])
def test_a_spoiled_signature_of_an_old_checkpoint_is_found(
    database: Database, opened: OpenLedger, line: int, first_pass: bool
) -> None:
    """Either line of the oldest stored note, whether it was altered before the first pass or after one."""
    (oldest, *_) = sorted(committed(opened, 0))
    work = watch(opened)
    if not first_pass:
        assert run(work, database).verdict == "good"
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.checkpoint DISABLE TRIGGER USER")
        flip_a_signature_of_a_note(line)(connection, opened)
    finding = run(work, database).finding
    assert finding is not None
    assert (finding.what, finding.index) == ("checkpoint", oldest - 1)
    assert "signature" in finding.message


def test_signatures_that_were_judged_are_not_judged_again(
    database: Database, opened: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later pass judges none of the same bytes; it does when a key is added."""
    judged: list[int] = []
    really = judging.check_signatures

    def count(size: int, note: str, keys: Any) -> None:
        judged.append(size)
        really(size, note, keys)

    monkeypatch.setattr(judging, "check_signatures", count)
    keys = [opened.verifiers()[0]]
    work = Watch(opened.checkpoints.pinned, lambda: keys)
    run(work, database)
    assert sorted(judged) == sorted(committed(opened, 0))
    run(work, database, passes=2)
    assert len(judged) == len(committed(opened, 0))
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    keys.append(VerifierKey.make(opened.keys.origin, ED25519, other))
    run(work, database)
    assert len(judged) == 2 * len(committed(opened, 0))


def test_a_database_set_back_is_found(database: Database, opened: OpenLedger) -> None:
    """Fewer entries than the pinned checkpoint covers, though all that is left agrees."""
    leaves = [row.leaf for row in opened.recorder.range(0, SIZE)]
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for table in ("entry", "tile", "root", "checkpoint", "head"):
            connection.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER")
        size = connection.execute("SELECT max(size) FROM ledger.root WHERE size < 1500").fetchall()[0][0]
        connection.execute("DELETE FROM ledger.checkpoint WHERE size > %s", (size,))
        connection.execute("DELETE FROM ledger.root WHERE size > %s", (size,))
        connection.execute("DELETE FROM ledger.entry WHERE index >= %s", (size,))
        frontier = Frontier().extend(leaves[:size]).to_bytes()
        connection.execute("UPDATE ledger.head SET size = %s, frontier = %s", (size, frontier))
    state = run(watch(opened), database)
    assert state.finding is not None
    assert (state.finding.what, state.finding.index) == ("head", size)


def rewrite(database: Database, one: OpenLedger) -> None:
    """Two entries change places, and everything that stands on them is made anew, signed by the log's own key."""
    leaves = [row.leaf for row in one.recorder.range(0, 10_000)]
    leaves[40], leaves[41] = leaves[41], leaves[40]
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for table in ("entry", "tile", "root", "checkpoint", "head"):
            connection.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER")
        for was, becomes in ((40, 10**9), (41, 40), (10**9, 41)):
            connection.execute("UPDATE ledger.entry SET index = %s WHERE index = %s", (becomes, was))
        connection.execute("DELETE FROM ledger.tile")
        connection.execute("DELETE FROM ledger.checkpoint")
        for (size,) in connection.execute("SELECT size FROM ledger.root").fetchall():
            root = Frontier().extend(leaves[:size]).root()
            connection.execute("UPDATE ledger.root SET root = %s WHERE size = %s", (root, size))
            note = sign(Checkpoint(one.keys.origin, size, root), one.keys.checkpoint, 1)
            connection.execute("INSERT INTO ledger.checkpoint VALUES (%s, %s)", (size, note.decode()))
        connection.execute("UPDATE ledger.head SET frontier = %s", (Frontier().extend(leaves).to_bytes(),))


def test_a_history_rewritten_as_a_whole_is_found_by_the_pin(database: Database, opened: OpenLedger) -> None:
    """Every leaf, tile, root, checkpoint and the head agree: only what was kept elsewhere knows better."""
    rewrite(database, opened)
    state = run(watch(opened), database)
    assert state.finding is not None
    assert (state.finding.what, state.finding.index) == ("checkpoint", 0)
    assert run(Watch(lambda: None, lambda: opened.verifiers()[:1]), database).verdict == "good"


def test_a_history_rewritten_as_a_whole_is_found_by_whoever_watched(database: Database, opened: OpenLedger) -> None:
    """A monitor without a pin holds each new checkpoint against the last one that it saw."""
    work = Watch(lambda: None, lambda: opened.verifiers()[:1])
    assert run(work, database, passes=40).checkpoint == SIZE
    grow(opened, 10)
    rewrite(database, opened)
    state = run(work, database)
    assert state.finding is not None
    assert (state.finding.what, state.finding.index) == ("checkpoint", SIZE)


def test_a_checkpoint_by_another_key_is_found(database: Database, opened: OpenLedger, tmp_path: Path) -> None:
    """A note that the log's key did not sign is not accepted, even for the right root."""
    other = keyfiles.load(tmp_path / "other")
    work = Watch(lambda: None, lambda: opened.verifiers()[:1])
    grow(opened, 1)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.checkpoint DISABLE TRIGGER USER")
        root = connection.execute("SELECT root FROM ledger.root WHERE size = %s", (SIZE + 1,)).fetchall()[0][0]
        note = sign(Checkpoint(opened.keys.origin, SIZE + 1, root), other.checkpoint, 1)
        connection.execute("UPDATE ledger.checkpoint SET note = %s WHERE size = %s", (note.decode(), SIZE + 1))
    state = run(work, database, passes=5)
    assert state.finding is not None
    assert (state.finding.what, state.finding.index) == ("checkpoint", SIZE)


def test_the_thread_goes_on_after_the_database_was_away(database: Database, opened: OpenLedger) -> None:
    """What keeps it from looking is in its state; afterwards it looks again."""
    monitor = Monitor(database.service_url, watch(opened), poll_s=0.01, rest=0.0)
    monitor.start()
    try:
        until(lambda: monitor.state().verdict == "good")
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'caseledger_service'"
            )
        passes = monitor.state().passes
        until(lambda: monitor.state().passes > passes + 1 and monitor.state().error is None)
    finally:
        monitor.stop()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


def test_the_command_keeps_the_last_good_checkpoint_for_itself(
    database: Database, opened: OpenLedger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One pass says good; after the log was set back, the command's own file tells, whatever else was set back."""
    file = tmp_path / "watched"
    keys = opened.verifiers()[:1]

    def command() -> int:
        return monitor_command.watch(database.service_url, lambda: keys, file, once=True)

    assert command() == 0
    assert capsys.readouterr().out.startswith(f"good: {SIZE} entries re-hashed")
    assert Pin(file, *keys).read() == opened.checkpoints.pinned()
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for table in ("entry", "root", "checkpoint", "head"):
            connection.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER")
        connection.execute("DELETE FROM ledger.checkpoint")
        connection.execute("DELETE FROM ledger.root")
        connection.execute("DELETE FROM ledger.entry")
        connection.execute("UPDATE ledger.head SET size = 0, frontier = ''")
    assert command() == 1
    assert "BAD: from entry 0 on: head: the log has 0 entries" in capsys.readouterr().out


def test_the_command_begins_with_what_was_released_and_keeps_that_for_itself(
    database: Database, opened: OpenLedger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a quiet log, too, a first pass leaves a state; a later pin that the log does not extend is found at once."""
    file, keys, released = tmp_path / "watched", opened.verifiers()[:1], opened.checkpoints.pinned
    for _ in range(2):
        assert monitor_command.watch(database.service_url, lambda: keys, file, released, once=True) == 0
        assert Pin(file, *keys).read() == released()
    grow(opened, 5)
    assert monitor_command.watch(database.service_url, lambda: keys, file, released, once=True) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"good: {SIZE + 5} entries re-hashed")
    assert Pin(file, *keys).read() == released()
    forked = Checkpoint(opened.keys.origin, SIZE + 5, bytes(32))
    assert monitor_command.watch(database.service_url, lambda: keys, file, lambda: forked, once=True) == 1
    assert monitor_command.watch(database.service_url, lambda: keys, tmp_path / "x", lambda: forked, once=True) == 1
    other = Checkpoint("other.example/log", SIZE, Frontier().root())
    assert monitor_command.watch(database.service_url, lambda: keys, file, lambda: other, once=True) == 1
    assert capsys.readouterr().out.count("BAD: from entry 0 on: checkpoint") == 3


def test_the_pin_and_the_monitor_agree_on_a_ledger_in_use(database: Database, opened: OpenLedger) -> None:
    """Appends go on while the monitor looks: no interleaving of pin, head and checkpoints looks like a fault."""
    monitor = Monitor(database.service_url, watch(opened), poll_s=0.0, rest=0.0)
    monitor.start()
    try:
        for _ in range(60):
            grow(opened, 5)
        size = SIZE + 300
        until(lambda: monitor.state().passed_size >= size or monitor.state().finding is not None)
    finally:
        monitor.stop()
    assert monitor.state().finding is None
    assert isinstance(opened.checkpoints, Checkpoints)
