"""The verifier in an environment of its own: no more than the base dependencies, and nothing else is imported."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

from domain.ledger import bundle
from domain.ledger.verify_trust import render_trusted_keys
from tests.ledger_builder import LedgerBuilder, small_ledger
from tests.log_fixture import publish
from tests.verifying import CONTENT

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("domain", "application", "projections", "api", "migrations", "caseledger")
BASE = {"cryptography", "msgspec"}
RUN = """
import json, sys
from caseledger.cli import main
if __name__ == "__main__":
    status = main(sys.argv[2:])
    outside = sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))
    open(sys.argv[1], "w").write(json.dumps([name for name in outside if sys.modules[name].__spec__ is not None]))
    sys.exit(status)
"""
TIMEOUT_S = 60


def needed(name: str, found: set[str] | None = None) -> set[str]:
    """A distribution with all that it requires here, without extras."""
    found = set() if found is None else found
    if name not in found:
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement, _, marker = line.partition(";")
            required = re.split(r"[\s<>=!~\[(]", requirement.strip())[0].lower()
            if "extra ==" not in marker and (not marker or importable(required)):
                needed(required, found)
    return found


def importable(name: str) -> bool:
    """Whether a distribution is installed at all: requirements may be for other interpreters."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter in a new environment that has the project's own packages, its base dependencies, and no pip."""
    place = tmp_path_factory.mktemp("bare")
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python3*/site-packages")
    for name in sorted(set().union(*(needed(each) for each in BASE))):
        distribution = importlib.metadata.distribution(name)
        tops = {Path(str(file)).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    for package in PACKAGES:
        (site / package).symlink_to(ROOT / package)
    info = Path(str(importlib.metadata.distribution("caseledger")._path))  # type: ignore[attr-defined]
    (site / info.name).symlink_to(info)
    return place / "bin" / "python"


def run(python: Path, place: Path, *words: str) -> tuple[int, str, str, list[str]]:
    """A command of ours: exit status, output, errors, and the modules from outside the standard library."""
    script, imported = place / "run.py", place / "imported.json"
    script.write_text(RUN)
    done = subprocess.run(
        (python, "-I", script, imported, *words),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=place,
    )
    return done.returncode, done.stdout, done.stderr, json.loads(imported.read_text())


def test_the_base_dependencies_are_those_of_the_verifier() -> None:
    """Two libraries; everything else is in the extra `service`."""
    assert {re.split(r"[<>=\[]", each)[0].lower() for each in PROJECT["dependencies"]} == BASE
    assert set().union(*(needed(each) for each in BASE)) <= BASE | {"cffi", "pycparser", "typing-extensions"}
    assert {re.split(r"[<>=\[]", each)[0].lower() for each in PROJECT["optional-dependencies"]["service"]}.isdisjoint(
        BASE
    )


def only_the_verifiers(imported: list[str]) -> None:
    """Holds that nothing was imported but what the verifier may."""
    assert set(imported) <= {
        "domain",
        "caseledger",
        "api",
        "msgspec",
        "cryptography",
        "cffi",
        "_cffi_backend",
        "typing_extensions",
    }, imported


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The small ledger's key file."""
    (tmp_path / "keys").write_bytes(render_trusted_keys(small_ledger().trusted_keys()))
    return tmp_path / "keys"


def test_a_bundle_is_verified(python: Path, tmp_path: Path, keys: Path) -> None:
    """`caseledger verify` with two libraries."""
    (tmp_path / "bundle").write_bytes(bundle.write(CONTENT))
    status, out, err, imported = run(python, tmp_path, "verify", "bundle", "--keys", str(keys))
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("VERIFIED")
    only_the_verifiers(imported)


def test_a_log_is_verified_by_two_processes(python: Path, tmp_path: Path) -> None:
    """`caseledger verify --log --tiles`, spawned processes and all; a bit that was altered is found there too."""
    ledger = LedgerBuilder()
    by: dict[str, Any] = {"actor": "coordinator-1", "role": "coordinator"}
    for number in range(4_200):
        ledger.append(f"case-{number}", "case.opened.v1", b"{}", **by)
    publish(ledger, tmp_path / "log")
    (tmp_path / "keys").write_bytes(render_trusted_keys(ledger.trusted_keys()))
    words = ("verify", "--log", "--tiles", "log", "--keys", "keys", "--jobs", "2", "--json")
    status, out, err, imported = run(python, tmp_path, *words)
    assert (status, err) == (0, "")
    assert (json.loads(out)["ok"], json.loads(out)["entries"]) == (True, 4_200)
    only_the_verifiers(imported)
    last = tmp_path / "log" / "tile" / "entries" / "016.p" / "104"
    raw = bytearray(last.read_bytes())
    raw[-10] ^= 1
    last.write_bytes(raw)
    status, out, _, _ = run(python, tmp_path, *words)
    assert status == 1
    assert json.loads(out)["failure"]["index"] == 4_199


@pytest.mark.parametrize(
    "words", [("serve",), ("verify", "--log", "--database", "postgresql:///x"), ("monitor", "--once")]
)
def test_what_needs_the_service_says_so(python: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    """One line that names what to install; never a traceback."""
    status, out, err, _ = run(python, tmp_path, *words)
    assert (status, out) == (1, "")
    assert re.fullmatch(
        r"caseledger: \w+ is not installed: this needs the service, pip install 'caseledger\[service\]'\n", err
    )


def test_the_interpreter_has_nothing_of_this_one(python: Path) -> None:
    """The environment is bare: what the tests themselves run on is not to be found in it."""
    program = (
        "import importlib.util as u; print([n for n in ('psycopg', 'litestar', 'eventsourcing') if u.find_spec(n)])"
    )
    done = subprocess.run((python, "-I", "-c", program), capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert done.stdout == "[]\n"
    assert Path(sys.executable).parent != python.parent
