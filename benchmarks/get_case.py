"""get-case-100: one case of 100 events, loaded anew each time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.events import ACT, SUBJECT, case_events, new_case
from benchmarks.ground import Ground
from benchmarks.library import assign, library, opened_case
from benchmarks.model import Benchmark, Pair
from domain.case.evolve import evolve

_EVENTS = 100


@contextmanager
def _prepare(ground: Ground) -> Iterator[Pair]:
    times = ground.size(60, 1)
    with ground.ledger() as opened, ground.database() as name, library(ground, name) as application:
        service = opened.service
        service.keyring.create(SUBJECT)
        case = new_case()
        service.ledger.append(case_events(case, _EVENTS), ACT)
        theirs = opened_case(1)
        for _ in range(_EVENTS - 1):
            assign(theirs)
        application.save(theirs)

        def timed(work: Callable[[], object]) -> float:
            began = time.perf_counter()
            for _ in range(times):
                work()
            return (time.perf_counter() - began) / times * 1e6

        def ours() -> None:
            loaded = service.ledger.load(f"case-{case}", evolve)
            assert loaded is not None
            assert loaded.version == _EVENTS

        def peer() -> None:
            assert application.repository.get(theirs.id).version == _EVENTS

        yield Pair(ours=lambda: timed(ours), peer=lambda: timed(peer))


BENCHMARKS = (
    Benchmark(
        name="get-case-100",
        unit="us",
        goal=0.4,
        beyond=0.2,
        better="less",
        ours="a case of 100 events: every leaf and the chain checked, decrypted, folded",
        peer="eventsourcing's repository.get of 100 events",
        prepare=_prepare,
        rounds=7,
    ),
)
