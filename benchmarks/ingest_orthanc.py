"""ingest-orthanc: a study of 500 CT files over STOW-RS, by the same client, to us and to Orthanc."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.ground import Ground
from benchmarks.images import FIRST_STUDY, renamed, write_ct
from benchmarks.model import Absent, Benchmark, Pair
from benchmarks.orthanc import Orthanc, orthanc
from benchmarks.serving import served


class _Studies:
    """A new study for each round, the same for both sides: what was stored before is not stored again."""

    def __init__(self, ground: Ground) -> None:
        self.folder = ground.directory()
        self._files = write_ct(self.folder, ground.size(500, 3))
        self.count = len(self._files)
        self._now = 0
        self._had: set[str] = set()

    def next_for(self, side: str) -> None:
        """Let the files be a study that this side has not had."""
        if side in self._had:
            self._had.clear()
            self._now += 1
            renamed(self._files, FIRST_STUDY + self._now)
        self._had.add(side)


@contextmanager
def _prepare(ground: Ground) -> Iterator[Pair]:
    with ExitStack() as stack:
        other: Orthanc | Absent
        try:
            other = stack.enter_context(orthanc(ground.directory()))
        except Absent as why:
            other = why
        service = stack.enter_context(served(ground))
        studies = _Studies(ground)

        def ours() -> float:
            studies.next_for("ours")
            case = service.new_case()
            url = f"{service.url}/dicomweb/cases/{case}/studies"
            elapsed = _sent([sys.executable], url, str(studies.folder), service.token("patient"))
            service.wait_until_checked(case)
            return studies.count / elapsed

        if isinstance(other, Absent):
            yield Pair(ours=ours, peer=other)
            return
        inside, url = other.inside([sys.executable]), other.stow_url

        def peer() -> float:
            studies.next_for("peer")
            return studies.count / _sent(inside, url, str(studies.folder))

        yield Pair(ours=ours, peer=peer)


def _sent(python: list[str], *arguments: str) -> float:
    command = [*python, "-m", "benchmarks.stow_client", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[0])


BENCHMARKS = (
    Benchmark(
        name="ingest-orthanc",
        unit="files/s",
        goal=5,
        beyond=10,
        better="more",
        ours="a study of 500 CT files over STOW-RS: hashed, header read, encrypted, durable, on record",
        peer="Orthanc's STOW-RS, the same client",
        prepare=_prepare,
    ),
)
