"""An event loop's stream on a worker thread: in order, bounded, and let go of when nobody reads on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from application.records.pipe import AHEAD, from_event_loop

CHUNK = bytes(64 * 1024)


def test_what_the_stream_raises_comes_after_what_came_before() -> None:
    """Every chunk is handed on, and then the failure."""

    async def broken() -> AsyncIterator[bytes]:
        for number in range(100):
            yield bytes([number])
        raise ConnectionResetError

    def take(chunks: Iterator[bytes]) -> list[bytes]:
        taken: list[bytes] = []
        with pytest.raises(ConnectionResetError):
            taken.extend(chunks)
        return taken

    async def main() -> list[bytes]:
        return await asyncio.to_thread(take, from_event_loop(broken(), asyncio.get_running_loop()))

    assert asyncio.run(main()) == [bytes([number]) for number in range(100)]


def test_the_sender_is_held_up_while_the_worker_is_slow() -> None:
    """No more than `AHEAD` bytes and a chunk wait, and all arrive once the worker goes on."""
    sent = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10 * AHEAD // len(CHUNK)):
            sent += len(CHUNK)
            yield CHUNK

    async def main() -> tuple[int, int]:
        go_on = threading.Event()

        def take() -> int:
            with closing(from_event_loop(stream(), loop)) as chunks:
                total = len(next(chunks))
                go_on.wait()
                return total + sum(map(len, chunks))

        loop = asyncio.get_running_loop()
        taking = asyncio.create_task(asyncio.to_thread(take))
        before = -1
        while sent == 0 or sent != before:
            # Once the stream stands still, it is held up.
            before = sent
            for _ in range(2000):
                await asyncio.sleep(0)
        held = sent
        go_on.set()
        return held, await taking

    held, total = asyncio.run(asyncio.wait_for(main(), 30))
    assert AHEAD <= held <= AHEAD + 3 * len(CHUNK)
    assert total == 10 * AHEAD


def test_a_worker_that_stops_ends_the_stream() -> None:
    """Closing it cancels what waits for the sender, who may never send again."""
    ended = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        try:
            yield CHUNK
            await asyncio.Event().wait()
        finally:
            ended.set()

    def take(loop: asyncio.AbstractEventLoop, arriving: AsyncIterator[bytes]) -> None:
        with closing(from_event_loop(arriving, loop)) as chunks:
            assert next(chunks) == CHUNK

    async def main() -> None:
        await asyncio.to_thread(take, asyncio.get_running_loop(), stalled())
        await asyncio.wait_for(ended.wait(), 10)

    asyncio.run(main())
