"""The worker's task `bounds`: what it could reach on this system, found by trying from inside."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from application.sandbox.no_files import Files, files
from application.sandbox.no_network import Network, network


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Both "closed" where everything is as it should be."""

    network: Network
    files: Files


def run(job: dict[str, Any], parts: Iterable[object], step: Callable[[bytes], None]) -> Iterator[bytes]:
    """One result."""
    yield msgspec.json.encode(Bounds(network=network(), files=files()))
