"""Pictures, reports and documents over HTTP."""

import base64
import hashlib
import re

from tests.api.people import (
    COMPLIANCE,
    COORDINATOR,
    ONCOLOGIST,
    PATIENT,
    SURGEON,
    TECHNICIAN,
    Stage,
    problem,
)
from tests.integration.test_pictures import saved, slice_of
from tests.unit.test_documents import BLOODS, observation, pdf


def received(stage: Stage, kind: str, name: str, content: bytes) -> str:
    """A record of one file; its path."""
    upload = stage.begin(kind=kind)
    assert stage.add(upload, name, content).status_code == 201
    said = stage.done(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
    return f"/cases/{{case}}/records/{said['made']['record']}"


def test_pictures_and_report_of_a_record(stage: Stage) -> None:
    """PNG and HTML that may run nothing, load nothing and be kept by nobody."""
    stage.open()
    stage.prepare()
    stage.upload()
    path = f"/cases/{{case}}/records/{stage.record}"
    listed = stage.ask(TECHNICIAN, "GET", f"{path}/pictures")
    assert listed.status_code == 200, listed.text
    (series,) = listed.json()["series"]
    for picture in (series["sheet"], series["thumbnail"]):
        png = stage.ask(PATIENT, "GET", f"{path}/pictures/{picture['sha256']}")
        assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
        assert hashlib.sha256(png.content).hexdigest() == picture["sha256"]
        assert png.headers["x-content-type-options"] == "nosniff"
        assert "no-store" in png.headers["cache-control"]
        assert "default-src 'none'" in png.headers["content-security-policy"]
    page = stage.ask(COORDINATOR, "GET", f"{path}/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "no-store" in page.headers["cache-control"]
    policy = page.headers["content-security-policy"]
    style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "style=" not in page.text
    assert "Markerwoman" not in page.text
    problem(stage.ask(PATIENT, "GET", f"{path}/pictures/{'0' * 64}"), 404, "not-found")
    problem(stage.ask(PATIENT, "GET", f"{path}/pictures/x"), 404, "not-found")
    for who in (SURGEON, ONCOLOGIST, COMPLIANCE):
        for what in ("pictures", "report"):
            problem(stage.ask(who, "GET", f"{path}/{what}"), 403, "wrong-role")


def test_hostile_images_are_a_problem_and_nothing_more(stage: Stage) -> None:
    """Bytes that claim gigabytes: a problem document, and the next request is answered as before."""
    stage.open()
    stage.prepare()
    claim = saved(slice_of(Rows=65535, Columns=65535))
    hostile = received(stage, "imaging", "IM0", claim)
    stage.upload()
    answer = stage.ask(COORDINATOR, "GET", f"{hostile}/pictures")
    problem(answer, 422, "undecodable")
    assert stage.ask(COORDINATOR, "GET", f"/cases/{{case}}/records/{stage.record}/pictures").status_code == 200


def test_a_document_is_described_and_classified(stage: Stage) -> None:
    """What the laboratory coded goes on record exactly; what was read in words only when the coordinator repeats it."""
    stage.open()
    stage.prepare()
    coded = received(stage, "other", "Markerfile.json", observation())
    said = stage.ask(PATIENT, "GET", f"{coded}/documents").json()
    assert (said["suggested"], said["dated_on"]) == ("bloods", "2026-01-05")
    (marker,) = said["markers"]
    assert (marker["value"], marker["unit"], marker["basis"]) == ("12.50", "ng/mL", "fhir")
    assert stage.ask(PATIENT, "GET", coded).json()["files"][0]["media_type"] == "application/fhir+json"
    problem(stage.write(PATIENT, "POST", f"{coded}/classification", {"kind": "bloods"}), 403, "wrong-role")
    stage.done(COORDINATOR, "POST", f"{coded}/classification", {"kind": "bloods"})
    (event,) = [
        each.event
        for each in stage.service.ledger.stream(f"case-{stage.case}")
        if type(each.event).__name__ == "RecordClassified"
    ]
    assert [(each.value, each.basis) for each in event.markers] == [("12.50", "fhir")]  # type: ignore[union-attr]
    state = stage.service.cases.load(stage.case).state
    assert next(iter(state.records.values())).kind == "bloods"

    written = received(stage, "other", "bloods.txt", BLOODS.encode())
    suggested = stage.ask(COORDINATOR, "GET", f"{written}/documents").json()["markers"]
    assert {each["basis"] for each in suggested} == {"text"}
    wrong = [{**suggested[0], "value": "1.25"}]
    body = {"kind": "bloods", "markers": wrong}
    problem(stage.write(COORDINATOR, "POST", f"{written}/classification", body), 400, "invalid-input")
    body = {"kind": "pathology", "markers": suggested[:1]}
    problem(stage.write(COORDINATOR, "POST", f"{written}/classification", body), 400, "invalid-input")
    entered = {"marker": "afp", "value": "7", "unit": "ug/L", "basis": "entered"}
    stage.done(COORDINATOR, "POST", f"{written}/classification", {"kind": "bloods", "markers": [suggested[0], entered]})
    stage.done(COORDINATOR, "POST", f"{written}/classification", {"kind": "other"})
    problem(stage.write(COORDINATOR, "POST", f"{written}/classification", {"kind": "imaging"}), 409, "missing-part")


def test_a_pdf_with_a_program_is_flagged(stage: Stage) -> None:
    """The finding says what to send instead."""
    stage.open()
    stage.prepare()
    path = received(stage, "radiology_report", "report.pdf", pdf("Impression: none. Radiologist", script=True))
    (file,) = stage.ask(COORDINATOR, "GET", f"{path}/documents").json()["files"]
    (finding,) = file["facts"]["findings"]
    assert (finding["code"], finding["value"]) == ("DOC_ACTIVE_CONTENT", "JavaScript")
    problem(stage.ask(COORDINATOR, "GET", f"{path}/pictures"), 404, "not-found")
