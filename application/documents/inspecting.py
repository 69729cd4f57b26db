"""The worker's task `document`: reads one file, whatever it is, and says what it was found to be.

Runs in bounds (application/sandbox/worker.py), so a file that makes a reader loop or grow ends with its worker; nothing
here needs to be trusted, and the parent checks the shape of what comes out.
"""

import warnings
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from application.documents.job import Job
from application.documents.pdf import read_pdf
from application.documents.pictures import read_picture
from application.documents.sniffing import CDA, FHIR, JSON, XML, structured
from application.documents.texts import read_cda, read_fhir, read_text
from application.sandbox.worker import Emit, Parts
from domain.documents import DocumentFacts, DocumentFinding

_ENDINGS: Final = {
    "pdf": ("pdf",),
    "jpg": ("jpeg",),
    "jpeg": ("jpeg",),
    "png": ("png",),
    "txt": ("text",),
    "json": ("fhir", "json"),
    "xml": ("cda", "xml"),
}


def run(job: dict[str, Any], parts: Parts, step: Emit) -> Iterator[bytes]:
    """The facts of one document, as JSON."""
    warnings.simplefilter("ignore")
    name = msgspec.convert(job, Job).name
    for part in parts:
        facts = inspect(part.read())
        yield msgspec.json.encode(with_name(facts, name))
        step(b"")


def inspect(data: bytes) -> DocumentFacts:
    """What a file is, by its bytes."""
    if data.startswith(b"%PDF-") or b"%PDF-" in data[:1024]:
        return read_pdf(data)
    if data.startswith(b"\xff\xd8\xff"):
        return read_picture(data, "jpeg")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return read_picture(data, "png")
    kind = structured(data[: 64 * 1024])
    if kind in (CDA, XML):
        return read_cda(data)
    if kind in (FHIR, JSON):
        return read_fhir(data)
    found = read_text(data)
    if found is not None:
        return found
    told = "The file is neither PDF, JPEG, PNG, text, CDA nor FHIR: please send it as one of these."
    finding = DocumentFinding(code="DOC_TYPE_UNKNOWN", severity="inadequate", message=told)
    return DocumentFacts(format="other", findings=(finding,))


def with_name(facts: DocumentFacts, name: str) -> DocumentFacts:
    """The facts, with a note where the name's ending says something else; the bytes are what counts."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    expected = _ENDINGS.get(ending)
    if expected is None or facts.format in (*expected, "other"):
        return facts
    told = f"The file is called .{ending} and is {facts.format} by its content."
    finding = DocumentFinding(code="DOC_NAME_DISAGREES", severity="note", message=told, value=facts.format)
    return msgspec.structs.replace(facts, findings=(*facts.findings, finding))
