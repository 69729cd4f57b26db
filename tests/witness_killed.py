"""A witness that dies on the way: the target of a process of its own. Imports little, since dozens are started."""

import os
import signal
from pathlib import Path
from typing import Any

from caseledger.witness import state
from caseledger.witness.keeper import Witness


class _Dying:
    """The module `os`, until the n-th call of it, at which the process is killed: before the call, or right after."""

    def __init__(self, at: int, after: bool) -> None:
        self._left, self._after = at, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = found(*args, **kwargs)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def asked_and_killed(directory: str, request: bytes, at: int, after: bool, told: str) -> None:
    """Ask, and die at a system call of the witness's record; what the caller was told is written down."""
    witness = Witness(Path(directory))
    state.os = _Dying(at, after)  # type: ignore[attr-defined]
    Path(told).write_bytes(witness.add_checkpoint(request).body)
