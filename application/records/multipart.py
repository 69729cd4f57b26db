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
        """Bytes before the next delimiter, which is taken out of the buffer with what ends its line."""
        while self._left:
            if not self._buffer:
                self._more()
            piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            self._left -= len(piece)
            yield piece
        exact = self._left == 0
        while True:
            at = self._buffer.find(self._delimiter)
            if at >= 0 and (end := self._line_end(at + len(self._delimiter))) is not None:
                if exact and at:
                    raise self._broken(MalformedBody("a part is longer than its Content-Length"))
                data, self._buffer = self._buffer[:at], self._buffer[end:]
                if data:
                    yield data
                return
            # What begins like a delimiter and is none is data, and so is all before what may still become one.
            keep = at + 2 if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
            if at < 0 and (line := self._buffer.rfind(b"\r", keep)) >= 0:
                keep = line
            elif at < 0:
                keep = len(self._buffer)
            data, self._buffer = self._buffer[:keep], self._buffer[keep:]
            if data:
                if exact:
                    raise self._broken(MalformedBody("a part is longer than its Content-Length"))
                yield data
            if at < 0:
                self._more()

    def _line_end(self, at: int) -> int | None:
        """Where a delimiter ends, behind its line or its hyphens; None where it is no delimiter."""
        end = at
        while True:
            while len(self._buffer) < end + 2:
                self._more()
            if self._buffer[at : at + 2] == b"--":
                self._last = True
                return at + 2
            if self._buffer[end : end + 2] == b"\r\n":
                return end + 2
            if self._buffer[end : end + 1] not in (b" ", b"\t") or end - at > 256:
                return None
            end += 1

    def _headers(self) -> dict[str, str]:
        while (end := (b"\r\n" + self._buffer).find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEADER_BYTES:
                raise self._broken(TooLarge("a part's headers are too long"))
            self._more()
        block, self._buffer = self._buffer[: max(0, end - 2)], self._buffer[end + 2 :]
        found: dict[str, str] = {}
        for line in re.sub(rb"\r\n[ \t]+", b" ", block).split(b"\r\n"):
            name, colon, value = line.decode("latin-1").partition(":")
            if line and (not colon or name.lower() in found):
                raise self._broken(MalformedBody("a part's headers cannot be read"))
            found[name.strip().lower()] = value.strip()
        return found

    def _length(self, headers: dict[str, str]) -> int | None:
        stated = headers.get("content-length")
        if stated is None:
            return None
        if not re.fullmatch(r"[0-9]{1,15}", stated):
            raise self._broken(MalformedBody("a part's Content-Length is not a number of bytes"))
        return int(stated)

    def _more(self) -> None:
        try:
            for chunk in self._chunks:
                if chunk:
                    self._buffer += chunk
                    return
        except CaseLedgerError as error:
            raise self._broken(error) from None
        raise self._broken(TruncatedUpload("the body ends before its last boundary"))

    def _broken(self, error: CaseLedgerError) -> CaseLedgerError:
        self.broken = error
        return error
