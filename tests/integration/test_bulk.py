"""The bulk path: full batches, sealed by several processes, under the appender's guarantees."""

from collections.abc import Iterator

import pytest

from application.ledger.bulk import Bulk, Import
from application.ledger.entries import Appended, Guard, IdempotencyKey
from domain.case.events import OpinionSigned
from domain.errors import GuardBroken, IdempotencyKeyReused, SignatureRefused, StaleRevision, SubjectErased, TooLarge
from domain.ledger.receipt import verify
from tests.conftest import Database
from tests.ledger_fixture import ACT, OpenLedger, new_event, some_event
from tests.service_fixture import CONTENT


@pytest.fixture
def bulk(database: Database, one: OpenLedger) -> Iterator[Bulk]:
    """A bulk of the same ledger, with two processes."""
    with Bulk(database.service_url, one.keys.origin, one.checkpoints, one.keyring, processes=2) as bulk:
        yield bulk


def events(stream: str, *revs: int, **more: object) -> Import:
    """An import of small events of one stream."""
    return Import(events=tuple(new_event(stream, rev) for rev in revs), act=ACT, **more)  # type: ignore[arg-type]


def test_many_streams_in_several_batches(bulk: Bulk, one: OpenLedger) -> None:
    """Streams that span batches stay chained, the log keeps the order given, and every receipt verifies."""
    imports = [events(f"case-{number}", 2 * turn + 1, 2 * turn + 2) for turn in range(5) for number in range(9)]
    answers = bulk.append(imports, batch=20)
    assert [each.first_index for each in answers if isinstance(each, Appended)] == list(range(0, 90, 2))
    for each in answers:
        assert isinstance(each, Appended)
        for receipt in each.receipts:
            verify(receipt, one.verifiers())
    assert [each.originator_version for each in one.ledger.stream("case-3")] == list(range(1, 11))
    assert one.ledger.stream("case-3")[9].event == some_event()
    assert [each.statement.stream for each in one.ledger.read(0, 6)] == ["case-0"] * 2 + ["case-1"] * 2 + ["case-2"] * 2


def test_appends_go_on_beside_it(bulk: Bulk, one: OpenLedger) -> None:
    """What is appended one by one and in bulk builds on each other."""
    first = one.add("case-a")[0].receipt.leaf
    (answer,) = bulk.append([events("case-a", 2, 3, heads={"case-a": first})])
    assert isinstance(answer, Appended)
    last = one.add("case-a", after=(3, answer.receipts[1].leaf))[0]
    verify(last.receipt, one.verifiers())
    assert [each.originator_version for each in one.ledger.stream("case-a")] == [1, 2, 3, 4]


def test_who_conflicts_fails_alone(bulk: Bulk, one: OpenLedger) -> None:
    """A wrong revision, a broken guard, a lost key or a payload too large refuses its import, and what builds on it."""
    one.add("case-taken")
    big = Import(events=(new_event("case-big", 1, some_event("c" * 300_000)),), act=ACT)
    lost = Import(events=(new_event("case-lost", 1, subject="case:never-made"),), act=ACT)
    refused = [
        events("case-taken", 1),
        events("case-taken", 2),
        events("case-guarded", 1, guards=(Guard("case-taken", ""),)),
        lost,
        big,
    ]
    answers = bulk.append([*refused, events("case-good", 1)])
    assert [type(each) for each in answers] == [
        StaleRevision,
        StaleRevision,
        GuardBroken,
        SubjectErased,
        TooLarge,
        Appended,
    ]
    assert one.recorder.max_notification_id() == 2


def test_repeated_under_its_key(bulk: Bulk, one: OpenLedger) -> None:
    """An import under an Idempotency-Key goes in once; the same key for another request is refused."""
    key = IdempotencyKey(actor="coordinator-1", key="k", request_digest=b"\1" * 32)
    other = IdempotencyKey(actor="coordinator-1", key="k", request_digest=b"\2" * 32)
    first, again, reused = bulk.append(
        [
            events("case-a", 1, idempotency=key),
            events("case-b", 1, idempotency=key),
            events("case-c", 1, idempotency=other),
        ]
    )
    assert isinstance(first, Appended)
    assert isinstance(again, Appended)
    assert (first.replayed, again.replayed, again.first_index) == (False, True, first.first_index)
    assert isinstance(reused, IdempotencyKeyReused)
    assert one.recorder.max_notification_id() == 1


def test_no_actors_signature_in_bulk(bulk: Bulk) -> None:
    """An event of a kind that its actor signs is refused before anything is written."""
    signed = OpinionSigned(
        opinion="opinion-1", version=1, content=CONTENT, relied_on=(), signer_name="S", meaning="authorship"
    )
    with pytest.raises(SignatureRefused):
        bulk.append([Import(events=(new_event("case-a", 1, signed),), act=ACT)])
