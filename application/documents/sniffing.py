"""What a text is a text of: CDA, other XML, FHIR or other JSON, told by its first bytes and never by its name."""

import re
from typing import Final

CDA: Final = "application/hl7-cda+xml"
XML: Final = "application/xml"
FHIR: Final = "application/fhir+json"
JSON: Final = "application/json"

_UTF16: Final = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_XML: Final = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--.{0,2000}?-->\s*|<\?[^>]{0,500}\?>\s*)*<[!A-Za-z_]", re.DOTALL
)
_CDA: Final = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?ClinicalDocument[\s>]")
_FHIR: Final = re.compile(r'"resourceType"\s*:\s*"[A-Z][A-Za-z]{2,40}"')


def structured(first: bytes) -> str | None:
    """Media type of a text that begins with these bytes, where it is a structured one; None for plain text.

    HTML is XML to nobody here: it comes out as plain text, and is shown as such.
    """
    text = _decoded(first)
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped[:1] in ("{", "["):
        return FHIR if stripped[0] == "{" and _FHIR.search(stripped) else JSON if _closes(stripped) else None
    if stripped[:1] != "<" or not _XML.match(stripped):
        return None
    if re.match(r"<(?:!doctype\s+html|html)[\s>]", stripped, re.IGNORECASE):
        return None
    if _CDA.search(stripped):
        return CDA
    return XML if stripped.startswith("<?xml") else None


def _closes(text: str) -> bool:
    """Whether what follows a first brace or bracket could be JSON at all, and is no note in brackets."""
    return re.match(r'\{\s*(?:"|\}|$)|\[\s*(?:[\[{"\d\]-]|true|false|null|$)', text) is not None


def _decoded(first: bytes) -> str:
    for mark, encoding in _UTF16:
        if first.startswith(mark):
            return first[2:].decode(encoding, "replace")
    return first.decode("utf-8", "replace")
