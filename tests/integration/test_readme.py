"""README and CONTRIBUTING cannot rot: their commands run, their targets, paths and words are the program's."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from caseledger import cli
from tests.conftest import Database
from tests.integration.test_cli import TIMEOUT_S, Served

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PATHS = re.compile(r"`([a-z.]+(?:/[\w.-]+)+/?|[A-Z]+\.md)`")


def sections(text: str, title: str) -> list[str]:
    """The numbered steps below a heading."""
    body = text.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]
    return re.findall(r"^\d+\. .*?(?=^\d+\. |\Z)", body, re.MULTILINE | re.DOTALL)


@pytest.fixture
def service(database: Database) -> Iterator[Served]:
    """A served ledger, as `make serve` runs it."""
    with tempfile.TemporaryDirectory(prefix="caseledger-") as folder:
        ours = {
            "CASELEDGER_DATA": f"{folder}/ledger",
            "CASELEDGER_DATABASE_URL": database.service_url,
            "CASELEDGER_OWNER_DATABASE_URL": database.owner_url,
            "CASELEDGER_PORT": "0",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CASELEDGER_")}
        child = Served({**kept, **ours})
        try:
            yield child
        finally:
            child.stop()


def test_the_session_runs_as_it_is_written(service: Served, tmp_path: Path) -> None:
    """It opens a case, fetches its proof, and verifies a bundle against the public keys; only the address differs."""
    if shutil.which("curl") is None:
        pytest.skip("the session uses curl, and this machine has none")
    (session,) = [text for language, text in BLOCKS if language == "sh" and "caseledger verify" in text]
    assert "http://127.0.0.1:8765" in session
    session = session.replace("http://127.0.0.1:8765", service.url).replace(
        "$PWD/.venv/bin", str(Path(sys.executable).parent)
    )
    done = subprocess.run(
        ("bash", "-euo", "pipefail", "-c", session), cwd=tmp_path, capture_output=True, text=True, check=False,
        env=service.environment, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "VERIFIED: case" in done.stdout.splitlines()[-1]
    assert "NOT" not in done.stdout.splitlines()[-1]
    assert json.loads((tmp_path / "receipt.json").read_text())["proof"] is not None


def test_the_session_is_short() -> None:
    """Some ten lines; who reads a first screen reads no more."""
    (session,) = [text for language, text in BLOCKS if language == "sh" and "caseledger verify" in text]
    assert len(session.splitlines()) <= 12


def test_the_help_in_the_readme_is_the_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Word for word."""
    (shown,) = [text for language, text in BLOCKS if language == "text" and text.startswith("usage:")]
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert shown == capsys.readouterr().out


@pytest.mark.parametrize("text", [README, CONTRIBUTING, SETTINGS], ids=["README", "CONTRIBUTING", "settings"])
def test_every_make_target_that_is_named_exists(text: str) -> None:
    """In code, in prose and in blocks."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert named <= targets
    if text is README:
        assert {"demo", "test", "serve", "check"} <= named


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_command_that_is_named_exists(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each `caseledger x` is a word of the command line."""
    named = set(re.findall(r"(?:`|^|\()caseledger ([a-z-]+)", text, re.MULTILINE))
    assert named
    for command in sorted(named):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0, command
    capsys.readouterr()


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_every_link_leads_to_a_file(text: str) -> None:
    """Relative links only; the others are addresses."""
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


@pytest.mark.parametrize(("title", "steps"), [("Add an event in six steps", 6), ("Add a projection in five", 5)])
def test_a_recipe_has_its_steps_and_every_path_in_it_exists(title: str, steps: int) -> None:
    """Each step names at least one file, and whoever follows it finds that file."""
    found = sections(CONTRIBUTING, title)
    assert len(found) == steps
    for step in found:
        paths = PATHS.findall(step)
        assert paths, step
        for path in paths:
            assert (ROOT / path).exists(), path


def test_every_folder_of_the_layout_exists_and_none_is_left_out() -> None:
    """The table has the top-level packages of pyproject.toml, tests and docs."""
    table = README.split("## Layout\n")[1].split("\n## ")[0]
    folders = set(re.findall(r"^\| `([a-z]+)/`", table, re.MULTILINE))
    packages = {each.parent.name for each in ROOT.glob("*/__init__.py")} - {"benchmarks"}
    assert folders == packages | {"docs", "tests"}
    assert all((ROOT / each).is_dir() for each in folders)
