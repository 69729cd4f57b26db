"""SQL that stands beside the module that runs it: one .sql file a module, one named statement a question."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from domain.errors import DatabaseUnavailable

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def beside(module: str) -> Mapping[str, bytes]:
    """The statements of the .sql file beside a module's `__file__`, by the name in the line `-- name: ...` above each;
    remarks stand below that line.

    They are bytes, which the driver takes for a program's own text; values are bound, never put in.
    """
    _, *parts = _NAME.split(Path(module).with_suffix(".sql").read_text("utf-8"))
    return MappingProxyType({name: text.strip().encode() for name, text in zip(parts[::2], parts[1::2], strict=True)})


@contextmanager
def borrowed(pool: ConnectionPool[Any]) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the pool.

    Raises:
        DatabaseUnavailable: none came in time, or the database was lost on the way.
    """
    try:
        with pool.connection() as connection:
            yield connection
    except psycopg.OperationalError:
        # A pool's time-out is one of these, too.
        raise DatabaseUnavailable from None
