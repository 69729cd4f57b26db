"""Instants at the edge: RFC 3339 outside, integer microseconds inside."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339, with an offset."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def server_clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def micros(instant: datetime) -> int:
    """Microseconds since 1970 UTC of an instant."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(at: int) -> datetime:
    """The instant of microseconds since 1970 UTC."""
    return _EPOCH + timedelta(microseconds=at)


def instant_or_none(at: int | None) -> datetime | None:
    """As `instant`, where there is one."""
    return None if at is None else instant(at)
