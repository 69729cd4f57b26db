"""Outside the database: the fence, the keys in memory, and the key-encryption key."""

import threading
from pathlib import Path

import psycopg
import pytest

from application.ledger.keks import Keks
from application.ledger.keyring import Keyring, kek_name
from application.privacy import fence
from application.privacy.fence import FenceFile, FenceWatch, reapply
from caseledger import cli
from domain.errors import (
    PayloadAltered,
    SubjectErased,
    Unavailable,
)
from tests.conftest import Database
from tests.erasure_fixture import Erasable, Marked, sealed


def test_a_restored_database_is_erased_again(site: Erasable, case: Marked, database: Database) -> None:
    """What the file outside names and the database still has goes before anything is opened; both know it then."""
    subject = f"case:{case.case}"
    file = FenceFile(site.data / "fence")
    file.add([subject, "record:0199aaaa-0000-7000-8000-00000000000e"])
    before = sealed(database)
    assert site.service.keyring.get(subject)
    assert reapply(database.owner_url, file) == 2
    assert reapply(database.owner_url, file) == 0
    site.service.keyring.clear()
    with pytest.raises(SubjectErased):
        site.service.keyring.get(subject)
    assert sealed(database) < before
    assert site.service.cases.load(case.case).state.patient_account is None
    # And the other way: a file that was lost is made again from the database.
    (site.data / "fence").unlink()
    assert reapply(database.owner_url, file) == 0
    assert subject in file.read()


def test_the_fence_outside_only_grows(tmp_path: Path) -> None:
    """A line that a crash cut off is no subject and spoils none; nothing is in it twice, and it is private."""
    path = tmp_path / "fence"
    file = FenceFile(path)
    assert file.read() == frozenset()
    file.add(["case:a", "case:b", "case:a"])
    with path.open("a") as handle:
        handle.write("record:0199-!")
    file.add(["case:b", "case:c"])
    assert path.read_text() == "case:a\ncase:b\nrecord:0199-!\ncase:c\n"
    assert file.read() == {"case:a", "case:b", "case:c"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_process_drops_its_keys_at_once(site: Erasable, case: Marked, database: Database) -> None:
    """It hears of the commit; long before a key's time in memory is over there is none."""
    subject = f"case:{case.case}"
    keyring = Keyring(site.service.pool, site.service.keys.kek)
    watch = FenceWatch(keyring, database.service_url)
    watch.start()
    try:
        assert keyring.get(subject)
        assert subject in keyring._cache
        dropped = threading.Event()
        clear = keyring.clear

        def noted() -> None:
            clear()
            dropped.set()

        keyring.clear = noted  # type: ignore[method-assign]
        case.execute(case.approved())
        assert dropped.wait(5)
        with pytest.raises(SubjectErased):
            keyring.get(subject)
    finally:
        watch.stop()


def test_who_cannot_hear_holds_no_key(site: Erasable, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the connection to listen on is gone, keys are read each time; when it is back they are held again."""
    site.service.keyring.create("case:x")
    keyring = Keyring(site.service.pool, site.service.keys.kek)
    monkeypatch.setattr(fence, "_RETRY_S", 0.05)
    watch = FenceWatch(keyring, f"{database.service_url}&application_name=watched")
    watch.start()
    try:
        assert keyring.get("case:x")
        assert keyring._cache
        states: list[bool] = []
        both = threading.Event()
        cache = keyring.cache

        def noted(*, allowed: bool) -> None:
            cache(allowed=allowed)
            if not allowed:
                keyring.get("case:x")
                states.append(bool(keyring._cache))
            elif states:
                both.set()

        keyring.cache = noted  # type: ignore[method-assign]
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'watched'"
            )
        assert both.wait(10)
        assert states[0] is False
        assert keyring.get("case:x")
        assert keyring._cache
    finally:
        watch.stop()


def wrapped(database: Database) -> list[tuple[str, bytes, str]]:
    """Every subject's wrapped key."""
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute("SELECT subject, wrapped, kek FROM ledger.subject_key ORDER BY subject").fetchall()


def test_rotation_makes_old_copies_worthless(site: Erasable, case: Marked, database: Database) -> None:
    """After an erasure every living key is under another key-encryption key, and the old one is nowhere."""
    old = site.service.keys.kek
    backup = wrapped(database)
    case.execute(case.approved())
    site.clearing.run()
    (kek,) = Keks(site.data / "keys").read()
    assert kek != old
    now = wrapped(database)
    assert {each[2] for each in now} == {kek_name(kek)}
    assert not {each[1] for each in now} & {each[1] for each in backup}
    assert sorted(each.name for each in (site.data / "keys").iterdir() if each.name.startswith("kek")) == ["kek"]
    with pytest.raises(PayloadAltered):
        Keyring(site.service.pool, kek)._unwrap(backup[0][0], backup[0][1], backup[0][2])


def test_other_processes_go_on_through_a_rotation(site: Erasable, case: Marked, database: Database) -> None:
    """One that started before it reads keys and makes keys, during it and after it."""
    keks = Keks(site.data / "keys")
    other = Keyring(site.service.pool, site.service.keys.kek, keks.read)
    subject = f"case:{case.case}"
    key = other.get(subject)
    for number in range(600):
        other.create(f"case:{number}")
    first = keks.rotate(site.service.keyring)
    other.clear()
    assert other.get(subject) == key
    other.create("case:new")
    assert other.get("case:new") == site.service.keyring.get("case:new")
    assert {each[2] for each in wrapped(database)} == {first}
    second = keks.rotate(site.service.keyring)
    assert second != first
    assert {each[2] for each in wrapped(database)} == {second}
    # One that starts now knows the new one only.
    (kek,) = keks.read()
    assert Keyring(site.service.pool, kek).get(subject) == key


def test_a_key_under_the_old_one_cannot_be_made_any_more(site: Erasable, database: Database) -> None:
    """The database refuses it, and who has no file of the new one is told so."""
    stale = Keyring(site.service.pool, site.service.keys.kek)
    Keks(site.data / "keys").rotate(site.service.keyring)
    with pytest.raises(Exception, match="not in the data directory"):
        stale.create("case:stale")
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute("INSERT INTO ledger.subject_key VALUES ('case:s', 'w', 'old')")
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute("SELECT ledger.rewrap(ARRAY['case:s'], ARRAY['w'::bytea], ARRAY['v'::bytea], 'old')")
    assert "case:stale" not in {each[0] for each in wrapped(database)}


def test_an_operator_rotates_at_any_time(
    site: Erasable,
    case: Marked,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`key rotate kek` rewraps every living subject beside a running service, makes a stolen copy of the wrapped keys
    and of the old key worthless, and wraps nothing anew that a restored database still has of an erased subject."""
    for name, value in (
        ("DATA", str(site.data)),
        ("DATABASE_URL", database.service_url),
        ("OWNER_DATABASE_URL", database.owner_url),
    ):
        monkeypatch.setenv(f"CASELEDGER_{name}", value)
    subject, old = f"case:{case.case}", site.service.keys.kek
    key, backup = site.service.keyring.get(subject), wrapped(database)
    site.service.keyring.create("case:gone")
    FenceFile(site.data / "fence").add(["case:gone"])
    assert cli.main(["key", "rotate", "kek"]) == 0
    (kek,) = Keks(site.data / "keys").read()
    assert f"key-encryption key {kek_name(kek)} is in use" in capsys.readouterr().out
    assert [(each[0], each[2]) for each in wrapped(database)] == [(each[0], kek_name(kek)) for each in backup]
    assert {each[0] for each in backup} >= {subject}
    # The key in use does not open the copy, the old key does not open what there is, and no file has it any more.
    with pytest.raises(PayloadAltered):
        Keyring(site.service.pool, kek)._unwrap(*backup[0])
    with pytest.raises(PayloadAltered):
        Keyring(site.service.pool, old).get(subject)
    assert all(old not in file.read_bytes() for file in (site.data / "keys").iterdir())
    # The service that ran beside it goes on, reading and making keys.
    site.service.keyring.clear()
    assert site.service.keyring.get(subject) == key
    site.service.keyring.create("case:new")
    assert {each[2] for each in wrapped(database)} == {kek_name(kek)}
    monkeypatch.setenv("CASELEDGER_DATA", str(tmp_path / "none"))
    assert cli.main(["key", "rotate", "kek"]) == 1
    assert not (tmp_path / "none").exists()


def test_one_rotation_at_a_time(site: Erasable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one beside it is refused, and the first ends as it would have."""
    keks = Keks(site.data / "keys")
    rewrap = site.service.keyring.rewrap

    def beside(kek: bytes) -> int:
        with pytest.raises(Unavailable):
            Keks(site.data / "keys").rotate(site.service.keyring)
        return rewrap(kek)

    monkeypatch.setattr(site.service.keyring, "rewrap", beside)
    assert keks.rotate(site.service.keyring) == kek_name(keks.read()[0])
