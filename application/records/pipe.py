"""A bounded pipe between a thread that pushes bytes and one that pulls them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from queue import Queue
from typing import Self

_SLOTS = 8


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


def from_event_loop(chunks: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Pull an event loop's stream from a worker thread, one chunk at a time: the sender waits for the disk.

    Warning: to be iterated on another thread than the loop's, else it waits for itself.
    """

    async def next_chunk() -> bytes | None:
        return await anext(chunks, None)

    while (chunk := asyncio.run_coroutine_threadsafe(next_chunk(), loop).result()) is not None:
        yield chunk
