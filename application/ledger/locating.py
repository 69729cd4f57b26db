"""Where a log contradicts itself: looked for only once it is known that it does, and told as exactly as can be."""

from collections.abc import Sequence

import msgspec
import psycopg

from application import sql
from application.ledger.entries import signatures
from application.ledger.nodes import differing_tile, no_levels
from domain.ledger.dsse import render
from domain.ledger.tree import TILE_WIDTH, Frontier, leaf_hash

_CHUNK = 16 * TILE_WIDTH
_SQL = sql.beside(__file__)


class Place(msgspec.Struct, frozen=True):
    """What is wrong, and where: the indexes first <= index <= last, one of which is the first that is wrong."""

    first: int
    last: int
    message: str


def locate(connection: psycopg.Connection, size: int) -> Place | None:
    """The first place where entries, leaves, stored tiles and committed roots disagree, below a size.

    None where all of them agree: what they were compared with then says something else. Some seconds a million.
    """
    frontier, levels, good = Frontier(), no_levels(), 0
    for first in range(0, size, _CHUNK):
        stop = min(first + _CHUNK, size)
        rows = connection.execute(_SQL["leaves"], (first, stop), binary=True).fetchall()
        gap = next((at for at, row in enumerate(rows, first) if row[0] != at), first + len(rows))
        levels[0] = leaves = [leaf for index, leaf in rows if index < gap]
        tile = differing_tile(connection, first // TILE_WIDTH, levels)
        frontier, good, wrong = _other_root(connection, frontier, leaves, good)
        if tile is not None and (wrong is None or tile.first_entry() < wrong):
            at = tile.first_entry()
            last = at + TILE_WIDTH ** (tile.tile.level or 0) - 1
            found = Place(at, last, f"the stored tile {tile.tile.path()} differs from entry {at} on")
            return _altered(connection, at, last) or found
        if wrong is not None:
            message = f"the committed root of size {wrong} is not what entries {good} to {wrong - 1} give"
            return _altered(connection, good, wrong - 1) or Place(good, wrong - 1, message)
        if gap < stop:
            return Place(gap, gap, f"entry {gap} is missing")
    return None


def _other_root(
    connection: psycopg.Connection, frontier: Frontier, leaves: Sequence[bytes], good: int
) -> tuple[Frontier, int, int | None]:
    """The frontier behind these leaves; the last committed size whose root they give, the first whose they do not.

    `good` is the last of those before, and stays where there is none among these.
    """
    start, stop = frontier.size, frontier.size + len(leaves)
    for size, root in connection.execute(_SQL["roots"], (start, stop), binary=True).fetchall():
        further = frontier.extend(leaves[frontier.size - start : size - start])
        if further.root() != root:
            return frontier, good, size
        frontier, good = further, size
    return frontier.extend(leaves[frontier.size - start :]), good, None


def _altered(connection: psycopg.Connection, first: int, last: int) -> Place | None:
    """The first of these entries whose bytes do not hash to its leaf."""
    for start in range(first, last + 1, _CHUNK):
        rows = connection.execute(_SQL["entries"], (start, min(start + _CHUNK, last + 1)), binary=True).fetchall()
        for index, statement, actor, ledger, leaf in rows:
            if leaf_hash(render(statement.encode(), signatures(actor, ledger))) != leaf:
                return Place(index, index, f"entry {index} does not hash to its leaf")
    return None
