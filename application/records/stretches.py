"""Bytes in stretches: a stream cut into segments that outlive its failure, and segments read as one file."""

from collections.abc import Callable, Iterable, Iterator
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase

from application.records.parts import Segment
from domain.errors import TooLarge


class Feed:
    """Chunks, handed on in stretches; keeps what they raise until everything before it has been taken."""

    def __init__(self, chunks: Iterable[bytes], limit: int) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self._left = limit
        self.failure: Exception | None = None

    def more(self) -> bool:
        """Whether at least one more byte is there."""
        while not self._rest:
            if self.failure is not None or (chunk := self._next()) is None:
                return False
            self._rest = chunk
        return True

    def take(self, size: int) -> Iterator[bytes]:
        """At most so many bytes."""
        while size > 0 and self.more():
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece

    def _next(self) -> bytes | None:
        try:
            chunk = next(self._chunks, None)
        except Exception as error:  # noqa: BLE001 - raised by the caller, once what came before is safe
            self.failure = error
            return None
        if chunk is not None and len(chunk) > self._left:
            self.failure = TooLarge("more bytes arrive than were announced, or are taken")
            return None
        self._left -= len(chunk or b"")
        return chunk


class SegmentFile(RawIOBase):
    """Segments as one seekable file; the two read last are held in memory."""

    def __init__(self, segments: list[Segment], read: Callable[[Segment], bytes]) -> None:
        super().__init__()
        self._segments = segments
        self._read = read
        self._held: dict[int, bytes] = {}
        self._at = 0
        self._length = segments[-1].starts + segments[-1].bytes if segments else 0
        self.each: Callable[[], None] = lambda: None

    def whole(self) -> Iterator[bytes]:
        """Every byte, in order."""
        for segment in self._segments:
            self.each()
            yield self._read(segment)

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """See `io`."""
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """See `io`."""
        base = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """See `io`; ends at the end of a segment."""
        if self._at >= self._length or size == 0:
            return b""
        number = self._number(self._at)
        start = self._at - self._segments[number].starts
        data = (
            self._segment(number)[start:] if size is None or size < 0 else self._segment(number)[start : start + size]
        )
        self._at += len(data)
        return data

    def _number(self, at: int) -> int:
        low, high = 0, len(self._segments) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._segments[middle].starts <= at else (low, middle - 1)
        return low

    def _segment(self, number: int) -> bytes:
        if number not in self._held:
            self.each()
            while len(self._held) > 1:
                del self._held[next(iter(self._held))]
            self._held[number] = self._read(self._segments[number])
        return self._held[number]
