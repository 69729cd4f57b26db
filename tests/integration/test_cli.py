"""The command line: what each command prints, its exit status, and the one line that a failure says."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import psycopg
import pytest

from caseledger import cli, composition, logs, replay_command
from caseledger.data import existing_keys
from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER
from caseledger.settings import read
from domain.ledger.verify_trust import parse_trusted_keys
from tests.conftest import Database, scratch

TIMEOUT_S = 60


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory that does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="caseledger-", dir=scratch()) as folder:
        yield Path(folder) / "ledger"


@pytest.fixture
def environment(database: Database, data: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings for a test's own database, for commands in this process and for children."""
    ours = {
        "CASELEDGER_DATA": str(data),
        "CASELEDGER_DATABASE_URL": database.service_url,
        "CASELEDGER_OWNER_DATABASE_URL": database.owner_url,
        "CASELEDGER_PORT": "0",
    }
    for name in [name for name in os.environ if name.startswith("CASELEDGER_")]:
        monkeypatch.delenv(name)
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


class Served:
    """`caseledger serve` as a child process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.process = subprocess.Popen(
            (sys.executable, "-m", "caseledger.cli", "serve"), env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], TIMEOUT_S)[0]
        self.line = self.process.stdout.readline()
        self.url = next((word.rstrip(",") for word in self.line.split() if word.startswith("http://")), "")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit status, and what else was printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out, err


@pytest.fixture
def served(environment: dict[str, str]) -> Iterator[Served]:
    """A service on the test's database."""
    child = Served(environment)
    try:
        yield child
    finally:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate()


def failure(capsys: pytest.CaptureFixture[str], *words: str, status: int = 1) -> str:
    """Run a command that has to fail: nothing on standard output, one line on standard error."""
    assert cli.main(words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("caseledger: ")
    assert err.count("\n") == 1
    return err


def token(subject: str = "tom.fielding", role: str = "coordinator", **more: str) -> list[str]:
    """Words of the token command."""
    return ["token", "--role", role, "--subject", subject, *(word for each in more.items() for word in each)]


def test_serve_says_where_it_is_and_where_its_public_keys_are(served: Served, environment: dict[str, str]) -> None:
    """One line; the address answers, and the file is what `verify --keys` takes."""
    assert served.line.count("\n") == 1
    assert httpx.get(f"{served.url}/health", trust_env=False).json() == {"status": "ok"}
    public = Path(served.line.split("public keys in ")[1].strip())
    assert parse_trusted_keys(public.read_bytes()).origin == existing_keys(read(environment)).origin


def test_a_token_is_good_while_the_service_runs_and_needs_no_database(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are made from the key file alone."""
    nowhere = "postgresql://nobody@/nothing?host=/nonexistent"
    monkeypatch.setenv("CASELEDGER_DATABASE_URL", nowhere)
    monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", nowhere)
    assert cli.main(token("account-1", "patient")) == 0
    bearer = capsys.readouterr().out.strip()
    body = {
        "case": {"reason": "told_unresectable", "diagnosis": "invented", "organ": "liver", "home_country": "GB"},
        "patient": {"name": "Peter Doe", "born_on": "1961-04-09"},
    }
    headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": "1"}
    answer = httpx.post(f"{served.url}/cases", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 201, answer.text
    assert httpx.post(f"{served.url}/cases", json=body, trust_env=False).status_code == 401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_the_service_stops(served: Served, number: signal.Signals) -> None:
    """New connections are refused at once; what was begun ends in order, with status 0."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.sendall(
            b"POST /cases HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
        )
        # The answer to another request shows that the first one is being handled.
        assert httpx.get(f"{served.url}/health", trust_env=False).status_code == 200
        served.process.send_signal(number)
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=TIMEOUT_S).close()
            except ConnectionRefusedError:
                break
            assert time.monotonic() < deadline
            select.select([], [], [], 0.02)
        assert served.process.poll() is None
        # Who asks twice while requests end is not in a hurry: only one stop comes of it.
        served.process.send_signal(signal.SIGTERM)
        connection.sendall(b"}")
        assert connection.recv(100).startswith(b"HTTP/1.1 401")
    out, _ = served.process.communicate(timeout=TIMEOUT_S)
    assert (served.process.returncode, out) == (0, "")


def test_logs_are_json_lines_with_an_event_and_no_traceback(served: Served) -> None:
    """Every line of standard error is one object; uvicorn's access log, with its paths, is off."""
    httpx.get(f"{served.url}/cases/nobody-knows-this", trust_env=False)
    status, _, err = served.stop()
    lines = [json.loads(line) for line in err.splitlines()]
    assert status == 0
    assert {"serve.ready", "serve.stopped"} <= {line["event"] for line in lines}
    assert "nobody-knows-this" not in err
    assert "Traceback" not in err


def test_two_services_share_one_ledger_and_leave_it_in_any_order(environment: dict[str, str]) -> None:
    """Each process has its own port; the data directory and the database are common."""
    first, second = Served(environment), Served(environment)
    try:
        assert first.url != second.url
        assert first.stop()[0] == 0
        assert httpx.get(f"{second.url}/health", trust_env=False).status_code == 200
        assert second.stop()[0] == 0
    finally:
        for each in (first, second):
            if each.process.poll() is None:
                each.process.kill()
                each.process.communicate()


@pytest.mark.usefixtures("environment")
def test_a_port_that_is_taken_is_named_before_anything_starts(
    capsys: pytest.CaptureFixture[str], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data directory is made for a service that cannot listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setenv("CASELEDGER_PORT", port)
        assert f"cannot listen on 127.0.0.1 port {port}" in failure(capsys, "serve")
    assert not data.exists()


@pytest.mark.usefixtures("environment")
def test_migrate_says_which_revision_the_database_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    """A second time it changes nothing and says the same."""
    assert cli.main(["migrate"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("schema revision 0")
    assert cli.main(["migrate"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.usefixtures("environment")
def test_replay_compares_and_rebuilds(capsys: pytest.CaptureFixture[str]) -> None:
    """Views of an empty log equal it, before and after a rebuild."""
    assert cli.main(["replay", "--check"]) == 0
    assert "equal" in capsys.readouterr().out
    assert cli.main(["replay"]) == 0
    assert "rebuilt" in capsys.readouterr().out


@pytest.mark.usefixtures("environment")
def test_replay_check_names_the_row_that_differs(capsys: pytest.CaptureFixture[str], database: Database) -> None:
    """A row that the log does not account for: status 1, and which one."""
    assert cli.main(["migrate"]) == 0
    with psycopg.connect(database.owner_url) as connection:
        columns = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'views' AND table_name = 'trail' ORDER BY ordinal_position"
        ).fetchall()
        values = {"text": "'x'", "bigint": "7", "bytea": "NULL"}
        connection.execute(
            f"INSERT INTO views.trail ({', '.join(c for c, _ in columns)})"
            f" VALUES ({', '.join(values[t] for _, t in columns)})"
        )
    capsys.readouterr()
    assert cli.main(["replay", "--check"]) == replay_command.DIFFERENT
    assert "DIFFERENT: row 7 is extra" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["migrate", "replay", "serve"])
def test_a_database_that_does_not_answer_is_named_without_its_address(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """An address may hold a password."""
    monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", "postgresql://o:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in (said := failure(capsys, command))
    assert "CASELEDGER_OWNER_DATABASE_URL" in said


@pytest.mark.usefixtures("environment")
def test_what_is_no_address_of_a_database_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not repeated either."""
    monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", "mysql=hunter2=")
    assert "hunter2" not in (said := failure(capsys, "migrate"))
    assert "CASELEDGER_OWNER_DATABASE_URL is not an address" in said


@pytest.mark.usefixtures("environment")
def test_migrations_as_a_role_that_does_not_own_the_database_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    """Whoever migrates owns what is made, so the service never does."""
    monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", database.service_url)
    assert "OWNER_DATABASE_URL is of another role" in failure(capsys, "migrate")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("url", ["owner_url", "superuser_url"])
def test_the_service_never_works_as_owner_or_superuser(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: Database, url: str
) -> None:
    """The triggers that keep the log would not hold such a role."""
    monkeypatch.setenv("CASELEDGER_DATABASE_URL", getattr(database, url))
    assert "has to be of the role caseledger_service" in failure(capsys, "migrate")


@pytest.mark.usefixtures("environment")
def test_two_different_databases_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: EmbeddedPostgres, template: str
) -> None:
    """Migrating one and serving another would show only later."""
    server.bootstrap("test_other")
    monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", server.url(OWNER, "test_other"))
    assert "different databases" in failure(capsys, "migrate")


@pytest.mark.usefixtures("environment")
def test_a_server_that_is_too_old_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL 15 is the oldest; shown on a bound above the server at hand."""
    assert composition.OLDEST_SERVER == 150_000
    monkeypatch.setattr(composition, "OLDEST_SERVER", 990_000)
    assert "PostgreSQL 15 or later is needed" in failure(capsys, "migrate")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("words", [token(), ["keys"]])
def test_without_a_ledger_no_keys_are_made(capsys: pytest.CaptureFixture[str], data: Path, words: list[str]) -> None:
    """A mistyped data directory must not become a second ledger."""
    assert f"there is no ledger in {data.resolve()}" in failure(capsys, *words)
    assert not data.exists()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (token("Tom Fielding"), "a subject is 1 to 64 characters"),
        (token(**{"--ttl-s": "0"}), "lives too long, or not at all"),
        (token(**{"--ttl-s": "99999999"}), "lives too long, or not at all"),
        (token("service"), "for nobody who signs in"),
    ],
)
def test_a_token_that_would_not_be_accepted_is_not_made(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """The message names the part that is wrong."""
    assert cli.main(["replay", "--check"]) == 0
    capsys.readouterr()
    assert said in failure(capsys, *words)


@pytest.mark.usefixtures("environment")
def test_keys_prints_what_verify_trusts(capsys: pytest.CaptureFixture[str]) -> None:
    """Checkpoint key and entry key of this ledger, and no private half."""
    assert cli.main(["replay", "--check"]) == 0
    capsys.readouterr()
    assert cli.main(["keys"]) == 0
    keys = existing_keys(read())
    trusted = parse_trusted_keys(capsys.readouterr().out.encode())
    assert trusted.checkpoint == (keys.checkpoint_verifier(),)
    assert trusted.entries == (keys.entry_verifier(),)


@pytest.mark.usefixtures("environment")
def test_a_key_file_that_others_can_read_is_refused(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """By name, before anything is signed with it."""
    assert cli.main(["replay", "--check"]) == 0
    capsys.readouterr()
    (data / "keys/token").chmod(0o644)
    assert "the key file token is " in failure(capsys, *token())


@pytest.mark.usefixtures("environment")
def test_a_data_directory_that_is_a_file_is_named(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    """The message says which, and why."""
    data.write_text("")
    assert str(data) in failure(capsys, "replay")


@pytest.mark.usefixtures("environment")
def test_an_unknown_setting_ends_every_command_that_reads_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt setting is never a default."""
    monkeypatch.setenv("CASELEDGER_DATABSE_URL", "x")
    for words in (["serve"], ["migrate"], ["replay"], ["keys"], token()):
        assert "there is no setting CASELEDGER_DATABSE_URL" in failure(capsys, *words)


def test_a_key_is_made_once_and_proves_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`key new` prints id and public key, `key prove` the body for POST /keys; neither knows the service."""
    path = str(tmp_path / "key.pem")
    assert cli.main(["key", "new", path]) == 0
    made = json.loads(capsys.readouterr().out)
    assert "exists" in failure(capsys, "key", "new", path)
    assert cli.main(["key", "prove", path, "--origin", "caseledger.invalid/x", "--owner", "asha.rao"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["public_key"] == made["public_key"]
    assert made["key"] in err


@pytest.mark.parametrize(
    "words",
    [
        ["key", "new", "{missing}/key.pem"],
        ["key", "prove", "{missing}", "--origin", "caseledger.invalid/x", "--owner", "asha.rao"],
        ["sign", "{missing}", "--key", "{missing}"],
    ],
)
def test_a_file_that_is_not_there_is_an_error_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    """No traceback, and the system's own word for it."""
    missing = str(tmp_path / "missing")
    assert "No such file or directory" in failure(capsys, *(word.format(missing=missing) for word in words))


def test_an_owner_that_could_be_taken_for_two_fields_proves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A line feed in it would move the fields of what is signed."""
    path = str(tmp_path / "key.pem")
    assert cli.main(["key", "new", path]) == 0
    capsys.readouterr()
    assert "control character" in failure(capsys, "key", "prove", path, "--origin", "x", "--owner", "a\nb")


def test_verify_of_a_bundle_that_is_not_there_is_status_two(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Two, since nothing was found wrong with a bundle; there was none."""
    assert cli.main(["verify", str(tmp_path / "case.zip")]) == 2
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["serves"],
        ["token"],
        ["token", "--role", "surgeon", "--subject", "asha.rao"],
        ["token", "--role", "service", "--subject", "service"],
        ["sign", "prepared.json"],
        ["key"],
        ["verify"],
    ],
)
def test_wrong_usage_is_status_two(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """With the usage of the command that it belongs to."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: caseledger" in capsys.readouterr().err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """One line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "caseledger 0.1.0\n"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (ValueError("a name that is personal"), 1, "this should not have happened: ValueError"),
        (PermissionError(13, "Permission denied", "/srv/x"), 1, "/srv/x: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_nobody_foresaw_is_one_line_without_its_message(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    status: int,
    said: str,
) -> None:
    """A message may quote data, so only kind and place are said."""

    def fail(*_: object, **__: object) -> int:
        raise raised

    monkeypatch.setattr(replay_command, "run", fail)
    assert said in (line := failure(capsys, "replay", status=status))
    assert "personal" not in line


def test_a_reader_who_goes_away_is_no_traceback(environment: dict[str, str]) -> None:
    """`caseledger ... | head` ends quietly."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        (sys.executable, "-m", "caseledger.cli", "key", "new", f"{environment['CASELEDGER_DATA']}.pem"),
        stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_failure_is_logged_by_its_kind_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception's message stays out of the log, whoever logs it."""
    import logging

    before = logging.getLogger().handlers[:]
    try:
        logs.configure("info")
        try:
            raise ValueError("a name that is personal")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("failed")
        line = msgspec.json.decode(capsys.readouterr().err)
    finally:
        logging.getLogger().handlers[:] = before
    assert (line["error"], line["level"]) == ("ValueError", "error")
    assert "personal" not in str(line)
    assert "test_cli.py" in line["where"]


def test_libraries_are_quiet_however_much_is_asked_for() -> None:
    """At the lowest level, too, what invents examples for the API's description says nothing of how it does it."""
    # In a process of its own: it does so once.
    program = "from caseledger import logs; logs.configure('debug'); from faker import Faker; Faker()"
    command = (sys.executable, "-c", program)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    assert done.stderr == ""
