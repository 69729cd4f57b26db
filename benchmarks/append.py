"""append-1, append-8, append-64: one action an append, by so many writers at once, until each has its receipt."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.events import SUBJECT, fill, new_case
from benchmarks.ground import Ground
from benchmarks.library import assign, library, opened_case
from benchmarks.model import Benchmark, Pair

_EVENTS = {1: 600, 8: 120, 64: 40}
"""Events a writer and round; the library needs about a second for them."""


def _prepare(writers: int) -> Callable[[Ground], "contextmanager[Pair]"]:
    @contextmanager
    def prepare(ground: Ground) -> Iterator[Pair]:
        events = ground.size(_EVENTS[writers], 2)
        numbers = itertools.count(1)
        with (
            ground.ledger() as opened,
            ground.database() as name,
            library(ground, name) as application,
            ThreadPoolExecutor(writers) as threads,
        ):
            service = opened.service
            service.keyring.create(SUBJECT)

            def timed(work: Callable[[int], None]) -> float:
                began = time.perf_counter()
                list(threads.map(work, range(writers)))
                return writers * events / (time.perf_counter() - began)

            def ours() -> float:
                return timed(lambda number: fill(service.ledger, new_case(), events))

            def one(number: int) -> None:
                case = opened_case(next(numbers))
                # The event that opens it counts as one of its events.
                application.save(case)
                for _ in range(events - 1):
                    assign(case)
                    application.save(case)

            yield Pair(ours=ours, peer=lambda: timed(one))

    return prepare


def _benchmark(writers: int, goal: float, beyond: float) -> Benchmark:
    return Benchmark(
        name=f"append-{writers}",
        unit="events/s",
        goal=goal,
        beyond=beyond,
        better="more",
        ours=f"{writers} writer{'s' * (writers > 1)}: sealed, chained, proven, checkpoint signed",
        peer="eventsourcing's Application.save, unsigned JSON",
        prepare=_prepare(writers),
        rounds=7 if writers == 1 else 5,
    )


BENCHMARKS = (_benchmark(1, 0.9, 1), _benchmark(8, 2, 4), _benchmark(64, 5, 10))
