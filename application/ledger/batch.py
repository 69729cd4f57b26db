"""One batch of appends as one transaction.

Order of things, which the whole ledger's promises rest on:

1. lock the head's row: from here to the commit no other process appends;
2. in statements of their own, so that they see what the last holder of the lock committed, read the heads of all
   streams that the batch writes to or relies on;
3. let every append whose streams have moved, or whose guards no longer hold, fail alone;
4. insert entries with a dense index, idempotency rows, the root, and the new head; destroy what an erasure among them
   says is destroyed; commit.

Signing comes after the commit, and is not done here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import msgspec
import psycopg
from psycopg.rows import TupleRow

from application import sql
from application.ledger.entries import Append, Erase, SealedEntry
from domain.errors import (
    CaseLedgerError,
    GuardBroken,
    HeadBehindPin,
    HeadForked,
    IdempotencyKeyReused,
    Misconfigured,
    StaleRevision,
    SubjectErased,
    WrongOrigin,
)
from domain.ledger.batch_prover import BatchProver
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.tree import Frontier

_SQL = sql.beside(__file__)

_Cursor: TypeAlias = psycopg.Cursor[TupleRow]


class New(msgspec.Struct, frozen=True):
    """An append went in with this batch, from this index on."""

    first_index: int


class Known(msgspec.Struct, frozen=True):
    """An append stands in the log from before; `own` when by these very bytes, else by an equal request."""

    first_index: int
    count: int
    own: bool


Outcome = New | Known | CaseLedgerError


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a committed batch gave: the new tree, and each append's outcome in order."""

    checkpoint: Checkpoint
    committed_at: int
    prover: BatchProver
    outcomes: tuple[Outcome, ...]


class _Request(msgspec.Struct, frozen=True):
    digest: bytes
    first_index: int
    count: int


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says of all that a batch concerns, and what its own appends add to that."""

    heads: dict[str, tuple[int, str]]
    subjects: set[str]
    requests: dict[tuple[str, str], _Request]


def write(
    connection: psycopg.Connection,
    appends: Sequence[Append],
    origin: str,
    last: Checkpoint | None,
    bulk: bool = False,
) -> Written:
    """Append what can be appended, and commit. `last` is the newest tree that this process knows of.

    Two round trips; some more with `bulk`, where thousands of entries go in by COPY. After an exception the connection
    is of no further use: its transaction may still be open.

    Raises:
        WrongOrigin, HeadBehindPin, HeadForked: the database is not what it was.
        psycopg.Error: nothing was appended; unless the connection was lost, when that is not known.
    """
    # COPY does not go into a pipeline.
    with connection.transaction() if bulk else _transaction(connection):
        locked, found, earlier = _lock_and_look(connection, appends)
        head, committed_at = _head(locked.fetchone(), origin, last)
        seen = _seen(found, earlier)
        decided: list[New | CaseLedgerError | _Request] = []
        entries: list[SealedEntry] = []
        requests: list[tuple[str, str, bytes, int, int]] = []
        erasures: list[Erase] = []
        for append in appends:
            refusal = _refusal(append, seen)
            if refusal is not None:
                decided.append(refusal)
                continue
            first = head.size + len(entries)
            decided.append(New(first))
            entries.extend(append.entries)
            seen.heads.update({each.statement.stream: (each.statement.rev, each.leaf.hex()) for each in append.entries})
            if (key := append.idempotency) is not None:
                requests.append((key.actor, key.key, key.request_digest, first, len(append.entries)))
                seen.requests[key.actor, key.key] = _Request(*requests[-1][2:])
            if append.erase is not None:
                erasures.append(append.erase)
                # What comes behind it in this batch finds these subjects gone; what came before goes with them.
                seen.subjects.difference_update(append.erase.subjects)
        outcomes = _recognised(connection, appends, decided)
        prover = BatchProver(head, [entry.leaf for entry in entries])
        if entries:
            (_copy if bulk else _insert)(connection, entries, requests, prover, committed_at)
            _erase(connection, erasures)
    checkpoint = Checkpoint(origin, prover.size, prover.root)
    return Written(checkpoint=checkpoint, committed_at=committed_at, prover=prover, outcomes=outcomes)


@contextmanager
def _transaction(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction in a pipeline; as `connection.transaction()`, which waits for the server twice more."""
    try:
        with connection.pipeline():
            connection.execute("BEGIN")
            yield
            connection.execute("COMMIT")
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise


def _head(row: TupleRow | None, origin: str, last: Checkpoint | None) -> tuple[Frontier, int]:
    if row is None:
        raise Misconfigured("the database holds no ledger; it has to be opened first")
    head = Frontier.from_bytes(row[1], row[2])
    if row[0] != origin:
        raise WrongOrigin
    # Between batches the head may only grow: a database set back while we run is noticed here.
    if last is not None and head.size < last.size:
        raise HeadBehindPin(f"the database went back: the head is of {head.size} entries, and was of {last.size}")
    if last is not None and head.size == last.size and head.root() != last.root:
        raise HeadForked(f"the tree of {head.size} entries has another root than before")
    return head, row[3]


def _lock_and_look(
    connection: psycopg.Connection, appends: Sequence[Append]
) -> tuple[_Cursor, _Cursor, _Cursor | None]:
    """Lock the head, and ask for the streams' heads, the subjects' keys, and earlier requests if an append names one.

    Sent together and carried out one by one, so that what is asked behind the lock sees what its last holder committed.
    """
    locked = connection.execute(_SQL["head"], binary=True)
    entries = [entry for append in appends for entry in append.entries]
    streams = {entry.statement.stream for entry in entries}
    streams.update(guard.stream for append in appends for guard in append.guards)
    sealed_under = {entry.statement.subject for entry in entries if entry.sealed is not None}
    keys = [append.idempotency for append in appends if append.idempotency is not None]
    found = connection.execute(_SQL["look"], (sorted(streams), list(sealed_under)), binary=True)
    wanted = [key.actor for key in keys], [key.key for key in keys]
    return locked, found, connection.execute(_SQL["requests"], wanted, binary=True) if keys else None


def _seen(found: _Cursor, requests: _Cursor | None) -> _Seen:
    rows = found.fetchall()
    return _Seen(
        heads={stream: (rev, leaf.hex()) for stream, rev, leaf in rows if rev},
        subjects={subject for subject, rev, _ in rows if not rev},
        requests={(actor, key): _Request(*rest) for actor, key, *rest in requests or ()},
    )


def _refusal(append: Append, seen: _Seen) -> CaseLedgerError | _Request | None:
    """Why an append does not go in now, or the equal request that did; None when it goes in."""
    if (key := append.idempotency) is not None and (earlier := seen.requests.get((key.actor, key.key))) is not None:
        return earlier if earlier.digest == key.request_digest else IdempotencyKeyReused()
    if any(seen.heads.get(guard.stream, (0, ""))[1] != guard.leaf for guard in append.guards):
        return GuardBroken()
    moved: dict[str, tuple[int, str]] = {}
    for entry in append.entries:
        stream = entry.statement.stream
        rev, leaf = moved.get(stream) or seen.heads.get(stream, (0, ""))
        if entry.statement.rev != rev + 1 or (entry.statement.prev or "") != leaf:
            return StaleRevision()
        moved[stream] = (entry.statement.rev, entry.leaf.hex())
    if any(each.sealed is not None and each.statement.subject not in seen.subjects for each in append.entries):
        return SubjectErased()
    return None


def _recognised(
    connection: psycopg.Connection, appends: Sequence[Append], decided: Sequence[New | CaseLedgerError | _Request]
) -> tuple[Outcome, ...]:
    """Outcomes, where an append that stands in the log by its very bytes is not refused.

    That is how a commit whose answer was lost is found again: a batch is repeated as it was.
    """
    doubtful = [append.entries[0] for append, each in zip(appends, decided, strict=True) if not isinstance(each, New)]
    there: dict[bytes, int] = {}
    if doubtful:
        wanted = (
            [entry.statement.stream for entry in doubtful],
            [entry.statement.rev for entry in doubtful],
            [entry.leaf for entry in doubtful],
        )
        there = dict(connection.execute(_SQL["same_entries"], wanted, binary=True).fetchall())
    outcomes: list[Outcome] = []
    for append, each in zip(appends, decided, strict=True):
        own = there.get(append.entries[0].leaf)
        if own is not None and not isinstance(each, New):
            outcomes.append(Known(own, len(append.entries), own=True))
        elif isinstance(each, _Request):
            outcomes.append(Known(each.first_index, each.count, own=False))
        else:
            outcomes.append(each)
    return tuple(outcomes)


def _insert(
    connection: psycopg.Connection,
    entries: Sequence[SealedEntry],
    requests: Sequence[tuple[str, str, bytes, int, int]],
    prover: BatchProver,
    committed_at: int,
) -> None:
    columns = [(e.raw.decode(), e.actor_signature, e.ledger_signature, e.leaf, e.sealed) for e in entries]
    values = (prover.first, committed_at, *map(list, zip(*columns, strict=True)), *_tree(prover, committed_at))
    connection.execute(_SQL["write"], values)
    _remember(connection, requests)


def _copy(
    connection: psycopg.Connection,
    entries: Sequence[SealedEntry],
    requests: Sequence[tuple[str, str, bytes, int, int]],
    prover: BatchProver,
    committed_at: int,
) -> None:
    with connection.cursor() as cursor, cursor.copy(_SQL["copy_entries"]) as copy:
        # `json` comes as its text: declared as json, the driver would encode it a second time.
        copy.set_types(["int8", "text", "bytea", "bytea", "bytea", "bytea", "int8"])
        for index, e in enumerate(entries, prover.first):
            row = (index, e.raw.decode(), e.actor_signature, e.ledger_signature, e.leaf, e.sealed, committed_at)
            copy.write_row(row)
    connection.execute(_SQL["move"], _tree(prover, committed_at))
    _remember(connection, requests)


def _tree(prover: BatchProver, committed_at: int) -> tuple[object, ...]:
    """The new root and head, and the word to the followers."""
    root = (prover.size, prover.root, committed_at)
    return *root, prover.size, prover.frontier.to_bytes(), committed_at, str(prover.size)


def _remember(connection: psycopg.Connection, requests: Sequence[tuple[str, str, bytes, int, int]]) -> None:
    if requests:
        connection.execute(_SQL["insert_requests"], [list(column) for column in zip(*requests, strict=True)])


def _erase(connection: psycopg.Connection, erasures: Sequence[Erase]) -> None:
    for each in erasures:
        connection.execute(_SQL["erase"], (list(each.subjects), list(each.cases), list(each.streams), each.request))
