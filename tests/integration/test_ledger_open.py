"""How a ledger is opened and closed: held against its pin, hashed again, signed where a crash left it unsigned."""

import re
import threading
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
import structlog

from application.ledger.appender import Appender
from application.ledger.entries import Append, Appended
from application.ledger.nodes import Nodes, recompute, store_full_tiles
from domain.errors import (
    CaseLedgerError,
    DatabaseUnavailable,
    HeadBehindPin,
    HeadForked,
    WrongOrigin,
)
from domain.ledger.checkpoint import open_checkpoint
from domain.ledger.receipt import verify
from domain.ledger.tree import Frontier, inclusion_proof, leaf_hash, root_at, verify_inclusion
from tests.conftest import Database
from tests.ledger_fixture import (
    ACT,
    OpenLedger,
    in_threads,
    new_event,
    open_ledger,
    opened,
)

TREE_SIZES = (1, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 66_000)


def test_another_ledgers_database(one: OpenLedger, database: Database, tmp_path: Path) -> None:
    """A data directory of another origin does not open this database."""
    with pytest.raises(WrongOrigin), open_ledger(database, tmp_path / "other"):
        pass


def test_head_behind_the_pin(database: Database, data: Path, superuser: psycopg.Connection) -> None:
    """A database that is older than the pin is not opened, a new one is left untouched, and a running writer stops."""
    with open_ledger(database, data) as one:
        one.add("case-a")
        one.add("case-b")
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("ALTER TABLE ledger.entry DISABLE TRIGGER ALL")
        connection.execute("ALTER TABLE ledger.head DISABLE TRIGGER ALL")
        [(leaf,)] = connection.execute("SELECT leaf FROM ledger.entry WHERE index = 0").fetchall()
        connection.execute("DELETE FROM ledger.entry WHERE index = 1")
        connection.execute("UPDATE ledger.head SET size = 1, frontier = %s", (leaf,))
    words = "(the head is of 1 entries, the pin of 2): entry 1 and all behind it are missing"
    with pytest.raises(HeadBehindPin, match=re.escape(words)), open_ledger(database, data):
        pass
    superuser.execute("DELETE FROM ledger.head")
    with pytest.raises(HeadBehindPin), open_ledger(database, data):
        pass
    assert superuser.execute("SELECT count(*) FROM ledger.head").fetchone() == (0,)


def test_database_set_back_while_open(one: OpenLedger, superuser: psycopg.Connection) -> None:
    """A head that moves back under a running writer stops all appends for good, and says so each time."""
    one.add("case-a")
    superuser.execute("ALTER TABLE ledger.head DISABLE TRIGGER ALL")
    superuser.execute("UPDATE ledger.head SET size = 0, frontier = ''")
    with pytest.raises(HeadBehindPin, match="the head is of 0 entries, and was of 1"):
        one.add("case-b")
    for _ in range(2):
        with pytest.raises(HeadBehindPin, match="the head is of 0 entries, and was of 1"):
            one.add("case-c")


def test_nothing_is_appended_after_the_stop(one: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits when the ledger is found to contradict itself is refused, not tried."""
    commit = one.appender._writer.commit
    queued = threading.Event()
    calls: list[int] = []

    def once(appends: Sequence[Append]) -> list[Appended | CaseLedgerError]:
        calls.append(len(appends))
        queued.wait(10)
        if len(calls) == 1:
            raise HeadForked
        return commit(appends)

    monkeypatch.setattr(one.appender._writer, "commit", once)
    futures = [one.appender.submit(one.sealed("case-a"))]
    while one.appender._queued:
        pass
    futures += [one.appender.submit(one.sealed(f"case-{number}")) for number in range(3)]
    queued.set()
    assert [type(future.exception(10)) for future in futures] == [HeadForked] * 4
    assert one.recorder.max_notification_id() is None


def test_opens_while_another_appends(database: Database, data: Path) -> None:
    """A ledger opens, again and again, while another process of it appends: the pin is never seen ahead of the head."""
    with open_ledger(database, data) as one:
        ended = threading.Event()

        def fill(_: int) -> None:
            after: tuple[int, str | None] = (0, None)
            while not ended.is_set():
                after = (after[0] + 1, one.add("case-a", after=after)[0].receipt.leaf)

        def reopen(_: int) -> None:
            try:
                for _ in range(40):
                    appender = Appender(database.service_url, one.keys.origin, one.checkpoints)
                    appender.start()
                    appender.close()
            finally:
                ended.set()

        assert in_threads(2, lambda number: reopen(number) if number else fill(number)) == [None, None]


def test_another_history(database: Database, data: Path, superuser: psycopg.Connection) -> None:
    """A database whose tree has the pinned size but another root, consistent in itself, is not opened."""
    with open_ledger(database, data) as one:
        one.add("case-a")
    with psycopg.connect(database.superuser_url) as connection:
        for table in ("entry", "head"):
            connection.execute(
                psycopg.sql.SQL("ALTER TABLE ledger.{} DISABLE TRIGGER ALL").format(psycopg.sql.Identifier(table))
            )
        connection.execute("UPDATE ledger.entry SET leaf = %s", (b"\1" * 32,))
        connection.execute("UPDATE ledger.head SET frontier = %s", (b"\1" * 32,))
    with pytest.raises(HeadForked), open_ledger(database, data):
        pass


@pytest.mark.parametrize(
    ("damage", "where", "first"),
    [
        ("UPDATE ledger.entry SET leaf = sha256(leaf) WHERE index = 3", "entry 3 does not hash to its leaf", 3),
        ("UPDATE ledger.entry SET leaf = sha256(leaf) WHERE index = 299", "entry 299 does not hash to its leaf", 299),
        ("DELETE FROM ledger.entry WHERE index = 7", "entry 7 is missing", 7),
        ("DELETE FROM ledger.entry WHERE index = 299", "entry 299 is missing", 299),
        (
            "UPDATE ledger.tile SET hashes = overlay(hashes PLACING sha256('') FROM 33)",
            "the stored tile 0/000 differs from entry 1 on",
            1,
        ),
        ("UPDATE ledger.tile SET root = sha256(root)", "the stored tile 0/000 differs from entry 0 on", 0),
        (
            (
                "WITH root AS (UPDATE ledger.root SET root = sha256(root))"
                " UPDATE ledger.head SET frontier = overlay(frontier PLACING sha256('') FROM 1)"
            ),
            "the committed root of size 300 is not what entries 0 to 299 give",
            0,
        ),
        (
            "UPDATE ledger.head SET frontier = overlay(frontier PLACING sha256('') FROM 1)",
            "entries, tiles and committed roots agree",
            None,
        ),
    ],
)
def test_altered_at_rest(
    database: Database, data: Path, superuser: psycopg.Connection, damage: str, where: str, first: int | None
) -> None:
    """A leaf, tile or frontier that was changed in the database is found when the ledger is opened, and where."""
    with open_ledger(database, data) as one:
        one.ledger.append([new_event("case-a", rev) for rev in range(1, 301)], ACT)
    with open_ledger(database, data):
        assert superuser.execute("SELECT count(*) FROM ledger.tile").fetchone() == (1,)
    for table in ("entry", "tile", "head", "root"):
        superuser.execute(
            psycopg.sql.SQL("ALTER TABLE ledger.{} DISABLE TRIGGER ALL").format(psycopg.sql.Identifier(table))
        )
    superuser.execute(damage)
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(HeadForked, match=where) as raised,
        open_ledger(database, data),
    ):
        pass
    assert "(the head is of 300 entries, the pin of 300)" in str(raised.value)
    (said,) = (each for each in logs if each["event"] == "head.forked")
    assert (said["head"], said["pinned"], said["first"]) == (300, 300, first)


def test_size_that_a_crash_left_unsigned(database: Database, data: Path, superuser: psycopg.Connection) -> None:
    """A batch that was committed, but never signed, is signed by the next process that opens the ledger."""
    with open_ledger(database, data) as one:
        one.add("case-a")
        one.checkpoints.release = None  # type: ignore[method-assign,assignment]  # the process dies here
        with pytest.raises(DatabaseUnavailable):
            one.add("case-b")
    assert superuser.execute("SELECT max(size) FROM ledger.checkpoint").fetchone() == (1,)
    with open_ledger(database, data) as one:
        [(note,)] = superuser.execute("SELECT note FROM ledger.checkpoint WHERE size = 2").fetchall()
        assert open_checkpoint(note.encode(), one.verifiers()).checkpoint == one.pin.read()
        verify(one.checkpoints.receipts(superuser, 1, 1).receipts[0], one.verifiers())


def test_nodes_from_tiles(database: Database, superuser: psycopg.Connection) -> None:
    """Roots and proofs read through full and partial tiles equal those of the whole tree, around tile boundaries."""
    leaves = [leaf_hash(b"%d" % number) for number in range(TREE_SIZES[-1])]
    statement = '{"stream":"s-%d","rev":1,"kind":"k"}'
    columns = "index, statement, ledger_signature, leaf, committed_at"
    with superuser.cursor() as cursor, cursor.copy(f"COPY ledger.entry ({columns}) FROM STDIN") as copy:
        for index, leaf in enumerate(leaves):
            copy.write_row((index, statement % index, b"\1" * 64, leaf, index))
    for size in TREE_SIZES:
        tree = Frontier().extend(leaves[:size])
        store_full_tiles(superuser, size)
        nodes = Nodes(superuser, size)
        assert root_at(size, nodes) == tree.root()
        for index in {0, size // 2, size - 1, size & ~255 if size & 255 else size - 1}:
            verify_inclusion(
                leaves[index], index, size, inclusion_proof(index, size, Nodes(superuser, size)), tree.root()
            )
        again = recompute(superuser, size, size // 2)
        assert again.head == tree
        assert again.earlier_root == Frontier().extend(leaves[: size // 2]).root()
    assert store_full_tiles(superuser, TREE_SIZES[-1]) == 0
    stored: dict[int, int] = dict(
        superuser.execute("SELECT level, count(*) FROM ledger.tile GROUP BY level").fetchall()
    )
    assert stored == {0: 257, 1: 1}
    superuser.execute("ALTER TABLE ledger.tile DISABLE TRIGGER ALL")
    superuser.execute("UPDATE ledger.tile SET root = sha256(root) WHERE level = 1")
    with pytest.raises(HeadForked):
        recompute(superuser, TREE_SIZES[-1], 0)


def test_close_answers_what_waits(database: Database, data: Path) -> None:
    """Whatever was accepted before the close is appended; afterwards, and before the start, appends are refused."""
    before = threading.active_count()
    with open_ledger(database, data, start=False) as one:
        with pytest.raises(DatabaseUnavailable):
            one.add("case-a")
        one.appender.start()
        futures = [one.appender.submit(one.sealed(f"case-{number}")) for number in range(50)]
        one.appender.close()
        assert [future.result(0).first_index for future in futures] == list(range(50))
        with pytest.raises(DatabaseUnavailable):
            one.add("case-a")
        with pytest.raises(ValueError, match="at least one"):
            one.appender.submit(Append(entries=()))
        one.appender.close()
    assert threading.active_count() == before


def test_close_races_submit(database: Database, data: Path) -> None:
    """While the ledger closes, each append is either refused at once or answered; none is left hanging."""
    with open_ledger(database, data) as one:
        appends = [[one.sealed(f"case-{thread}-{number}") for number in range(30)] for thread in range(4)]
        started = threading.Barrier(5)

        def submit(thread: int) -> int:
            started.wait()
            accepted = []
            for append in appends[thread]:
                try:
                    accepted.append(one.appender.submit(append))
                except DatabaseUnavailable:
                    break
            return sum(1 for future in accepted if future.result(10).receipts)

        def close(_: int) -> int:
            started.wait()
            one.appender.close()
            return 0

        counts = in_threads(5, lambda number: close(number) if number == 4 else submit(number))
        assert one.recorder.max_notification_id() in {sum(counts), None}


def test_process_that_only_has_the_url(database: Database, data: Path) -> None:
    """A ledger opened by URL alone is the same ledger."""
    with opened(database.service_url, data) as one, opened(database.service_url, data) as two:
        leaf = one.add("case-a")[0].receipt.leaf
        assert two.add("case-a", after=(1, leaf))[0].receipt.index == 1
