"""What a restored copy still had of erased subjects was erased again; here the log is told so.

The entries that said it first are among those that were lost. Without new ones the payloads would be missing with no
account of why, and a case of which nothing is left would go on. The read models that came back are cleared, too.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import structlog
from psycopg_pool import ConnectionPool

from application import sql
from application.cases import Cases
from application.ledger.store import Ledger
from application.ledger.streams import Act
from application.privacy.requests import new_event
from application.request import PURPOSE
from domain.case.actor import SERVICE
from domain.case.events import ContentErased
from domain.errors import StaleRevision
from domain.ledger.origins import STREAM

_SQL = sql.beside(__file__)

log = structlog.get_logger(__name__)


def tell(
    pool: ConnectionPool[Any],
    ledger: Ledger,
    cases: Cases,
    now: int,
    refold: Callable[[str], object],
    vacuum: Callable[[], None],
) -> int:
    """Append the entries that are missing, each naming the stream of origins as the reason; how many subjects went in.

    `now` is in microseconds UTC; `refold` and `vacuum` are as in `Clearing`. To be called when the ledger is open.
    Looks through the log once, and only where the log was ever restored, and the fence had been reapplied.
    """
    with sql.borrowed(pool) as connection:
        rows = connection.execute(_SQL["untold"]).fetchall()
    by_case: dict[str, list[str]] = {}
    for subject, case in rows:
        by_case.setdefault(case, []).append(subject)
    # Before it is told: what is told is not looked for again after a crash.
    for case, subjects in by_case.items():
        for subject in [f"case:{case}"] if f"case:{case}" in subjects else subjects:
            refold(subject)
    if rows:
        vacuum()
    for case, subjects in by_case.items():
        loaded = cases.load(case)
        whole = f"case:{case}" in subjects
        new = []
        for rev, subject in enumerate(subjects, loaded.revision + 1):
            kind, _, name = subject.partition(":")
            event = ContentErased(
                request=STREAM, scope="case" if whole else "record", subject=subject,
                record=name if kind == "record" else None,
            )  # fmt: skip
            new.append(new_event(loaded.stream, rev, event, case, subject))
        act = Act(
            actor=SERVICE.id, role=SERVICE.role, purpose=PURPOSE[SERVICE.role], cause=str(uuid4()), recorded_at=now
        )
        # Stale where another process told it in the same moment.
        with suppress(StaleRevision):
            ledger.append(new, act, heads={loaded.stream: loaded.head})
            log.warning("erasure.told_again", subjects=len(new))
    return len(rows)
