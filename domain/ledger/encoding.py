"""Canonical JSON: one value, one byte string.

Keys sorted, no white space, UTF-8, absent members omitted. Whatever is stored, signed or hashed as JSON goes through
here.
"""

from typing import Any, TypeVar

import msgspec

from domain.errors import MalformedBody

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="sorted")

MAX_INTEGER = 2**53
"""Integers stay below this, so that every JSON reader sees the same number (RFC 8259 section 6)."""


def encode(value: Any) -> bytes:
    """Canonical JSON of a Struct or of plain values."""
    return _encoder.encode(value)


def decode(raw: bytes, type_: type[T]) -> T:
    """Decode canonical JSON strictly: unknown members, duplicate keys and other spellings are refused.

    msgspec keeps the last of duplicate keys without a word; encoding again and comparing bytes catches that, and
    reordered keys, white space and needless escapes with it.

    Raises:
        MalformedBody: the bytes are not JSON of this shape, or not its canonical spelling.
    """
    try:
        value = msgspec.json.decode(raw, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(_without_values(error)) from None
    if encode(value) != raw:
        raise MalformedBody("the JSON is not in canonical form")
    return value


def _without_values(error: Exception) -> str:
    """What msgspec says of an error names types and paths; anything else is reduced to its kind."""
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    if isinstance(error, msgspec.DecodeError):
        return "the bytes are not valid JSON"
    return "the JSON is nested too deeply" if isinstance(error, RecursionError) else "the bytes are not valid UTF-8"
