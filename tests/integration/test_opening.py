"""Reading entries whose stored bytes were altered: refused, and said where."""

from collections.abc import Iterator

import psycopg
import pytest

from domain.errors import EntryAltered, PayloadAltered
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger, some_event


@pytest.fixture
def tampering(database: Database, one: OpenLedger) -> Iterator[psycopg.Connection]:
    """A superuser who has disabled the triggers."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.entry DISABLE TRIGGER append_only")
        yield connection


@pytest.mark.parametrize("bit", ["version", "nonce", "text", "cut"])
def test_a_payload_that_does_not_open_is_named(one: OpenLedger, tampering: psycopg.Connection, bit: str) -> None:
    """By its index in the log and its stream's revision, however many are read together, and when one is asked for."""
    one.add("case-b", some_event("other"))
    one.add("case-a", *(some_event(f"c-{number}") for number in range(5)))
    changed = {
        "version": "set_byte(sealed, 0, 2)",
        "nonce": "set_byte(sealed, 5, get_byte(sealed, 5) # 1)",
        "text": "set_byte(sealed, 50, get_byte(sealed, 50) # 1)",
        "cut": "substring(sealed for 20)",
    }[bit]
    tampering.execute(f"UPDATE ledger.entry SET sealed = {changed} WHERE index = 3".encode())
    row = one.recorder.range(3, 4)[0]
    for read in (
        lambda: one.ledger.stream("case-a"),
        lambda: one.ledger.read(0, 6),
        lambda: one.ledger.events.reader.opening_at(row),
    ):
        with pytest.raises(PayloadAltered, match="entry 3, revision 3: the sealed payload") as refused:
            read()
        assert (refused.value.index, refused.value.revision) == (3, 3)
    assert len(one.ledger.stream("case-b")) == 1


def test_a_payload_of_another_entry_is_refused(one: OpenLedger, tampering: psycopg.Connection) -> None:
    """Sealed under the same key, but to another statement."""
    one.add("case-a", *(some_event(f"c-{number}") for number in range(3)))
    tampering.execute(
        "UPDATE ledger.entry SET sealed = (SELECT sealed FROM ledger.entry WHERE index = 0) WHERE index = 2"
    )
    with pytest.raises(PayloadAltered, match="entry 2, revision 3"):
        one.ledger.stream("case-a")


@pytest.mark.parametrize("column", ["leaf", "ledger_signature"])
def test_a_leaf_that_is_not_the_entrys_is_refused(one: OpenLedger, tampering: psycopg.Connection, column: str) -> None:
    """Every leaf is recomputed from the stored bytes, also that of an entry in the middle."""
    one.add("case-a", *(some_event(f"c-{number}") for number in range(3)))
    flipped = f"UPDATE ledger.entry SET {column} = set_byte({column}, 7, get_byte({column}, 7) # 1) WHERE index = 1"
    tampering.execute(flipped.encode())
    with pytest.raises(EntryAltered, match="entry 1 "):
        one.ledger.stream("case-a")


def test_an_erased_entry_is_read_strictly(one: OpenLedger, tampering: psycopg.Connection) -> None:
    """No payload authenticates its statement, so spelling and leaf are all there is, and both are held."""
    one.add("case-a", *(some_event(f"c-{number}") for number in range(2)))
    tampering.execute("UPDATE ledger.entry SET sealed = NULL WHERE index = 0")
    tampering.execute("INSERT INTO ledger.fence (subject) SELECT statement ->> 'subject' FROM ledger.entry LIMIT 1")
    assert [each.index for each in one.ledger.stream("case-a")] == [0, 1]
    tampering.execute("UPDATE ledger.entry SET statement = (statement::text || ' ')::json WHERE index = 0")
    with pytest.raises(EntryAltered):
        one.ledger.stream("case-a")
