"""Restores that a log tells of: from where on it goes by another origin, as a monitor has to know."""

from collections.abc import Sequence

import msgspec
import psycopg

from application import sql
from domain.ledger.note import VerifierKey

_SQL = sql.beside(__file__)


class Restoration(msgspec.Struct, frozen=True):
    """The log goes on from an older copy of itself, from `index` on under another origin."""

    index: int
    old: str
    new: str
    held: int = 0
    """Size of the old origin's checkpoint that this monitor held, where that is more than what was restored: entries
    that it had seen are lost."""


def restorations(connection: psycopg.Connection, known: Sequence[Restoration] = ()) -> tuple[Restoration, ...]:
    """All of them in the log's order; what the monitor held stays with those that it knew.

    Warning: nothing is verified; whoever writes to the database can write such an entry.
    """
    held = {each.old: each.held for each in known}
    rows = connection.execute(_SQL["restorations"], binary=True).fetchall()
    return tuple(Restoration(index, old, new, held.get(old, 0)) for index, old, new in rows)


def origin_at(restored: Sequence[Restoration], size: int, otherwise: str) -> str:
    """The origin that signed the tree of a size; `otherwise` in a log that was never restored."""
    before = next((each.old for each in restored if size <= each.index), None)
    return before or (restored[-1].new if restored else otherwise)


def can_judge(restored: Sequence[Restoration], size: int, keys: Sequence[VerifierKey]) -> bool:
    """False for a tree of an origin before a restore whose keys nobody gave; its root is compared like all others."""
    before = next((each.old for each in restored if size <= each.index), None)
    return before is None or any(key.name == before for key in keys)
