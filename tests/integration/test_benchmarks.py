"""Every benchmark at tiny size: that it works, never that it is fast."""

import math
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as runner
from benchmarks.ground import Ground
from benchmarks.model import Absent, Benchmark, Pair, Row, absent, measure
from benchmarks.rows import BENCHMARKS
from benchmarks.table import README, SECTION, markdown, text
from caseledger.embedded.embedded import EmbeddedPostgres
from tests.shared import shared


@pytest.fixture
def ground(server: EmbeddedPostgres, tmp_path: Path) -> Ground:
    """The session's server, and sizes that take no time."""
    return Ground(server, tmp_path, tiny=True)


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda each: each.name)
def test_runs(benchmark: Benchmark, ground: Ground) -> None:
    """It measures both sides, or says why the peer cannot run."""
    row = measured(benchmark, ground)
    assert row.ours > 0
    if isinstance(row.peer, str):
        assert row.peer.startswith("absent: ")
        assert (row.ratio, row.met) == (None, False)
    else:
        assert row.peer > 0
        assert row.ratio == row.min == row.max
    assert row.name in text([row])
    assert row.name in markdown([row])


def measured(benchmark: Benchmark, ground: Ground) -> Row:
    """One round of it."""
    try:
        return measure(benchmark, ground)
    except Absent as why:
        return absent(benchmark, why)


def test_rounds_alternate_and_the_median_counts(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """One round is thrown away, who begins alternates, and ratios are taken within a round."""
    calls: list[str] = []
    figures = {"ours": iter([99.0, 10, 20, 30, 40, 50]), "peer": iter([1.0, 10, 10, 10, 10, 10])}

    def side(name: str) -> float:
        calls.append(name)
        return next(figures[name])

    made = msgspec.structs.replace(
        BENCHMARKS[0], prepare=prepared(lambda: side("ours"), lambda: side("peer")), rounds=5
    )
    row = measure(made, Ground(server, tmp_path))
    assert calls == ["ours", "peer", "peer", "ours"] * 3
    assert (row.ours, row.peer, row.ratio, row.min, row.max) == (30, 10, 3, 1, 5)
    assert row.met


def prepared(ours: object, peer: object) -> object:
    """What prepares nothing."""
    from contextlib import nullcontext

    return lambda ground: nullcontext(Pair(ours=ours, peer=peer))  # type: ignore[arg-type]


def test_an_absent_peer_is_said_and_nothing_guessed(ground: Ground) -> None:
    """Without its peer a row has our figure, no ratio, and the reason."""
    made = msgspec.structs.replace(BENCHMARKS[0], prepare=prepared(lambda: 7.0, Absent("it is not installed")))
    row = measure(made, ground)
    assert (row.ours, row.peer, row.ratio, row.met) == (7, "absent: it is not installed", None, False)


def test_rows_have_the_goals_that_were_set() -> None:
    """Names, goals and directions are those of the specification."""
    lines = shared("PERFORMANCE.md").read_text("utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    goals: dict[str, tuple[str, float]] = {}
    for name, _, _, goal, _ in table:
        words = goal.split()
        if name == "append-1 / -8 / -64 writers":
            goals |= dict(
                zip(("append-1", "append-8", "append-64"), [("more", x) for x in (0.9, 2.0, 5.0)], strict=True)
            )
        elif len(words) >= 2 and words[-2] in (">=", "<="):
            goals[name] = ("more" if words[-2] == ">=" else "less", float(words[-1]))
    for each in BENCHMARKS:
        better, goal = goals[each.name]
        assert (each.better, each.goal) == (better, goal), each.name
        assert math.isfinite(goal)


def test_latest_results_are_whole_and_stand_in_the_readme() -> None:
    """The committed JSON has every row once, with the members that are agreed on; README's table is made from it."""
    rows = msgspec.json.decode(runner.LATEST.read_bytes(), type=list[Row])
    assert [row.name for row in rows] == [each.name for each in BENCHMARKS]
    assert all(each.keys() == set(Row.__struct_fields__) for each in msgspec.json.decode(runner.LATEST.read_bytes()))
    readme = README.read_text("utf-8")
    assert SECTION in readme
    assert markdown(rows) in readme


def test_unknown_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is refused, and those that there are are listed."""
    with pytest.raises(SystemExit):
        runner.main(["append-2"])
    assert "append-1" in capsys.readouterr().err
