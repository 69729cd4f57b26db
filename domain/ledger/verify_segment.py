"""A segment of a log, judged by itself: its entries' bytes, the log's signatures, the parts of chains that lie in it.

A full segment is one node of the tree; what it cannot judge alone it hands on. Entries come from anywhere.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from domain.errors import CaseLedgerError, IntegrityFailure, WrongKey
from domain.ledger import dsse
from domain.ledger.origins import Stretch
from domain.ledger.report import Failure, Suspect
from domain.ledger.succession import LedgerKey
from domain.ledger.tree import Frontier, leaf_hash
from domain.ledger.verify_ledger import verify_ledger_signature
from domain.ledger.verify_signers import KeyHistory, LogEntry, in_doubt, judge

SEGMENT = 1024
"""Entries that are scanned together; a power of two, so that a full segment is one node of the tree."""
KEY_STREAMS = "key-"
_MAX_MESSAGE = 300


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One segment's work: the entries start <= index < stop of a log, and the keys that sign its entries."""

    start: int
    stop: int
    origins: tuple[Stretch, ...]
    """What the log was called, and where: at least one, and every index is in one of them."""
    entry_keys: tuple[LedgerKey, ...] | None
    """The keys that sign entries, each for its stretch of the log; None where the log's signatures are not judged."""
    histories: Mapping[str, KeyHistory]
    """Of actors' keys, by key id; they are of the whole log, and judged as of each entry's place in it."""
    cuts: tuple[int, ...] = ()
    """Sizes inside of the segment whose roots are wanted too."""


class StreamPart(msgspec.Struct, frozen=True, array_like=True):
    """What a segment says of one stream: where its first entry stands and what that follows, and how it ends."""

    stream: str
    index: int
    rev: int
    prev: str | None
    kind: str
    last_rev: int
    last_leaf: str


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan found in a segment; up to the first failure, if there is one."""

    task: Task
    count: int
    peaks: tuple[bytes, ...]
    cut_peaks: tuple[tuple[bytes, ...], ...]
    """For each of the task's cuts, as far as the scan came."""
    streams: tuple[StreamPart, ...]
    key_entries: tuple[LogEntry, ...]
    signed: int
    """Entries with an actor's signature."""
    suspects: tuple[Suspect, ...]
    failure: Failure | None


class EntryFailed(Exception):
    """A check of a log failed; never leaves the verifier."""

    def __init__(self, check: str, message: str, item: LogEntry | None = None) -> None:
        super().__init__(message)
        self.check = check
        self.item = item


def scan(task: Task, envelopes: Iterable[bytes]) -> Segment:
    """Judge a segment's entries one by one, as far as that needs nothing from outside; stops at the first failure.

    Never raises for anything that the envelopes hold; a source that cannot be reached may.
    """
    index, leaves, parts = task.start, [], dict[str, list[LogEntry]]()
    keys: list[LogEntry] = []
    signed = 0
    suspects: list[Suspect] = []
    failure: Failure | None = None
    item: LogEntry | None = None
    source = iter(envelopes)
    try:
        while index < task.stop:
            item = None
            raw = _next(source)
            item = _entry(task, index, raw, suspects)
            _in_chain(parts, item)
            if item.statement.stream.startswith(KEY_STREAMS):
                keys.append(item)
            signed += item.statement.key_id is not None
            leaves.append(item.leaf)
            index += 1
    except EntryFailed as failed:
        failure = failure_of(failed.check, str(failed), index, failed.item or item)
    return Segment(
        task=task,
        count=len(leaves),
        peaks=Frontier().extend(leaves).peaks,
        cut_peaks=tuple(Frontier().extend(leaves[: cut - task.start]).peaks for cut in task.cuts),
        streams=tuple(_part(stream, *ends) for stream, ends in parts.items()),
        key_entries=tuple(keys),
        signed=signed,
        suspects=tuple(suspects),
        failure=failure,
    )


def _next(source: Iterator[bytes]) -> bytes:
    try:
        raw = next(source, None)
    except IntegrityFailure as error:
        raise EntryFailed("entries", str(error)) from None
    if raw is None:
        raise EntryFailed("entries", "the entry is missing")
    return raw


def _entry(task: Task, index: int, raw: bytes, suspects: list[Suspect]) -> LogEntry:
    try:
        entry = dsse.parse(raw)
        item = LogEntry(index=index, entry=entry, statement=entry.parsed(), leaf=leaf_hash(raw))
    except CaseLedgerError as error:
        raise EntryFailed("entries", str(error)) from None
    if item.statement.origin != next(each.origin for each in task.origins if index < each.stop):
        raise EntryFailed("entries", "the entry is of another log", item)
    try:
        key = None if task.entry_keys is None else verify_ledger_signature(item, task.entry_keys)
    except CaseLedgerError as error:
        raise EntryFailed("ledger signatures", str(error), item) from None
    if key is not None and key.compromised_since is not None and item.statement.recorded_at >= key.compromised_since:
        suspects.append(Suspect(index=index, signature="ledger", since=key.compromised_since))
    try:
        if item.statement.key_id is not None and item.statement.key_id not in task.histories:
            raise WrongKey("no history of the key that signed this entry is disclosed, with its approval")
        judge(item, task.histories)
    except CaseLedgerError as error:
        raise EntryFailed("actor signatures", str(error), item) from None
    if (since := in_doubt(item, task.histories)) is not None:
        suspects.append(Suspect(index=index, signature="actor", since=since))
    return item


def _in_chain(parts: dict[str, list[LogEntry]], item: LogEntry) -> None:
    """Keeps each stream's first and last entry of the segment."""
    ends = parts.get(item.statement.stream)
    if ends is None:
        parts[item.statement.stream] = [item, item]
        return
    check_follows(item.statement.rev, item.statement.prev, ends[1].statement.rev, ends[1].leaf.hex())
    ends[1] = item


def check_follows(rev: int, prev: str | None, last_rev: int, last_leaf: str | None) -> None:
    """Hold an entry against the one before it in its stream, or against none (0, None).

    Raises: EntryFailed.
    """
    if rev != last_rev + 1:
        raise EntryFailed("chains", f"the stream goes on at revision {last_rev + 1}, not here")
    if prev != last_leaf:
        raise EntryFailed("chains", "the entry does not follow its stream's previous one")


def _part(stream: str, first: LogEntry, last: LogEntry) -> StreamPart:
    about = first.statement
    return StreamPart(stream, first.index, about.rev, about.prev, about.kind, last.statement.rev, last.leaf.hex())


def failure_of(check: str, message: str, index: int | None, item: LogEntry | None = None) -> Failure:
    """What a report says of a failure: of the entry at an index, or of the whole log."""
    # A decoder's message may quote the entry: nothing of it may reach a terminal as a control sequence.
    safe = "".join(char if char.isprintable() else "?" for char in message)[:_MAX_MESSAGE]
    about = item.statement if item is not None else None
    return Failure(
        check=check,
        message=safe,
        index=index,
        member="the log" if index is None else None,
        kind=about.kind if about is not None else None,
        revision=about.rev if about is not None else None,
    )
