"""The demo: every step holds, in time and in 100 columns, and nothing of it stays behind."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from caseledger import cli
from caseledger.demo import demo
from caseledger.embedded.place import STATE
from domain.errors import CaseLedgerError

LIMIT_S = 60
STEPS = (
    "patient) was told: unresectable",
    "INADEQUATE",
    "LIMITED",
    "signed with another key: refused",
    "opens the share again: refused",
    "VERIFIED: case",
    "NOT VERIFIED: entry",
    "Every step held",
)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A directory for temporary files that the database's user can pass through; it has to be empty at the end."""
    tmp_path_factory.getbasetemp()  # pytest's own directory is made where temporary files went before
    for name in [name for name in os.environ if name.startswith("CASELEDGER_")]:
        monkeypatch.delenv(name)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    folder.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    folder.rmdir()


def places() -> set[str]:
    """Databases below /var/lib, which would outlive their data directory."""
    return {each.name for each in STATE.iterdir()} if STATE.is_dir() else set()


@pytest.mark.usefixtures("temporary")
def test_every_step_of_the_demo_holds_and_nothing_stays_behind() -> None:
    """Status 0 within a minute, the whole story in at most 100 columns, no directory left."""
    before, started = places(), time.monotonic()
    done = subprocess.run(
        (sys.executable, "-m", "caseledger.cli", "demo"),
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * LIMIT_S,
    )
    took_s = time.monotonic() - started
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    at = 0
    for step in STEPS:
        at = done.stdout.index(step, at)
    assert max(map(len, done.stdout.splitlines())) <= demo.WIDTH
    assert done.stderr == ""
    assert places() == before
    assert took_s < LIMIT_S


@pytest.mark.usefixtures("temporary")
def test_a_step_that_does_not_hold_fails_the_demo_and_ends_its_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, the step by name, and neither service nor directory remains."""
    stages: list[Any] = []

    def play(stage: Any, *_: Any) -> int:
        stages.append(stage)
        raise CaseLedgerError("this step did not hold: an invented one")

    monkeypatch.setattr(demo, "_play", play)
    assert cli.main(["demo"]) == 1
    assert "this step did not hold: an invented one" in capsys.readouterr().err
    assert not stages[0].data.exists()


@pytest.mark.usefixtures("temporary")
def test_a_directory_that_is_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo writes into a new ledger only, never into somebody's."""
    (tmp_path / "origin").write_text("caseledger.invalid/somebodys\n")
    assert cli.main(["demo", "--data", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["origin"]
