"""A process that erases, and dies at a given moment: `python -m tests.faults.erasure_child URLS DATA REQUEST POINT`.

POINT is `module:attribute:before|after:n`: at the n-th call of what that names the process ends as if it were killed,
with nothing closed, flushed or rolled back.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.conftest import Database
from tests.erasure_fixture import erasable_at
from tests.service_fixture import ADMINISTRATOR, request

KILLED = 9


def arm(point: str) -> None:
    """Set the trap."""
    module, attribute, moment, number = point.split(":")
    owner: Any = importlib.import_module(module)
    *path, name = attribute.split(".")
    for each in path:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    calls = 0

    def trapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == int(number) and moment == "before":
            os._exit(KILLED)
        result = original(*args, **kwargs)
        if calls == int(number) and moment == "after":
            os._exit(KILLED)
        return result

    setattr(owner, name, trapped)


def main(urls: str, data: str, stream: str, point: str) -> None:
    """Carry the request out and clear away, as far as it gets."""
    database = msgspec.json.decode(urls, type=Database)
    with erasable_at(database, Path(data), settle_s=0.0, install=False) as one:
        arm(point)
        one.service.erasures.execute(request(*ADMINISTRATOR), stream)
        one.clearing.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
