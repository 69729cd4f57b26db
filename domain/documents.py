"""What a document is good for and what it says: findings, the kind that its words suggest, tumour markers in a text.

Pure: words and numbers in, values out. A kind and a marker that come out of free text are suggestions; only a person
makes them more. Numbers stay the decimal strings that they were written as; units are UCUM.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

import msgspec

from domain.case.events import DocumentFact, Marker, MarkerName, RecordKind
from domain.imaging.findings import Severity
from domain.values import Day

CODES: Final[dict[str, str]] = {
    "DOC_TYPE_UNKNOWN": "neither PDF, JPEG, PNG, text, CDA nor FHIR JSON by its bytes",
    "DOC_UNREADABLE": "cannot be read: damaged, cut off, or beyond the bounds of memory and time",
    "DOC_ENCRYPTED": "opens with a password only",
    "DOC_ACTIVE_CONTENT": "holds a program or an action that starts something",
    "DOC_EMBEDDED_FILES": "holds other files inside",
    "DOC_EXTERNAL_ENTITIES": "declares a document type or entities, which nobody resolves here",
    "DOC_TOO_LARGE": "more bytes or pixels than are looked at",
    "DOC_TOO_MANY_PAGES": "more pages than are looked at",
    "DOC_NO_TEXT": "pages without text: a scan, or pictures of pages",
    "DOC_LOW_RESOLUTION": "a picture too small to read a page on",
    "DOC_NAME_DISAGREES": "the name's ending says another type than the bytes",
}
"""Every code and what it means."""

Format = Literal["pdf", "jpeg", "png", "text", "cda", "fhir", "xml", "json", "other"]


class DocumentFinding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing about a document, and the sentence about it that can go to whoever sent it."""

    code: str
    severity: Severity
    message: Annotated[str, msgspec.Meta(max_length=500)]
    value: Annotated[str, msgspec.Meta(max_length=100)] = ""
    limit: Annotated[str, msgspec.Meta(max_length=100)] = ""


class DocumentFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one file of a record was found to be; `width` and `height` in pixels, for a picture."""

    format: Format
    pages: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    width: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    height: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    findings: Annotated[tuple[DocumentFinding, ...], msgspec.Meta(max_length=50)] = ()
    suggested: RecordKind | None = None
    words: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=60)], ...], msgspec.Meta(max_length=20)] = ()
    """What the suggestion rests on."""
    dated_on: Day | None = None
    markers: Annotated[tuple[Marker, ...], msgspec.Meta(max_length=200)] = ()


LOINC: Final[Mapping[str, MarkerName]] = {"2039-6": "cea", "24108-3": "ca19_9", "1834-1": "afp"}
"""Serum or plasma: CEA in mass, CA 19-9 in units, alpha-1-fetoprotein in mass a volume (https://loinc.org)."""

DOCUMENT_KINDS: Final[Mapping[str, RecordKind]] = {
    "18748-4": "radiology_report",
    "18842-5": "oncologist_letter",
    "11526-1": "pathology",
    "11504-8": "operative_note",
    "11502-2": "bloods",
    "57133-1": "oncologist_letter",
    "11488-4": "oncologist_letter",
}
"""LOINC document types: diagnostic imaging study, discharge summary, pathology study, surgical operation note,
laboratory report, referral note, consultation note."""

# Words in five languages; each counts once, and a suggestion takes two that no other kind matches.
_WORDS: Final[Mapping[RecordKind, tuple[str, ...]]] = {
    "radiology_report": (
        "computed tomography", "ct abdomen", "ct of the", "contrast-enhanced", "impression:", "radiologist", "mri",
        "radiology", "computertomographie", "radiologie", "befund:", "beurteilung:", "scanner", "radiologue",
        "tomografía", "radiólogo", "tomografia", "technique:", "t2-weighted", "portal venous phase",
    ),
    "pathology": (
        "histology", "histopathology", "microscopy", "macroscopy", "specimen", "biopsy", "immunohistochemistry",
        "pathologist", "adenocarcinoma", "histologie", "histologisch", "pathologie", "anatomopathologie", "biopsie",
        "biopsia", "anatomía patológica", "anatomia patologica", "differentiated", "tnm", "ki-67",
    ),
    "operative_note": (
        "operative note", "operation note", "operative report", "procedure performed", "incision", "anaesthesia",
        "anesthesia", "surgeon:", "estimated blood loss", "op-bericht", "operationsbericht", "narkose",
        "compte rendu opératoire", "anesthésie", "intervención", "intervento", "laparotomy", "closure",
    ),
    "oncologist_letter": (
        "dear colleague", "dear dr", "yours sincerely", "kind regards", "oncology", "chemotherapy", "folfox", "folfiri",
        "cycles", "arztbrief", "sehr geehrte", "chemotherapie", "onkologie", "cher confrère", "chimiothérapie",
        "quimioterapia", "chemioterapia", "clinic letter", "best supportive care", "bevacizumab",
    ),
    "bloods": (
        "haemoglobin", "hemoglobin", "platelets", "leucocytes", "creatinine", "bilirubin", "reference range",
        "hämoglobin", "thrombozyten", "kreatinin", "referenzbereich", "hémoglobine", "plaquettes", "créatinine",
        "hemoglobina", "creatinina", "laboratory", "labor", "albumin", "cea", "ca 19-9", "afp",
    ),
}  # fmt: skip


def suggested_kind(text: str) -> tuple[RecordKind | None, tuple[str, ...]]:
    """The kind of record that a text's words speak for, with those words; None where they do not agree."""
    plain = " ".join(text.casefold().split())
    found = {
        kind: tuple(word for word in words if re.search(rf"(?<!\w){re.escape(word)}", plain))
        for kind, words in _WORDS.items()
    }
    ranked = sorted(found, key=lambda kind: -len(found[kind]))
    best, second = ranked[0], ranked[1]
    if len(found[best]) < 2 or len(found[best]) == len(found[second]):
        return None, ()
    return best, found[best][:20]


_NAMES: Final[Mapping[MarkerName, str]] = {
    "cea": r"(?:CEA|carcino-?embryonic\s+antigen)",
    "ca19_9": r"CA[\s-]?19[\s.-]?9",
    "afp": r"(?:AFP|alpha-?(?:1-)?f(?:o)?eto-?protein)",
}
_UNITS: Final[Mapping[str, str]] = {
    "ng/ml": "ng/mL",
    "ug/l": "ug/L",
    "u/ml": "[arb'U]/mL",
    "ku/l": "k[arb'U]/L",
    "iu/ml": "[IU]/mL",
    "kiu/l": "k[IU]/L",
    "iu/l": "[IU]/L",
}
"""Units as laboratories write them, and in UCUM: a "unit" of an assay is arbitrary, not one of enzyme activity."""
_VALUE: Final = r"(?P<comparator>[<>]=?)?[^\S\n]{0,4}(?P<value>\d{1,7}(?:[.,]\d{1,4})?)(?![\d.,]*\d)"
_UNIT: Final = r"(?P<unit>ng/ml|[uµμ]g/l|k?i?u/(?:ml|l))(?![a-z])"
_MARKER: Final[Mapping[MarkerName, re.Pattern[str]]] = {
    name: re.compile(rf"(?<![\w-]){words}(?!\w)[^\n\d<>]{{0,40}}{_VALUE}[^\S\n]{{0,4}}{_UNIT}", re.IGNORECASE)
    for name, words in _NAMES.items()
}


def markers_in(text: str, sampled_on: str | None = None) -> tuple[Marker, ...]:
    """Markers with value and unit in a free text, in its order: suggestions, each to be confirmed by a person.

    A number that could be read in two ways ("1.234": a thousand, or one and a bit) is left out.
    """
    found: list[tuple[int, Marker]] = []
    for name, pattern in _MARKER.items():
        for match in pattern.finditer(text):
            whole, _, fraction = match["value"].replace(",", ".").partition(".")
            if len(fraction) == 3 and whole != "0":
                continue
            value = str(int(whole)) + (f".{fraction}" if fraction else "")
            unit = _UNITS.get(match["unit"].lower().replace("µ", "u").replace("μ", "u"))
            if unit is None:
                continue
            comparator = match["comparator"] or ""
            marker = Marker(
                marker=name,
                value=value,
                comparator=comparator,  # type: ignore[arg-type]  # the pattern allows these only
                unit=unit,
                sampled_on=sampled_on,
                basis="text",
            )
            found.append((match.start(), marker))
    return tuple(dict.fromkeys(marker for _, marker in sorted(found, key=lambda each: each[0])))[:50]


_ISO_DAY: Final = re.compile(r"(?<!\d)(19\d\d|20\d\d)-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?!\d)")
_DOTTED_DAY: Final = re.compile(r"(?<!\d)(0?[1-9]|[12]\d|3[01])\.\s?(0?[1-9]|1[0-2])\.\s?(19\d\d|20\d\d)(?!\d)")
_BIRTH: Final = re.compile(r"\b(birth|born|d\.?o\.?b|geb|naiss|née?|nac|nato|nata)[^\n\d]{0,20}$", re.IGNORECASE)


def day_in(text: str) -> str | None:
    """The first day that a text names in a form that can be read in one way, a day of birth apart; None without one.

    Days with slashes are day first in one country and month first in another: nobody can tell.
    """
    found = [
        *((match.start(), f"{match[1]}-{match[2]}-{match[3]}") for match in _ISO_DAY.finditer(text)),
        *((match.start(), f"{match[3]}-{match[2]:>02}-{match[1]:>02}") for match in _DOTTED_DAY.finditer(text)),
    ]
    for start, day in sorted(found):
        if not _BIRTH.search(text[max(0, start - 40) : start]):
            return day
    return None


def together(documents: Iterable[DocumentFacts]) -> tuple[RecordKind | None, str | None, tuple[Marker, ...]]:
    """Kind, day and markers of a record from its files: what they agree on, and every marker once."""
    several = tuple(documents)
    kinds = {each.suggested for each in several if each.suggested is not None}
    days = {each.dated_on for each in several if each.dated_on is not None}
    markers = tuple(dict.fromkeys(marker for each in several for marker in each.markers))
    return (kinds.pop() if len(kinds) == 1 else None), (days.pop() if len(days) == 1 else None), markers


def fact_of(sha256: str, facts: DocumentFacts) -> DocumentFact:
    """The part of a document's facts that goes on record when it is classified."""
    codes = tuple(dict.fromkeys(each.code.lower() for each in facts.findings))
    return DocumentFact(sha256=sha256, format=facts.format, pages=facts.pages, findings=codes)
