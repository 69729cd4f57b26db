"""A batch as one statement (`application/ledger/direct.py`): when it is taken, and that it decides as asking does."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
import pytest

from application.ledger import batch, prepared
from application.ledger.entries import Append, Guard, IdempotencyKey
from domain.errors import DatabaseUnavailable, GuardBroken, IdempotencyKeyReused, StaleRevision, SubjectErased
from domain.ledger.receipt import verify
from tests.conftest import Database
from tests.integration.test_append import check_everything, together
from tests.ledger_fixture import OpenLedger, open_ledger


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went in by asking first."""
    seen: list[int] = []
    write = batch.write

    def counting(*args: object) -> object:
        written = write(*args)  # type: ignore[arg-type]
        seen.append(len(args[1]))  # type: ignore[arg-type]
        return written

    monkeypatch.setattr(batch, "write", counting)
    return seen


def key(name: str, digest: bytes = b"\1") -> IdempotencyKey:
    """An Idempotency-Key of one caller."""
    return IdempotencyKey(actor="coordinator-1", key=name, request_digest=digest * 32)


def test_usual_batches_are_one_statement(one: OpenLedger, asked: list[int], superuser: psycopg.Connection) -> None:
    """New streams, streams that go on, guards that hold, and Idempotency-Keys go in without anything being asked."""
    head = one.add("case-a")[0].receipt.leaf
    one.add("case-a", after=(1, head), guards=[Guard("case-a", head), Guard("case-none", "")], idempotency=key("k"))
    chained = one.sealed("case-b")
    follows = one.sealed("case-b", 2, chained.entries[0].leaf.hex())
    guarded = msgspec.structs.replace(one.sealed("case-c"), guards=(Guard("case-b", follows.entries[0].leaf.hex()),))
    receipts = together(one, chained, follows, guarded)
    assert asked == []
    for receipt in receipts:
        assert not isinstance(receipt, BaseException)
        verify(receipt, one.verifiers())
    check_everything(one, superuser, 6)
    assert superuser.execute("SELECT key, first_index, count FROM ledger.idempotency").fetchall() == [("k", 1, 1)]
    one.appender.close()
    sizes = superuser.execute("SELECT size FROM ledger.root ORDER BY size").fetchall()
    assert sizes == superuser.execute("SELECT size FROM ledger.checkpoint ORDER BY size").fetchall()


def spoiled(one: OpenLedger, how: str) -> tuple[Append, type[Exception] | None]:
    """An append that cannot go in as it is, and what its caller is told (None: the receipt of what was there)."""
    leaf = one.recorder.range(0, 1)[0].leaf.hex()
    if how == "stale":
        return one.sealed("case-a"), StaleRevision
    if how == "another leaf before it":
        return one.sealed("case-a", 2, "0" * 64), StaleRevision
    if how == "a revision too far":
        return one.sealed("case-a", 3, leaf), StaleRevision
    if how == "guard":
        return msgspec.structs.replace(one.sealed("case-x"), guards=(Guard("case-a", ""),)), GuardBroken
    if how == "guard of another leaf":
        return msgspec.structs.replace(one.sealed("case-x"), guards=(Guard("case-a", "0" * 64),)), GuardBroken
    if how == "key":
        return msgspec.structs.replace(one.sealed("case-x"), idempotency=key("first", b"\2")), IdempotencyKeyReused
    if how == "known":
        return msgspec.structs.replace(one.sealed("case-x"), idempotency=key("first")), None
    one.keyring.create("case:gone")
    return one.sealed("case-x", subject="case:gone"), SubjectErased


@pytest.mark.parametrize(
    "how",
    [
        "stale",
        "another leaf before it",
        "a revision too far",
        "guard",
        "guard of another leaf",
        "key",
        "known",
        "subject",
    ],
)
def test_who_cannot_go_in_fails_alone(
    one: OpenLedger, asked: list[int], superuser: psycopg.Connection, how: str
) -> None:
    """One that is refused sends its batch by way of asking; the others go in, and the next batch is direct again."""
    one.add("case-a", idempotency=key("first"))
    bad, error = spoiled(one, how)
    if how == "subject":
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("DELETE FROM ledger.subject_key WHERE subject = 'case:gone'")
    before, refused, after = together(one, one.sealed("case-b"), bad, one.sealed("case-c"))
    assert not isinstance(before, BaseException)
    assert not isinstance(after, BaseException)
    assert (before.index, after.index) == (2, 3)
    if error is None:
        assert not isinstance(refused, BaseException)
        assert refused.index == 0
    else:
        assert isinstance(refused, error)
    assert asked == [3]
    one.add("case-d")
    assert asked == [3]
    check_everything(one, superuser, 5)


@pytest.mark.parametrize(
    "contradicting",
    [
        lambda one: (one.sealed("case-x"), one.sealed("case-x")),
        lambda one: (
            one.sealed("case-x"),
            msgspec.structs.replace(one.sealed("case-y"), guards=(Guard("case-x", ""),)),
        ),
        lambda one: (
            msgspec.structs.replace(one.sealed("case-y"), guards=(Guard("case-x", ""),)),
            msgspec.structs.replace(one.sealed("case-z"), guards=(Guard("case-x", "0" * 64),)),
        ),
        lambda one: tuple(
            msgspec.structs.replace(one.sealed(stream), idempotency=key("same")) for stream in ("case-x", "case-y")
        ),
    ],
    ids=["one place", "a guard that the batch breaks", "two guards", "one Idempotency-Key"],
)
def test_appends_that_contradict_each_other(
    one: OpenLedger, asked: list[int], contradicting: Callable[[OpenLedger], tuple[Append, ...]]
) -> None:
    """Of two appends of a batch that cannot both go in the first one does, as if they had come one by one."""
    first, second = together(one, *contradicting(one))
    assert not isinstance(first, BaseException)
    assert first.index == 1
    assert isinstance(second, StaleRevision | GuardBroken) or second == first
    assert asked == [2]
    assert one.recorder.max_notification_id() == 2


def test_another_process_in_between(
    one: OpenLedger, database: Database, data: Path, asked: list[int], superuser: psycopg.Connection
) -> None:
    """Where another process has appended since, a batch asks first; once nobody does any more it is direct again."""
    one.add("case-a")
    with open_ledger(database, data) as other:
        other.add("case-b")
        assert asked == []
        one.add("case-c")
        assert asked == [1]
        # It has not yet seen that it is alone.
        one.add("case-d")
        assert asked == [1, 1]
        one.add("case-e")
        assert asked == [1, 1]
        other.add("case-f")
        assert asked == [1, 1, 1]
    check_everything(one, superuser, 6)


@pytest.mark.parametrize("appends", [True, False], ids=["that appends", "that gives up"])
def test_waiting_behind_another_holder_of_the_head(
    one: OpenLedger,
    database: Database,
    data: Path,
    asked: list[int],
    superuser: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    appends: bool,
) -> None:
    """A statement that waited for the head's lock is held against what the holder left, not what was when it began."""
    head = one.add("case-a")[0].receipt.leaf
    holds, goes_on = threading.Event(), threading.Event()
    insert = batch._insert

    def holding(*args: object) -> None:
        if not holds.is_set():
            holds.set()
            goes_on.wait(10)
            if not appends:
                raise RuntimeError
        insert(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "_insert", holding)
    with open_ledger(database, data) as other:
        other.appender._writer._head = None
        first = other.appender.submit(other.sealed("case-a", 2, head))
        holds.wait(10)
        second = one.appender.submit(one.sealed("case-a", 2, head))
        while superuser.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            pass
        goes_on.set()
        if appends:
            assert first.result(10).first_index == 1
            with pytest.raises(StaleRevision):
                second.result(10)
            assert asked == [1, 1]
        else:
            assert second.result(10).first_index == 1
            with pytest.raises(DatabaseUnavailable):
                first.result(10)
            assert asked == []
    assert superuser.execute("SELECT size FROM ledger.root").fetchall() == [(1,), (2,)]
    check_everything(one, superuser, 2)


def test_note_that_cannot_be_stored(
    one: OpenLedger, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored note is for those who come later: its caller is answered without it, and it is signed again."""

    def fails(*_: object) -> None:
        raise psycopg.OperationalError

    with monkeypatch.context() as patched:
        patched.setattr(one.checkpoints, "store_quickly", fails)
        receipt = one.add("case-a")[0].receipt
        verify(receipt, one.verifiers())
        one.add("case-b")
    pinned = one.pin.read()
    assert pinned is not None
    assert pinned.size == 2
    assert superuser.execute("SELECT count(*) FROM ledger.checkpoint").fetchone() == (0,)
    assert one.checkpoints.signed(superuser, 1).decode() == receipt.checkpoint
    assert superuser.execute("SELECT size FROM ledger.checkpoint").fetchall() == [(1,)]


def test_statement_that_fails(one: OpenLedger) -> None:
    """What the database refuses as a statement is an ordinary error of the driver, with its SQLSTATE."""
    connection = one.appender._writer._connected()
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        prepared.run(connection, b"no_such_statement", ())
    assert one.add("case-a")[0].receipt.index == 0
