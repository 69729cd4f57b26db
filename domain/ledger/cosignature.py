"""Cosignatures of a checkpoint: lines that others add to the note that the log released (C2SP tlog-cosignature).

A note as the log releases it has two lines of its own key, 0x01 and 0x04; four where one key hands over to the next.
Cosignatures come after them, so the released note can be had back from any longer one.
"""

from collections.abc import Iterable, Sequence
from itertools import takewhile

import msgspec

from domain.errors import MalformedNote, NoteSignatureInvalid
from domain.ledger.note import (
    COSIGNATURES,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    VerifierKey,
    cosignature_time_s,
    verify,
)

_RELEASED_BYTES = (64, 72)
"""Signatures of the kinds 0x01 and 0x04; the log's own post-quantum ones are longer."""
MAX_LINES_BYTES = 64 * 1024
"""Of what a witness may answer: a dozen post-quantum lines and more."""


class Cosignature(msgspec.Struct, frozen=True):
    """A cosignature that holds: whose key, when (POSIX seconds, by the cosigner's clock), and its line."""

    key: VerifierKey
    time_s: int
    line: NoteSignature


def released(note: bytes) -> bytes:
    """The note as the log released it: the same text, and those lines that it begins with, named as its origin, whose
    signatures have 64 or 72 bytes.

    Raises: MalformedNote.
    """
    parsed = Note.parse(note)
    return Note(parsed.text, parsed.signatures[: released_lines(parsed)]).render()


def released_lines(note: Note) -> int:
    """How many lines the log released a note with."""
    origin = note.text.partition("\n")[0]
    own = (line.name == origin and len(line.signature) in _RELEASED_BYTES for line in note.signatures)
    return sum(takewhile(bool, own))


def extended(note: bytes, lines: Iterable[NoteSignature]) -> bytes:
    """The note with more lines at its end; a line that is there already is not repeated. Raises: MalformedNote."""
    parsed = Note.parse(note)
    signatures = list(parsed.signatures)
    for line in lines:
        if line not in signatures and len(signatures) < MAX_SIGNATURES:
            signatures.append(line)
    return Note(parsed.text, tuple(signatures)).render()


def parse_lines(raw: bytes) -> tuple[NoteSignature, ...]:
    """Reads signature lines, each ended by a newline: what a witness answers. Raises: MalformedNote."""
    if len(raw) > MAX_LINES_BYTES:
        raise MalformedNote(f"cosignature lines have at most {MAX_LINES_BYTES} bytes")
    try:
        lines = raw.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedNote("cosignature lines are UTF-8") from error
    if lines.pop() or not lines or len(lines) > MAX_SIGNATURES:
        raise MalformedNote(f"there are 1 to {MAX_SIGNATURES} cosignature lines, each ended by a newline")
    return tuple(NoteSignature.parse(line) for line in lines)


def render_lines(lines: Iterable[NoteSignature]) -> bytes:
    """Signature lines, as `parse_lines` reads them."""
    return "".join(line.line() for line in lines).encode()


def cosignatures(text: str, lines: Sequence[NoteSignature], keys: Sequence[VerifierKey]) -> tuple[Cosignature, ...]:
    """Those lines under a checkpoint's text that are cosignatures of the given keys; others' lines are ignored.

    Raises:
        NoteSignatureInvalid: a line of one of these keys does not hold, or says no time; or none is of them.
        MalformedNote: the text is no checkpoint's.
    """
    known = {(key.name, key.key_hash): key for key in keys if key.algorithm in COSIGNATURES}
    found = []
    for line in lines:
        key = known.get((line.name, line.key_hash))
        if key is None:
            continue
        verify(Note(text, (line,)), (key,))
        time_s = cosignature_time_s(line)
        if time_s == 0:
            raise NoteSignatureInvalid("a cosignature of a checkpoint says when it was made")
        found.append(Cosignature(key, time_s, line))
    if not found:
        raise NoteSignatureInvalid("there is no cosignature of a known key")
    return tuple(found)
