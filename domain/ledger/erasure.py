"""Telling what was erased from what is missing, by what stands in clear.

An erasure leaves an entry of this kind for every subject, in the stream of the subject's case, whose `object` is the
subject. It is appended in the transaction that destroys the subject's key and payloads; the database refuses the one
without the other.
"""

from collections.abc import Iterable

from domain.ledger.statement import Statement

KIND = "case.content_erased.v1"


def erasures(entries: Iterable[tuple[int, Statement]]) -> dict[str, int]:
    """The subjects that entries say were erased, each with the index of the first entry that says so."""
    found: dict[str, int] = {}
    for index, statement in entries:
        if statement.kind == KIND and statement.object is not None:
            found.setdefault(statement.object, index)
    return found


def holes(entries: Iterable[tuple[int, Statement]], missing: Iterable[int]) -> tuple[int, ...]:
    """Those among the entries whose payload is missing that no erasure accounts for.

    An entry that commits to no payload has none to miss. An erasure accounts only for what came before it.
    """
    known = dict(entries)
    erased = erasures(sorted(known.items()))
    return tuple(
        index
        for index in sorted(missing)
        if known[index].commitment is not None and erased.get(known[index].subject or "", -1) < index
    )
