"""Which databases a new origin is given to, and what becomes of a change that ended halfway."""

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from application.ledger import keyfiles, new_origin, origin_files
from application.ledger.keks import Keks
from application.ledger.keyring import kek_name
from application.proofs import Proofs
from caseledger import composition, new_origin_command
from caseledger.settings import Settings
from domain.errors import (
    AlreadyDone,
    HeadBehindPin,
    HeadForked,
    InvalidInput,
    Misconfigured,
    Refused,
    Unavailable,
    WrongOrigin,
)
from domain.ledger.checkpoint import read_unverified
from domain.ledger.origins import STREAM
from domain.ledger.tree import Frontier
from domain.ledger.verify import verify
from tests.conftest import Database
from tests.restored_fixture import (
    Scene,
    go_on,
    opened_case,
    report,
    running,
)
from tests.restoring import back_up, put_back
from tests.service_fixture import COMPLIANCE, request


def test_nothing_changes_before_somebody_says_yes(scene: Scene) -> None:
    """No answer, another answer, or no reason of ours: the old refusal stands, and no file is made."""
    before = sorted(each.name for each in scene.settings.data.iterdir() if each.name != "succession.lock")
    for answer in ("", "no", "y"):
        with pytest.raises(Refused):
            new_origin_command.run(scene.settings, "disaster-recovery", yes=False, ask=lambda answer=answer: answer)
    with pytest.raises(InvalidInput):
        new_origin_command.run(scene.settings, "because", yes=True)
    assert sorted(each.name for each in scene.settings.data.iterdir() if each.name != "succession.lock") == before
    with pytest.raises(HeadBehindPin), running(scene.settings):
        pass
    assert new_origin_command.run(scene.settings, "exercise", yes=False, ask=lambda: "yes") == 0


def test_a_ledger_that_lost_nothing_keeps_its_origin(settings: Settings) -> None:
    """A database that extends its pin, one beside a running service, and a new data directory are refused."""
    with pytest.raises(Misconfigured):
        new_origin_command.run(settings, "exercise", yes=True)
    with running(settings) as service:
        opened_case(service)
        with pytest.raises(Unavailable):
            new_origin_command.run(settings, "exercise", yes=True)
    with pytest.raises(AlreadyDone):
        new_origin_command.run(settings, "exercise", yes=True)
    with running(settings) as service:
        opened_case(service)


def test_what_is_no_older_copy_of_this_ledger(scene: Scene, tmp_path: Path) -> None:
    """Another ledger's database, an altered entry, a checkpoint by another key, and a fork are not gone on with."""
    settings, database = scene.settings, scene.database
    other = msgspec.structs.replace(settings, data=tmp_path / "other")
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.entry DISABLE TRIGGER ALL")
        connection.execute("ALTER TABLE ledger.checkpoint DISABLE TRIGGER ALL")
        for damage in (
            "UPDATE ledger.entry SET leaf = sha256(leaf) WHERE index = 3",
            "UPDATE ledger.entry SET ledger_signature = substr(ledger_signature || ledger_signature, 2, 64)",
            "DELETE FROM ledger.entry WHERE index = 4",
            "DELETE FROM ledger.checkpoint",
            "UPDATE ledger.checkpoint SET note = replace(note, 'A', 'B')",
            "UPDATE ledger.checkpoint SET note = (SELECT note FROM ledger.checkpoint WHERE size = 2)",
        ):
            with connection.transaction(force_rollback=True):
                connection.execute(damage)
                with pytest.raises(HeadForked):
                    _examined(connection, settings)
    with pytest.raises(WrongOrigin):
        _foreign(settings, other, database)
    assert go_on(settings) == 0


def _examined(connection: psycopg.Connection, settings: Settings) -> None:
    files = keyfiles.load(settings.data)
    keks = [kek_name(each) for each in Keks(settings.data / "keys").read()]
    new_origin.examine(connection, (origin_files.present(files),), keks)


def _foreign(settings: Settings, other: Settings, database: Database) -> None:
    """Examine the database with another ledger's files."""
    files = keyfiles.load(other.data)
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        new_origin.examine(connection, (origin_files.present(files),), [])


def test_a_copy_that_an_entry_was_taken_out_of(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the checkpoints above it: what is left is signed one by one, but is of long after the newest checkpoint."""
    with psycopg.connect(scene.database.superuser_url, autocommit=True) as connection:
        for table in ("entry", "checkpoint", "root", "cosignature", "head"):
            connection.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER ALL")
        # The last of its stream, so that no chain is broken.
        row = connection.execute(
            "SELECT max(index) FROM (SELECT max(index) AS index FROM ledger.entry GROUP BY stream) AS ends"
            " WHERE index BETWEEN 4 AND %s",
            (scene.size - 3,),
        ).fetchone()
        assert row is not None
        assert row[0]
        connection.execute("DELETE FROM ledger.entry WHERE index = %s", row)
        connection.execute("UPDATE ledger.entry SET index = index + 1000000 WHERE index > %s", row)
        connection.execute("UPDATE ledger.entry SET index = index - 1000001 WHERE index >= 1000000")
        for table in ("cosignature", "checkpoint", "root"):
            connection.execute(f"DELETE FROM ledger.{table} WHERE size > %s", row)
        leaves = [leaf for (leaf,) in connection.execute("SELECT leaf FROM ledger.entry ORDER BY index")]
        head = Frontier().extend(leaves)
        connection.execute("UPDATE ledger.head SET size = %s, frontier = %s", (head.size, head.to_bytes()))
        connection.execute("INSERT INTO ledger.root VALUES (%s, %s, 0)", (head.size, head.root()))
        _examined(connection, scene.settings)  # within the hour it cannot be told from a copy made in between
        monkeypatch.setattr(new_origin, "UNSIGNED_S", -3600)
        with pytest.raises(HeadForked, match="long after the newest checkpoint"):
            _examined(connection, scene.settings)


def test_a_fork_is_no_older_copy(settings: Settings, database: Database) -> None:
    """A database that went another way past the pin's size is refused: nothing was restored, something was changed."""
    with running(settings) as service:
        opened_case(service)
    copy = back_up(database, "fork")
    with running(settings) as service:
        opened_case(service)
    pin = (settings.data / "pin").read_bytes()
    put_back(database, copy)
    (settings.data / "pin").unlink()
    with running(settings) as service:
        opened_case(service)
        opened_case(service)
    (settings.data / "pin").write_bytes(pin)
    with pytest.raises(HeadForked):
        new_origin_command.run(settings, "attack", yes=True)


def test_entries_behind_the_newest_checkpoint_are_held_to_their_own_signatures(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy that was made between a commit and its checkpoint goes on too, and it is said; old proofs still answer."""
    with psycopg.connect(scene.database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.checkpoint DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM ledger.checkpoint WHERE size > %s", (scene.size - 4,))
        connection.execute("ALTER TABLE ledger.checkpoint ENABLE ALWAYS TRIGGER append_only")
        connection.execute("ALTER TABLE ledger.checkpoint ENABLE ALWAYS TRIGGER never_truncated")
    assert go_on(scene.settings) == 0
    assert "stand under no checkpoint in it" in capsys.readouterr().out
    with running(scene.settings) as service:
        receipt = service.bundles.receipt(scene.size - 1)
        assert read_unverified(receipt.checkpoint.encode()).origin == service.keys.origin
        found = Proofs(service.pool, service.checkpoints).inclusion(0, scene.size)
        assert found.tree.checkpoint is None
        keys = msgspec.structs.replace(service.keys.trusted(), others=(scene.keys,))
        assert verify(service.bundles.export(request(*COMPLIANCE), scene.walk.case), keys).ok


def small(settings: Settings, database: Database) -> str:
    """A ledger of two cases of which one is lost; the copy's name."""
    with running(settings) as service:
        opened_case(service)
    copy = back_up(database, "small")
    with running(settings) as service:
        opened_case(service)
    put_back(database, copy)
    return copy


def test_ended_anywhere_it_goes_on_where_it_was(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step it ends at, the service is refused until the command is called again, and then it is whole."""
    small(settings, database)
    restored = back_up(database, "restored")
    kept = tmp_path / "kept"
    shutil.copytree(settings.data, kept)
    ended = done_anyway = 0
    for at in itertools.count():
        if at:
            put_back(database, restored)
            shutil.rmtree(settings.data)
            shutil.copytree(kept, settings.data)
        with monkeypatch.context() as patched:
            steps = _Steps(patched, at)
            try:
                new_origin_command.run(settings, "exercise", yes=True)
            except _Ended:
                ended += 1
            else:
                break
        assert steps.left < 0
        if _refused(settings):
            assert new_origin_command.run(settings, "exercise", yes=True) == 0
        else:
            done_anyway += 1
        with composition.database(settings) as urls, composition.opened(settings, urls) as service:
            walk = opened_case(service)
            assert len(service.ledger.stream(STREAM)) == 1
            assert len(list((settings.data / "origins").iterdir())) == 1
            assert not [each.name for each in settings.data.glob("succession*") if each.is_dir()]
            found = report(service, walk.case, service.keys.trusted())
            assert found.ok, (at, found.failure)
            assert [each.judged for each in found.restored] == [True]
    assert ended > 20
    # What remains behind the last step is done by any start.
    assert done_anyway <= 4


class _Ended(BaseException):
    """The process dies here."""


class _Steps:
    """Lets a number of changes to files, and the commit, pass, then dies before the next."""

    def __init__(self, patched: pytest.MonkeyPatch, left: int) -> None:
        self.left = left
        for place, name in (
            (os, "link"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree"), (origin_files, "write_private"),
            (new_origin, "first_checkpoint"), (origin_files, "committed"), (new_origin, "_sealed"),
        ):  # fmt: skip
            patched.setattr(place, name, self._counted(getattr(place, name)))

    def _counted(self, real: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise _Ended
            return real(*given, **named)

        return counted


def _refused(settings: Settings) -> bool:
    """Whether the service does not start."""
    try:
        with composition.database(settings) as urls, composition.opened(settings, urls):
            return False
    except (HeadBehindPin, WrongOrigin, Misconfigured):
        return True
