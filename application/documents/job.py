"""What the worker that inspects a document is told; apart from it, since its readers are loaded in the worker alone."""

from typing import Final

import msgspec

BYTES: Final = 200 * 1024**2
"""Largest document that is looked into, in bytes."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The file's name, of which only the ending is looked at."""

    name: str = ""
