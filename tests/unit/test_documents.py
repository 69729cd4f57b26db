"""What a document is by its bytes, what is wrong with it, and what can be read out of it."""

import json
import zlib
from io import BytesIO
from typing import Any

import msgspec
import pytest
from PIL import Image
from pypdf import PdfWriter
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, TextStringObject

from application.documents.inspecting import inspect, with_name
from application.documents.sniffing import structured
from application.records.media import sniff
from domain.case import commands as c
from domain.case import events as e
from domain.documents import CODES, DocumentFacts, day_in, markers_in, suggested_kind, together
from domain.errors import MissingPart, WrongPhase, WrongRole
from tests.unit.case_builder import COORDINATOR, OTHER_COORDINATOR, PATIENT, given, received, story
from tests.unit.test_case_material import GATHERING, QUARANTINED

REPORT = """Radiology report of 2026-01-05
Computed tomography of the abdomen, portal venous phase.
Impression: three lesions in segments four and eight.
Radiologist: A. Example"""
BLOODS = """Laboratory, sample of 05.01.2026, born 03.02.1961
Haemoglobin 12.1 g/dl, Platelets 210
CEA 12.5 ng/mL (reference range 0-5)
CA 19-9: > 1200 U/ml
AFP 3,1 µg/l"""


def pdf(*pages: str, **more: Any) -> bytes:
    """A PDF of these pages, with what `more` asks for."""
    writer = PdfWriter()
    for text in pages or ("",):
        page = writer.add_blank_page(595, 842)
        if text:
            lines = "".join(f"({line.replace('(', '[').replace(')', ']')}) Tj T* " for line in text.split("\n"))
            stream = f"BT /F1 10 Tf 12 TL 50 800 Td {lines}ET".encode("cp1252")
            font = DictionaryObject(
                {
                    NameObject("/Type"): NameObject("/Font"),
                    NameObject("/Subtype"): NameObject("/Type1"),
                    NameObject("/BaseFont"): NameObject("/Helvetica"),
                    NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
                }
            )
            content = DecodedStreamObject()
            content.set_data(stream)
            page[NameObject("/Contents")] = writer._add_object(content)
            page[NameObject("/Resources")] = DictionaryObject(
                {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
            )
    if more.get("script"):
        writer._root_object[NameObject("/OpenAction")] = DictionaryObject(
            {NameObject("/S"): NameObject("/JavaScript"), NameObject("/JS"): TextStringObject("app.alert('x');")}
        )
    if more.get("launch"):
        action = DictionaryObject(
            {NameObject("/S"): NameObject("/Launch"), NameObject("/F"): TextStringObject("calc.exe")}
        )
        note = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Annot"),
                NameObject("/Subtype"): NameObject("/Link"),
                NameObject("/A"): action,
            }
        )
        writer.pages[0][NameObject("/Annots")] = ArrayObject([note])
    if more.get("attached"):
        writer.add_attachment("inside.exe", b"MZ")
    if "password" in more:
        writer.encrypt(user_password=more["password"], owner_password="owner", algorithm="AES-256")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def picture(form: str, size: tuple[int, int]) -> bytes:
    """A picture."""
    out = BytesIO()
    Image.effect_noise(size, 50).save(out, form)
    return out.getvalue()


def codes(facts: DocumentFacts) -> list[str]:
    """Codes of what was found."""
    assert all(each.code in CODES and each.message for each in facts.findings)
    return [each.code for each in facts.findings]


def observation(value: str = "12.50", **more: Any) -> bytes:
    """A FHIR Observation of CEA; `value` as it stands in the JSON."""
    made = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2039-6", "display": "CEA"}]},
        "effectiveDateTime": "2026-01-05T08:30:00+01:00",
        "valueQuantity": {"value": 0, "unit": "ng/ml", "system": "http://unitsofmeasure.org", "code": "ng/mL"},
        **more,
    }
    return json.dumps(made).replace('"value": 0', f'"value": {value}').encode()


CEA = e.Marker(marker="cea", value="12.50", unit="ng/mL", loinc="2039-6", sampled_on="2026-01-05", basis="fhir")

CDA = b"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <code code="11502-2" codeSystem="2.16.840.1.113883.6.1"/><effectiveTime value="20260106120000+0100"/>
  <component><section><entry><observation classCode="OBS" moodCode="EVN">
    <code code="1834-1" codeSystem="2.16.840.1.113883.6.1"/><statusCode code="completed"/>
    <effectiveTime value="20260105"/><value xsi:type="PQ" value="3.10" unit="ug/L"/>
  </observation></entry></section></component>
</ClinicalDocument>"""


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (CDA, "application/hl7-cda+xml"),
        (b'<?xml version="1.0"?><!-- a note --><report/>', "application/xml"),
        (observation(), "application/fhir+json"),
        (b'{"a": 1}', "application/json"),
        (b"[1, 2]", "application/json"),
        (b"[see page two] Dear colleague", "text/plain"),
        (b"{not json}", "text/plain"),
        (b"<html><script>1</script></html>", "text/plain"),
        (b"<!DOCTYPE html><html>", "text/plain"),
        (b"< 5 ng/ml", "text/plain"),
        ("\ufeff{}".encode(), "application/json"),
    ],
)
def test_a_structured_text_is_known_by_its_content(first: bytes, expected: str) -> None:
    """CDA and FHIR among texts; HTML is a text and nothing that runs."""
    assert sniff(first) == expected
    assert (structured(first) or "text/plain") == expected


def test_a_plain_pdf_says_its_kind_and_date() -> None:
    """Its words suggest a kind, its date is the first that reads in one way."""
    facts = inspect(pdf(REPORT))
    assert (facts.format, facts.pages, codes(facts)) == ("pdf", 1, [])
    assert (facts.suggested, facts.dated_on) == ("radiology_report", "2026-01-05")


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"password": "secret"}, ["DOC_ENCRYPTED"]),
        ({"password": ""}, []),
        ({"script": True}, ["DOC_ACTIVE_CONTENT"]),
        ({"launch": True}, ["DOC_ACTIVE_CONTENT"]),
        ({"attached": True}, ["DOC_EMBEDDED_FILES"]),
        ({"script": True, "attached": True}, ["DOC_ACTIVE_CONTENT", "DOC_EMBEDDED_FILES"]),
    ],
)
def test_what_a_pdf_hides_is_found(more: dict[str, Any], found: list[str]) -> None:
    """Closed by a password, a program, an action that launches, a file inside; protection against changes is none."""
    assert codes(inspect(pdf(REPORT, **more))) == found


def test_a_scan_and_a_damaged_pdf() -> None:
    """Pages without text are for a person to read; a torso is to be sent again."""
    assert codes(inspect(pdf(""))) == ["DOC_NO_TEXT"]
    assert codes(inspect(b"%PDF-1.7\n" + bytes(range(256)) * 4)) == ["DOC_UNREADABLE"]
    whole = pdf(*[REPORT] * 3)
    for length in range(0, len(whole), 97):
        assert inspect(b"%PDF-" + whole[5:length]).format in ("pdf", "other")


def test_pictures_are_measured_and_decoded_once() -> None:
    """Large enough, too small, cut off, and more pixels than are looked at."""
    assert codes(inspect(picture("JPEG", (1240, 1754)))) == []
    assert codes(inspect(picture("PNG", (300, 400)))) == ["DOC_LOW_RESOLUTION"]
    whole = picture("JPEG", (1240, 1754))
    assert codes(inspect(whole[: len(whole) // 2])) == ["DOC_UNREADABLE"]
    header = (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    bomb += b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    assert codes(inspect(bomb)) == ["DOC_TOO_LARGE"]


@pytest.mark.parametrize("value", ["12.50", "0.1", "12345678.00000001", "7", "-1.5"])
def test_a_coded_value_keeps_every_digit(value: str) -> None:
    """FHIR decimals have a precision; no float ever comes between."""
    facts = inspect(observation(value))
    assert facts.markers == (msgspec.structs.replace(CEA, value=value),)
    assert (facts.format, facts.suggested, facts.dated_on) == ("fhir", "bloods", "2026-01-05")


@pytest.mark.parametrize(
    "more",
    [
        {"status": "preliminary"},
        {"status": "entered-in-error"},
        {"code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}},
        {"code": {"coding": [{"system": "urn:local", "code": "2039-6"}]}},
        {"valueString": "12", "valueQuantity": None},
    ],
)
def test_what_is_no_final_coded_marker_is_none(more: dict[str, Any]) -> None:
    """Preliminary results, other tests, codes of other systems, texts instead of quantities."""
    assert inspect(observation(**more)).markers == ()


@pytest.mark.parametrize("value", ["1e3", "123456789012345", '"12"x', "NaN", "0x10"])
def test_a_value_that_is_not_written_as_a_decimal_is_none(value: str) -> None:
    """Nothing is rounded, guessed or cut."""
    assert inspect(observation(value)).markers == ()


def test_a_unit_outside_ucum_only_suggests() -> None:
    """What is not coded is read as words, and a person confirms it."""
    quantity = {"value": 0, "unit": "ng/ml"}
    (marker,) = inspect(observation("12.5", valueQuantity=quantity)).markers
    assert (marker.basis, marker.value, marker.unit, marker.loinc) == ("text", "12.5", "ng/mL", None)


def test_bundles_and_comparators() -> None:
    """Each observation of a bundle; a bound stays one."""
    inside = json.loads(observation())
    inside["valueQuantity"]["comparator"] = "<"
    bundle = {"resourceType": "Bundle", "entry": [{"resource": inside}, {"resource": inside}, {"fullUrl": "x"}, 3]}
    facts = inspect(json.dumps(bundle).replace('"value": 12.5', '"value": 12.50').encode())
    assert [(each.comparator, each.value) for each in facts.markers] == [("<", "12.50")]


def test_cda_is_read_as_coded() -> None:
    """Document type, day of the sample and value come from codes."""
    facts = inspect(CDA)
    assert (facts.format, facts.suggested, facts.dated_on) == ("cda", "bloods", "2026-01-06")
    (marker,) = facts.markers
    assert (marker.marker, marker.value, marker.unit, marker.sampled_on, marker.basis) == (
        "afp",
        "3.10",
        "ug/L",
        "2026-01-05",
        "cda",
    )


@pytest.mark.parametrize(
    "content",
    [
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "yy">]><a>&x;</a>',
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
    ],
)
def test_entities_are_never_resolved(content: bytes) -> None:
    """Neither expanded nor fetched: the document is reported."""
    assert codes(inspect(content)) == ["DOC_EXTERNAL_ENTITIES"]


def test_nesting_without_end_is_reported() -> None:
    """A hundred thousand deep, in XML and in JSON."""
    assert codes(inspect(b'<?xml version="1.0"?>' + b"<a>" * 100_000)) == ["DOC_UNREADABLE"]
    assert codes(inspect(b'{"resourceType": "Bundle", "a": ' + b"[" * 100_000)) == ["DOC_UNREADABLE"]


def test_markers_in_a_text_are_suggestions() -> None:
    """Value, unit in UCUM, comparator; the day of birth is not that of the sample."""
    facts = inspect(BLOODS.encode())
    assert (facts.suggested, facts.dated_on) == ("bloods", "2026-01-05")
    assert [(each.marker, each.comparator, each.value, each.unit, each.basis) for each in facts.markers] == [
        ("cea", "", "12.5", "ng/mL", "text"),
        ("ca19_9", ">", "1200", "[arb'U]/mL", "text"),
        ("afp", "", "3.1", "ug/L", "text"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "CEA 1.234 ng/ml",
        "CEA reference 0 - 5 ng/ml pending",
        "CEA was raised",
        "CEA\n12 ng/ml",
        "ACEA 12 ng/ml",
        "CEA 12 g/dl",
        "CEA 12.3.4 ng/ml",
    ],
)
def test_a_number_that_reads_in_two_ways_is_left_out(text: str) -> None:
    """A thousand or one and a bit, a range, no unit that is known: nothing is suggested."""
    assert markers_in(text) == ()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("Report of 5.1.2026", "2026-01-05"),
        ("DOB 1961-02-03, seen 2026-01-05", "2026-01-05"),
        ("Geburtsdatum: 03.02.1961", None),
        ("01/02/2026", None),
        ("2026-13-01", None),
    ],
)
def test_days_that_read_in_one_way(text: str, day: str | None) -> None:
    """Slashes mean two things in two countries; a birthday is not the day of a report."""
    assert day_in(text) == day


def test_kinds_are_suggested_by_words_that_agree() -> None:
    """In several languages; a single word, or two kinds at once, suggest nothing."""
    assert suggested_kind("Histology of the biopsy: adenocarcinoma.")[0] == "pathology"
    assert suggested_kind("OP-Bericht. Narkose. Laparotomy")[0] == "operative_note"
    assert suggested_kind("Dear Dr Example, after four cycles of FOLFOX ... Yours sincerely")[0] == "oncologist_letter"
    assert suggested_kind("a biopsy") == (None, ())
    assert suggested_kind("Histology. Biopsy. Incision. Closure.") == (None, ())


def test_files_of_one_record_have_to_agree() -> None:
    """One kind, one day, every marker once."""
    one = DocumentFacts(format="pdf", suggested="bloods", dated_on="2026-01-05", markers=(CEA,))
    assert together([one, one]) == ("bloods", "2026-01-05", (CEA,))
    other = DocumentFacts(format="pdf", suggested="pathology", dated_on="2026-01-06")
    assert together([one, other]) == (None, None, (CEA,))


def test_a_name_that_says_otherwise_is_noted() -> None:
    """The bytes count, and the name is only told about."""
    facts = inspect(picture("PNG", (1200, 1200)))
    assert codes(with_name(facts, "scan.pdf")) == ["DOC_NAME_DISAGREES"]
    assert codes(with_name(facts, "scan.png")) == codes(with_name(facts, "scan")) == []


def test_bytes_of_nothing_that_is_known() -> None:
    """Zeroes, a program, a damaged header: each is said to be none of ours."""
    for content in (bytes(100), b"MZ\x90\0", b"\x7fELF\x02\x01\x01\0"):
        assert codes(inspect(content)) == ["DOC_TYPE_UNKNOWN"]


CLASSIFY = c.ClassifyRecord(record="r-doc", kind="bloods", suggested="bloods", markers=(CEA,))
DOCUMENT = received("r-doc", "other", "d")
CLASSIFIED = e.RecordClassified(record="r-doc", kind="bloods", suggested="bloods", markers=(CEA,))


def test_a_coordinator_classifies_and_the_newest_word_counts() -> None:
    """The checklist goes by the newest kind; a record may be classified again."""
    case = given(*GATHERING, DOCUMENT)
    assert case.when(CLASSIFY, by=COORDINATOR).then(CLASSIFIED).records["r-doc"].kind == "bloods"
    again = c.ClassifyRecord(record="r-doc", kind="pathology")
    state = (
        given(*GATHERING, DOCUMENT, CLASSIFIED)
        .when(again, by=COORDINATOR)
        .then(e.RecordClassified(record="r-doc", kind="pathology"))
    )
    assert state.records["r-doc"].kind == "pathology"


def test_who_and_what_may_not_be_classified() -> None:
    """Only by the assigned coordinator; nothing unknown or in quarantine; imaging stays imaging."""
    case = given(*GATHERING, DOCUMENT)
    for actor in (PATIENT, OTHER_COORDINATOR):
        case.when(CLASSIFY, by=actor).refused(WrongRole)
    case.when(c.ClassifyRecord(record="r-none", kind="bloods"), by=COORDINATOR).refused(MissingPart)
    case.when(c.ClassifyRecord(record="r-doc", kind="imaging"), by=COORDINATOR).refused(MissingPart)
    imaging = given(*story("imaging_check"))
    imaging.when(c.ClassifyRecord(record="r-ct", kind="other"), by=COORDINATOR).refused(MissingPart)
    quarantined = given(*story("imaging_check"), QUARANTINED)
    quarantined.when(c.ClassifyRecord(record="r-ct", kind="imaging"), by=COORDINATOR).refused(WrongPhase)
