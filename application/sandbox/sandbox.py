"""Hostile bytes are decoded in a process of their own, which may die: the parent's end of it.

Each run starts a fresh interpreter (no fork of this process, whose memory holds keys) with an environment of four
variables, no descriptor but its three pipes, and bounds that it puts on itself before it reads a byte
(application/sandbox/worker.py). Content goes in and results come out over pipes; nothing is ever written to a disk. The
parent kills it by the clock on the wall, and believes nothing that it says: lengths are bounded here.
"""

import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from application.sandbox.bounds import Bounds
from domain.errors import Unavailable

Task = Literal["sheet", "document", "bounds"]
Death = Literal["", "killed", "time", "late", "memory", "failed"]
"""How a worker ended: well; by a signal; at the end of its processor time, or of the time on the wall, which on a busy
machine says nothing about the content; for want of memory; by an error that it did not expect."""

PART: Final = struct.Struct(">Q")
FRAME: Final = struct.Struct(">cI")
OUT_OF_MEMORY: Final = 12

_ROOT: Final = str(Path(__file__).resolve().parents[2])
_PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv[1]); from application.sandbox.worker import main; main()"
# One thread: a pool of them costs address space, and the worker may start none.
_ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TZ": "UTC"}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one run: address space in bytes, seconds of processor and on the wall, bytes of output."""

    memory_bytes: int = 2 * 1024**3
    cpu_s: int = 30
    wall_s: float = 60.0
    output_bytes: int = 32 * 1024**2


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker is told first."""

    task: Task
    memory_bytes: int
    cpu_s: int
    job: msgspec.Raw


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker gave back: a frame for each step that it finished, then its results, and how it ended."""

    steps: tuple[bytes, ...]
    results: tuple[bytes, ...]
    died: Death


class _NoJob(msgspec.Struct, frozen=True):
    """Nothing to be told."""


class Sandbox:
    """Runs workers, at most so many at once; safe to use from many threads."""

    def __init__(self, limits: Limits | None = None, workers: int = 2) -> None:
        self.limits = limits or Limits()
        self._room = threading.BoundedSemaphore(workers)

    def run(self, task: Task, job: msgspec.Struct, parts: Iterable[tuple[int, Iterable[bytes]]]) -> Answer:
        """One task in a fresh worker; each part is a length in bytes and chunks that add up to it.

        Raises:
            Unavailable: no worker became free in time; and whatever the parts raise, after the worker's death.
        """
        if not self._room.acquire(timeout=self.limits.wall_s):
            raise Unavailable("All decoding workers are busy.")
        try:
            return self._run(task, job, parts)
        finally:
            self._room.release()

    def bounds(self) -> Bounds:
        """What a worker can reach on this system, as one finds by trying; everything, if none came back."""
        answer = self.run("bounds", _NoJob(), ())
        with suppress(msgspec.MsgspecError):
            for result in answer.results:
                return msgspec.json.decode(result, type=Bounds)
        return Bounds(network="open", files="open")

    def _run(self, task: Task, job: msgspec.Struct, parts: Iterable[tuple[int, Iterable[bytes]]]) -> Answer:
        limits = self.limits
        start = Start(
            task=task,
            memory_bytes=limits.memory_bytes,
            cpu_s=limits.cpu_s,
            job=msgspec.Raw(msgspec.json.encode(job)),
        )
        deadline = time.monotonic() + limits.wall_s
        with subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", _PROGRAM, _ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a decoder's complaint may quote the patient
            env=_ENVIRONMENT,
            cwd="/",
            close_fds=True,
            start_new_session=True,
            bufsize=0,
        ) as worker:
            late = threading.Event()

            def kill() -> None:
                late.set()
                _kill(worker)

            timer = threading.Timer(limits.wall_s, kill)
            timer.start()
            try:
                _send(worker, msgspec.json.encode(start), parts)
                output = _read(worker, limits.output_bytes, deadline)
                status = worker.wait()
            finally:
                timer.cancel()
                _kill(worker)
                # What a dead worker never read is of no use to anybody.
                for pipe in (worker.stdin, worker.stdout):
                    if pipe is not None:
                        with suppress(OSError):
                            pipe.close()
        steps, results = _frames(output)
        return Answer(steps=steps, results=results, died=_death(status, late.is_set()))


def _send(worker: "subprocess.Popen[bytes]", start: bytes, parts: Iterable[tuple[int, Iterable[bytes]]]) -> None:
    """Hand everything over. A worker that died has no ear any more; what it said before is read all the same."""
    pipe: Any = worker.stdin
    descriptor = pipe.fileno()
    try:
        _write(descriptor, PART.pack(len(start)) + start)
        for length, chunks in parts:
            _write(descriptor, PART.pack(length))
            for chunk in chunks:
                _write(descriptor, chunk)
        pipe.close()
    except BrokenPipeError:
        return


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read(worker: "subprocess.Popen[bytes]", limit: int, deadline: float) -> bytes:
    """The worker's output up to its end; who talks too much, or for too long, is killed."""
    pipe: Any = worker.stdout
    found = bytearray()
    # Beyond the deadline nobody holds the pipe but what escaped from the worker's group; it is not waited for.
    while (left := deadline + 1.0 - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        data = os.read(pipe.fileno(), 64 * 1024)
        if not data:
            break
        found += data
        if len(found) > limit:
            _kill(worker)
            return b""
    return bytes(found)


def _kill(worker: "subprocess.Popen[bytes]") -> None:
    if worker.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            worker.kill()


def _frames(output: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Whole frames of an output that may break off anywhere."""
    steps: list[bytes] = []
    results: list[bytes] = []
    at = 0
    while at + FRAME.size <= len(output):
        kind, length = FRAME.unpack_from(output, at)
        at += FRAME.size
        if at + length > len(output):
            break
        (steps if kind == b"S" else results).append(output[at : at + length])
        at += length
    return tuple(steps), tuple(results)


def _death(status: int, late: bool) -> Death:
    if status == 0:
        return ""
    if late:
        return "late"
    if status == -signal.SIGXCPU:
        return "time"
    if status == OUT_OF_MEMORY:
        return "memory"
    return "killed" if status < 0 else "failed"
