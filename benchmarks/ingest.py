"""ingest: 500 CT files hashed, recognised, header-read, encrypted and stored durably, in one pass; processor time."""

import hashlib
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from obstore.store import LocalStore

from application.records.age import new_identity
from application.records.onepass import ingest
from application.records.vault import Vault
from benchmarks.ground import Ground
from benchmarks.images import write_ct
from benchmarks.model import Benchmark, Pair

_CHUNK = 256 * 1024
"""Bytes that the event loop hands on at once, at most."""


@contextmanager
def _prepare(ground: Ground) -> Iterator[Pair]:
    folder = ground.directory()
    files = write_ct(folder, ground.size(500, 3))
    # Removed at the end only: a file system takes its time to find free inodes behind hundreds of deleted files.
    made = [folder]
    try:

        def ours() -> float:
            place = ground.directory()
            vault, record, identity = Vault(LocalStore(prefix=place)), str(uuid4()), new_identity()

            def work() -> None:
                for file in files:
                    assert ingest(vault, record, identity, _chunks(file), imaging=True).header is not None

            made.append(place)
            return _processor_s(work)

        def peer() -> float:
            def work() -> None:
                for file in files:
                    hashlib.sha256(file.read_bytes()).hexdigest()

            return _processor_s(work)

        yield Pair(ours=ours, peer=peer)
    finally:
        for each in made:
            shutil.rmtree(each)


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _processor_s(work: Callable[[], None]) -> float:
    """Seconds of processor time, of all threads, ours and the kernel's for us."""
    began = resource.getrusage(resource.RUSAGE_SELF)
    work()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


BENCHMARKS = (
    Benchmark(
        name="ingest",
        unit="CPU s",
        goal=3.5,
        beyond=2,
        better="less",
        ours="500 CT files: hash, header, encrypt, store",
        peer="read and SHA-256 of the same",
        prepare=_prepare,
    ),
)
