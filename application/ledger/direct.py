"""One batch of appends as one statement: the usual case, where nobody else has appended since this process did.

`batch` asks, decides and writes. Here all that it would find is a condition of the statement, the head first of all: if
that is where this process left it, nothing in the log has moved, and what was computed from it (indexes, frontier,
root) is right. Why that is enough:

- the statement takes the head's row lock; where it has to wait for it, PostgreSQL holds the condition against the row
  as the last holder left it (READ COMMITTED), and a size, once left, never comes back;
- the rest is read with the snapshot that the statement began with, older than the lock. All that is read here changes
  only in transactions that move the head, or changes nothing (a key that is made); so an equal head says that the
  snapshot has missed nothing.

All of the batch goes in, or nothing: who is refused, and why, is for `batch` to find out.
"""

from collections.abc import Sequence

import psycopg

from application import sql
from application.ledger.batch import New, Written
from application.ledger.entries import Append
from application.ledger.prepared import BYTEA, INT8, TEXT, array, int8, prepare, run
from domain.ledger.batch_prover import BatchProver
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.tree import Frontier

_SQL = sql.beside(__file__)
_NAME = b"ledger_append"

_End = tuple[int | None, str]
"""What a stream ends in: revision (None for any) and leaf (hex); 0 and "" where there is no such stream."""


def enable(connection: psycopg.Connection) -> None:
    """Make a new connection ready for `write`."""
    prepare(connection, _NAME, _SQL["append"])


def write(connection: psycopg.Connection, appends: Sequence[Append], origin: str, head: Frontier) -> Written | None:
    """Append all of these behind that head and commit, in one round trip; None where that cannot be: nothing is done.

    Raises:
        psycopg.Error: nothing was appended; unless the connection was lost, when that is not known.
    """
    relied = _relied_on(appends)
    if relied is None:
        return None
    entries = [entry for append in appends for entry in append.entries]
    prover = BatchProver(head, [entry.leaf for entry in entries])
    outcomes: list[New] = []
    requests: list[tuple[bytes, bytes, bytes, bytes, bytes]] = []
    first = head.size
    for append in appends:
        outcomes.append(New(first))
        if (key := append.idempotency) is not None:
            count = len(append.entries)
            requests.append((key.actor.encode(), key.key.encode(), key.request_digest, int8(first), int8(count)))
        first += len(append.entries)
    sealed_under = {each.statement.subject or "" for each in entries if each.sealed is not None}
    actors, keys, digests, firsts, counts = zip(*requests, strict=True) if requests else ((), (), (), (), ())
    values = (
        int8(head.size),
        head.to_bytes(),
        origin.encode(),
        int8(prover.size),
        prover.frontier.to_bytes(),
        prover.root,
        array(TEXT, [stream.encode() for stream in relied]),
        array(INT8, [None if rev is None else int8(rev) for rev, _ in relied.values()]),
        array(TEXT, [leaf.encode() for _, leaf in relied.values()]),
        array(TEXT, [subject.encode() for subject in sealed_under]),
        array(TEXT, actors),
        array(TEXT, keys),
        array(BYTEA, digests),
        array(INT8, firsts),
        array(INT8, counts),
        # The statement comes as text: a parameter of type json would be encoded a second time.
        array(TEXT, [each.raw for each in entries]),
        array(BYTEA, [each.actor_signature for each in entries]),
        array(BYTEA, [each.ledger_signature for each in entries]),
        array(BYTEA, [each.leaf for each in entries]),
        array(BYTEA, [each.sealed for each in entries]),
    )
    result = run(connection, _NAME, values)
    if not result.ntuples:
        return None
    return Written(
        checkpoint=Checkpoint(origin, prover.size, prover.root),
        committed_at=int.from_bytes(result.get_value(0, 0) or b""),
        prover=prover,
        outcomes=tuple(outcomes),
    )


def _relied_on(appends: Sequence[Append]) -> dict[str, _End] | None:
    """What streams have to end in before this batch, for all of it to go in.

    None where they cannot: the appends contradict each other, or share an Idempotency-Key. None, too, with an erasure
    among them, which is a statement of its own.
    """
    before: dict[str, _End] = {}
    now: dict[str, _End] = {}
    keys = [(key.actor, key.key) for append in appends if (key := append.idempotency) is not None]
    if len(set(keys)) < len(keys) or any(append.erase is not None for append in appends):
        return None
    for append in appends:
        for guard in append.guards:
            end = before.setdefault(guard.stream, (None, guard.leaf))
            if now.setdefault(guard.stream, end)[1] != guard.leaf:
                return None
        for entry in append.entries:
            stream, rev = entry.statement.stream, entry.statement.rev
            follows = (rev - 1, entry.statement.prev or "")
            known = now.get(stream, follows)
            if known[1] != follows[1] or known[0] not in (None, follows[0]):
                return None
            if known[0] is None or stream not in before:
                before[stream] = follows
            now[stream] = (rev, entry.leaf.hex())
    return before
