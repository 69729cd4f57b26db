"""Multipart bodies, cut anywhere: what is read is what was sent, and no byte is looked at more than a few times."""

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from application.records import multipart
from application.records.multipart import HEADER_BYTES, Multipart
from application.records.stow import _begun
from domain.errors import MalformedBody, TooLarge, TruncatedUpload

DELIMITER = re.compile(rb"\r\n--b(?:--|[ \t]{0,256}\r\n)")


class Counted(bytes):
    """Bytes that count what is copied out of them, joined to them, and searched in them."""

    copied = searched = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice):
            Counted.copied += len(found)
            return Counted(found)
        return found

    def __add__(self, other: bytes) -> "Counted":
        Counted.copied += len(self) + len(other)
        return Counted(super().__add__(other))

    def __radd__(self, other: bytes) -> "Counted":
        if isinstance(other, bytearray):
            # It grows in place.
            Counted.copied += len(self)
            return NotImplemented
        Counted.copied += len(self) + len(other)
        return Counted(bytes(other) + bytes(memoryview(self)))

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        at = super().find(sub, start, len(self) if end is None else end)
        Counted.searched += (at if at >= 0 else min(len(self), end or len(self))) - start
        return at

    def rfind(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        Counted.searched += len(self) - start
        return super().rfind(sub, start)


def pieces(whole: bytes, size: int) -> Iterator[bytes]:
    """The body in chunks of one size."""
    return (whole[at : at + size] for at in range(0, len(whole), size))


def body(parts: list[bytes], *, lengths: bool = False) -> bytes:
    """A body with boundary `b`."""
    made = b"preamble"
    for part in parts:
        length = b"\r\nContent-Length: %d" % len(part) if lengths else b""
        made += b"\r\n--b\r\nX: y" + length + b"\r\n\r\n" + part
    return made + b"\r\n--b--\r\nepilogue"


def read(chunks: Iterator[bytes]) -> list[bytes]:
    """Every part's bytes."""
    return [b"".join(part.chunks) for part in Multipart(chunks, "b").parts()]


@pytest.mark.parametrize("lengths", [False, True])
def test_any_parts_cut_anywhere_come_out_as_they_were(lengths: bool) -> None:
    """Random parts of what delimiters are made of, in chunks of every small size and some large ones."""
    chance = random.Random(7)
    atoms = [b"\r", b"\n", b"\r\n", b"--", b"\r\n--b", b"\r\n--bx", b"\r\n-", b"x" * 300, b"\r\n--b" + b" " * 300]
    for _ in range(150):
        parts = [
            b"".join(chance.choice(atoms) for _ in range(chance.randrange(12))) for _ in range(chance.randrange(1, 5))
        ]
        parts = [each for each in parts if lengths or not DELIMITER.search(each + b"\r\n--b")]
        whole = body(parts, lengths=lengths)
        for size in (1, 2, 3, 7, 64, 10**6):
            assert read(pieces(whole, size)) == parts


def hostile() -> dict[str, bytes]:
    """Parts that are all almost delimiters."""
    return {
        "false boundaries": b"\r\n--bx" * 40_000,
        "padded ones": (b"\r\n--b" + b" " * 250 + b"x") * 1_000,
        "line ends": b"\r" * 250_000,
        "half boundaries": b"\r\n--" * 60_000,
    }


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reader makes of bytes counts as well."""
    monkeypatch.setattr(multipart, "bytes", Counted, raising=False)
    Counted.copied = Counted.searched = 0


@pytest.mark.parametrize("size", [16, 1000, 65_536, 10**9])
@pytest.mark.parametrize("name", hostile())
def test_what_looks_like_boundaries_costs_no_more_than_its_length(name: str, size: int) -> None:
    """Bytes copied and searched are a small multiple of the body, however it is cut; they were quadratic."""
    part = hostile()[name]
    whole = body([part, b"end"])
    chunks = map(Counted, list(pieces(whole, size)))
    assert read(chunks) == [part, b"end"]
    kept = 300  # of what may still become a delimiter, joined to each next chunk
    most = 6 * len(whole) + 2 * kept * (len(whole) // size + 1)
    assert Counted.copied <= most
    assert Counted.searched <= most


@pytest.mark.parametrize("size", [1000, 10**9])
def test_many_small_parts_in_one_chunk_cost_no_more_than_its_length(size: int) -> None:
    """The rest of the chunk is not copied for each of them."""
    parts = [b"small"] * 5_000
    whole = body(parts)
    assert read(map(Counted, list(pieces(whole, size)))) == parts
    assert Counted.copied <= 5 * len(whole)
    assert Counted.searched <= 5 * len(whole)


def test_headers_byte_by_byte_are_searched_once() -> None:
    """They are gathered, not searched again from their beginning with each byte; and bounded."""
    headers = b"".join(b"X%d: y\r\n" % each for each in range(800))
    whole = b"--b\r\n" + headers + b"\r\ndata\r\n--b--"
    (part,) = [part.headers for part in Multipart(map(Counted, pieces(whole, 1)), "b").parts()]
    assert len(part) == 800
    assert Counted.copied + Counted.searched <= 20 * len(whole)
    with pytest.raises(TooLarge):
        read(iter([b"--b\r\n" + b"X: y" * HEADER_BYTES + b"\r\n\r\n\r\n--b--"]))


def test_crumbs_of_a_part_are_put_together() -> None:
    """A small instance that comes a few bytes at a time is a handful of pieces, not one for each."""
    part = bytes(range(256)) * 400
    for found in Multipart(pieces(body([part]), 5), "b").parts():
        whole, chunks = _begun(found)
        assert whole
        assert b"".join(chunks) == part
        assert len(chunks) <= 2


@pytest.mark.parametrize("cut", [b"--b\r\nX: y\r\n\r\nsome", b"--b", b"--b\r\nX: y", b""])
def test_a_body_that_ends_early_is_said_to(cut: bytes) -> None:
    """Wherever it ends."""
    with pytest.raises(TruncatedUpload):
        read(iter([cut]))


def test_headers_that_are_none_are_refused() -> None:
    """A line without a colon, a header twice, a length that is no number."""
    for headers in (b"X", b"X: y\r\nx: z", b"Content-Length: -1"):
        with pytest.raises(MalformedBody):
            read(iter([b"--b\r\n" + headers + b"\r\n\r\n\r\n--b--"]))
