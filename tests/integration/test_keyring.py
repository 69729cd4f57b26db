import psycopg
import pytest

from application.ledger import keyring as keyring_module
from application.ledger.keyring import Keyring
from domain.errors import PayloadAltered, SubjectErased
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger


def test_made_once(one: OpenLedger) -> None:
    """A subject's key is made once and found by every process; one that was never made, or is gone, is erased."""
    one.keyring.create("case:a", "case:b")
    keys = one.keyring.get_many(("case:a", "case:b"))
    one.keyring.create("case:a")
    assert Keyring(one.pool, one.keys.kek).get_many(("case:a", "case:b")) == keys
    assert len(set(keys.values())) == 2
    assert one.keyring.find_many(("case:a", "case:c")) == {"case:a": keys["case:a"]}
    with pytest.raises(SubjectErased):
        one.keyring.get_many(("case:a", "case:c"))


def test_wrapped_for_one_subject(one: OpenLedger, database: Database) -> None:
    """A wrapped key opens under this ledger's key-encryption key only, and as its own subject's only."""
    one.keyring.create("case:a", "case:b")
    with pytest.raises(PayloadAltered):
        Keyring(one.pool, b"\1" * 32).get("case:a")
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(
            "UPDATE ledger.subject_key SET wrapped = (SELECT wrapped FROM ledger.subject_key WHERE subject = 'case:a')"
            " WHERE subject = 'case:b'"
        )
        stored = connection.execute("SELECT wrapped FROM ledger.subject_key").fetchall()
    with pytest.raises(PayloadAltered):
        one.keyring.get("case:b")
    assert all(one.keyring.get("case:a") not in wrapped for (wrapped,) in stored)


def test_erased_key_is_forgotten(one: OpenLedger, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted key is gone from memory after half a minute, or at once where that is asked for."""
    now = [1000.0]
    monkeypatch.setattr(keyring_module, "monotonic", lambda: now[0])
    one.keyring.create("case:a", "case:b", "case:c")
    one.keyring.get_many(("case:a", "case:b"))
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("DELETE FROM ledger.subject_key WHERE subject <> 'case:c'")
    now[0] += 29.0
    assert one.keyring.get("case:a")
    one.keyring.forget("case:a")
    with pytest.raises(SubjectErased):
        one.keyring.get("case:a")
    now[0] += 2.0
    with pytest.raises(SubjectErased):
        one.keyring.get("case:b")
    one.keyring.get("case:c")
    assert list(one.keyring._cache) == ["case:c"]


def test_memory_is_bounded(one: OpenLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more keys than the bound the oldest go first."""
    monkeypatch.setattr(keyring_module, "_CACHE_KEYS", 3)
    subjects = tuple(f"case:{number}" for number in range(5))
    one.keyring.create(*subjects)
    for subject in subjects:
        one.keyring.get(subject)
    assert list(one.keyring._cache) == ["case:2", "case:3", "case:4"]


def test_sealed_beside_the_log(one: OpenLedger) -> None:
    """What is sealed beside the log is the same bytes each time; it opens in its context, under its subject, only."""
    one.keyring.create("case:a", "case:b")
    sealed = one.keyring.seal("case:a", "view.column", b"content")
    assert sealed == one.keyring.seal("case:a", "view.column", b"content")
    assert b"content" not in sealed
    assert one.keyring.open("case:a", "view.column", sealed) == b"content"
    for subject, context, value in (
        ("case:b", "view.column", sealed),
        ("case:a", "view.other", sealed),
        ("case:a", "view.column", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("case:a", "view.column", b""),
    ):
        with pytest.raises(PayloadAltered):
            one.keyring.open(subject, context, value)
