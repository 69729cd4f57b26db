"""Text, CDA (HL7 v3) and FHIR JSON: their words, and the tumour markers that a laboratory coded, exactly as written."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec

from application.documents.xml import Refused, parse
from domain.case.events import Marker
from domain.documents import (
    DOCUMENT_KINDS,
    LOINC,
    DocumentFacts,
    DocumentFinding,
    Format,
    day_in,
    markers_in,
    suggested_kind,
)

CHARACTERS: Final = 200_000
STRUCTURED_BYTES: Final = 32 * 1024**2
ENTRIES: Final = 20_000

_V3: Final = "{urn:hl7-org:v3}"
_LOINC_OID: Final = "2.16.840.1.113883.6.1"
_LOINC_URL: Final = "http://loinc.org"
_UCUM_URL: Final = "http://unitsofmeasure.org"
_FINAL: Final = frozenset(("final", "amended", "corrected", "appended"))
_BINARY: Final = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")
_COMPARATORS: Final = ("<", "<=", ">", ">=")


def read_text(data: bytes) -> DocumentFacts | None:
    """Facts of a plain text, None where it is none."""
    text = _decoded(data)
    return None if text is None else _of_text("text", text[:CHARACTERS])


def _of_text(form: Format, text: str, *findings: DocumentFinding) -> DocumentFacts:
    kind, words = suggested_kind(text)
    day = day_in(text)
    return DocumentFacts(
        format=form,
        pages=1,
        findings=findings,
        suggested=kind,
        words=words,
        dated_on=day,
        markers=markers_in(text, day),
    )


def _decoded(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data[: 4 * CHARACTERS].decode("utf-16", "replace")
    head = data[: 4 * CHARACTERS]
    if not head or _BINARY.intersection(head):
        return None
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return head.decode(encoding)
        except UnicodeDecodeError as error:
            if encoding == "utf-8-sig" and len(data) > len(head) and error.start > len(head) - 4:
                return head[: error.start].decode(encoding)  # the cut went through a character
    return head.decode("latin-1")


def _bad(form: Format, code: str, told: str) -> DocumentFacts:
    return DocumentFacts(format=form, findings=(DocumentFinding(code=code, severity="inadequate", message=told),))


def read_cda(data: bytes) -> DocumentFacts:
    """Facts of a CDA document (HL7 CDA R2), or of other XML. No document type, no entity is ever resolved."""
    if len(data) > STRUCTURED_BYTES:
        return _bad("xml", "DOC_TOO_LARGE", "The XML file is larger than is looked at: please send the report itself.")
    try:
        root = parse(data)
    except Refused:
        told = "The XML file declares a document type or entities: please send it without."
        return _bad("xml", "DOC_EXTERNAL_ENTITIES", told)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - not well formed, an unknown encoding, whatever else
        return _bad("xml", "DOC_UNREADABLE", "The XML file is not well formed: please export it again.")
    text = " ".join(" ".join(root.itertext()).split())[:CHARACTERS]
    if root.tag != f"{_V3}ClinicalDocument":
        return _of_text("xml", text)
    day = _v3_day(root.find(f"{_V3}effectiveTime"))
    coded = root.find(f"{_V3}code")
    stated = DOCUMENT_KINDS.get(coded.get("code", "")) if _is_loinc(coded) and coded is not None else None
    guessed, words = suggested_kind(text)
    exact = tuple(dict.fromkeys(_v3_markers(root, day)))
    return DocumentFacts(
        format="cda",
        pages=1,
        suggested=stated or guessed,
        words=("LOINC document type",) if stated else words,
        dated_on=day,
        markers=exact or markers_in(text, day),
    )


def _is_loinc(code: Element | None) -> bool:
    return code is not None and code.get("codeSystem") == _LOINC_OID


def _v3_markers(root: Element, day: str | None) -> Iterator[Marker]:
    for at, observation in enumerate(root.iter(f"{_V3}observation")):
        if at >= ENTRIES:
            return
        code, value = observation.find(f"{_V3}code"), observation.find(f"{_V3}value")
        if not _is_loinc(code) or code is None or value is None or observation.get("negationInd") == "true":
            continue
        status = observation.find(f"{_V3}statusCode")
        if status is not None and status.get("code") not in ("completed", None):
            continue
        taken = _v3_day(observation.find(f"{_V3}effectiveTime")) or day
        made = _marker(code.get("code", ""), value.get("value"), "", value.get("unit"), taken, "cda")
        if made is not None:
            yield made


def _v3_day(time: Element | None) -> str | None:
    """Day of a v3 time stamp YYYYMMDD..., or of the low end of an interval."""
    if time is None:
        return None
    low = time.find(f"{_V3}low")
    text = time.get("value") or (low.get("value") if low is not None else "") or ""
    return day_in(f"{text[:4]}-{text[4:6]}-{text[6:8]}") if re.match(r"\d{8}", text) else None


def read_fhir(data: bytes) -> DocumentFacts:
    """Facts of FHIR JSON (HL7 FHIR R4 and R5), or of other JSON. Numbers keep their digits: none becomes a float."""
    if len(data) > STRUCTURED_BYTES:
        return _bad(
            "json", "DOC_TOO_LARGE", "The JSON file is larger than is looked at: please send the report itself."
        )
    try:
        content = json.loads(data, parse_float=str, parse_int=str, parse_constant=str)
    except MemoryError:
        raise
    except (ValueError, RecursionError):
        return _bad("json", "DOC_UNREADABLE", "The JSON file is not well formed: please export it again.")
    if not isinstance(content, dict) or not isinstance(content.get("resourceType"), str):
        return _of_text("json", json.dumps(content, ensure_ascii=False)[:CHARACTERS])
    resources = list(_resources(content))
    types = [each.get("resourceType") for each in resources]
    exact: dict[Marker, None] = {}
    loose: dict[Marker, None] = {}
    words: list[str] = []
    for resource in resources:
        if resource.get("resourceType") == "Observation":
            for made in _observed(resource):
                (exact if made.basis == "fhir" else loose)[made] = None
        words.extend(_words_of(resource))
    text = "\n".join(words)[:CHARACTERS]
    kind, why = _fhir_kind(resources, types) or suggested_kind(text)
    days = sorted({day for each in resources if (day := _fhir_day(each)) is not None})
    return DocumentFacts(
        format="fhir",
        pages=1,
        suggested=kind,
        words=why,
        dated_on=days[-1] if days else None,
        markers=(tuple(exact) + tuple(loose))[:100] or markers_in(text, days[-1] if days else None),
    )


def _resources(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A resource, those in a bundle, and those that one contains; never more than so many."""
    waiting, count = [content], 0
    while waiting and count < ENTRIES:
        one = waiting.pop(0)
        count += 1
        yield one
        entries = one.get("entry") if one.get("resourceType") == "Bundle" else None
        inside = [each.get("resource") for each in _list(entries) if isinstance(each, dict)] + _list(
            one.get("contained")
        )
        waiting.extend(each for each in inside[: ENTRIES - len(waiting)] if isinstance(each, dict))


def _observed(observation: Mapping[str, Any]) -> Iterator[Marker]:
    """Markers of an observation and of its components; only results that are final."""
    if observation.get("status") not in _FINAL:
        return
    day = _fhir_day(observation)
    for one in (observation, *(each for each in _list(observation.get("component")) if isinstance(each, dict))):
        quantity = one.get("valueQuantity")
        code = one.get("code")
        if not isinstance(quantity, dict) or not isinstance(code, dict):
            continue
        unit = quantity.get("code") if quantity.get("system") == _UCUM_URL else None
        value, comparator = quantity.get("value"), quantity.get("comparator") or ""
        codings = [each for each in _list(code.get("coding")) if isinstance(each, dict)]
        for coding in codings:
            if coding.get("system") == _LOINC_URL:
                made = _marker(str(coding.get("code")), value, comparator, unit, day, "fhir")
                if made is not None:
                    yield made
                    break
        else:
            # No code that is known here, or no unit that is: what it is called can still suggest something.
            named = [str(code.get("text") or ""), *(str(each.get("display") or "") for each in codings)]
            shown = quantity.get("unit") or quantity.get("code") or ""
            for name in named:
                if suggested := markers_in(f"{name}: {comparator}{value} {shown}", day):
                    yield from suggested
                    break


def _marker(code: str, value: Any, comparator: Any, unit: Any, day: str | None, basis: str) -> Marker | None:
    """A marker from coded data; None where it is no marker, or not written as it has to be."""
    if code not in LOINC or not isinstance(value, str) or not isinstance(unit, str):
        return None
    if comparator not in ("", *_COMPARATORS):
        return None
    try:
        return msgspec.convert(
            {
                "marker": LOINC[code],
                "value": value,
                "comparator": comparator,
                "unit": unit,
                "loinc": code,
                "sampled_on": day,
                "basis": basis,
            },
            Marker,
        )
    except msgspec.ValidationError:
        return None


def _fhir_day(resource: Mapping[str, Any]) -> str | None:
    for name in ("effectiveDateTime", "issued", "date", "authoredOn"):
        text = resource.get(name)
        if isinstance(text, str) and (day := day_in(text[:10])) is not None:
            return day
    return None


def _fhir_kind(resources: list[dict[str, Any]], types: list[Any]) -> tuple[Any, tuple[str, ...]] | None:
    """What a report or composition is typed as; results alone are bloods."""
    for resource in resources:
        for field in ("code", "type"):
            concept = resource.get(field)
            if not isinstance(concept, dict):
                continue
            for coding in _list(concept.get("coding")):
                if isinstance(coding, dict) and coding.get("system") == _LOINC_URL:
                    kind = DOCUMENT_KINDS.get(str(coding.get("code")))
                    if kind is not None:
                        return kind, ("LOINC document type",)
    if "Observation" in types and not {"Composition", "ImagingStudy", "Procedure"} & {str(each) for each in types}:
        return "bloods", ("FHIR Observation",)
    return None


def _words_of(resource: Mapping[str, Any]) -> Iterator[str]:
    for name in ("conclusion", "description", "title"):
        if isinstance(text := resource.get(name), str):
            yield text
    narrative = resource.get("text")
    if isinstance(narrative, dict) and isinstance(div := narrative.get("div"), str):
        yield re.sub(r"<[^>]{0,500}>", " ", div)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
