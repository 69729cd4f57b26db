"""The shape of the project: who may import whom, and what the lock files hold."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PYPROJECT["tool"]["importlinter"]["root_packages"]

IMPURE = frozenset(
    "asyncio concurrent http logging multiprocessing os pathlib random secrets select shutil signal socket"
    " sqlite3 ssl subprocess tempfile threading time urllib".split()
)
"""Modules of the standard library that read a clock, draw at random, or reach outside the process.

`io` is for its BytesIO alone: see IMPURE_CALLS."""

IMPURE_CALLS = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "FileIO", "open_code"})
"""Members of otherwise pure modules that do so."""


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the tree at `root`, with the contracts of its pyproject.toml."""
    program = "from importlinter.cli import lint_imports as lint; raise SystemExit(lint(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """The import graph of the six packages, with what they import from elsewhere."""
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def imported_by(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """What each module of `package` imports itself, by module."""
    modules = {package, *graph.find_descendants(package)}
    return {module: graph.find_modules_directly_imported_by(module) for module in sorted(modules)}


def test_the_import_contracts_hold() -> None:
    """Every import contract of pyproject.toml holds over the whole tree."""
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("domain/case/state.py", "import application", "Imports point inwards"),
        ("projections/views.py", "import api.cases", "Imports point inwards"),
        ("application/cases.py", "from projections import views", "Imports point inwards"),
        ("api/cases.py", "import migrations", "Migrations are used by the composition root alone"),
        ("migrations/env.py", "import domain", "A migration imports none of the code"),
        ("domain/case/state.py", "import psycopg", "The domain knows no framework"),
        ("domain/case/state.py", "from litestar import get", "The domain knows no framework"),
        ("domain/ledger/tree.py", "import domain.case.state", "The ledger and its verifier know nothing"),
        ("application/cases.py", "import litestar", "Use cases and read models know no web framework"),
        ("application/cases.py", "from pydicom.uid import UID", "DICOM is read in one place"),
        ("application/records/header.py", "import eventsourcing.domain", "The event sourcing library is met"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """An import that a contract forbids breaks that contract, and no other tree's."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in (
        "domain/__init__ domain/case/__init__ domain/case/state domain/imaging/__init__"
        " domain/ledger/__init__ domain/ledger/tree application/__init__ application/cases"
        " application/ledger/__init__ application/records/__init__ application/records/header"
        " projections/__init__ projections/views api/__init__ api/cases"
        " migrations/__init__ migrations/env caseledger/__init__"
    ).split():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "application/records/header.py").write_text("import pydicom\n")
    (tmp_path / "application/ledger/__init__.py").write_text("import eventsourcing.persistence\n")
    (tmp_path / "caseledger/__init__.py").write_text("import api.cases, migrations.env\n")
    clean = lint_imports(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr

    with (tmp_path / module).open("a") as file:
        file.write(f"{line}\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert re.search(rf"{contract}.*BROKEN", broken.stdout), broken.stdout


def test_the_ledger_leans_on_two_libraries_only(graph: grimp.ImportGraph) -> None:
    """Whoever verifies a bundle needs domain/ledger, the errors, msgspec, cryptography, and nothing else."""
    allowed = {"msgspec", "cryptography", "domain.errors", *sys.stdlib_module_names}
    for module, imports in imported_by(graph, "domain.ledger").items():
        beyond = {name for name in imports if name not in allowed and not name.startswith("domain.ledger")}
        assert not beyond, f"{module} imports {sorted(beyond)}"


def test_the_domain_reads_no_clock_and_draws_no_random_number(graph: grimp.ImportGraph) -> None:
    """The domain imports no module that does I/O, tells the time or is random, and calls no such method."""
    for module, imports in imported_by(graph, "domain").items():
        assert not imports & IMPURE, f"{module} imports {sorted(imports & IMPURE)}"
    for path in sorted((ROOT / "domain").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in IMPURE_CALLS, f"{path.relative_to(ROOT)} calls {node.attr}"


def test_each_tool_covers_the_six_packages() -> None:
    """What is installed, typed and linted is the same six packages, and all of them exist."""
    tool = PYPROJECT["tool"]
    included = tool["setuptools"]["packages"]["find"]["include"]
    assert sorted(included) == sorted([*PACKAGES, *(f"{name}.*" for name in PACKAGES)])
    assert sorted(tool["mypy"]["packages"]) == sorted(PACKAGES)
    assert all((ROOT / name / "__init__.py").is_file() for name in PACKAGES)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_pins_hashes_and_names_no_place(name: str) -> None:
    """A lock pins each package to a version and to hashes, and names no index and no path."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.startswith("# made by make lock\n")
    assert "://" not in text
    assert not re.search(r"^(-|\.|/)| @ ", text, re.MULTILINE)
    pinned = re.findall(r"^([a-z0-9-]+)==[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert pinned == re.findall(r"^([^\s#=]+)", text, re.MULTILINE)

    wanted = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"]["service"]]
    if name == "requirements-dev.lock":
        wanted += PYPROJECT["dependency-groups"]["dev"]
    for requirement in wanted:
        assert re.split(r"[\[<>=]", requirement)[0].lower() in pinned
