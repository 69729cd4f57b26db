"""A multipart/related body (RFC 2046 5.1, RFC 2387), part by part as it arrives, with little more held than a boundary.

Preamble and epilogue are let go, and white space behind a boundary is. A delimiter is CRLF, two hyphens, the boundary,
and then the end of a line or two hyphens: what merely begins like one is data. A part that says its Content-Length is
taken at its word, so its bytes may even hold a delimiter, and the delimiter has to follow them.
"""

import re
from collections.abc import Iterable, Iterator

from domain.errors import CaseLedgerError, MalformedBody, TooLarge, TruncatedUpload

HEADER_BYTES = 16 * 1024
"""Most bytes of one part's headers."""
PARTS = 20_000
"""Most parts of a body."""
_PADDING = 256
"""Most white space behind a boundary, in bytes."""
# RFC 2046 has 70 at most; Orthanc sends 73.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER = re.compile(r";\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^;\"]*))\s*")


def parameters(content_type: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters by name; values quoted or not (RFC 9110 8.3.1).

    Raises:
        MalformedBody: not of that form, or a parameter twice.
    """
    media_type, _, _ = content_type.partition(";")
    rest, found = content_type[len(media_type) :].rstrip(), dict[str, str]()
    while rest and rest != ";":
        matched = _PARAMETER.match(rest)
        if matched is None or matched[1].lower() in found:
            raise MalformedBody("the Content-Type cannot be read")
        quoted, plain = matched[2], matched[3]
        found[matched[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain.strip()
        rest = rest[matched.end() :]
    return media_type.strip().lower(), found


class Part:
    """One part: headers by name in lower case, and its bytes, which can be had once and only before the next part."""

    def __init__(self, headers: dict[str, str], chunks: Iterator[bytes], length: int | None) -> None:
        self.headers = headers
        self.chunks = chunks
        self.length = length


class Multipart:
    """A body's parts.

    `broken` is the error that ended the body, if one did: whoever catches an error of a part's bytes asks whether it is
    the part's or that of the whole.
    """

    def __init__(self, chunks: Iterable[bytes], boundary: str) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedBody("the body needs a boundary of 1 to 200 characters (RFC 2046 5.1.1)")
        self._chunks = iter(chunks)
        self._delimiter = b"\r\n--" + boundary.encode()
        # The first delimiter may open the body, without a line before it.
        self._buffer = b"\r\n"
        self._at = 0
        """Where in the buffer the unread bytes begin."""
        self._left: int | None = None
        self._last = False
        self.broken: CaseLedgerError | None = None

    def parts(self) -> Iterator[Part]:
        """Every part, in order; what is left unread of one is passed over.

        Raises:
            TruncatedUpload: the body ends before its last boundary.
            MalformedBody, TooLarge: it is no such body, or above a bound.
        """
        for _ in self._until_delimiter():
            pass
        count = 0
        while not self._last:
            count += 1
            if count > PARTS:
                raise self._broken(TooLarge(f"a body has at most {PARTS} parts"))
            headers = self._headers()
            self._left = length = self._length(headers)
            chunks = self._until_delimiter()
            yield Part(headers, chunks, length)
            for _ in chunks:
                pass
        for _ in self._chunks:
            pass  # the epilogue

    def _until_delimiter(self) -> Iterator[bytes]:
        """Bytes before the next delimiter, which is passed over with what ends its line.

        Every byte is looked at once, and copied once, whatever merely begins like a delimiter: only what may still
        become one, a few hundred bytes, is joined with the next chunk.
        """
        while self._left:
            if self._at == len(self._buffer):
                self._more()
            piece = self._taken(min(len(self._buffer), self._at + self._left))
            self._left -= len(piece)
            yield piece
        exact = self._left == 0
        search = self._at
        while True:
            at = self._buffer.find(self._delimiter, search)
            if at < 0:
                keep = max(search, len(self._buffer) - len(self._delimiter) + 1)
                line = self._buffer.rfind(b"\r", keep)
                keep = line if line >= 0 else len(self._buffer)
            elif at + len(self._delimiter) + _PADDING + 2 <= len(self._buffer):
                # All of what may follow it is there.
                if (end := self._line_end(at)) is None:
                    search = at + 2
                    continue
                keep = at
            else:
                keep, end = at, None
            if keep > self._at:
                if exact:
                    raise self._broken(MalformedBody("a part is longer than its Content-Length"))
                yield self._taken(keep)
            if at < 0:
                self._more()
                search = self._at
            elif (end := self._line_end(self._at)) is not None:
                self._at = end
                return
            else:
                search = self._at + 2

    def _line_end(self, at: int) -> int | None:
        """Where the delimiter at `at` ends, behind its line or its hyphens; None where it is no delimiter.

        Where the buffer may be too short to tell, nothing before `at` is unread.
        """
        behind = len(self._delimiter)
        end = behind
        while True:
            while len(self._buffer) < at + end + 2:
                self._more()
                at = self._at
            here = self._buffer[at + end : at + end + 2]
            if end == behind and here == b"--":
                self._last = True
                return at + end + 2
            if here == b"\r\n":
                return at + end + 2
            if here[:1] not in (b" ", b"\t") or end - behind >= _PADDING:
                return None
            end += 1

    def _headers(self) -> dict[str, str]:
        lines = self._header_lines()
        if len(lines) > HEADER_BYTES:
            raise self._broken(TooLarge("a part's headers are too long"))
        found: dict[str, str] = {}
        for line in re.sub(rb"\r\n[ \t]+", b" ", lines).split(b"\r\n"):
            name, colon, value = line.decode("latin-1").partition(":")
            if line and (not colon or name.lower() in found):
                raise self._broken(MalformedBody("a part's headers cannot be read"))
            found[name.strip().lower()] = value.strip()
        return found

    def _header_lines(self) -> bytes:
        """Everything up to the empty line, which is passed over; a part without headers begins with it."""
        while len(self._buffer) < self._at + 2:
            self._more()
        if self._buffer.startswith(b"\r\n", self._at):
            self._at += 2
            return b""
        if (end := self._buffer.find(b"\r\n\r\n", self._at, self._at + HEADER_BYTES + 4)) >= 0:
            lines = self._taken(end)
            self._at += 4
            return lines
        block = bytearray(self._taken(len(self._buffer)))
        search = 0
        while (end := block.find(b"\r\n\r\n", search)) < 0:
            if len(block) > HEADER_BYTES:
                raise self._broken(TooLarge("a part's headers are too long"))
            search = max(0, len(block) - 3)
            self._more()
            block += self._taken(len(self._buffer))
        self._buffer, self._at = bytes(block[end + 4 :]), 0
        return bytes(block[:end])

    def _length(self, headers: dict[str, str]) -> int | None:
        stated = headers.get("content-length")
        if stated is None:
            return None
        if not re.fullmatch(r"[0-9]{1,15}", stated):
            raise self._broken(MalformedBody("a part's Content-Length is not a number of bytes"))
        return int(stated)

    def _taken(self, end: int) -> bytes:
        """Unread bytes up to `end`, which then are read."""
        piece = self._buffer[self._at : end]
        self._at = end
        return piece

    def _more(self) -> None:
        """Add a chunk to the unread bytes, which then begin at 0."""
        try:
            for chunk in self._chunks:
                if chunk:
                    rest = self._buffer[self._at :]
                    self._buffer, self._at = rest + chunk if rest else chunk, 0
                    return
        except CaseLedgerError as error:
            raise self._broken(error) from None
        raise self._broken(TruncatedUpload("the body ends before its last boundary"))

    def _broken(self, error: CaseLedgerError) -> CaseLedgerError:
        self.broken = error
        return error
