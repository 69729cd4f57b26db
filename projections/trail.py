"""The trail of a case: one row for every entry that names it, accesses included, in the log's order.

Who, what, when, where and why stand in clear, as they do in the signed statement. What the event says stands as a
summary sealed under the entry's own subject, so that erasing the subject blinds it and leaves the row.
"""

import msgspec
from psycopg import sql
from psycopg_pool import ConnectionPool

from application.ledger.keyring import Keyring
from application.ledger.streams import LoggedEvent
from domain.event import Erased
from projections.model import Projection, Seals, Stored
from projections.trail_summary import summary_of


class TrailContent(msgspec.Struct, frozen=True):
    """What is sealed in a row."""

    summary: str


class TrailRow(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the trail. Times in microseconds UTC; `leaf` is the entry's leaf hash as lower-case hex.

    `summary` is None where content was not asked for, and where it was erased, which `erased` tells apart.
    """

    index: int
    case: str
    stream: str
    rev: int
    kind: str
    actor: str
    role: str
    recorded_at: int
    committed_at: int
    occurred_at: int | None
    purpose: str
    cause: str
    object: str | None
    version: str | None
    outcome: str | None
    leaf: str
    erased: bool
    summary: str | None


def of_case(
    pool: ConnectionPool,
    keyring: Keyring,
    case_id: str,
    *,
    content: bool,
    after: int | None = None,
    limit: int = 1000,
) -> list[TrailRow]:
    """Entries that name a case, newest last: the first `limit` whose index is greater than `after`.

    Summaries come only with `content`: who asks for the trail may not be somebody who may see what the events say.

    Raises:
        PayloadAltered: a summary does not open, so somebody else wrote it.
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, PROJECTION.column_names()))
    query = sql.SQL("SELECT {} FROM views.trail WHERE case_id = %s AND index > %s ORDER BY index LIMIT %s").format(
        columns
    )
    with pool.connection() as connection:
        rows = connection.execute(query, (case_id, -1 if after is None else after, limit), binary=True).fetchall()
    with_key = keyring.find_many(tuple(dict.fromkeys(row[_SUBJECT] for row in rows if row[_SUBJECT] is not None)))
    seals = Seals(keyring)
    return [_opened(row, seals, with_key=row[_SUBJECT] in with_key, content=content) for row in rows]


def _opened(stored: Stored, seals: Seals, *, with_key: bool, content: bool) -> TrailRow:
    *clear, subject, sealed = stored
    erased = sealed is None or not with_key
    opened = seals.open(subject, _context(stored[0]), sealed) if content and not erased else None
    summary = None if opened is None else msgspec.json.decode(opened, type=TrailContent).summary
    return TrailRow(**dict(zip(_CLEAR, clear, strict=True)), erased=erased, summary=summary)


def _key(event: LoggedEvent) -> int | None:
    return None if event.statement.case is None else event.index


def _fold(row: LoggedEvent | None, event: LoggedEvent) -> LoggedEvent:
    return event


def _store(row: LoggedEvent, seals: Seals) -> Stored:
    statement, sealed = row.statement, None
    if not isinstance(row.event, Erased) and statement.subject is not None:
        content = msgspec.json.encode(TrailContent(summary_of(row.event)))
        sealed = seals.seal(statement.subject, _context(row.index), content)
    return (
        row.index,
        statement.case,
        statement.stream,
        statement.rev,
        statement.kind,
        statement.actor,
        statement.role,
        statement.recorded_at,
        row.committed_at,
        statement.occurred_at,
        statement.purpose,
        statement.cause,
        statement.object,
        statement.version,
        statement.outcome,
        row.leaf,
        statement.subject,
        sealed,
    )


def _context(index: int) -> str:
    return f"views.trail/{index}"


PROJECTION = Projection[LoggedEvent](
    name="trail",
    version=2,
    columns=(
        ("index", "int8"),
        ("case_id", "text"),
        ("stream", "text"),
        ("rev", "int8"),
        ("kind", "text"),
        ("actor", "text"),
        ("role", "text"),
        ("recorded_at", "int8"),
        ("committed_at", "int8"),
        ("occurred_at", "int8"),
        ("purpose", "text"),
        ("cause", "text"),
        ("object", "text"),
        ("version", "text"),
        ("outcome", "text"),
        ("leaf", "text"),
        ("subject", "text"),
        ("sealed", "bytea"),
    ),
    content=TrailContent,
    key=_key,
    fold=_fold,
    store=_store,
    restore=None,
)
_CLEAR = tuple("case" if name == "case_id" else name for name in PROJECTION.column_names()[:-2])
_SUBJECT = PROJECTION.column_names().index("subject")
