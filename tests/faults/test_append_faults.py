"""What happens to appends when the database, the connection or another process fails at a bad moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from application.ledger import batch, direct, writer
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.entries import IdempotencyKey
from domain.errors import DatabaseUnavailable
from domain.ledger.receipt import verify
from tests.conftest import Database
from tests.ledger_fixture import ACT, OpenLedger, in_threads, new_event

FREEZE = """
import sys, time, psycopg
from application.ledger.writer import _SESSION
connection = psycopg.connect(sys.argv[1], options=_SESSION)
connection.execute("SELECT 1 FROM ledger.head FOR UPDATE")
print("locked", flush=True)
time.sleep(60)
"""


def kill(superuser: psycopg.Connection, connection: psycopg.Connection) -> None:
    """End the server's side of a connection, and wait until it is gone."""
    superuser.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))


def by_asking_first(one: OpenLedger) -> None:
    """Let the next batch go the way of one that somebody else may have been before."""
    one.appender._writer._head = None


MOMENTS = {
    "before the statement": (direct, "run"),
    "before the lock": (batch, "_lock_and_look"),
    "before the insert": (batch, "_insert"),
}


@pytest.mark.parametrize("moment", ["idle", *MOMENTS])
def test_connection_lost_before_the_commit(
    one: OpenLedger, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A connection that dies at any moment before the commit costs the caller nothing: the batch is repeated once."""
    first = one.add("case-a")[0].receipt.leaf
    victim = one.appender._writer._connection
    assert victim is not None
    if moment == "idle":
        kill(superuser, victim)
    else:
        target, name = MOMENTS[moment]
        if target is batch:
            by_asking_first(one)
        original = getattr(target, name)

        def killing(connection: psycopg.Connection, *rest: object) -> object:
            if connection is victim and not victim.closed:
                kill(superuser, victim)
            return original(connection, *rest)

        monkeypatch.setattr(target, name, killing)
    recordings = one.add("case-a", after=(1, first))
    verify(recordings[0].receipt, one.verifiers())
    assert [row.index for row in one.recorder.range(0, 9)] == [0, 1]


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize("moment", ["after the statement", "after the commit", "after the signature"])
def test_answer_of_the_commit_lost(
    one: OpenLedger,
    superuser: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    with_key: bool,
) -> None:
    """A commit whose answer is lost is recognised: the entry is there once, and its caller gets an ordinary receipt."""
    first = one.add("case-a")[0].receipt.leaf
    key = IdempotencyKey(actor="coordinator-1", key="k", request_digest=b"\1" * 32) if with_key else None
    target, name = {
        "after the statement": (direct, "write"),
        "after the commit": (batch, "write"),
        "after the signature": (writer, "Receipt"),
    }[moment]
    if target is batch:
        by_asking_first(one)
    original = getattr(target, name)
    lost = []

    class Losing:
        """Stands for `Receipt` while the first one is made."""

        @staticmethod
        def of_batch(*_: object) -> object:
            return lose()

    def lose(*args: object) -> object:
        if args:
            original(*args)
        monkeypatch.setattr(target, name, original)
        connection = one.appender._writer._connection
        assert connection is not None
        lost.append(connection)
        kill(superuser, connection)
        return connection.execute("SELECT 1")

    monkeypatch.setattr(target, name, Losing if target is writer else lose)
    recordings = one.add("case-a", after=(1, first), idempotency=key)
    assert len(lost) == 1
    assert len(recordings) == 1
    verify(recordings[0].receipt, one.verifiers())
    assert [row.index for row in one.recorder.range(0, 9)] == [0, 1]
    assert one.add("case-b")[0].receipt.index == 2


def test_same_entry_again(one: OpenLedger) -> None:
    """An append that is submitted a second time, byte for byte, is answered with the same receipts."""
    append = one.sealed("case-a")
    first = one.recorder.append(append)
    assert one.recorder.append(append) == first
    assert one.recorder.max_notification_id() == 1


def test_frozen_holder_of_the_lock(one: OpenLedger, database: Database) -> None:
    """A process that stands still while it holds the head is cut off by the server's time-out, and appends go on."""
    holder = subprocess.Popen(
        [sys.executable, "-c", FREEZE, database.service_url], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.kill(holder.pid, signal.SIGSTOP)
        started = time.monotonic()
        results = in_threads(2, lambda number: one.add(f"case-{number}"))
        # Whoever waits as long as the lock's time-out is told so, once: nothing multiplies it.
        assert time.monotonic() - started < 9
        for each in results:
            assert isinstance(each, (DatabaseUnavailable, list))
        assert one.add("case-later")[0].receipt.index == sum(isinstance(each, list) for each in results)
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def test_pin_that_cannot_be_written(one: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be pinned is not acknowledged, nor is its note stored; once the disk is back a repeat does both."""

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    append = one.sealed("case-a")
    with monkeypatch.context() as patched:
        patched.setattr(one.pin, "advance", full)
        with pytest.raises(DatabaseUnavailable):
            one.recorder.append(append)
        with one.pool.connection() as connection:
            assert connection.execute("SELECT count(*) FROM ledger.checkpoint").fetchone() == (0,)
    assert one.pin.read() is None
    verify(one.recorder.append(append).receipts[0], one.verifiers())
    assert one.pin.read() is not None
    assert one.recorder.max_notification_id() == 1


def test_tiles_that_cannot_be_stored(one: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are no reason to refuse an append; those that are missing are stored after a later batch."""

    def fails(*_: object) -> int:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(writer, "store_full_tiles", fails)
        leaf = one.ledger.append([new_event("case-a", rev) for rev in range(1, 301)], ACT)[-1].receipt.leaf
        one.add("case-b")
    one.add("case-a", after=(300, leaf))
    one.appender.close()
    with one.pool.connection() as connection:
        assert connection.execute("SELECT count(*) FROM ledger.tile").fetchone() == (1,)


def test_database_that_is_not_there(one: OpenLedger, tmp_path: Path) -> None:
    """A ledger whose database does not answer says so when it starts, and does not take appends."""
    appender = Appender(f"postgresql:///none?host={tmp_path}", one.keys.origin, Checkpoints(one.keys, one.pin))
    with pytest.raises(DatabaseUnavailable):
        appender.start()
    with pytest.raises(DatabaseUnavailable):
        appender.submit(one.sealed("case-a"))
    appender.close()
