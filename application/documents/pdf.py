"""PDF (ISO 32000): whether it opens, what it would start, what it carries inside, and its text."""

import logging
from collections import Counter
from io import BytesIO
from typing import Any, Final

from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject

from domain.documents import DocumentFacts, DocumentFinding, day_in, markers_in, suggested_kind

PAGES: Final = 500
TEXT_PAGES: Final = 20
TEXT_CHARACTERS: Final = 200_000
_OBJECTS: Final = 50_000
_DEPTH: Final = 40
# ISO 32000-2 table 201: what starts a program, sends or fetches. /URI and /GoTo only lead somewhere, on a click.
_ACTIONS: Final = frozenset(
    ("/JavaScript", "/Launch", "/SubmitForm", "/ImportData", "/GoToR", "/GoToE", "/Rendition", "/RichMediaExecute")
)

logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)


def read_pdf(data: bytes) -> DocumentFacts:
    """Facts of a PDF; a damaged one has a finding that says so."""
    try:
        reader = PdfReader(BytesIO(data), strict=False)
        if reader.is_encrypted and not _opens(reader):
            told = "The PDF opens with a password only: please send it without one."
            return _only("DOC_ENCRYPTED", told)
        pages = len(reader.pages)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a damaged file can raise
        return _only("DOC_UNREADABLE", "The PDF is damaged and cannot be read: please send it again.")
    findings = _inside(reader)
    if pages > PAGES:
        told = f"The PDF has {pages} pages; the first {TEXT_PAGES} were looked at. Please send what matters."
        findings.append(
            DocumentFinding(
                code="DOC_TOO_MANY_PAGES", severity="limited", message=told, value=str(pages), limit=str(PAGES)
            )
        )
    text = _text(reader, min(pages, TEXT_PAGES))
    if pages and len(text.strip()) < 20 * min(pages, TEXT_PAGES):
        told = "The pages have no text, they are pictures: a person has to read them."
        findings.append(DocumentFinding(code="DOC_NO_TEXT", severity="note", message=told))
    kind, words = suggested_kind(text)
    day = day_in(text)
    return DocumentFacts(
        format="pdf",
        pages=min(pages, 100_000),
        findings=tuple(findings),
        suggested=kind,
        words=words,
        dated_on=day,
        markers=markers_in(text, day),
    )


def _opens(reader: PdfReader) -> bool:
    """Many are encrypted against changes only: they open with the empty password (ISO 32000-2, 7.6.4)."""
    try:
        return bool(reader.decrypt(""))
    except Exception:  # noqa: BLE001 - a cipher that nobody here knows is a closed door
        return False


def _only(code: str, told: str) -> DocumentFacts:
    return DocumentFacts(format="pdf", findings=(DocumentFinding(code=code, severity="inadequate", message=told),))


def _inside(reader: PdfReader) -> list[DocumentFinding]:
    """What the objects of the file would start, and files inside; every object is looked at, reachable or not."""
    seen: Counter[str] = Counter()
    numbers = {number for table in reader.xref.values() for number in table} | set(reader.xref_objStm)
    for at, number in enumerate(sorted(numbers)):
        if at >= _OBJECTS:
            break
        try:
            _look(reader.get_object(number), seen, 0)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - a broken object starts nothing
            continue
    try:
        _look(reader.trailer.get("/Root"), seen, 0)
    except Exception:  # noqa: BLE001 - likewise
        seen["broken"] += 1
    findings = []
    if active := sorted(name for name in seen if name in _ACTIONS):
        told = "The PDF holds a program or starts something when it is opened: please send it printed to a plain PDF."
        names = ", ".join(name.removeprefix("/") for name in active)
        findings.append(DocumentFinding(code="DOC_ACTIVE_CONTENT", severity="ask", message=told, value=names[:100]))
    if seen["file"]:
        told = "The PDF holds other files inside; they are not looked at. Please send them by themselves."
        findings.append(
            DocumentFinding(code="DOC_EMBEDDED_FILES", severity="ask", message=told, value=str(seen["file"]))
        )
    return findings


def _look(value: Any, seen: Counter[str], depth: int) -> None:
    if depth > _DEPTH or isinstance(value, IndirectObject):
        return  # what it points to is looked at by itself
    if isinstance(value, DictionaryObject):
        kind = value.get("/S")
        if isinstance(kind, str) and kind in _ACTIONS:
            seen[kind] += 1
        if "/JS" in value:
            seen["/JavaScript"] += 1
        if "/EF" in value:
            seen["file"] += 1
        for each in value.values():
            _look(each, seen, depth + 1)
    elif isinstance(value, ArrayObject):
        for each in value:
            _look(each, seen, depth + 1)


def _text(reader: PdfReader, pages: int) -> str:
    parts: list[str] = []
    length = 0
    for number in range(pages):
        try:
            part = reader.pages[number].extract_text()
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - one page that cannot be read; the others may say enough
            continue
        parts.append(part[: TEXT_CHARACTERS - length])
        length += len(parts[-1])
        if length >= TEXT_CHARACTERS:
            break
    return "\n".join(parts)
