import multiprocessing
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psycopg
import pytest

from application.ledger import appender as appender_module
from application.ledger.entries import Append, Appended, Guard, IdempotencyKey
from application.ledger.streams import ActorSigned
from domain.errors import (
    CaseLedgerError,
    DatabaseUnavailable,
    GuardBroken,
    IdempotencyKeyReused,
    QueueFull,
    SignatureRefused,
    StaleRevision,
    SubjectErased,
    WrongStatement,
)
from domain.ledger.checkpoint import open_checkpoint
from domain.ledger.dsse import render
from domain.ledger.receipt import Receipt, verify
from domain.ledger.statement import encode_statement
from domain.ledger.tree import EMPTY_ROOT, leaf_hash, node_hash
from tests.conftest import Database
from tests.ledger_fixture import (
    ACT,
    OpenLedger,
    append_many,
    in_threads,
    new_event,
    open_ledger,
    some_event,
)

TREE_SIZES = (1, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 66_000)


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def together(one: OpenLedger, *appends: Append) -> list[Receipt | BaseException]:
    """Put appends into one batch, behind one that holds the writer up. The first receipt of each, or why not."""
    held, release = threading.Event(), threading.Event()
    commit = one.appender._writer.commit

    def holding(batch: Sequence[Append]) -> list[Appended | CaseLedgerError]:
        if not held.is_set():
            held.set()
            release.wait(10)
        return commit(batch)

    one.appender._writer.commit = holding  # type: ignore[method-assign,assignment]
    first = one.appender.submit(one.sealed(f"hold-{id(appends)}"))
    held.wait(10)
    futures = [one.appender.submit(append) for append in appends]
    release.set()
    first.result(10)
    one.appender._writer.commit = commit  # type: ignore[method-assign]
    return [future.exception(10) or future.result().receipts[0] for future in futures]


def check_everything(one: OpenLedger, connection: psycopg.Connection, size: int) -> None:
    """Index dense, chains right, leaves those of their entries, root the naive one, times never decreasing."""
    rows = one.recorder.range(0, size + 10)
    assert [row.index for row in rows] == list(range(size))
    heads: dict[str, tuple[int, str]] = {}
    for row in rows:
        statement = row.statement()
        rev, leaf = heads.get(statement.stream, (0, None))
        assert (statement.rev, statement.prev) == (rev + 1, leaf)
        assert row.leaf == leaf_hash(render(row.raw, (row.ledger_signature,)))
        heads[statement.stream] = (statement.rev, row.leaf.hex())
    times = [row.committed_at for row in rows]
    assert times == sorted(times)
    leaves = [row.leaf for row in rows]
    for root_size, root in connection.execute("SELECT size, root FROM ledger.root").fetchall():
        assert naive_root(leaves[:root_size]) == root
    assert open_checkpoint(one.checkpoints.latest(connection)[1], one.verifiers()).checkpoint.root == naive_root(leaves)


def test_two_processes_append_at_once(database: Database, data: Path, superuser: psycopg.Connection) -> None:
    """Two processes make one dense, chained log; every acknowledged size is signed and pinned, every receipt holds."""
    data.mkdir(mode=0o700)
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=append_many, args=(database.service_url, str(data), name, 4, 20)) for name in ("a", "b")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    with open_ledger(database, data) as one:
        check_everything(one, superuser, 160)
        roots = superuser.execute("SELECT size FROM ledger.root ORDER BY size").fetchall()
        assert roots == superuser.execute("SELECT size FROM ledger.checkpoint ORDER BY size").fetchall()
        for index in range(160):
            receipt = one.checkpoints.receipts(superuser, index, 1).receipts[0]
            assert verify(receipt, one.verifiers()).checkpoint.size > index
            assert receipt.leaf == one.recorder.range(index, index + 1)[0].leaf.hex()
        pinned = one.pin.read()
        assert pinned is not None
        assert pinned.size == 160


def test_receipts_of_concurrent_appends(one: OpenLedger, superuser: psycopg.Connection) -> None:
    """Each of many concurrent callers gets the receipt of its own entry."""
    results = in_threads(16, lambda number: one.add(f"case-{number}", some_event(), some_event()))
    for number, recordings in enumerate(results):
        for recording in recordings:
            verify(recording.receipt, one.verifiers())
            row = one.recorder.range(recording.receipt.index, recording.receipt.index + 1)[0]
            assert row.leaf.hex() == recording.receipt.leaf
            assert row.statement().stream == f"case-{number}"
    check_everything(one, superuser, 32)


def test_guard_that_breaks(one: OpenLedger) -> None:
    """A guard that moved between decision and append refuses that append alone; one that holds lets it in."""
    key = one.add("key-one")[0].receipt.leaf
    holds, none = Guard("key-one", key), Guard("key-none", "")
    refused = one.add("key-one", after=(1, key))[0].receipt.leaf
    with pytest.raises(GuardBroken):
        one.add("case-a", guards=(holds,))
    with pytest.raises(GuardBroken):
        one.add("case-a", guards=(Guard("key-none", key),))
    one.add("case-a", guards=(Guard("key-one", refused), none))


def test_conflicts_inside_a_batch(one: OpenLedger, superuser: psycopg.Connection) -> None:
    """In one batch, of two writers of a revision one wins, a guard broken by the batch itself refuses, others go on."""
    first, second = one.sealed("case-a"), one.sealed("case-a")
    guarded = msgspec.structs.replace(one.sealed("case-b"), guards=(Guard("case-a", ""),))
    third = one.sealed("case-a", 2, first.entries[0].leaf.hex())
    results = together(one, first, second, guarded, third, one.sealed("case-c"))
    assert isinstance(results[1], StaleRevision)
    assert isinstance(results[2], GuardBroken)
    assert [type(each) for each in (results[0], results[3], results[4])] == [Receipt] * 3
    check_everything(one, superuser, 4)
    assert superuser.execute("SELECT count(*) FROM ledger.root").fetchone() == (2,)


def test_stale_revision(one: OpenLedger) -> None:
    """A revision that exists, one that leaves a gap, and a wrong predecessor are refused."""
    leaf = one.add("case-a")[0].receipt.leaf
    for after in ((0, None), (2, leaf), (1, "0" * 64)):
        with pytest.raises(StaleRevision):
            one.add("case-a", after=after)
    assert one.add("case-a", after=(1, leaf))[0].notification.id == 2


def test_append_spans_streams(one: OpenLedger) -> None:
    """Entries of several streams are appended together or not at all."""
    one.add("case-b")
    with pytest.raises(StaleRevision):
        one.ledger.append([new_event("case-a", 1), new_event("case-b", 1)], ACT)
    assert one.recorder.rows("case-a", None, None, False, None) == []


def test_idempotent_repeat(one: OpenLedger) -> None:
    """A repeated request appends nothing and gets the same receipts, byte for byte; another request is refused."""
    key = IdempotencyKey(actor="coordinator-1", key="k1", request_digest=b"\1" * 32)
    first = one.add("case-a", some_event(), some_event(), idempotency=key)
    one.add("case-b")
    repeated = one.recorder.append(msgspec.structs.replace(one.sealed("case-a"), idempotency=key))
    assert repeated.replayed
    assert [each.to_json() for each in repeated.receipts] == [each.receipt.to_json() for each in first]
    earlier = one.recorder.appended_under(key)
    assert earlier is not None
    assert earlier.receipts == repeated.receipts
    other = msgspec.structs.replace(key, request_digest=b"\2" * 32)
    with pytest.raises(IdempotencyKeyReused):
        one.add("case-c", idempotency=other)
    one.add("case-c", idempotency=msgspec.structs.replace(other, actor="coordinator-2"))
    assert one.recorder.max_notification_id() == 4


def test_equal_requests_race(one: OpenLedger) -> None:
    """Of equal requests in one batch one appends and all get its receipt; another request under that key is refused."""
    key = IdempotencyKey(actor="coordinator-1", key="k1", request_digest=b"\1" * 32)
    other = msgspec.structs.replace(key, request_digest=b"\2" * 32)
    appends = [msgspec.structs.replace(one.sealed("case-a"), idempotency=each) for each in (key, key, other)]
    results = together(one, *appends)
    assert results[0] == results[1]
    assert isinstance(results[2], IdempotencyKeyReused)
    assert one.recorder.max_notification_id() == 2


def test_committed_at_never_decreases(one: OpenLedger, superuser: psycopg.Connection) -> None:
    """When the database's clock runs back, commit times stand still instead."""
    one.add("case-a")
    future = superuser.execute("UPDATE ledger.head SET committed_at = committed_at + 10^12 RETURNING committed_at")
    ahead = future.fetchone()
    assert ahead is not None
    one.add("case-b")
    one.add("case-c")
    assert [row.committed_at for row in one.recorder.range(1, 3)] == [ahead[0], ahead[0]]


def test_queue_is_bounded(database: Database, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue refuses at once, by number and by bytes, and accepts again when it has been worked off."""
    monkeypatch.setattr(appender_module, "MAX_QUEUED", 3)
    with open_ledger(database, data) as one, psycopg.connect(database.service_url) as holder:
        one.add("case-0")
        holder.execute("SELECT 1 FROM ledger.head FOR UPDATE")
        busy = one.appender.submit(one.sealed("case-a"))
        while one.appender._queued:
            pass
        waiting = [one.appender.submit(one.sealed(f"case-{number}")) for number in range(1, 4)]
        with pytest.raises(QueueFull):
            one.appender.submit(one.sealed("case-x"))
        monkeypatch.setattr(appender_module, "MAX_QUEUED", 100)
        monkeypatch.setattr(appender_module, "MAX_QUEUED_BYTES", one.appender._queued_bytes + 10)
        with pytest.raises(QueueFull):
            one.appender.submit(one.sealed("case-x"))
        assert waiting[0].cancel()
        holder.rollback()
        for future in (busy, *waiting[1:]):
            future.result(10)
        one.add("case-x")
        assert one.recorder.max_notification_id() == 5
        assert (one.appender._queued, one.appender._queued_bytes) == (0, 0)


def test_poison_entry(one: OpenLedger, superuser: psycopg.Connection) -> None:
    """An entry that the database refuses fails alone: the others of its batch are appended."""
    superuser.execute("ALTER TABLE ledger.entry ADD CONSTRAINT poison CHECK (stream <> 'case-poison')")
    streams = ("case-a", "case-poison", "case-b")
    results = together(one, *(one.sealed(stream) for stream in streams))
    assert isinstance(results[1], DatabaseUnavailable)
    for each in (results[0], results[2]):
        assert isinstance(each, Receipt)
        verify(each, one.verifiers())
    check_everything(one, superuser, 3)


def test_statement_that_breaks_the_writer(one: OpenLedger, superuser: psycopg.Connection) -> None:
    r"""Bytes that no statement can have (a NUL, a \\u0000, broken UTF-8) fail alone, and the writer goes on."""
    bad: list[Append] = []
    for raw in (b'{"rev":1,"stream":"a\0"}', b'{"rev":1,"stream":"\\u0000","kind":"a"}', b"\xff"):
        entry = msgspec.structs.replace(one.sealed(f"case-bad-{len(bad)}").entries[0], raw=raw)
        bad.append(Append(entries=(entry,)))
    results = together(one, *bad, one.sealed("case-good"))
    assert [type(each) for each in results] == [DatabaseUnavailable] * 3 + [Receipt]
    one.add("case-more")
    check_everything(one, superuser, 3)


def test_key_that_is_gone(one: OpenLedger, superuser: psycopg.Connection) -> None:
    """Nothing is appended that was sealed under a key which is gone by the commit."""
    one.keyring.create("case:two")
    append = one.sealed("case-a", subject="case:two")
    superuser.execute("DELETE FROM ledger.subject_key WHERE subject = 'case:two'")
    with pytest.raises(SubjectErased):
        one.recorder.append(append)
    one.keyring.forget("case:two")
    with pytest.raises(SubjectErased):
        one.ledger.append([new_event("case-a", 1, subject="case:two")], ACT)


def test_signed_statement_says_another_event(one: OpenLedger) -> None:
    """What an actor signed is saved only as the event that it says; kinds that need a signature are refused without."""
    new = new_event("case-a", 1)
    opening = one.ledger.events.opening_of(new)
    statement = one.ledger.events.statement_of(new, ACT, None, opening)
    signed = ActorSigned(statement=encode_statement(statement), signature=b"\1" * 64, opening=opening)
    for other in (new_event("case-b", 1), new_event("case-a", 1, some_event("coordinator-2"))):
        with pytest.raises(WrongStatement):
            one.ledger.append([other], ACT, signed=signed)
    with pytest.raises(SignatureRefused):
        one.ledger.append([new, new_event("case-a", 2)], ACT, signed=signed)
    assert one.ledger.append([new], ACT, signed=signed)[0].receipt.index == 0
