"""After an erasure: the rows of the cases concerned are folded anew from what can still be read."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from application.ledger.streams import LoggedEvent
from projections import folding
from projections.model import Projection, Seals
from projections.registry import PROJECTIONS
from projections.schema import LIVE, folded_to, table


def refold(
    ledger: Ledger,
    pool: ConnectionPool,
    keyring: Keyring,
    subject: str,
    projections: Sequence[Projection[Any]] = PROJECTIONS,
) -> list[str]:
    """Fold anew every case that has an entry about a subject whose key is gone; returns those cases.

    What a row took from the erased events goes with them, in clear and sealed. To be called after the erasure has
    committed; until then the rows stand as they were folded, and `rebuild.check` says that they differ from the log.
    """
    keyring.forget(subject)
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT DISTINCT case_id FROM ledger.entry WHERE statement ->> 'subject' = %s AND case_id IS NOT NULL",
            (subject,),
        ).fetchall()
        cases = sorted(case for (case,) in rows)
        for case in cases:
            for projection in projections:
                _refold_case(connection, ledger, projection, case, Seals(keyring))
    return cases


def _refold_case(
    connection: psycopg.Connection, ledger: Ledger, projection: Projection[Any], case: str, seals: Seals
) -> None:
    with connection.transaction():
        folded = folded_to(connection, projection, lock=True)
        rows = connection.execute(
            "SELECT index FROM ledger.entry WHERE case_id = %s AND index < %s ORDER BY index", (case, folded.position)
        ).fetchall()
        events: list[LoggedEvent] = []
        for first, last in _runs([index for (index,) in rows]):
            events += folding.read(ledger, first, last + 1)
        connection.execute(sql.SQL("DELETE FROM {} WHERE case_id = %s").format(table(LIVE, projection)), (case,))
        # A table that another version made stands without them until it is rebuilt.
        if folded.current:
            folding.fold(connection, LIVE, projection, events, seals)


def _runs(indexes: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending indexes as stretches without a gap, each (first, last)."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs
