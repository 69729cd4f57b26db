"""`caseledger import` on a real ledger: once and again, after kills, beside a service, and what the views then show."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from application.importing import source as sources
from application.importing.checking import check
from application.importing.importing import Imported, Importing
from application.importing.known import Known
from application.importing.line import CaseLine
from application.ledger.bulk import Bulk
from application.ledger.streams import LoggedEvent
from application.request import Request
from application.service import Service
from caseledger import cli, composition, demo_data_command
from caseledger.import_command import read_line
from caseledger.settings import read
from domain.case import events as e
from domain.errors import InvalidInput
from domain.patient import PatientRegistered
from projections import case_view, trail
from projections.follower import Followers
from tests.conftest import Database, scratch
from tests.integration.test_cli import TIMEOUT_S, Served
from tests.searching import found_in_tables

ACTOR = "tom.fielding"
REFERENCE = "Marker-Reference/1"
NAME = "Marker-Name Invented Doe"


@pytest.fixture
def data(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data directory that does not exist yet, in settings that name the test's own database."""
    with tempfile.TemporaryDirectory(prefix="caseledger-", dir=scratch()) as folder:
        for name in [name for name in os.environ if name.startswith("CASELEDGER_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("CASELEDGER_DATA", f"{folder}/ledger")
        monkeypatch.setenv("CASELEDGER_DATABASE_URL", database.service_url)
        monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", database.owner_url)
        monkeypatch.setenv("CASELEDGER_PORT", "0")
        yield Path(folder) / "ledger"


@contextmanager
def service() -> Iterator[Service]:
    """The ledger that the settings name."""
    settings = read()
    with composition.database(settings) as urls, composition.opened(settings, urls) as opened:
        yield opened


def one(number: int = 1, **changed: Any) -> dict[str, Any]:
    """A line whose words can be searched for."""
    return {
        "reference": f"{REFERENCE}-{number}",
        "opened_on": "2026-02-27",
        "patient": {"name": f"{NAME} {number}", "born_on": "1961-02-03", "account": f"marker-account-{number}"},
        "case": {
            "reason": "told_unresectable", "diagnosis": "Marker-Diagnosis", "organ": "liver", "home_country": "GB",
        },
        "original_verdict": {"verdict": "unresectable", "centre": "Marker-Centre", "decided_on": "2026-02-20"},
        **changed,
    }  # fmt: skip


def written(folder: Path, *lines: dict[str, Any], name: str = "cases.jsonl") -> str:
    """A file of these lines."""
    path = folder / name
    path.write_text("".join(f"{json.dumps(each)}\n" for each in lines), "utf-8")
    return str(path)


def invented(folder: Path, cases: int) -> str:
    """A file of invented cases."""
    path = folder / f"{cases}.jsonl"
    with path.open("wb") as out:
        demo_data_command.run(cases, 1, out)
    return str(path)


def summary(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, Any], str]:
    """An import that succeeds: its line of JSON, and what it said besides."""
    status = cli.main(["import", *words, "--actor", ACTOR])
    out, err = capsys.readouterr()
    assert status == 0, err
    assert out.count("\n") == 1
    return json.loads(out), err


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """An import that fails: nothing on standard output; the lines of standard error."""
    assert cli.main(["import", *words, "--actor", ACTOR]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing was imported" in err.splitlines()[-1]
    return [each for each in err.splitlines() if not each.startswith("caseledger import:")]


def verified(capsys: pytest.CaptureFixture[str], folder: Path, note: str) -> str:
    """What `verify --log` says with the log's keys, up to a checkpoint that was kept."""
    assert cli.main(["keys"]) == 0
    (folder / "keys.txt").write_text(capsys.readouterr().out)
    (folder / "checkpoint").write_text(note)
    given = ["--keys", str(folder / "keys.txt"), "--checkpoint", str(folder / "checkpoint")]
    assert cli.main(["verify", "--log", *given]) == 0, capsys.readouterr()
    return capsys.readouterr().out


def logged(of: Service) -> list[LoggedEvent]:
    """The whole log."""
    return of.ledger.read(0, of.ledger.recorder.max_notification_id() or 0)


def imported_once(events: list[LoggedEvent], cases: int) -> None:
    """Each case stands in the log once, whole."""
    references = [each.event.reference for each in events if isinstance(each.event, e.CaseImported)]
    assert len(references) == len(set(references)) == cases
    for kind in (PatientRegistered, e.CaseOpened, e.CoordinatorAssigned):
        assert sum(isinstance(each.event, kind) for each in events) == cases


@pytest.mark.usefixtures("data")
def test_cases_come_in_once_and_verify(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The summary says where; the log verifies up to its checkpoint; a second run adds nothing."""
    first, said = summary(capsys, invented(tmp_path, 300))
    assert (first["cases"], first["already"]) == (300, 0)
    # Two entries are the log's own keys.
    assert (first["first_index"], first["last_index"]) == (2, 1 + first["entries"])
    assert "300 lines checked" in said
    assert "300 of 300 cases" in said
    assert f"up to size {first['entries'] + 2}" in verified(capsys, tmp_path, first["checkpoint"])
    again, _ = summary(capsys, invented(tmp_path, 300))
    assert (again["cases"], again["already"], again["entries"], again["first_index"]) == (0, 300, 0, None)
    more, _ = summary(capsys, invented(tmp_path, 320))
    assert (more["cases"], more["already"], more["first_index"]) == (20, 300, first["last_index"] + 1)
    with service() as opened:
        imported_once(logged(opened), 320)


@pytest.mark.usefixtures("data")
def test_views_show_what_came_and_the_trail_says_how(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, database: Database
) -> None:
    """The case with its contact and verdict; who may read content finds the old reference, the others that it came."""
    path = written(tmp_path, one(1), one(2, coordinator="ana.ruiz"))
    done, _ = summary(capsys, path)
    with service() as opened:
        followers = Followers(opened.ledger, opened.keyring, database.service_url)
        followers.start()
        try:
            size = done["last_index"] + 1
            assert all(followers.wait_for(each.projection, size, 20.0) == size for each in followers.states())
        finally:
            followers.stop()
        cases = [each.statement.case for each in logged(opened) if isinstance(each.event, e.CaseOpened)]
        first, second = (case_view.get(opened.pool, opened.keyring, str(case)) for case in cases)
        assert first is not None
        assert second is not None
        assert (first.coordinator, second.coordinator, first.phase) == (ACTOR, "ana.ruiz", "intake")
        assert first.content is not None
        assert first.content.original is not None
        assert first.content.original.centre == "Marker-Centre"
        rows = trail.of_case(opened.pool, opened.keyring, str(cases[0]), content=True)
        assert [each.kind.split(".")[1] for each in rows] == [
            "opened", "imported", "coordinator_assigned", "original_verdict_recorded",
        ]  # fmt: skip
        assert rows[1].summary is not None
        assert rows[1].summary.startswith(f"from another system, as {REFERENCE}-1 (line 1 of file ")
        assert len({each.cause for each in rows}) == 1
        assert {(each.actor, each.role) for each in rows} == {(ACTOR, "coordinator")}
        day = 1_772_150_400_000_000
        assert [each.occurred_at for each in rows] == [day, None, None, day]
        assert all(abs(each.recorded_at - time.time_ns() // 1000) < 600_000_000 for each in rows)


@pytest.mark.usefixtures("data")
def test_nothing_personal_stands_in_clear(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, database: Database
) -> None:
    """Neither in a table nor in what the command says, the reference included."""
    assert cli.main(["import", written(tmp_path, one(1), one(2)), "--actor", ACTOR]) == 0
    assert "Marker" not in "".join(capfd.readouterr())
    assert found_in_tables(database, ("Marker", "marker-account")) == set()
    assert {place for _, place in found_in_tables(database, (ACTOR,))} == {"ledger.entry"}


def test_a_wrong_file_touches_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path) -> None:
    """Every wrong line is told; there is not even a data directory."""
    path = written(tmp_path, one(1), one(2, opened_on="2026-02-30"), one(3, nickname="Marker"), one(1))
    assert refused(capsys, path) == [
        "line 2: opened_on: there is no such day",
        f"line 3: the line: a member is not known; known are {', '.join(CaseLine.__struct_fields__)}",
        "line 4: reference: is that of line 1 already",
        "caseledger: nothing was imported; lines that are wrong: 3 of 4",
    ]
    assert not data.exists()


@pytest.mark.usefixtures("data")
def test_a_reference_with_other_content_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With what is new beside it; another spelling of the same is no other content."""
    summary(capsys, written(tmp_path, one(1), one(2)))
    changed = one(2, opened_on="2026-02-26")
    assert refused(capsys, written(tmp_path, one(1), changed, one(3))) == [
        "line 2: reference: was imported before, with other content",
        "caseledger: nothing was imported; lines that are not what they were: 1 of 3",
    ]
    respelt = dict(reversed(one(2).items()))
    done, _ = summary(capsys, written(tmp_path, respelt, one(3)))
    assert (done["cases"], done["already"]) == (1, 1)


@pytest.mark.usefixtures("data")
def test_likely_duplicates_are_listed_and_let_in_only_when_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Against the file and against the ledger; what is in already is no duplicate of itself."""
    summary(capsys, written(tmp_path, one(1)))
    same_name = one(8, patient={**one(1)["patient"], "name": "doe, INVENTED märker name 1", "account": "a-8"})
    same_account = one(9, patient={**one(5)["patient"], "name": "Somebody Else"})
    path = written(tmp_path, one(1), same_name, one(5), same_account)
    with service() as opened:
        (known,) = {each.originator_id for each in logged(opened) if isinstance(each.event, PatientRegistered)}
    told = refused(capsys, path)
    assert told[:2] == [
        "line 2: likely the same patient as line 1",
        "line 4: likely the same patient as line 3",
    ]
    assert len(told) == 3
    alone = written(tmp_path, same_name, name="alone.jsonl")
    assert refused(capsys, alone)[0] == f"line 1: likely the same patient as {known}"
    done, said = summary(capsys, path, "--allow-likely-duplicates")
    assert (done["cases"], done["already"]) == (3, 1)
    assert "likely the same patient" in said
    again, said = summary(capsys, path)
    assert (again["cases"], again["already"]) == (0, 4)
    assert "likely" not in said


@pytest.mark.usefixtures("data")
def test_killed_in_the_middle_and_finished(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, database: Database
) -> None:
    """What was committed stays, the rest follows, nothing is there twice; and no process outlives the kill."""
    path = invented(tmp_path, 2500)
    words = (sys.executable, "-m", "caseledger.cli", "import", path, "--actor", ACTOR)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            with psycopg.connect(database.service_url, autocommit=True) as connection:
                until(lambda: child.poll() is not None or size_of(connection) > 4000)
                children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text("ascii").split()
        finally:
            child.kill()
    assert children
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        until(lambda: not any(running(each) for each in children))
        left = size_of(connection)
    assert 4000 < left < 12_000
    done, _ = summary(capsys, path)
    assert 0 < done["cases"] < 2500
    assert done["cases"] + done["already"] == 2500
    assert done["first_index"] == left
    verified(capsys, tmp_path, done["checkpoint"])
    with service() as opened:
        imported_once(logged(opened), 2500)


def size_of(connection: psycopg.Connection[Any]) -> int:
    """Entries in the log; none before there is one."""
    row = connection.execute("SELECT size FROM ledger.head").fetchone()
    return row[0] if row is not None else 0


def running(process: str) -> bool:
    """Whether a process is there and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(so: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + TIMEOUT_S
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("data")
def test_two_imports_of_one_file_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They share the work, or one does all of it: each case goes in once."""
    path = invented(tmp_path, 1200)
    summary(capsys, invented(tmp_path, 1))
    words = (sys.executable, "-m", "caseledger.cli", "import", path, "--actor", ACTOR, "--allow-likely-duplicates")
    children = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]  # fmt: skip
    ended = [(*child.communicate(timeout=TIMEOUT_S), child.returncode) for child in children]
    assert [status for _, _, status in ended] == [0, 0], ended
    done = [json.loads(out) for out, _, _ in ended]
    assert sum(each["cases"] for each in done) == 1199
    assert [each["cases"] + each["already"] for each in done] == [1200, 1200]
    with service() as opened:
        imported_once(logged(opened), 1200)


@pytest.mark.usefixtures("data")
def test_beside_a_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running service takes requests meanwhile, and shows the imported cases as soon as they are in."""
    served = Served(dict(os.environ))
    try:
        assert cli.main(["token", "--role", "coordinator", "--subject", ACTOR]) == 0
        headers = {"Authorization": f"Bearer {capsys.readouterr().out.strip()}", "Idempotency-Key": "by-hand"}
        done, _ = summary(capsys, written(tmp_path, *map(one, range(40))))
        body = {"case": one()["case"], "patient": one(77)["patient"]}
        by_hand = httpx.post(f"{served.url}/cases", json=body, headers=headers, trust_env=False)
        assert by_hand.status_code == 201, by_hand.text
        more, _ = summary(capsys, written(tmp_path, *map(one, range(60))))
        assert (done["cases"], more["cases"], more["already"]) == (40, 20, 40)
        with service() as opened:
            events = logged(opened)
        case = [each.statement.case for each in events if isinstance(each.event, e.CaseImported)][-1]
        shown = httpx.get(f"{served.url}/cases/{case}", headers=headers, trust_env=False)
        assert shown.status_code == 200, shown.text
        assert shown.json()["coordinator"] == ACTOR
    finally:
        status, _, err = served.stop()
    assert (status, "Marker" in err) == (0, False)


@pytest.mark.usefixtures("data")
def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    """Nothing is imported that was not checked."""
    path = Path(written(tmp_path, one(1), one(2)))
    request = Request(id=ACTOR, role="coordinator", cause="cause-1", now=time.time_ns() // 1000)
    with sources.opened(path) as source, service() as opened:
        checked = check(source, read_line, request, print)
        known = Known(opened.pool, opened.ledger, opened.keys.preparation)
        changes = (
            (one(1), one(2, opened_on="2026-02-26")),
            (one(1), one(2), one(3)),
            (one(1), {"reference": "x" * 300_000}),
            (one(1),),
        )
        url = read().database_url
        assert url is not None
        with Bulk(url, opened.keys.origin, opened.checkpoints, opened.keyring) as bulk:
            importing = Importing(bulk, opened.keyring, known, read_line)
            for lines in changes:
                written(tmp_path, *lines)
                with pytest.raises(InvalidInput, match="changed while"):
                    importing.run(source, checked, set(), request, lambda so_far: None)
            assert len(logged(opened)) == 2
            written(tmp_path, one(1), one(2))
            done = importing.run(source, checked, set(), request, lambda so_far: None)
            assert done == Imported(cases=2, already=0, entries=10, first_index=2, last_index=11)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["import", "{folder}", "--actor", ACTOR], "give it a regular file"),
        (["import", "{folder}/missing", "--actor", ACTOR], "No such file or directory"),
        (["import", "{folder}/empty", "--actor", ACTOR], "the file is empty"),
        (["import", "{folder}/empty", "--actor", "Tom Fielding"], "--actor is the id"),
        (["import", "{folder}/pipe", "--actor", ACTOR], "give it a regular file"),
        (["demo-data", "--cases", "0"], "--cases is a number from 1 to 100,000"),
        (["demo-data", "--cases", "1", "--seed", "-1"], "--seed is a number"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], said: str
) -> None:
    """Status 1, and nothing on standard output."""
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    assert cli.main([word.format(folder=tmp_path) for word in words]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), said in err) == ("", 1, True), err


def test_demo_data_is_what_import_takes(capfdbinary: pytest.CaptureFixture[bytes], data: Path) -> None:
    """It needs no ledger, and writes the same bytes to standard output for the same seed."""
    for _ in range(2):
        assert cli.main(["demo-data", "--cases", "3", "--seed", "5"]) == 0
    out, err = capfdbinary.readouterr()
    lines = out.splitlines()
    assert (lines[:3], err) == (lines[3:], b"")
    assert read_line(lines[0]).reference == "demo-5-1"
    assert not data.exists()
