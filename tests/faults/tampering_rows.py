"""The rows of the tamper matrix, which README shows: what is done, by whom, what finds it, and what cannot."""

from collections.abc import Callable
from typing import Literal

import msgspec

from tests.faults import tampering_hands as hands
from tests.faults.tampering import Copy

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
        found={"reading": ("payload-altered", "at"), "replay --check": ("payload-altered", "at")},
        silent=("start-up", "monitor", "verify --log"),
    ),
    Tampering(
        what="a payload taken out",
        act=hands.take_payload,
        found={
            "reading": ("payload-altered", "at"),
            "replay --check": ("payload-altered", "at"),
            "monitor": ("entry", "at"),
        },
        silent=("start-up", "verify --log"),
    ),
    Tampering(
        what="a subject's key deleted",
        act=hands.take_key,
        found={"reading": ("payload-altered", "at"), "replay --check": ("payload-altered", "at")},
        silent=("start-up", "monitor", "verify --log"),
    ),
    Tampering(
        what="a payload taken out, its subject fenced as if erased",
        act=hands.take_payload_and_fence,
        found={"replay --check": ("view", None), "verify": ("hole", "at")},
        silent=SERVED,
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
        found={"start-up": ("head-forked", "at"), "reading": ("entry-altered", "at"), "monitor": ("entry", "at")},
        silent=("verify --log",),
    ),
    Tampering(
        what="a bit of a tile",
        act=hands.tile_bit,
        found={"start-up": ("head-forked", "at"), "monitor": ("tile", "at")},
        silent=("reading", "verify --log"),
    ),
    Tampering(
        what="a bit of a checkpoint's signature",
        act=hands.note_bit,
        found={"monitor": ("checkpoint", "at"), "verify --log": ("checkpoint", None)},
        silent=("start-up", "reading"),
    ),
    Tampering(
        what="a row deleted in the middle",
        act=hands.delete,
        found={
            "start-up": ("head-forked", "at"),
            "reading": ("chain-broken", "next"),
            "monitor": ("entry", "at"),
            "verify --log": ("entries", "at"),
        },
    ),
    Tampering(
        what="a row deleted at the tail",
        act=hands.delete_tail,
        found={
            "start-up": ("head-forked", "at"),
            "monitor": ("checkpoint", "first"),
            "verify --log": ("entries", "at"),
        },
        silent=("reading",),
    ),
    Tampering(
        what="the tail cut off, the head and roots repaired",
        act=hands.cut_tail,
        found={"start-up": ("head-behind-pin", "at"), "monitor": ("head", "at")},
        silent=("reading", "verify --log"),
    ),
    Tampering(
        what="rows swapped",
        act=hands.swap,
        found={"start-up": ("head-forked", "at"), "monitor": ("tile", "at"), "verify --log": ("chains", "at")},
        silent=("reading",),
    ),
    Tampering(
        what="a revision renumbered",
        act=hands.renumber,
        found={
            "reading": ("entry-altered", "at"),
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
            "reading": ("payload-altered", "at"),
            "monitor": ("checkpoint", "first"),
            "verify --log": ("ledger signatures", "at"),
        },
    ),
    Tampering(
        what="a key's approval altered, the tree repaired",
        act=hands.alter_key_history,
        found={
            "start-up": ("head-forked", None),
            "reading": ("payload-altered", "at"),
            "monitor": ("checkpoint", "first"),
            "verify --log": ("payload-altered", "at"),
        },
    ),
    Tampering(
        what="the payload of a key's entry exchanged",
        act=hands.exchange_key_payload,
        found={
            "reading": ("payload-altered", "at"),
            "replay --check": ("payload-altered", "at"),
            "verify --log": ("payload-altered", "at"),
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
        found={"start-up": ("head-behind-pin", "at"), "monitor": ("head", "at")},
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
