"""Files on their way in and out: bytes as they come, a chunk at a time, through threads that may block."""

import asyncio
import base64
import binascii
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import unquote_to_bytes

from litestar.concurrency import get_asyncio_executor

from api.ask import Http
from application.records.pipe import from_event_loop
from domain.errors import InvalidInput, TooSlow, TruncatedUpload, Unavailable, UploadsFull

STALLED_S = 60.0
"""A sender who is silent for so long has gone."""
UPLOADS = 16
"""Uploads that a process takes in at once; they wait on their senders, and must not keep other requests waiting."""
LEAST_BYTES_S = 1024
"""Bytes a second below which nobody may keep one of those places."""
RATE_OVER_S = 60.0
"""Seconds of waiting for a sender over which that rate is looked at."""

_EXTENDED = re.compile(
    r"attachment\s*;\s*filename\*=UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})+)", re.IGNORECASE
)
_PLAIN = re.compile(r'attachment\s*;\s*filename="([\x20\x21\x23-\x5b\x5d-\x7e]+)"', re.IGNORECASE)
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")

T = TypeVar("T")


class Places:
    """Threads that take uploads in; who finds all of them taken is told so, and does not wait.

    One caller has at most three quarters of them, so that none keeps the others out.
    """

    def __init__(self, uploads: int = UPLOADS, least_bytes_s: int = LEAST_BYTES_S) -> None:
        self.least_bytes_s = least_bytes_s
        self._uploads = uploads
        self._threads = ThreadPoolExecutor(uploads, "upload")
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def submit(self, caller: str, take: Callable[[], T]) -> Future[T]:
        """Let a thread do it.

        Raises:
            UploadsFull: none is free for this caller.
        """
        with self._lock:
            if self._taken.total() >= self._uploads:
                raise UploadsFull(f"{self._uploads} uploads are being taken in, and no more are at once")
            if self._taken[caller] >= max(1, self._uploads * 3 // 4):
                raise UploadsFull(f"you have {self._taken[caller]} uploads under way, and no more are taken at once")
            self._taken[caller] += 1
        try:
            future = self._threads.submit(take)
        except RuntimeError:
            self._free(caller)
            raise Unavailable("the service is stopping") from None
        future.add_done_callback(lambda _: self._free(caller))
        return future

    def close(self) -> None:
        """Take no more; those under way end with their senders."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _free(self, caller: str) -> None:
        with self._lock:
            self._taken[caller] -= 1
            self._taken += Counter()  # forgets whoever has none


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


def announced_sha256(*digests: str | None) -> str | None:
    """The SHA-256, in hex, in `sha-256=:base64:`, as Content-Digest and Repr-Digest have it (RFC 9530).

    None without such a header. Of a body that is the whole of a file both say the same.

    Raises:
        InvalidInput: a digest by another algorithm, or malformed; or two that differ.
    """
    announced = {_sha256(each) for each in digests if each is not None}
    if len(announced) > 1:
        raise InvalidInput("Content-Digest and Repr-Digest of a whole file are the same")
    return next(iter(announced), None)


def _sha256(digest: str) -> str:
    for member in digest.split(","):
        if found := _DIGEST.fullmatch(member.strip()):
            try:
                return base64.b64decode(found[1], validate=True).hex()
            except binascii.Error:
                break
    raise InvalidInput("Content-Digest and Repr-Digest have to name a sha-256")


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


async def taken_in(request: Http, places: Places, take: Callable[[Iterator[bytes]], T]) -> T:
    """Let a thread take the request's body in, as it arrives.

    Raises:
        UploadsFull: none is free.
        TruncatedUpload: the sender fell silent; TooSlow: or sends too little; Litestar's exception where they broke
            off; and whatever `take` raises.
    """
    loop = asyncio.get_running_loop()
    arriving = _arriving(request.stream(), places.least_bytes_s)
    try:
        chunks = from_event_loop(arriving, loop)

        def taking() -> T:
            with closing(chunks):
                return take(chunks)

        return await asyncio.wrap_future(places.submit(request.user.id, taking))
    finally:
        # Where the request was cancelled, a chunk may still be on its way; then it ends with the event loop.
        with suppress(RuntimeError):
            await arriving.aclose()


async def _arriving(stream: AsyncIterator[bytes], least_bytes_s: int) -> AsyncGenerator[bytes, None]:
    """The chunks, while they come fast enough. Only the waiting for the sender counts, not that for our disk."""
    waited, arrived = 0.0, 0
    try:
        while True:
            began = time.monotonic()
            async with asyncio.timeout(STALLED_S):
                chunk = await anext(stream, None)
            waited += time.monotonic() - began
            if chunk is None:
                return
            arrived += len(chunk)
            if waited >= RATE_OVER_S:
                if arrived < least_bytes_s * waited:
                    raise TooSlow(f"fewer than {least_bytes_s} bytes a second arrived, for {waited:.0f} seconds")
                waited, arrived = 0.0, 0
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
