"""Scanning a log's segments in several processes, of which this one is the first.

The others are spawned, so that they hold nothing but what they are sent; each reads its own segments from the source.
While they start, this process is at work already.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager

from caseledger.log.sources import Envelopes, Source, kept_open
from domain.errors import Unavailable
from domain.ledger.verify_segment import Segment, Task, scan

_QUEUED = 3
"""Segments that each of the other processes has before it: none of them waits while this one is busy with its own."""
_KEPT = 64
"""Segments that may be kept here until those before them are ready."""


@contextmanager
def scanned(source: Source, tasks: Sequence[Task], jobs: int) -> Iterator[Iterator[Segment]]:
    """The segments of these tasks in order; processes and connections end with the block.

    Raises:
        Unavailable: one of the processes was ended before its work was done.
    """
    size = tasks[-1].stop if tasks else 0
    with ExitStack() as stack:
        envelopes = stack.enter_context(kept_open(source))
        here = _Scanner(envelopes, size)
        others = min(jobs, len(tasks)) - 1
        if others < 1:
            yield map(here.scan, tasks)
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(others, context, initializer=_begin, initargs=(source, size))
        # Whoever has found what is wrong does not wait for the rest.
        stack.callback(pool.shutdown, cancel_futures=True)
        try:
            yield _shared(pool, others, here, tasks)
        except BrokenProcessPool:
            raise Unavailable("a process that was verifying was ended") from None


class _Scanner:
    def __init__(self, envelopes: Envelopes, size: int) -> None:
        self._envelopes = envelopes
        self._size = size

    def scan(self, task: Task) -> Segment:
        return scan(task, self._envelopes(task.start, task.stop, self._size))


def _shared(pool: ProcessPoolExecutor, others: int, here: _Scanner, tasks: Sequence[Task]) -> Iterator[Segment]:
    given: dict[int, Future[Segment]] = {}
    done: dict[int, Segment] = {}
    following = 0
    for wanted in range(len(tasks)):
        while wanted not in done:
            busy = sum(not each.done() for each in given.values())
            # Towards the end no more than each can finish while the others are busy, too.
            left = (len(tasks) - following) // (others + 1)
            while following < len(tasks) and busy < max(1, min(_QUEUED, left)) * others and len(given) < _KEPT:
                given[following] = pool.submit(_scan, tasks[following])
                following, busy = following + 1, busy + 1
            mine = wanted not in given
            if mine or (not given[wanted].done() and following < len(tasks) and len(done) < _KEPT):
                done[following] = here.scan(tasks[following])
                following += 1
            else:
                done[wanted] = given.pop(wanted).result()
        yield done.pop(wanted)


class _Other:
    """What one of the other processes has."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._source: Source
        self._size = 0
        self._scanner: _Scanner | None = None

    def begin(self, source: Source, size: int) -> None:
        self._source, self._size = source, size

    def scan(self, task: Task) -> Segment:
        if self._scanner is None:
            # Not where the process begins: who fails there ends without a word, who fails here says why.
            self._scanner = _Scanner(self._stack.enter_context(kept_open(self._source)), self._size)
        return self._scanner.scan(task)


_other = _Other()


def _begin(source: Source, size: int) -> None:
    _other.begin(source, size)


def _scan(task: Task) -> Segment:
    return _other.scan(task)
