"""The runner: python -m benchmarks [NAME ...] [--tiny] [--output FILE]."""

import argparse
import os
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.ground import durable_ground
from benchmarks.model import Absent, Benchmark, Row, absent, measure
from benchmarks.rows import BENCHMARKS
from benchmarks.table import put_into_readme, text

LATEST = Path(__file__).parent / "results" / "latest.json"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write the JSON; status 0 whatever was met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows to measure; all of them by default")
    parser.add_argument("--tiny", action="store_true", help="sizes that show that it works, never how fast")
    parser.add_argument("--output", type=Path, help="write the rows there; those of all rows go to latest.json")
    options = parser.parse_args(arguments)
    known = {each.name: each for each in BENCHMARKS}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.names] or list(BENCHMARKS)
    rows = run(chosen, tiny=options.tiny)
    print(text(rows))
    output = options.output or (LATEST if not options.names and not options.tiny else None)
    if output is not None:
        write(rows, output)
    if output == LATEST:
        put_into_readme(rows)
    return 0


def run(chosen: list[Benchmark], *, tiny: bool) -> list[Row]:
    """Measure these, on one server."""
    rows: list[Row] = []
    with durable_ground(tiny=tiny) as ground:
        for benchmark in chosen:
            began = time.perf_counter()
            try:
                rows.append(measure(benchmark, ground))
            except Absent as why:
                rows.append(absent(benchmark, why))
            print(f"{benchmark.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return rows


def write(rows: list[Row], output: Path) -> None:
    """The JSON, whole or not at all."""
    new = output.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    os.replace(new, output)


if __name__ == "__main__":
    sys.exit(main())
