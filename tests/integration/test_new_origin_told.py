"""Who is told of a restore, and what of before it still holds: erasures, monitors, witnesses, verifiers."""

import os
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.errors import InsufficientPrivilege

from application.ledger.keyfiles import raw_public
from application.monitor.monitor import Watch
from application.privacy.fence import FenceFile
from application.witness import post_quantum
from application.witness.cosignatures import Cosignatures
from application.witness.witnessing import Witnessing
from caseledger import cli, composition, new_origin_command
from caseledger.clearing import FENCE
from caseledger.settings import Settings
from caseledger.witness.keeper import Witness, add_log
from domain.errors import (
    Misconfigured,
)
from domain.ledger.keys import key_id
from domain.ledger.note import COSIGNATURE_V1, VerifierKey
from domain.ledger.verify import verify
from domain.ledger.verify_trust import render_trusted_keys
from tests.conftest import Database
from tests.ledger_fixture import open_ledger
from tests.restored_fixture import Scene, go_on, opened_case, running, size_of
from tests.restoring import back_up, put_back
from tests.service_fixture import ADMINISTRATOR, COMPLIANCE, request
from tests.witness_fixture import Watched


def test_what_was_erased_stays_erased(scene: Scene) -> None:
    """The fence outside the database is applied before anything of the restored copy is opened."""
    subject = f"case:{scene.walk.case}"
    FenceFile(scene.settings.data / FENCE).add([subject])
    with psycopg.connect(scene.database.owner_url) as connection:
        [(living,)] = connection.execute("SELECT count(*) FROM ledger.subject_key WHERE subject = %s", (subject,))
        assert living == 1
    assert go_on(scene.settings) == 0
    with psycopg.connect(scene.database.owner_url) as connection:
        for question in (
            "SELECT count(*) FROM ledger.subject_key WHERE subject = %s",
            "SELECT count(*) FROM ledger.entry WHERE statement ->> 'subject' = %s AND sealed IS NOT NULL",
        ):
            assert connection.execute(question, (subject,)).fetchone() == (0,)
    for _ in range(2):
        with running(scene.settings) as service:
            opened_case(service)
            assert service.cases.load(scene.walk.case).state.phase == "erased"
            bundle = service.bundles.export(request(*COMPLIANCE), scene.walk.case)
            found = verify(bundle, service.keys.trusted())
            assert found.ok, found.failure
            told = [
                each for each in service.ledger.stream(f"case-{scene.walk.case}") if each.statement.object == subject
            ]
            assert [each.statement.actor for each in told] == ["service"]
            assert (found.holes, len(found.erased) > 5) == ((), True)
        assert cli.main(["replay", "--check"]) == 0


def test_what_was_erased_goes_from_a_view_of_another_version_too(scene: Scene) -> None:
    """Nothing can be folded into it, which keeps nobody from starting; its rows go, until it is rebuilt."""
    FenceFile(scene.settings.data / FENCE).add([f"case:{scene.walk.case}"])
    with psycopg.connect(scene.database.owner_url) as connection:
        connection.execute("ALTER TABLE views.trail RENAME COLUMN kind TO kind_of_before")
        connection.execute("UPDATE views.position SET shape = 'of before' WHERE name = 'trail'")
    assert go_on(scene.settings) == 0
    with psycopg.connect(scene.database.owner_url) as connection:
        assert connection.execute("SELECT count(*) FROM views.trail").fetchone() == (0,)
    assert (cli.main(["replay"]), cli.main(["replay", "--check"])) == (0, 0)


def test_a_copy_whose_content_was_wrapped_under_a_destroyed_key(scene: Scene) -> None:
    """It is refused, as is meant; with the key-encryption key of the same time it goes on."""
    kek = scene.settings.data / "keys" / "kek"
    then = kek.read_bytes()
    kek.write_bytes(os.urandom(32))
    with pytest.raises(Misconfigured, match="was rotated after the copy was made"):
        new_origin_command.run(scene.settings, "exercise", yes=True)
    kek.write_bytes(then)
    assert go_on(scene.settings) == 0


def test_a_succession_that_was_edited_or_made_up_is_found(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """The database lets nobody but the entry change its origin; what a superuser edits, every verification finds."""
    with psycopg.connect(scene.database.owner_url) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute("UPDATE ledger.head SET origin = 'caseledger.invalid/mallory', size = size + 1")
    with psycopg.connect(scene.database.service_url) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute("UPDATE ledger.head SET origin = 'caseledger.invalid/mallory'")
    assert go_on(scene.settings) == 0
    keys = str(scene.settings.data / "public-keys.txt")
    with psycopg.connect(scene.database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.entry DISABLE TRIGGER ALL")
        for column, value in (
            ("statement", "replace(statement::text, 'caseledger.invalid/', 'caseledger.invalid/x')::json"),
            ("statement", "replace(statement::text, 'origin_succeeded', 'origin_succeedee')::json"),
            ("ledger_signature", "overlay(ledger_signature PLACING '\\x0000' FROM 9)"),
            ("sealed", "overlay(sealed PLACING '\\x0000' FROM 20)"),
        ):
            connection.execute("CREATE TABLE kept AS SELECT * FROM ledger.entry WHERE index = %s", (scene.size,))
            connection.execute(f"UPDATE ledger.entry SET {column} = {value} WHERE index = %s", (scene.size,))
            capsys.readouterr()
            assert cli.main(["verify", "--log", "--keys", keys]) != 0, value
            connection.execute(
                f"UPDATE ledger.entry SET {column} = kept.{column} FROM kept WHERE entry.index = kept.index"
            )
            connection.execute("DROP TABLE kept")
        assert cli.main(["verify", "--log", "--keys", keys]) == 0


def test_the_monitor_says_so_and_calls_it_no_fork(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Entries that it had seen and that are lost end one pass in status 1; that it was restored is said for ever."""
    state, outside = tmp_path / "state", tmp_path / "outside"
    copy = back_up(scene.database, "restored")
    # What it saw before the restore: the last released checkpoint, as the pin has it.
    (state).write_bytes((scene.settings.data / "pin").read_bytes())
    outside.write_bytes((scene.settings.data / "pin").read_bytes())
    old_keys = tmp_path / "old-keys"
    old_keys.write_bytes(render_trusted_keys(scene.keys))
    command = ["monitor", "--once", "--state", str(state)]
    assert cli.main(command) == 1
    assert "BAD" in capsys.readouterr().out
    put_back(scene.database, copy)
    assert go_on(scene.settings) == 0
    capsys.readouterr()
    assert cli.main(command) == 1
    said = capsys.readouterr().out
    assert said.startswith("good: ")
    assert f"LOST are entries {scene.size} to {scene.released - 1}" in said
    assert cli.main(command) == 0
    assert f"RESTORED: entries before {scene.size}" in capsys.readouterr().out
    assert (tmp_path / f"state.{scene.keys.origin.rpartition('/')[2]}").exists()
    assert cli.main([*command[:-1], str(tmp_path / "fresh")]) == 0
    assert "RESTORED" in capsys.readouterr().out
    # Who knows the old keys alone is not told to believe the new ones.
    assert cli.main([*command[:-1], str(outside), "--keys", str(old_keys)]) == 1
    assert "no key of that is known" in capsys.readouterr().out
    with composition.database(scene.settings) as urls, composition.opened(scene.settings, urls) as service:
        watch = Watch(service.checkpoints.pinned, composition._checkpoint_keys(service))
        with service.pool.connection() as connection:
            while not watch.step(connection):
                pass
        assert (watch.state.verdict, watch.state.finding) == ("good", None)
        assert [(each.index, each.held) for each in watch.state.restored] == [(scene.size, 0)]


def test_the_monitor_holds_this_ledgers_database_against_the_data_directorys_pin(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A database that came back is found without anything seen before; somebody else's log has a pin elsewhere."""
    keys = tmp_path / "keys"
    keys.write_bytes(render_trusted_keys(scene.keys))
    database = ["--database", scene.database.service_url]
    fresh = [["--state", str(tmp_path / f"fresh-{number}")] for number in range(4)]
    for number, own in enumerate(([], database, ["--keys", str(keys)])):
        assert cli.main(["monitor", "--once", *fresh[number], *own]) == 1
        found = f"BAD: from entry {scene.size} on: head: the log has {scene.size} entries, and had {scene.released}"
        assert capsys.readouterr().out.startswith(found)
    assert cli.main(["monitor", "--once", *fresh[3], *database, "--keys", str(keys)]) == 0
    (scene.settings.data / "pin").write_bytes(b"not a pin")
    assert cli.main(["monitor", "--once", "--state", str(tmp_path / "fresh-4")]) == 1
    assert "the pin is not a checkpoint of this ledger" in capsys.readouterr().out


def test_the_log_s_keys_of_before_are_deactivated(scene: Scene) -> None:
    """They sign nothing any more, unlike the new origin's; a revocation is still said, and a witness's key goes on."""
    old = {str(key): "deactivated" for key in (*scene.keys.entries, *scene.keys.checkpoint)}
    assert go_on(scene.settings) == 0
    with running(scene.settings) as service:
        keys = service.service_keys
        witness = str(VerifierKey.make("witness.example/w", COSIGNATURE_V1, raw_public(Ed25519PrivateKey.generate())))
        proposed = keys.propose(request(*ADMINISTRATOR), "witness", witness).stream.removeprefix("key-")
        keys.approve(request(*COMPLIANCE), proposed)
        new = [service.keys.entry_verifier(), service.keys.checkpoint_verifier()]
        enrolled = {str(each): "enrolled" for each in (*new, witness)}
        assert {each.vkey: each.status for each in keys.all()} == old | enrolled
        assert {*map(key_id, (each.public_key for each in scene.keys.entries))} < {*keys.of_the_log()}
        [leaked] = scene.keys.entries
        keys.revoke(request(*COMPLIANCE), key_id(leaked.public_key), "lost")
        assert {each.vkey: each.status for each in keys.all()} == old | enrolled | {str(leaked): "revoked"}


def test_to_witnesses_it_is_a_new_log(settings: Settings, database: Database, tmp_path: Path) -> None:
    """The new origin's checkpoint is shown from size 0; what was cosigned before is evidence, and no more."""
    with open_ledger(database, settings.data) as one:
        watched = Watched(one, settings.data, tmp_path)
        watched.grow("first")
        watched.client.round()
    copy = back_up(database, "night")
    with open_ledger(database, settings.data) as one:
        one.add("case-lost")
    put_back(database, copy)
    assert go_on(settings) == 0
    with running(settings) as service:
        for place in watched.places:
            add_log(tmp_path / place, str(service.keys.checkpoint_verifier()))
        quantum = post_quantum.load(settings.data, service.keys.origin)
        store = Cosignatures(service.checkpoints, quantum, watched.policy)
        watched.net.sent.clear()
        watched.net.witnesses = {f"http://{place}": Witness(tmp_path / place) for place in watched.places}
        keys = service.checkpoints.live.files.trusted().checkpoint
        client = Witnessing(service.pool, store, service.keys.origin, lambda: keys, watched.net.send, period_s=60.0)
        with service.pool.connection() as connection:
            assert store.quorate(connection) is None
            client.round()
            asked = [body for url, body in watched.net.sent if url.endswith("/add-checkpoint")]
            assert [body[:6] for body in asked if body is not None] == [b"old 0\n"] * 3
            assert (store.quorate(connection) or (0,))[0] == size_of(service)
            stored = connection.execute("SELECT DISTINCT size FROM ledger.cosignature ORDER BY size").fetchall()
        assert stored[0] == (1,)
