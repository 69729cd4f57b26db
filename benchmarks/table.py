"""The table of measured rows, for people: on the terminal, and in the README."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.model import Benchmark, Row
from benchmarks.rows import BENCHMARKS

README = Path(__file__).parents[1] / "README.md"
SECTION = "## How fast"
_TABLE = re.compile(r"^\| row \| .*\n(?:\|.*\n)*", re.MULTILINE)
_BY_NAME = {each.name: each for each in BENCHMARKS}


def text(rows: Sequence[Row]) -> str:
    """One line a row, in columns."""
    head = ("name", "ours", "peer", "unit", "ratio", "min", "max", "goal", "met")
    lines = [head, *((row.name, *_figures(row), _goal(_BY_NAME[row.name]), "yes" if row.met else "no") for row in rows)]
    widths = [max(len(line[column]) for line in lines if column != 2 or line[4] != "-") for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def markdown(rows: Sequence[Row]) -> str:
    """The README's table."""
    lines = ["| row | what | against | ours / peer | range | goal | met |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        benchmark = _BY_NAME[row.name]
        what = f"| {row.name} | {benchmark.ours} | {benchmark.peer} "
        if row.ratio is None:
            lines.append(f"{what}| - | {row.peer} | {_goal(benchmark)} | no |")
        else:
            span = f"{_number(row.min)} - {_number(row.max)}"
            met = "yes" if row.met else "no"
            lines.append(f"{what}| **{_number(row.ratio)}** | {span} | {_goal(benchmark)} | {met} |")
    return "\n".join(lines)


def put_into_readme(rows: Sequence[Row]) -> None:
    """Put the table in the place of the one in README's section."""
    before, section, after = README.read_text("utf-8").partition(SECTION)
    changed = _TABLE.sub(lambda _: markdown(rows) + "\n", after, count=1)
    README.write_text(before + section + changed, "utf-8")


def _figures(row: Row) -> tuple[str, ...]:
    peer = row.peer if isinstance(row.peer, str) else _number(row.peer)
    return (_number(row.ours), peer, row.unit, _number(row.ratio), _number(row.min), _number(row.max))


def _goal(benchmark: Benchmark) -> str:
    return f"{'>=' if benchmark.better == 'more' else '<='} {benchmark.goal:g}"


def _number(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
