"""The first reading of an import: every line is checked before any is written; nothing of the ledger is needed."""

import hashlib
import secrets
from collections.abc import Callable

import msgspec

from application.importing.line import CaseLine, ReadLine, opening_of
from application.importing.source import Source
from application.request import Request
from domain.errors import CaseLedgerError, InvalidInput
from domain.patient import likenesses

_NO_FILE = "0" * 64
_LIKENESS_BYTES = 16


class Likely(msgspec.Struct, frozen=True):
    """A line whose patient is likely to be one that another line, or the ledger, has already."""

    line: int
    same_as: str
    """"line 7", or the stream of a patient."""
    other: int | None = None
    """That line's number."""


class Checked(msgspec.Struct):
    """What the first reading keeps of a file: some hundred bytes a line, and no names."""

    references: dict[str, int] = {}
    """Line numbers by reference; as many as there are lines where nothing was wrong, and in their order."""
    contents: list[bytes] = []
    """SHA-256 of each line's meaning, whatever its spelling."""
    likenesses: dict[bytes, int] = {}
    """First line of each likeness, blinded."""
    likely: list[Likely] = []
    sha256: str = ""
    """Of all lines in order, each ended by a line feed."""
    wrong: int = 0
    lines: int = 0
    secret: bytes = b""

    def blinded(self, likeness: str) -> bytes:
        """A likeness, as long as this import runs and no longer."""
        return hashlib.blake2b(likeness.encode(), key=self.secret, digest_size=_LIKENESS_BYTES).digest()


def content_of(line: CaseLine) -> bytes:
    """SHA-256 of what a line says."""
    return hashlib.sha256(msgspec.json.encode(line)).digest()


def check(source: Source, read: ReadLine, request: Request, tell: Callable[[str], None]) -> Checked:
    """Read a file once; each line that is wrong is told, as `line N: field: what is wrong`, and counted.

    Raises:
        InvalidInput: the file is empty.
        TooLarge: it has too many lines.
    """
    checked = Checked(secret=secrets.token_bytes(32))
    digest = hashlib.sha256()
    for number, raw in source.lines():
        checked.lines = number
        try:
            if isinstance(raw, CaseLedgerError):
                raise raw
            digest.update(raw + b"\n")
            _take(checked, read(raw), number, request)
        except CaseLedgerError as error:
            checked.wrong += 1
            tell(f"line {number}: {error}")
    if not checked.lines:
        raise InvalidInput("the file is empty")
    checked.sha256 = digest.hexdigest()
    return checked


def _take(checked: Checked, line: CaseLine, number: int, request: Request) -> None:
    first = checked.references.setdefault(line.reference, number)
    if first != number:
        raise InvalidInput(f"reference: is that of line {first} already")
    # All that opening it will refuse is refused now; ids that are made on the way are thrown away.
    opening_of(line, number, _NO_FILE, request)
    checked.contents.append(content_of(line))
    seen = None
    for likeness in likenesses(line.patient.account or "", line.patient.name, line.patient.born_on):
        earlier = checked.likenesses.setdefault(checked.blinded(likeness), number)
        seen = earlier if earlier != number and seen is None else seen
    if seen is not None:
        checked.likely.append(Likely(number, f"line {seen}", seen))
