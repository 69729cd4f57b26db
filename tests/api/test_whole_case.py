"""A whole case over HTTP: each endpoint does what it says, and what it says is described."""

import hashlib
import re

import msgspec
from litestar import Litestar

from domain.ledger.receipt import Receipt
from domain.ledger.receipt import verify as verify_receipt
from domain.ledger.verify import verify
from domain.ledger.verify_trust import parse_trusted_keys
from tests.api.people import (
    ADMINISTRATOR,
    COMPLIANCE,
    COORDINATOR,
    ONCOLOGIST,
    OPEN,
    PATIENT,
    SURGEON,
    Stage,
    problem,
)
from tests.api.schema_check import faults
from tests.service_fixture import CT, dicom


def described(stage: Stage) -> None:
    """Hold every answer so far against the API's description."""
    document = stage.client.get("/schema/openapi.json").json()
    templates = {
        re.compile("^" + re.sub(r"\{[a-z0-9]+\}", "[^/]+", path) + "$"): path
        for path in sorted(document["paths"], key=lambda path: path.count("{"))
    }
    for answer in stage.answers:
        path = next(path for form, path in templates.items() if form.match(answer.request.url.path))
        operation = document["paths"][path][answer.request.method.lower()]
        response = operation["responses"][str(answer.status_code)]
        if not answer.content:
            continue
        media_type = answer.headers["content-type"].split(";")[0]
        if media_type.endswith("json"):
            schema = response["content"][media_type]["schema"]
            assert faults(answer.json(), schema, document) == [], (path, answer.text)


def test_a_case_goes_from_opening_to_a_shared_opinion(stage: Stage) -> None:
    """Each step answers with its revision and receipts that hold; the bundle verifies with the published keys."""
    opened = stage.open()
    assert opened["revision"] == 1
    assert opened["made"] == {"case": stage.case}
    stage.prepare()
    received = stage.upload()
    assert received["imaging_check"] == "queued"
    assert received["revision"] == stage.revision() - 1
    stage.enrol()
    key = stage.ask(SURGEON, "GET", f"/keys/{stage.key_id}").json()
    assert (key["owner"], key["enrolled"]) == (SURGEON[1], True)
    stage.route()
    stage.sign()
    stage.deliver_and_share()
    shown = stage.done(ONCOLOGIST, "POST", f"/cases/{{case}}/shares/{stage.share}/opened")
    assert shown["opinion"]["content"]["resectability"] == "potentially_resectable_after_conversion"
    assert "no medical advice" in shown["opinion"]["notice"]
    stage.done(PATIENT, "POST", f"/cases/{{case}}/consents/{stage.consent('process')}/withdrawal")

    keys = parse_trusted_keys(stage.ask(None, "GET", "/keys.txt").content)
    for answer in stage.answers:
        if answer.headers["content-type"] == "application/json" and "receipts" in answer.json():
            assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
            for each in answer.json()["receipts"]:
                verify_receipt(msgspec.convert(each, Receipt), keys.checkpoint)
    again = stage.ask(ONCOLOGIST, "GET", f"/entries/{opened['index']}/receipt")
    assert again.json() == opened["receipts"][0]
    for who in (PATIENT, COMPLIANCE):
        bundle = stage.ask(who, "GET", "/cases/{case}/bundle")
        assert bundle.headers["content-type"] == "application/zip"
        report = verify(bundle.content, keys)
        assert report.ok, report.failure
    assert stage.ask(None, "GET", "/checkpoint").text.startswith(stage.service.keys.origin + "\n")
    assert stage.ask(None, "GET", "/health").json() == {"status": "ok"}
    described(stage)


def test_reads_are_on_record_before_they_are_answered(stage: Stage) -> None:
    """Case, trail, record, file and opinion are shown to who may see them; each read is an entry."""
    stage.until_shared()
    case = stage.ask(COORDINATOR, "GET", "/cases/{case}")
    said = case.json()
    assert case.headers["etag"] == f'"{stage.revision()}"'
    assert (said["phase"], said["coordinator"], said["clock"]) == ("follow_up", COORDINATOR[1], "stopped")
    assert said["content"]["opinions"][0]["notice"]
    assert said["content"]["shares"][0]["share"] == stage.share
    assert "account-1" not in case.text
    assert stage.ask(SURGEON, "GET", "/cases/{case}").json()["content"]["shares"] is None

    manifest = stage.ask(SURGEON, "GET", f"/cases/{{case}}/records/{stage.record}").json()
    file = manifest["files"][0]
    assert file["name"].startswith("Markerfile ö")
    content = stage.ask(SURGEON, "GET", f"/cases/{{case}}/records/{stage.record}/files/{file['sha256']}")
    assert hashlib.sha256(content.content).hexdigest() == file["sha256"]
    assert content.headers["content-type"] == "application/dicom"
    assert content.headers["content-disposition"] == "attachment"
    opinion = stage.ask(PATIENT, "GET", f"/cases/{{case}}/opinions/{stage.opinion}").json()
    assert opinion["signer"] == SURGEON[1]

    trail = stage.ask(COORDINATOR, "GET", "/cases/{case}/trail").json()
    reads = [each for each in trail["entries"] if each["kind"] == "access.recorded.v1"]
    assert {each["summary"].split(",")[0] for each in reads} == {"case", "record", "opinion", "trail"}
    assert reads[-1]["index"] == trail["position"] - 1
    assert trail["next"] is None
    bare = stage.ask(COMPLIANCE, "GET", "/cases/{case}/trail?limit=3").json()
    assert [each["summary"] for each in bare["entries"]] == [None] * 3
    further = stage.ask(COMPLIANCE, "GET", f"/cases/{{case}}/trail?limit=3&after={bare['next']}").json()
    assert further["entries"][0]["index"] > bare["entries"][-1]["index"]
    problem(stage.ask(ADMINISTRATOR, "GET", "/cases/{case}"), 403, "wrong-role")
    described(stage)


def test_a_patient_sees_no_opinion_before_it_is_delivered(stage: Stage) -> None:
    """Signed but not delivered, it is not in the patient's view of the case."""
    stage.until_routed()
    stage.sign()
    assert stage.ask(PATIENT, "GET", "/cases/{case}").json()["content"]["opinions"] == []
    assert len(stage.ask(COORDINATOR, "GET", "/cases/{case}").json()["content"]["opinions"]) == 1
    problem(stage.ask(PATIENT, "GET", f"/cases/{{case}}/opinions/{stage.opinion}"), 409, "wrong-phase")


def test_a_coordinator_opens_a_case_for_a_patient(stage: Stage) -> None:
    """With the patient's account named; the patient then acts on it."""
    body = {**OPEN, "patient": {**OPEN["patient"], "account": PATIENT[1]}}
    problem(stage.write(COORDINATOR, "POST", "/cases", OPEN), 403, "wrong-role")
    answer = stage.write(COORDINATOR, "POST", "/cases", body)
    stage.case = answer.json()["case"]
    assert answer.headers["location"] == f"/cases/{stage.case}"
    assert stage.ask(PATIENT, "GET", "/cases/{case}").status_code == 200


def test_a_consent_takes_instants_and_is_shown_with_them(stage: Stage) -> None:
    """Instants are RFC 3339 with an offset, both ways; a withdrawal needs no body from the patient."""
    stage.open()
    consent = stage.consent("process", valid_until="2100-01-01T01:00:00.25+01:00")
    stage.done(COORDINATOR, "PUT", "/cases/{case}/coordinator", {"coordinator": COORDINATOR[1]})
    shown = stage.ask(COORDINATOR, "GET", "/cases/{case}").json()["content"]["consents"][0]
    assert (shown["ends_at"], shown["ended"]) == ("2100-01-01T00:00:00.250000Z", False)
    missing = stage.write(COORDINATOR, "POST", f"/cases/{{case}}/consents/{consent}/withdrawal")
    problem(missing, 409, "missing-part")
    stage.done(PATIENT, "POST", f"/cases/{{case}}/consents/{consent}/withdrawal")
    assert stage.ask(COORDINATOR, "GET", "/cases/{case}").json()["content"]["consents"][0]["ended"] is True


def test_something_that_happened_earlier_says_so(stage: Stage) -> None:
    """Occurred-At stands in the entry beside the time of recording; one in the future is refused."""
    stage.open()
    body = {"text_sha256": "0" * 64, "language": "en"}
    path = "/cases/{case}/disclaimer"
    for bad in ("2100-01-01T00:00:00Z", "2026-01-02T03:04:05", "yesterday"):
        problem(stage.write(PATIENT, "PUT", path, body, **{"Occurred-At": bad}), 400, "invalid-input")
    stage.done(PATIENT, "PUT", path, body, **{"Occurred-At": "2026-01-02T03:04:05+01:00"})
    trail = stage.ask(PATIENT, "GET", "/cases/{case}/trail").json()["entries"]
    assert [each["occurred_at"] for each in trail if "disclaimer" in each["kind"]] == ["2026-01-02T02:04:05Z"]


def test_an_upload_is_shown_and_given_up(stage: Stage) -> None:
    """Its files count as they arrive; once abandoned it is gone, and nothing of it is in the log."""
    stage.open()
    stage.prepare()
    upload, size = stage.begin(), stage.size()
    stage.add(upload, "one", dicom(CT)[0])
    shown = stage.ask(PATIENT, "GET", upload).json()
    assert (shown["state"], shown["files"]) == ("open", 1)
    assert stage.ask(PATIENT, "DELETE", upload).status_code == 204
    problem(stage.add(upload, "two", dicom(CT)[1]), 404, "upload-not-found")
    assert stage.size() == size
    described(stage)


def test_an_imaging_check_that_nothing_waits_for_is_refused(stage: Stage) -> None:
    """The coordinator may ask for one; when all imaging has been checked there is nothing to do."""
    stage.open()
    stage.prepare()
    stage.upload()
    problem(stage.write(COORDINATOR, "POST", "/cases/{case}/imaging-checks"), 409, "already-done")
    problem(stage.write(PATIENT, "POST", "/cases/{case}/imaging-checks"), 403, "wrong-role")


def test_the_description_has_every_route_and_every_schema(stage: Stage) -> None:
    """Every handler has an operation of its own, every reference leads somewhere, and a token is asked for."""
    app: Litestar = stage.app
    document = stage.client.get("/schema/openapi.json").json()
    served = {
        (re.sub(r":[a-z]+\}", "}", route.path), str(method).lower())
        for route in app.routes
        for method in route.methods
        if not route.path.startswith("/schema") and method != "OPTIONS"
    }
    operations = {(path, method): each for path, of in document["paths"].items() for method, each in of.items()}
    assert served == set(operations)
    ids = [each["operationId"] for each in operations.values()]
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', msgspec.json.encode(document).decode()))
    assert references == set(document["components"]["schemas"])
    assert document["security"] == [{"bearer": []}]
    public = {path for (path, _), each in operations.items() if each.get("security") == []}
    proofs = {"/tile/{level}/{tile}", "/proofs/inclusion", "/proofs/consistency"}
    assert public == {"/checkpoint", "/keys.txt", "/health", "/ready", "/metrics", *proofs}
    for (path, method), each in operations.items():
        problems = [of for status, of in each["responses"].items() if status[0] in "45"]
        assert problems, path
        # Not being ready is no failure of the request: its answer has the same shape as being so.
        expected = "application/json" if path == "/ready" else "application/problem+json"
        assert all(list(of["content"]) == [expected] for of in problems), path
        names = {parameter["name"] for parameter in each.get("parameters", ()) if parameter["required"]}
        if method in ("post", "put") and "401" in each["responses"] and "428" in each["responses"]:
            assert names & {"Idempotency-Key", "If-Match"}, path
