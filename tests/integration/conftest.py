"""Fixtures that several of these modules ask for; a module that needs another `one`, `case` or `walk` has its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.records import RecordKind
from tests.conftest import Database
from tests.erasure_fixture import Erasable, Marked, erasable, marked
from tests.ledger_fixture import data, one, superuser
from tests.restored_fixture import scene, settings

__all__ = ["data", "one", "scene", "settings", "superuser"]


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Erasable]:
    """A ledger with its data directory, and what clears away after erasures."""
    with erasable(database, tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def case(site: Erasable) -> Marked:
    """A case that was opened, and has a coordinator and one report; closed."""
    made = Marked(service=site.service)
    made.open()
    made.prepare()
    made.put(RecordKind.OTHER, [("letter.txt", b"Dear colleague")])
    made.close()
    return made


@pytest.fixture
def walk(site: Erasable) -> Marked:
    """A case, up to a share, with two records; its views are folded."""
    made = marked(site)
    site.follow()
    return made
