"""Files on their way in and out: bytes as they come, a chunk at a time, through threads that may block."""

import asyncio
import base64
import binascii
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import unquote_to_bytes

from litestar.concurrency import get_asyncio_executor

from api.ask import Http
from application.records.pipe import from_event_loop
from domain.errors import InvalidInput, TruncatedUpload

STALLED_S = 60.0
"""A sender who is silent for so long has gone."""
UPLOADS = 16
"""Uploads that a process takes in at once; they wait on their senders, and must not keep other requests waiting."""

_EXTENDED = re.compile(
    r"attachment\s*;\s*filename\*=UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})+)", re.IGNORECASE
)
_PLAIN = re.compile(r'attachment\s*;\s*filename="([\x20\x21\x23-\x5b\x5d-\x7e]+)"', re.IGNORECASE)
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")

T = TypeVar("T")


def file_name(disposition: str | None) -> str:
    """The name in `Content-Disposition: attachment; filename*=UTF-8''...` (RFC 6266, RFC 8187).

    It comes in a header because file names are personal, and URLs end up in logs.

    Raises:
        InvalidInput: no such header, or not of that form.
    """
    value = (disposition or "").strip()
    if plain := _PLAIN.fullmatch(value):
        return plain[1]
    if extended := _EXTENDED.fullmatch(value):
        try:
            return unquote_to_bytes(extended[1]).decode("utf-8")
        except UnicodeDecodeError:
            pass
    raise InvalidInput("Content-Disposition is attachment; filename*=UTF-8''..., percent-encoded")


def announced_sha256(digest: str | None) -> str | None:
    """The SHA-256, in hex, in `Content-Digest: sha-256=:base64:` (RFC 9530); None without the header.

    Raises:
        InvalidInput: a digest by another algorithm, or malformed.
    """
    if digest is None:
        return None
    for member in digest.split(","):
        if found := _DIGEST.fullmatch(member.strip()):
            try:
                return base64.b64decode(found[1], validate=True).hex()
            except binascii.Error:
                break
    raise InvalidInput("Content-Digest has to name a sha-256")


def announced_length(length: str | None) -> int | None:
    """The Content-Length, in bytes.

    Raises:
        InvalidInput: not a number.
    """
    if length is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", length):
        raise InvalidInput("Content-Length is not a number of bytes")
    return int(length)


async def taken_in(request: Http, executor: ThreadPoolExecutor, take: Callable[[Iterator[bytes]], T]) -> T:
    """Let a thread of `executor` take the request's body in, as it arrives.

    Raises:
        TruncatedUpload: the sender fell silent; Litestar's exception where they broke off; and whatever `take` raises.
    """
    loop = asyncio.get_running_loop()
    arriving = _arriving(request.stream())
    try:
        return await loop.run_in_executor(executor, take, from_event_loop(arriving, loop))
    finally:
        # Where the request was cancelled, a chunk may still be on its way; then it ends with the event loop.
        with suppress(RuntimeError):
            await arriving.aclose()


async def _arriving(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            async with asyncio.timeout(STALLED_S):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if chunk:
                yield chunk
    except TimeoutError:
        raise TruncatedUpload(f"nothing arrived for {STALLED_S:.0f} seconds") from None


def begun(content: Iterator[bytes]) -> Iterator[bytes]:
    """The same content, whose first chunk is there: what cannot be read at all fails before an answer begins."""
    first = next(content, b"")

    def again() -> Iterator[bytes]:
        yield first
        yield from content

    return again()


async def sent_out(content: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Content on its way out, its last chunk held back until its end has been checked.

    So content that turns out to be altered never arrives at its announced length.
    """
    loop = asyncio.get_running_loop()
    executor = get_asyncio_executor()
    step = cast(Callable[[], bytes | None], partial(next, content, None))
    held: bytes | None = None
    try:
        while (chunk := await loop.run_in_executor(executor, step)) is not None:
            if held is not None:
                yield held
            held = chunk
        if held is not None:
            yield held
    finally:
        loop.run_in_executor(executor, _closed, content)


def _closed(content: Any) -> None:
    """Close a generator that another thread may still be in, at the latest when that has come out."""
    while isinstance(content, Generator):
        try:
            content.close()
        except ValueError:
            time.sleep(0.01)
        else:
            return
