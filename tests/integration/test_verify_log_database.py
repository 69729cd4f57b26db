"""`caseledger verify --log` and `caseledger monitor` as an operator calls them, on a ledger with a whole case in it."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from caseledger import cli
from domain.ledger.verify_trust import render_trusted_keys
from tests.conftest import Database
from tests.service_fixture import CT, Walk, open_service


@pytest.fixture
def walk(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """A case up to its signed opinion; the settings name its database and data directory."""
    monkeypatch.setenv("CASELEDGER_DATA", str(tmp_path / "data"))
    with open_service(database, tmp_path / "data") as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        walk.upload(CT)
        walk.enrol()
        walk.route()
        walk.sign()
        (tmp_path / "keys").write_bytes(render_trusted_keys(service.checkpoints.live.files.trusted()))
        (tmp_path / "older").write_bytes(service.bundles.checkpoint())
        yield walk


def verify(tmp_path: Path, database: Database, *words: str) -> int:
    """The command, on the test's database."""
    keys = str(tmp_path / "keys")
    return cli.main(["verify", "--log", "--database", database.service_url, "--keys", keys, "--json", *words])


def test_a_log_in_a_database_is_verified(
    walk: Walk, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every entry, the surgeon's signature among them; the openings of keys come by the key files beside it."""
    assert verify(tmp_path, database, "--since", str(tmp_path / "older")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"]
    assert said["size"] == walk.service.ledger.recorder.max_notification_id()
    assert {each["name"]: each["count"] for each in said["checks"]}["actor signatures"] == 1


def test_the_post_quantum_key_s_word_reaches_as_far_as_it_signed(
    walk: Walk, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest checkpoint has no line of that key yet: the whole log is verified, and the report says the size."""
    own = walk.service.cosignatures.own_keys()
    trusted = walk.service.checkpoints.live.files.trusted()
    (tmp_path / "keys").write_bytes(render_trusted_keys(msgspec.structs.replace(trusted, post_quantum=own)))
    assert verify(tmp_path, database) == 1
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert (failure["check"], failure["index"]) == ("post-quantum", None)
    with walk.service.pool.connection() as connection:
        size, note = walk.service.checkpoints.latest(connection)
        walk.service.cosignatures.cosign(connection, size)
    (tmp_path / "kept").write_bytes(note)
    walk.share()
    for words, whole in (((), walk.service.ledger.recorder.max_notification_id()), (("--checkpoint", "kept"), size)):
        assert verify(tmp_path, database, *(str(tmp_path / each) if each == "kept" else each for each in words)) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["size"], said["post_quantum_size"]) == (whole, size)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.cosignature DISABLE TRIGGER USER")
        connection.execute("UPDATE ledger.cosignature SET line = replace(line, 'A', 'B')")
    assert verify(tmp_path, database) == 1
    assert json.loads(capsys.readouterr().out)["failure"]["check"] == "post-quantum"


def test_what_a_superuser_altered_is_found(
    walk: Walk, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that is gone, and a letter of a statement: by the scan, and by the monitor."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.entry DISABLE TRIGGER USER")
        connection.execute(
            "UPDATE ledger.entry SET statement = replace(statement::text, 'stream\":\"', 'stream\":\"x')::json"
            " WHERE index = 4"
        )
    assert verify(tmp_path, database) == 1
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert (failure["check"], failure["index"]) == ("ledger signatures", 4)
    assert cli.main(["monitor", "--once", "--database", database.service_url]) == 1
    assert "BAD: from entry 4 on: entry: " in capsys.readouterr().out
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("DELETE FROM ledger.entry WHERE index = 3")
    assert verify(tmp_path, database) == 1
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert (failure["check"], failure["index"], failure["message"]) == ("entries", 3, "the entry is missing")


def test_the_monitor_says_good(
    walk: Walk, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One pass, with the keys of the data directory or with those of a file."""
    for words in ((), ("--keys", str(tmp_path / "keys"), "--state", str(tmp_path / "state"))):
        assert cli.main(["monitor", "--once", "--database", database.service_url, *words]) == 0
        assert capsys.readouterr().out.startswith("good: ")


@pytest.mark.parametrize(
    "words", [["verify", "x", "--log"], ["verify", "--log", "--tiles", "/nonexistent"],
              ["verify", "--log", "--tiles", "x", "--database", "y"], ["verify", "--log", "--jobs", "0"],
              ["verify", "--log", "--tsa", "x"], ["verify", "--log", "--token", "x"],
              ["verify", "--log", "--witnesses", "x"], ["verify", "x", "--since", "y"],
              ["verify", "x", "--checkpoint", "y"], ["verify", "x", "--database", "y"], ["verify", "x", "--jobs", "2"]],
)  # fmt: skip
def test_words_that_make_no_sense_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and nothing is looked at."""
    assert cli.main(words) == 1
    assert capsys.readouterr().err.startswith("caseledger: ")


def test_a_database_that_does_not_answer_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, without the address."""
    assert cli.main(["verify", "--log", "--database", "postgresql:///x?host=/nonexistent&password=secret"]) == 2
    err = capsys.readouterr().err
    assert "did not answer" in err
    assert "secret" not in err
