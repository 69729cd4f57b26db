"""The file of an import, read line by line, as often as is needed, within bounds."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from domain.errors import CaseLedgerError, InvalidInput, MalformedBody, TooLarge

MAX_LINE_BYTES = 256 * 1024
"""Room for every field at its longest, with each character escaped."""
MAX_LINES = 100_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Source:
    """An open file of lines. One reader at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def lines(self) -> Iterator[tuple[int, bytes | CaseLedgerError]]:
        """Lines from the first on, with their numbers from 1, without their ends; or what is wrong with one.

        Raises:
            TooLarge: there are more than 100,000.
        """
        self._file.seek(0)
        number = 0
        while raw := self._file.readline(MAX_LINE_BYTES + 2):
            number += 1
            if number > MAX_LINES:
                raise TooLarge(f"a file has at most {MAX_LINES:,} lines; split it")
            text = raw.removesuffix(b"\n").removesuffix(b"\r")
            if number == 1:
                text = text.removeprefix(_BYTE_ORDER_MARK)
            if len(text) > MAX_LINE_BYTES:
                while raw and not raw.endswith(b"\n"):
                    raw = self._file.readline(MAX_LINE_BYTES)
                yield number, TooLarge(f"the line: has more than {MAX_LINE_BYTES:,} bytes")
            elif not text.strip():
                yield number, MalformedBody("the line: is empty")
            else:
                yield number, text


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """A file, for as long as it is imported.

    Raises:
        InvalidInput: it is no regular file, so it could not be read twice.
        OSError: it cannot be read.
    """
    # Not blocking: a pipe that nobody writes to would hold us up before it can be refused.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidInput("an import reads its file twice: give it a regular file")
    with os.fdopen(descriptor, "rb") as file:
        yield Source(file)
