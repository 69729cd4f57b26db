"""The tamper matrix: what somebody may do to the stored ledger, and by what means each of it is found."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from caseledger.embedded import EmbeddedPostgres
from tests.faults import tampering_hands as hands
from tests.faults.tampering import Copy, Found, copy_of
from tests.faults.tampering_scene import Scene, scene

ROOT = Path(__file__).resolve().parents[2]
Where = Literal["at", "next", "first", "end"] | None
SUPERUSER = "database superuser"
KEYS = "superuser with the service's keys"
ALL = "superuser with the data directory"
LOCAL = ("start-up", "reading", "replay --check", "monitor", "verify --log")
"""Means that need nothing from elsewhere, but for the published keys."""


class Tampering(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what is done, by whom, what finds it, and what cannot."""

    what: str
    act: Callable[[Copy], int]
    """Does it; returns the index of what was altered."""
    found: dict[str, tuple[str, Where]]
    """Means -> check or code of the typed failure, and the place that it names: that of the alteration, the entry
    behind it, the log's first, its last, or none."""
    who: str = SUPERUSER
    elsewhere: bool = False
    """Whether a checkpoint kept elsewhere is needed."""
    silent: tuple[str, ...] = ()
    """Means that see nothing, though one might hope so."""

    def row(self) -> str:
        """Its row of README's table."""
        means = ", ".join(NAMES[each] for each in self.found)
        return f"| {self.what} | {self.who} | {means} | {'**yes**' if self.elsewhere else 'no'} |"


NAMES = {
    "start-up": "start-up",
    "reading": "reading",
    "replay --check": "`replay --check`",
    "monitor": "`monitor`",
    "verify --log": "`verify --log`",
    "verify": "`verify`",
    "monitor, kept": "`monitor` with a state of its own",
    "verify --log --since": "`verify --log --since`",
    "split detection": "comparing checkpoints",
}


FORGED: dict[str, tuple[str, Where]] = {
    "verify --log": ("actor signatures", "at"),
    "verify": ("actor signatures", "at"),
}
SERVED = ("start-up", "reading", "monitor", "verify --log")
MATRIX: tuple[Tampering, ...] = (
    Tampering(
        what="a bit of a statement",
        act=hands.statement_bit,
        found={
            "reading": ("entry-altered", "at"),
            "replay --check": ("entry-altered", "at"),
            "monitor": ("entry", "at"),
            "verify --log": ("ledger signatures", "at"),
        },
        silent=("start-up",),
    ),
    Tampering(
        what="a bit of a sealed payload",
        act=hands.flip("sealed"),
        found={"reading": ("payload-altered", None), "replay --check": ("payload-altered", None)},
        silent=("start-up", "monitor", "verify --log"),
    ),
    Tampering(
        what="a bit of an actor's signature",
        act=hands.flip("actor_signature", "opinion"),
        found={
            "reading": ("entry-altered", "at"),
            "replay --check": ("entry-altered", "at"),
            "monitor": ("entry", "at"),
            "verify --log": ("actor signatures", "at"),
        },
        silent=("start-up",),
    ),
    Tampering(
        what="a bit of the ledger's signature",
        act=hands.flip("ledger_signature"),
        found={
            "reading": ("entry-altered", "at"),
            "replay --check": ("entry-altered", "at"),
            "monitor": ("entry", "at"),
            "verify --log": ("ledger signatures", "at"),
        },
        silent=("start-up",),
    ),
    Tampering(
        what="a bit of a leaf",
        act=hands.flip("leaf"),
        found={"start-up": ("head-forked", None), "reading": ("entry-altered", "at"), "monitor": ("entry", "at")},
        silent=("verify --log",),
    ),
    Tampering(
        what="a bit of a tile",
        act=hands.tile_bit,
        found={"start-up": ("head-forked", None), "monitor": ("tile", "at")},
        silent=("reading", "verify --log"),
    ),
    Tampering(
        what="a bit of a checkpoint's signature",
        act=hands.note_bit,
        found={"verify --log": ("checkpoint", None)},
        silent=("start-up", "reading", "monitor"),
    ),
    Tampering(
        what="a row deleted in the middle",
        act=hands.delete,
        found={
            "start-up": ("head-forked", None),
            "reading": ("chain-broken", "next"),
            "monitor": ("entry", "at"),
            "verify --log": ("entries", "at"),
        },
    ),
    Tampering(
        what="a row deleted at the tail",
        act=hands.delete_tail,
        found={
            "start-up": ("head-forked", None),
            "monitor": ("checkpoint", "first"),
            "verify --log": ("entries", "at"),
        },
        silent=("reading",),
    ),
    Tampering(
        what="the tail cut off, the head and roots repaired",
        act=hands.cut_tail,
        found={"start-up": ("head-behind-pin", None), "monitor": ("head", "at")},
        silent=("reading", "verify --log"),
    ),
    Tampering(
        what="rows swapped",
        act=hands.swap,
        found={"start-up": ("head-forked", None), "monitor": ("tile", "at"), "verify --log": ("chains", "at")},
        silent=("reading",),
    ),
    Tampering(
        what="a revision renumbered",
        act=hands.renumber,
        found={
            "reading": ("chain-broken", "next"),
            "replay --check": ("entry-altered", "at"),
            "monitor": ("entry", "at"),
            "verify --log": ("ledger signatures", "at"),
        },
        silent=("start-up",),
    ),
    Tampering(
        what="an entry signed again by another key, the tree repaired",
        act=hands.resign,
        found={
            "start-up": ("head-forked", None),
            "monitor": ("checkpoint", "first"),
            "verify --log": ("ledger signatures", "at"),
        },
        silent=("reading",),
    ),
    Tampering(
        what="triggers off, a statement edited; leaf, tiles, roots and head repaired",
        act=hands.edit_and_repair,
        found={
            "start-up": ("head-forked", None),
            "reading": ("payload-altered", None),
            "monitor": ("checkpoint", "first"),
            "verify --log": ("ledger signatures", "at"),
        },
    ),
    Tampering(
        what="a key's approval altered, the tree repaired",
        act=hands.alter_key_history,
        found={
            "start-up": ("head-forked", None),
            "reading": ("payload-altered", None),
            "monitor": ("checkpoint", "first"),
            "verify --log": ("payload-altered", None),
        },
    ),
    Tampering(
        what="the payload of a key's entry exchanged",
        act=hands.exchange_key_payload,
        found={
            "reading": ("payload-altered", None),
            "replay --check": ("payload-altered", None),
            "verify --log": ("payload-altered", None),
        },
        silent=("start-up", "monitor"),
    ),
    Tampering(
        what="a row of a view altered",
        act=hands.alter_view,
        found={"replay --check": ("view", "at")},
        silent=SERVED,
    ),
    Tampering(
        what="the database rolled back to an older copy",
        act=hands.roll_back,
        found={"start-up": ("head-behind-pin", None), "monitor": ("head", "at")},
        silent=("reading", "verify --log"),
    ),
    Tampering(
        what="an opinion signed by a revoked key",
        who=KEYS,
        act=hands.sign_with_revoked,
        found=FORGED,
        silent=("start-up", "reading", "monitor"),
    ),
    Tampering(
        what="an opinion that only the ledger signed",
        who=KEYS,
        act=hands.without_actor,
        found=FORGED,
        silent=("start-up", "reading", "monitor"),
    ),
    Tampering(
        what="a signature grafted on another opinion",
        who=KEYS,
        act=hands.graft,
        found=FORGED,
        silent=("start-up", "reading", "monitor"),
    ),
    Tampering(
        what="history rewritten and signed anew, but for the pin",
        who=KEYS,
        act=hands.rewrite_signed,
        found={"start-up": ("head-forked", None), "monitor": ("checkpoint", "first")},
        silent=("reading", "replay --check", "verify --log"),
    ),
    Tampering(
        what="history rewritten and signed anew, and the pin",
        who=ALL,
        act=hands.rewrite_everything,
        found={
            "verify --log --since": ("older checkpoint", None),
            "monitor, kept": ("checkpoint", "first"),
            "split detection": ("split view", "end"),
        },
        elsewhere=True,
        silent=LOCAL,
    ),
    Tampering(
        what="database and pin rolled back together",
        who=ALL,
        act=hands.roll_back_both,
        found={"verify --log --since": ("older checkpoint", None), "monitor, kept": ("head", "at")},
        elsewhere=True,
        silent=("start-up", "reading", "monitor", "verify --log"),
    ),
)


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
