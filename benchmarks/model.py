"""What a benchmark is, and how it is measured: rounds of ours and the peer's, one after the other, in turn.

Machines are noisy, and this one may be shared: what counts is the ratio within a round, and the median of those.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import median
from typing import Literal

import msgspec

from benchmarks.ground import Ground

ROUNDS = 5
"""Rounds at least; the median of fewer says little."""

Better = Literal["more", "less"]


class Absent(Exception):
    """The peer cannot run here; the message says why. It is then reported so, and never guessed."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two things to measure; each call does one round's work and returns its figure in the benchmark's unit."""

    ours: Callable[[], float]
    peer: Callable[[], float] | Absent


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. `goal` and `beyond` bound ours / peer, from below where more is better."""

    name: str
    unit: str
    goal: float
    beyond: float | None = None
    better: Better
    ours: str
    """What is measured of ours, in a few words,"""
    peer: str
    """and against what."""
    prepare: Callable[[Ground], AbstractContextManager[Pair]]
    rounds: int = ROUNDS

    def met(self, ratio: float) -> bool:
        """Whether a ratio is as good as the goal."""
        return ratio >= self.goal if self.better == "more" else ratio <= self.goal


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A measured row, as it stands in the JSON: medians of both sides; median, smallest and largest ratio of a round.

    Where the peer is absent, `peer` says why, and there is no ratio.
    """

    name: str
    ours: float
    peer: float | str
    unit: str
    ratio: float | None
    min: float | None
    max: float | None
    goal: float
    met: bool


def measure(benchmark: Benchmark, ground: Ground) -> Row:
    """One round that does not count, then the rounds; who begins alternates."""
    with benchmark.prepare(ground) as pair:
        ours: list[float] = []
        peer: list[float] = []
        for number in range(1 if ground.tiny else benchmark.rounds + 1):
            first = number % 2 == 0
            if first:
                ours.append(pair.ours())
            if not isinstance(pair.peer, Absent):
                peer.append(pair.peer())
            if not first:
                ours.append(pair.ours())
        if not ground.tiny:
            ours, peer = ours[1:], peer[1:]
    if isinstance(pair.peer, Absent):
        return _row(benchmark, ours, str(pair.peer), [])
    return _row(benchmark, ours, median(peer), [a / b for a, b in zip(ours, peer, strict=True)])


def absent(benchmark: Benchmark, why: Absent) -> Row:
    """The row of a benchmark that could not even be prepared."""
    return _row(benchmark, [0.0], str(why), [])


def _row(benchmark: Benchmark, ours: list[float], peer: float | str, ratios: list[float]) -> Row:
    ratio = median(ratios) if ratios else None
    return Row(
        name=benchmark.name,
        ours=_short(median(ours)),
        peer=f"absent: {peer}" if isinstance(peer, str) else _short(peer),
        unit=benchmark.unit,
        ratio=None if ratio is None else _short(ratio),
        min=_short(min(ratios)) if ratios else None,
        max=_short(max(ratios)) if ratios else None,
        goal=benchmark.goal,
        met=ratio is not None and benchmark.met(ratio),
    )


def _short(number: float) -> float:
    """Three significant digits: more would pretend."""
    return float(f"{number:.3g}")
