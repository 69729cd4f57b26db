"""The worker's end of a sandbox: bounds first, then the task. Runs in a process of its own, and imports little.

Bounds that the system does not know (macOS has no limit on address space that it enforces) are left out; the parent's
clock holds everywhere.
"""

import ctypes
import importlib
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

from application.sandbox.no_files import give_up_files
from application.sandbox.no_network import give_up_network
from application.sandbox.sandbox import FRAME, OUT_OF_MEMORY, PART

_TASKS: Final = {
    "sheet": "application.pictures.drawing",
    "document": "application.documents.inspecting",
    "bounds": "application.sandbox.bounds",
}
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_SIGKILL: Final = 9


class Part:
    """One part of the input: a stream that ends where the part does."""

    def __init__(self, source: BinaryIO, length: int) -> None:
        self._source, self.left = source, length

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; all that are left without a size."""
        wanted = self.left if size < 0 else min(size, self.left)
        data = self._source.read(wanted)
        if len(data) < wanted:
            raise EOFError
        self.left -= len(data)
        return data

    def skip(self) -> None:
        """Pass over what nobody read."""
        while self.left:
            self.read(1024 * 1024)


def main() -> None:
    """Read the start, put on the bounds, do the task, and end without a word about what went wrong."""
    source = os.fdopen(0, "rb")
    (length,) = PART.unpack(source.read(PART.size))
    start = json.loads(source.read(length))
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not look like an answer

    def say(kind: bytes, data: bytes) -> None:
        view = memoryview(FRAME.pack(kind, len(data)) + data)
        while view:
            view = view[os.write(out, view) :]

    try:
        # Code of ours is loaded as an ordinary process would; the first byte of content is read in bounds.
        task: Any = importlib.import_module(_TASKS[start["task"]])
        confine(start["memory_bytes"], start["cpu_s"])
        for result in task.run(start["job"], parts(source), lambda step: say(b"S", step)):
            say(b"R", result)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception:  # noqa: BLE001 - a traceback may quote the patient
        os._exit(1)
    os._exit(0)


Parts = Iterator[Part]
Emit = Callable[[bytes], None]


def parts(source: BinaryIO) -> Parts:
    """The parts of the input, one after the other."""
    while len(head := source.read(PART.size)) == PART.size:
        part = Part(source, PART.unpack(head)[0])
        yield part
        part.skip()


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Put bounds on this process that it cannot lift again: memory, processor, files, processes, network.

    What it imports later is read from the program's own directories; nothing else can be opened.
    """
    for kind, soft, hard in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        # A second apart: at the first the system says why it ends the process, at the second it only ends it.
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 1),
        (resource.RLIMIT_FSIZE, 0, 0),  # nothing in clear reaches a disk
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, 64, 64),
    ):
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError):
            continue
    if sys.platform == "linux":
        system = ctypes.CDLL(None, use_errno=True)
        system.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        # No dump even where the system pipes dumps to a program, and no reading of its memory by its equals.
        system.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    give_up_files()
    give_up_network()
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    except (ValueError, OSError):
        return
