"""The change log names, under headings of their own, what outlives the code that made it."""

import importlib
import pkgutil
import re
from pathlib import Path

import domain
from domain.event import register

for _module in pkgutil.walk_packages(domain.__path__, "domain."):
    importlib.import_module(_module.name)

ROOT = Path(__file__).resolve().parents[2]


def section(heading: str) -> list[str]:
    """What stands in backquotes at the beginning of the points under a heading, over all releases."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    parts = re.findall(rf"^### {heading}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    return [name for part in parts for name in re.findall(r"^- `([^`]+)`", part, re.MULTILINE)]


def test_every_topic_is_listed_once() -> None:
    """A topic that nobody wrote down is one that a reader of old logs does not know of; nor is there one too many."""
    assert sorted(section("Events")) == sorted(register.topics())


def test_every_migration_is_listed_once_and_in_order() -> None:
    """An operator reads there what an upgrade does to the database."""
    revisions = sorted(path.stem for path in (ROOT / "migrations" / "versions").glob("0*.py"))
    assert section("Migrations") == revisions
