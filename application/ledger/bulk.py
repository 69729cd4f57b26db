"""The bulk path: imports and demo data, thousands of entries a transaction, sealed and signed on all cores.

The guarantees are the appender's, by the same code: one head lock, one chain, conflicts that fail alone, a checkpoint
that is signed after the commit. What differs is that it waits for full batches, that entries go in by COPY, and that
other writers wait for as long as a batch takes (a tenth of a second).

Sealing does not let go of the interpreter, so it is done by processes of their own. A stream's entries are sealed one
after the other, each over the leaf before it: one import of one long stream uses one core.
"""

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Self

import msgspec
import psycopg
import structlog

from application.ledger.bulk_sealing import Job, Result, begin, ready, seal_jobs
from application.ledger.checkpoints import Checkpoints
from application.ledger.entries import Append, Appended, Guard, IdempotencyKey, SealedEntry
from application.ledger.keyring import Keyring
from application.ledger.live_keys import Seal
from application.ledger.streams import Act, NewEvent
from application.ledger.writer import Writer
from domain.errors import CaseLedgerError, DatabaseUnavailable, IntegrityFailure, SignatureRefused
from domain.event import encode, register
from domain.ledger.signatures import REQUIRED_ROLE
from domain.ledger.statement import peek_statements

BATCH = 4096
"""Entries a transaction."""
_NO_HEADS: Mapping[str, str] = {}
_results = msgspec.msgpack.Decoder(list[list[Result]])

log = structlog.get_logger(__name__)


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are appended together or not at all; none of a kind that an actor has to sign.

    `heads` are leaves (hex) of streams that exist already, as far as this bulk has not written to them itself.
    """

    events: tuple[NewEvent, ...]
    act: Act
    heads: Mapping[str, str] = _NO_HEADS
    guards: tuple[Guard, ...] = ()
    idempotency: IdempotencyKey | None = None


class _Batch(msgspec.Struct, frozen=True):
    """Imports on their way: which part sealed them, and what that will give."""

    imports: list[Import]
    parts: list[list[int]]
    sealing: list["Future[tuple[bytes, dict[int, CaseLedgerError]]]"]
    seal: Seal


class Bulk:
    """Appends much at once, for one thread. Owns a connection and, as a context, its processes.

    The ledger is open already: an appender of the same checkpoints has been started.
    """

    def __init__(
        self, conninfo: str, origin: str, checkpoints: Checkpoints, keyring: Keyring, *, processes: int | None = None
    ) -> None:
        self._origin = origin
        self._checkpoints = checkpoints
        self._keyring = keyring
        self._writer = Writer(conninfo, origin, checkpoints, bulk=True)
        self._count = processes or os.cpu_count() or 1
        # Spawned, so that they hold nothing of this process but what they are sent.
        self._processes = ProcessPoolExecutor(self._count, multiprocessing.get_context("spawn"), begin)
        self._heads: dict[str, str] = {}

    def __enter__(self) -> Self:
        # They start while the first batch is gathered.
        for _ in range(self._count):
            self._processes.submit(ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.shutdown()
        self._writer.disconnect()

    def append(self, imports: Iterable[Import], *, batch: int = BATCH) -> list[Appended | CaseLedgerError]:
        """Append all of these, in order; each one's receipts, or why it did not go in. A batch waits until it is full.

        While one batch is committed, the next is sealed. An import that builds on one which did not go in does not
        go in either (StaleRevision). Wait for a bulk's end before somebody else writes to its streams.

        Raises:
            IntegrityFailure: the ledger contradicts itself; earlier batches are appended.
        """
        answers: list[Appended | CaseLedgerError] = []
        waiting: _Batch | None = None
        for group in _batches(imports, batch, self._count):
            sealed = None if waiting is None else self._sealed(waiting)
            following = self._begin(*group)
            if sealed is not None:
                answers += self._commit(sealed)
            waiting = following
        if waiting is not None:
            answers += self._commit(self._sealed(waiting))
        self._heads.clear()
        return answers

    def _begin(self, imports: list[Import], parts: list[list[int]]) -> _Batch:
        """Hand a batch to the processes."""
        seal = self._checkpoints.live.seal()
        private = seal.key.private_bytes_raw()
        subjects = {each.subject for one in imports for each in one.events if each.subject is not None}
        keys = self._keyring.find_many(tuple(subjects))
        sealing = []
        for part in parts:
            jobs = [self._jobs(imports[number], keys) for number in part]
            sealing.append(self._processes.submit(seal_jobs, self._origin, private, msgspec.msgpack.encode(jobs)))
        return _Batch(imports, parts, sealing, seal)

    def _jobs(self, one: Import, keys: Mapping[str, bytes]) -> list[Job]:
        jobs = []
        for each in one.events:
            topic = register.of(each.event).topic
            if topic in REQUIRED_ROLE:
                raise SignatureRefused(f"{topic} counts only with its actor's signature, and alone")
            stream = each.originator_id
            jobs.append(
                Job(
                    stream=stream,
                    rev=each.originator_version,
                    prev=self._heads.get(stream) or one.heads.get(stream),
                    case=each.case,
                    kind=topic,
                    actor=one.act.actor,
                    role=one.act.role,
                    recorded_at=one.act.recorded_at,
                    occurred_at=one.act.occurred_at if each.occurred_at is None else each.occurred_at,
                    cause=one.act.cause,
                    purpose=one.act.purpose,
                    subject=each.subject,
                    object=each.object,
                    version=each.version,
                    outcome=each.outcome,
                    payload=encode(each.event),
                    # Of a subject that is gone there is none; the batch then refuses the append.
                    key=None if each.subject is None else keys.get(each.subject, b""),
                )
            )
        return jobs

    def _sealed(self, batch: _Batch) -> list[Append | CaseLedgerError]:
        """What the processes made of a batch, in its order; the heads that the next one builds on."""
        sealed: list[Append | CaseLedgerError] = [DatabaseUnavailable()] * len(batch.imports)
        for part, sealing in zip(batch.parts, batch.sealing, strict=True):
            results, refused = sealing.result()
            for at, (number, made) in enumerate(zip(part, _results.decode(results), strict=True)):
                if (error := refused.get(at)) is not None:
                    sealed[number] = error
                    continue
                one = batch.imports[number]
                entries = tuple(map(_entry, made))
                self._heads |= {each.statement.stream: each.leaf.hex() for each in entries}
                guards = (*one.guards, *batch.seal.guards)
                sealed[number] = Append(entries=entries, guards=guards, idempotency=one.idempotency)
        return sealed

    def _commit(self, sealed: Sequence[Append | CaseLedgerError]) -> list[Appended | CaseLedgerError]:
        committed = iter(self._settle([each for each in sealed if isinstance(each, Append)]))
        return [next(committed) if isinstance(each, Append) else each for each in sealed]

    def _settle(self, appends: list[Append]) -> list[Appended | CaseLedgerError]:
        """Commit; a batch that fails for another reason than time is tried one by one, as the appender does."""
        if not appends:
            return []
        try:
            answers = self._writer.commit(appends)
            self._writer.store_note()
            return answers
        except IntegrityFailure:
            self._writer.disconnect()
            raise
        except Exception as error:  # noqa: BLE001 - each import is answered, whatever the database says
            self._writer.disconnect()
            # Kind only: the database's message may quote a row.
            log.error("bulk.failed", error=type(error).__name__, appends=len(appends))
            if isinstance(error, psycopg.OperationalError) or len(appends) == 1:
                return [DatabaseUnavailable() for _ in appends]
            return [answer for each in appends for answer in self._settle([each])]


def _entry(made: Result) -> SealedEntry:
    return SealedEntry(
        statement=peek_statements((made.raw,))[0],
        raw=made.raw,
        actor_signature=None,
        ledger_signature=made.signature,
        leaf=made.leaf,
        sealed=made.sealed,
    )


def _batches(imports: Iterable[Import], most: int, count: int) -> Iterator[tuple[list[Import], list[list[int]]]]:
    """Full batches, and for each process which of their imports it seals: all of one stream are the same one's.

    An import whose streams lie with two processes begins a new batch.
    """
    batch: list[Import] = []
    parts: list[list[int]] = [[] for _ in range(count)]
    weight = [0] * count
    place: dict[str, int] = {}
    for each in imports:
        streams = {event.originator_id for event in each.events}
        known = {place[stream] for stream in streams if stream in place}
        if batch and (len(known) > 1 or sum(weight) >= most):
            yield batch, [part for part in parts if part]
            batch, parts, weight, place, known = [], [[] for _ in range(count)], [0] * count, {}, set()
        at = known.pop() if known else min(range(count), key=weight.__getitem__)
        place |= dict.fromkeys(streams, at)
        parts[at].append(len(batch))
        weight[at] += len(each.events)
        batch.append(each)
    if batch:
        yield batch, [part for part in parts if part]
