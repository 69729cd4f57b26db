"""The tamper matrix: what somebody may do to the stored ledger, and by what means each of it is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from caseledger.embedded.embedded import EmbeddedPostgres
from tests.faults.tampering import Copy, Found, copy_of
from tests.faults.tampering_rows import LOCAL, MATRIX, NAMES, Tampering
from tests.faults.tampering_scene import Scene, scene

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(server: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The ledger that all of them alter, each in a copy."""
    with scene(server, template, tmp_path_factory.mktemp("tamper")) as one:
        yield one


@pytest.fixture
def copy(made: Scene) -> Iterator[Copy]:
    """A copy to alter."""
    with copy_of(made) as one:
        yield one


def test_unaltered(copy: Copy) -> None:
    """No means finds anything in what nobody altered."""
    assert {means: copy.look(means, copy.scene.opinion) for means in NAMES} == dict.fromkeys(NAMES)


def expected(row: Tampering, scene: Scene, index: int) -> dict[str, Found]:
    """What the row's means have to give, when a failure names that index."""
    places = {"at": index, "next": index + 1, "first": 0, "end": scene.size - 1, None: None}
    return dict.fromkeys(row.silent) | {means: (what, places[where]) for means, (what, where) in row.found.items()}


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.what.replace(" ", "-"))
def test_tampering_is_found_by_the_named_means_and_by_no_silent_one(copy: Copy, row: Tampering) -> None:
    """Each names what does not hold and where; those that cannot see it say nothing."""
    index = row.act(copy)
    wanted = expected(row, copy.scene, index)
    assert {means: copy.look(means, index) for means in wanted} == wanted


@pytest.mark.parametrize("row", MATRIX, ids=lambda row: row.what.replace(" ", "-"))
def test_a_kept_checkpoint_is_needed_exactly_where_what_is_here_is_silent(row: Tampering) -> None:
    """Either something that needs nothing from elsewhere finds it, or the table says that nothing does."""
    assert row.elsewhere == (not set(row.found) & {*LOCAL, "verify"})
    assert not set(row.found) & set(row.silent)


def test_the_readme_has_exactly_these_rows() -> None:
    """Table and tests cannot drift apart."""
    section = (ROOT / "README.md").read_text("utf-8").split("## What tampering looks like\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert rows[1:] == [row.row() for row in MATRIX]
