"""check: the imaging check of a folder of 500 instances, from the files to the report."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.ground import Ground
from benchmarks.images import write_ct
from benchmarks.model import Absent, Benchmark, Pair


@contextmanager
def _prepare(ground: Ground) -> Iterator[Pair]:
    folder = ground.directory()
    files = write_ct(folder, ground.size(500, 3))
    ours_command = [sys.executable, "-c", _CHECK, str(folder)]
    program = shutil.which("dcmdump")
    try:

        def timed(command: list[str]) -> float:
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - began

        peer = Absent("dcmdump (dcmtk) is not installed")
        yield Pair(
            ours=lambda: timed(ours_command),
            peer=peer if program is None else lambda: timed([program, *map(str, files)]),
        )
    finally:
        shutil.rmtree(folder)


# The command line from its start to its end, as dcmdump's is.
_CHECK = """
import sys
from caseledger.cli import main
sys.argv = ["caseledger", "imaging-check", sys.argv[1], "--site", "any", "--on", "2026-11-01", "--json"]
sys.exit(main())
"""

BENCHMARKS = (
    Benchmark(
        name="check",
        unit="s",
        goal=4,
        beyond=2,
        better="less",
        ours="`caseledger imaging-check` of 500 CT files, from start to end",
        peer="dcmdump of the same in one process",
        prepare=_prepare,
    ),
)
