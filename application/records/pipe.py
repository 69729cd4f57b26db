"""A bounded pipe between a thread that pushes bytes and one that pulls them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from queue import Queue, SimpleQueue
from typing import Self

_SLOTS = 8
AHEAD = 1024 * 1024
"""Bytes that may have arrived and wait for the disk."""


class _Closed(Exception):
    """The reading end has gone."""


class Pipe:
    """Iterates over what a function writes from its own thread; at most `slots` writes wait in between.

    Closing it ends the writer at its next write and joins it, so no thread outlives its reader.
    """

    def __init__(self, slots: int = _SLOTS) -> None:
        self._queue: Queue[bytes | BaseException | None] = Queue(slots)
        self._gone = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def running(cls, produce: Callable[[Callable[[bytes], int]], None]) -> Self:
        """A pipe whose writer is `produce(write)`; what it raises is raised at the reading end."""
        pipe = cls()

        def run() -> None:
            try:
                produce(pipe._write)
            except BaseException as error:  # noqa: BLE001 - raised again by the reader
                pipe._queue.put(error)
            else:
                pipe._queue.put(None)

        pipe._thread = threading.Thread(target=run, name="records-pipe", daemon=True)
        pipe._thread.start()
        return pipe

    def __iter__(self) -> Iterator[bytes]:
        while True:
            match self._queue.get():
                case None:
                    self._gone.set()
                    return
                case BaseException() as error:
                    self._gone.set()
                    raise error
                case data:
                    yield data

    def close(self) -> None:
        """Let go of the writer and wait for its end; harmless when it has ended."""
        self._gone.set()
        while self._thread is not None and self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.01)

    def _write(self, data: bytes) -> int:
        if self._gone.is_set():
            raise _Closed
        self._queue.put(data)
        return len(data)


def from_event_loop(chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Generator[bytes, None, None]:
    """An event loop's stream, on a worker thread; at most `AHEAD` bytes and a chunk wait in between.

    So the sender waits for the disk, and the threads do not wait for each other at every chunk.

    Warning: to be iterated on another thread than the loop's, else it waits for itself.
    """
    return _Ahead(chunks, loop).taken()


class _Ahead:
    """The loop puts and the worker takes; each counts for itself, so that no count has two writers."""

    def __init__(self, chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._chunks = chunks
        self._loop = loop
        self._queue: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        self._put = self._taken = 0
        self._full = False
        self._room = asyncio.Event()

    def taken(self) -> Generator[bytes, None, None]:
        """The chunks, and at last what the stream raises."""
        pump = asyncio.run_coroutine_threadsafe(self._pump(), self._loop)
        try:
            while (chunk := self._queue.get()) is not None:
                if isinstance(chunk, BaseException):
                    raise chunk
                self._taken += len(chunk)
                if self._full and self._put - self._taken < AHEAD // 2:
                    self._full = False
                    self._loop.call_soon_threadsafe(self._room.set)
                yield chunk
        finally:
            pump.cancel()

    async def _pump(self) -> None:
        try:
            async for chunk in self._chunks:
                self._put += len(chunk)
                self._queue.put(chunk)
                if self._put - self._taken > AHEAD:
                    self._room.clear()
                    self._full = True
                    # The worker may have taken all of it before it could see that this waits.
                    if self._put - self._taken > AHEAD // 2:
                        await self._room.wait()
        except BaseException as error:
            self._queue.put(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._queue.put(None)
