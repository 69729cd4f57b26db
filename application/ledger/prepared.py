"""Statements that are prepared once a connection, and run with values in PostgreSQL's own binary form.

The driver finds out each value's type anew at each execution. For a statement of twenty arrays that took as long as the
server took to carry it out, all of it under the interpreter's lock.
"""

import struct
from collections.abc import Sequence

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

BYTEA, INT8, TEXT = 17, 20, 25
"""Object ids of the types that arrays are made of."""

_BINARY = 1
_NULL = b"\xff\xff\xff\xff"
# Dimensions, whether there are NULLs, type of the elements; then their number, and the index of the first.
_HEAD = struct.Struct(">iiiii").pack
_EMPTY = struct.Struct(">iii").pack
_length = struct.Struct(">i").pack
int8 = struct.Struct(">q").pack
"""A bigint's binary form."""


def prepare(connection: psycopg.Connection, name: bytes, statement: bytes) -> None:
    """Have the server parse a statement, whose parameters are $1, $2 and so on, for as long as the connection lasts.

    Raises:
        psycopg.Error: the statement is wrong, or the connection lost.
    """
    _checked(connection, connection.pgconn.prepare(name, statement))


def run(connection: psycopg.Connection, name: bytes, values: Sequence[bytes]) -> PGresult:
    """Carry out a prepared statement in a transaction of its own, and wait; other threads go on meanwhile.

    Raises:
        psycopg.Error: as `Connection.execute`.
    """
    try:
        # As the driver does: the library below it does not bear two threads on one connection.
        with connection.lock:
            result = connection.pgconn.exec_prepared(name, values, [_BINARY] * len(values), _BINARY)
    except MemoryError:
        # What the driver makes of no answer at all.
        raise psycopg.OperationalError("the connection is lost") from None
    return _checked(connection, result)


def array(element: int, values: Sequence[bytes | None]) -> bytes:
    """An array of one dimension in binary form; `element` is the type of its elements, which are in theirs."""
    if not values:
        return _EMPTY(0, 0, element)
    parts = [_HEAD(1, 1, element, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_length(len(value)), value)
    return b"".join(parts)


def _checked(connection: psycopg.Connection, result: PGresult) -> PGresult:
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        return result
    if connection.pgconn.status == ConnStatus.BAD:
        raise psycopg.OperationalError("the connection is lost", info=result)
    raise error_from_result(result)
