"""Bad input and refused actions over HTTP: each a problem that names its cause, and the case not moved."""

import base64
import json
from typing import Any
from uuid import uuid4

import pytest

from domain.access import AccessRecorded
from tests.api.people import (
    ADMINISTRATOR,
    COORDINATOR,
    ONCOLOGIST,
    OPEN,
    OTHER_COORDINATOR,
    OTHER_PATIENT,
    PATIENT,
    SPECIALIST,
    SURGEON,
    Stage,
    problem,
)
from tests.ledger_fixture import in_threads
from tests.service_fixture import CT, ZERO, dicom

DISCLAIMER = {"text_sha256": ZERO, "language": "en"}


def with_patient(**changes: Any) -> bytes:
    """The body that opens a case, its patient changed."""
    return json.dumps({**OPEN, "patient": {**OPEN["patient"], **changes}}).encode()


@pytest.mark.parametrize(
    ("raw", "status", "code", "field"),
    [
        (b"{", 400, "malformed-body", None),
        (b"", 400, "malformed-body", None),
        (b"\xff\xfe", 400, "malformed-body", None),
        (b"null", 400, "malformed-body", None),
        (b"[" * 200_000, 400, "malformed-body", None),
        (b'{"a":' * 50 + b"1" + b"}" * 50, 400, "malformed-body", None),
        (b'{"case": 1, "case": 2}', 400, "malformed-body", None),
        (b'{"patient": {"name": "a", "name": "b"}}', 400, "malformed-body", None),
        (b'{"n": ' + b"9" * 5000 + b"}", 400, "malformed-body", None),
        (b'{"n": NaN}', 400, "malformed-body", None),
        (json.dumps({"case": OPEN["case"]}).encode(), 400, "malformed-body", "/patient"),
        (with_patient(surname="Markerwoman"), 400, "malformed-body", "/patient"),
        (with_patient(Markerwoman="x"), 400, "malformed-body", "/patient"),
        (with_patient(name=7), 400, "malformed-body", "/patient/name"),
        (with_patient(name=""), 400, "malformed-body", "/patient/name"),
        (with_patient(born_on="Markerwoman"), 400, "malformed-body", "/patient/born_on"),
        (with_patient(born_on="1961-02-30"), 400, "malformed-body", None),
        (with_patient(born_on="2999-01-01"), 400, "malformed-body", None),
        (with_patient(name="Ada\u0000Markerwoman"), 422, "control-character", "/patient/name"),
        (with_patient(name="Ada\nMarkerwoman"), 422, "control-character", "/patient/name"),
        (with_patient(name="Markerwoman" * 100), 413, "too-large", "/patient/name"),
        (with_patient(name="Markerwoman" * 60_000), 413, "too-large", None),
        (
            json.dumps({**OPEN, "case": {**OPEN["case"], "organ": "Markerwoman"}}).encode(),
            400,
            "malformed-body",
            "/case/organ",
        ),
        (b'{"Ada Markerwoman": 1}', 400, "malformed-body", None),
        (b'{"Markerwoman": 1}', 400, "malformed-body", None),
        (b'{"Markerwoman": 1, "Markerwoman": 2}', 400, "malformed-body", None),
        (b'{"x - at `$.Markerwoman": 1}', 400, "malformed-body", None),
        (b'{"x - at `$.patient[19610203]": 1}', 400, "malformed-body", None),
        (b'{"matching regex - at `$.case.organ": 1}', 400, "malformed-body", None),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else None,
)
def test_a_bad_body_is_named_and_not_repeated(
    stage: Stage, raw: bytes, status: int, code: str, field: str | None
) -> None:
    """The problem names the field and the rule, never what was sent; the ledger is as it was."""
    size = stage.size()
    said = problem(stage.write(PATIENT, "POST", "/cases", raw=raw), status, code)
    assert said.get("field") == field
    assert stage.size() == size


def test_a_body_that_is_not_said_to_be_json_is_refused(stage: Stage) -> None:
    """A form, or no content type, is 415."""
    for media_type in ("application/x-www-form-urlencoded", "text/plain", ""):
        answer = stage.write(PATIENT, "POST", "/cases", OPEN, **{"Content-Type": media_type})
        problem(answer, 415, "unsupported-media-type")


def test_unknown_routes_methods_and_ids_are_problems(stage: Stage) -> None:
    """Whatever cannot be an id of ours is not found, and reaches no use case."""
    problem(stage.ask(PATIENT, "GET", "/nothing"), 404, "not-found")
    problem(stage.ask(PATIENT, "PATCH", "/cases"), 405, "method-not-allowed")
    problem(stage.ask(None, "GET", "/schema/swagger"), 404, "not-found")
    for case in ("0" * 36, "%00", "Ada%20Markerwoman", "01a2030f-43de-71e9-b5f7-962eff4a78d7"):
        problem(stage.ask(PATIENT, "GET", f"/cases/{case}"), 404, "case-not-found")
    problem(stage.ask(PATIENT, "GET", "/entries/999/receipt"), 404, "entry-not-found")
    problem(stage.ask(PATIENT, "GET", f"/entries/{2**70}/receipt"), 404, "entry-not-found")
    problem(stage.ask(None, "GET", "/checkpoint"), 404, "entry-not-found")
    problem(stage.ask(PATIENT, "GET", "/keys/" + "0" * 32), 404, "key-not-found")
    stage.open()
    problem(stage.ask(PATIENT, "GET", "/cases/{case}/records/nothing"), 404, "not-found")
    problem(stage.ask(PATIENT, "GET", "/cases/{case}/trail?limit=Markerwoman"), 400, "invalid-input")
    problem(stage.ask(PATIENT, "GET", "/cases/{case}/trail?limit=100000"), 400, "invalid-input")
    problem(stage.ask(PATIENT, "GET", f"/cases/{{case}}/uploads/{stage.case}"), 404, "upload-not-found")


def test_a_write_says_what_it_saw_and_how_it_is_told_apart(stage: Stage) -> None:
    """Without If-Match or Idempotency-Key it is 428; malformed, 400."""
    stage.open()
    path, body = f"/cases/{stage.case}/disclaimer", DISCLAIMER
    for headers in ({"If-Match": '"1"'}, {"Idempotency-Key": "a"}):
        problem(stage.ask(PATIENT, "PUT", path, json=body, headers=headers), 428, "precondition-required")
    problem(stage.ask(PATIENT, "POST", "/cases", json=OPEN), 428, "precondition-required")
    for if_match in ("*", "1", 'W/"1"', '"0"', '"x"', '"1", "2"', '"99999999999999999999"'):
        answer = stage.ask(PATIENT, "PUT", path, json=body, headers={"If-Match": if_match, "Idempotency-Key": "a"})
        problem(answer, 400, "invalid-input")
    for key in ("", "a b", "a" * 101, "\xe9"):
        headers = [("If-Match", b'"1"'), ("Idempotency-Key", key.encode("latin-1"))]
        headers.append(("Authorization", f"Bearer {stage.token(PATIENT)}".encode()))
        problem(stage.client.put(path, json=body, headers=headers), 400, "invalid-input")
    assert stage.revision() == 1


def test_a_stale_revision_is_told_what_moved(stage: Stage) -> None:
    """Who is somebody to the case sees where it stands, and kinds, actors and times of what came since; nobody else."""
    stage.open()
    stage.prepare()
    said = problem(
        stage.write(PATIENT, "PUT", "/cases/{case}/disclaimer", DISCLAIMER, revision=5), 412, "stale-revision"
    )
    assert said["revision"] == stage.revision()
    assert [each["revision"] for each in said["changed"]] == list(range(6, stage.revision() + 1))
    assert said["changed"][-1]["kind"] == "case.checklist_issued.v1"
    assert said["changed"][-1]["actor"] == COORDINATOR[1]
    assert set(said["changed"][0]) == {"revision", "index", "kind", "actor", "role", "recorded_at"}
    for stranger in (OTHER_PATIENT, SURGEON):
        other = stage.write(stranger, "PUT", "/cases/{case}/disclaimer", DISCLAIMER, revision=5)
        # Not even which revision the case is at.
        told = problem(other, 403, "wrong-role")
        assert not {"changed", "revision"} & set(told)
        assert str(stage.revision()) not in told["detail"]
    ahead = stage.write(PATIENT, "PUT", "/cases/{case}/disclaimer", DISCLAIMER, revision=500)
    assert problem(ahead, 412, "stale-revision")["changed"] == []


def test_a_repeated_request_has_the_same_answer(stage: Stage) -> None:
    """Body and status are the same to the byte, nothing is appended; the same key with anything else is refused."""
    first = stage.write(PATIENT, "POST", "/cases", OPEN, key="same")
    size = stage.size()
    again = stage.write(PATIENT, "POST", "/cases", OPEN, key="same")
    assert (again.status_code, again.content, again.headers["location"]) == (
        201,
        first.content,
        first.headers["location"],
    )
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    other = {**OPEN, "patient": {**OPEN["patient"], "name": "Another"}}
    problem(stage.write(PATIENT, "POST", "/cases", other, key="same"), 422, "idempotency-key-reused")
    problem(stage.write(PATIENT, "PUT", f"/cases/{first.json()['case']}/disclaimer", DISCLAIMER, key="same",
                        **{"If-Match": '"1"'}), 422, "idempotency-key-reused")  # fmt: skip
    assert stage.size() == size
    assert stage.write(OTHER_PATIENT, "POST", "/cases", OPEN, key="same").json()["case"] != first.json()["case"]

    stage.case = first.json()["case"]
    one = stage.write(PATIENT, "PUT", "/cases/{case}/disclaimer", DISCLAIMER, key="next", revision=1)
    stage.consent("process")
    two = stage.write(PATIENT, "PUT", "/cases/{case}/disclaimer", DISCLAIMER, key="next", revision=1)
    assert (two.status_code, two.content, two.headers["etag"]) == (200, one.content, '"2"')


def test_equal_requests_at_one_moment_have_one_answer(stage: Stage) -> None:
    """However many arrive together under one key, one specialist and one case come about, and all are told of them."""
    headers = {"Idempotency-Key": "together"}
    for who, path, body in ((ADMINISTRATOR, "/specialists", SPECIALIST), (PATIENT, "/cases", OPEN)):
        answers = in_threads(6, lambda _, w=who, p=path, b=body: stage.ask(w, "POST", p, json=b, headers=headers))
        assert {each.status_code for each in answers} == {201}
        assert len({each.content for each in answers}) == 1


def test_a_repeated_upload_has_the_same_answer(stage: Stage) -> None:
    """A record that was received is answered the same however often it is asked, checked meanwhile or not."""
    stage.open()
    stage.prepare()
    upload = stage.begin()
    for number, content in enumerate(dicom(CT)):
        stage.add(upload, f"{number}", content)
    path, revision = upload.replace(stage.case, "{case}") + "/record", stage.revision()
    first = stage.write(PATIENT, "POST", path, key="record", revision=revision)
    stage.check()
    again = stage.write(PATIENT, "POST", path, key="record", revision=revision)
    assert first.json()["imaging_check"] == "queued"
    assert (again.status_code, again.content, again.headers["etag"]) == (201, first.content, first.headers["etag"])


def test_a_refused_write_is_on_record(stage: Stage) -> None:
    """Role, phase, consent: the case does not move, and the log says who tried what, and why it was refused."""
    stage.open()
    stage.prepare()
    revision, size = stage.revision(), stage.size()
    item = {"item": "x", "kind": "imaging", "description": "Markerwords"}
    checklist = {"items": [item], "imaging_site": "any"}
    problem(stage.write(PATIENT, "PUT", "/cases/{case}/checklist", checklist), 403, "wrong-role")
    problem(stage.write(COORDINATOR, "PUT", "/cases/{case}/checklist", checklist), 409, "wrong-phase")
    problem(stage.write(PATIENT, "PUT", "/cases/{case}/disclaimer", DISCLAIMER), 409, "already-done")
    problem(stage.write(COORDINATOR, "POST", "/cases/{case}/completeness"), 409, "wrong-phase")
    problem(stage.write(OTHER_PATIENT, "PUT", "/cases/{case}/disclaimer", DISCLAIMER), 403, "wrong-role")
    problem(stage.write(SURGEON, "POST", "/cases/{case}/acceptance"), 403, "wrong-role")
    problem(stage.ask(ONCOLOGIST, "POST", "/cases/{case}/uploads", json={"kind": "imaging"}), 403, "wrong-role")
    assert stage.revision() == revision
    refusals = stage.service.ledger.read(size, stage.size())
    told = [
        (each.event.what, each.event.refused_because, each.statement.actor)
        for each in refusals
        if isinstance(each.event, AccessRecorded)
    ]
    patient = stage.service.cases.load(stage.case).state.patient_actor
    assert told == [
        ("checklist", "wrong-role", patient),
        ("checklist", "wrong-phase", COORDINATOR[1]),
        ("disclaimer", "already-done", patient),
        ("completeness", "wrong-phase", COORDINATOR[1]),
        ("disclaimer", "wrong-role", "unknown-patient"),
        ("acceptance", "wrong-role", SURGEON[1]),
        ("upload", "wrong-role", ONCOLOGIST[1]),
    ]
    assert {each.statement.outcome for each in refusals} == {"refused"}


def test_what_a_checklist_or_a_specialist_names_has_to_exist(stage: Stage) -> None:
    """An unknown requirement set, calendar or specialist is refused before anything relies on it."""
    stage.open()
    item = {"item": "x", "kind": "imaging", "description": "CT"}
    answer = stage.write(COORDINATOR, "PUT", "/cases/{case}/checklist", {"items": [item], "imaging_site": "moon"})
    assert problem(answer, 400, "malformed-body")["field"] == "/imaging_site"
    answer = stage.write(ADMINISTRATOR, "POST", "/specialists", {**SPECIALIST, "calendar": "moon"})
    problem(answer, 400, "malformed-body")
    answer = stage.write(COORDINATOR, "POST", "/cases/{case}/routing", {"specialist": "specialist-x"})
    problem(answer, 404, "specialist-not-found")


def test_signatures_that_are_not_what_was_prepared_are_refused(stage: Stage) -> None:
    """Another signature, statement or payload, a late one, one of a case that moved, a second submission."""
    stage.until_routed()
    path, body = "/cases/{case}/opinions", stage.signed()
    revision = stage.revision()

    def flipped(name: str) -> dict[str, Any]:
        raw = bytearray(base64.b64decode(body[name]))
        raw[-1] ^= 1
        return {**body, name: base64.b64encode(raw).decode()}

    problem(stage.write(SURGEON, "POST", path, flipped("signature")), 403, "wrong-key")
    for name in ("statement", "payload", "blinding", "preparation"):
        problem(stage.write(SURGEON, "POST", path, flipped(name)), 422, "wrong-statement")
    problem(stage.write(SURGEON, "POST", path, {**body, "signature": "%%%"}), 400, "malformed-body")
    problem(stage.write(COORDINATOR, "POST", path, body), 422, "wrong-statement")
    stage.clock.ahead_s = 601
    problem(stage.write(SURGEON, "POST", path, body), 410, "preparation-expired")
    stage.clock.ahead_s = 0
    assert stage.revision() == revision
    stage.consent("translation")
    problem(stage.write(SURGEON, "POST", path, body), 409, "preparation-replayed")
    problem(stage.write(SURGEON, "POST", path, body, revision=revision), 412, "stale-revision")
    fresh = stage.signed()
    stage.done(SURGEON, "POST", path, fresh)
    problem(stage.write(SURGEON, "POST", path, fresh), 409, "preparation-replayed")


def test_a_share_stays_shut_once_its_consent_is_withdrawn(stage: Stage) -> None:
    """Neither a new request nor a repetition of the one that opened it shows the opinion again."""
    consent = stage.until_shared()
    path = f"/cases/{stage.case}/shares/{stage.share}/opened"
    assert stage.write(ONCOLOGIST, "POST", path, key="open").status_code == 200
    assert stage.write(ONCOLOGIST, "POST", path, key="open").status_code == 200
    stage.done(PATIENT, "POST", f"/cases/{{case}}/consents/{consent}/withdrawal")
    size = stage.size()
    problem(stage.write(ONCOLOGIST, "POST", path, key="open"), 403, "missing-consent")
    problem(stage.write(ONCOLOGIST, "POST", path), 403, "missing-consent")
    problem(stage.write(OTHER_COORDINATOR, "POST", path), 403, "wrong-role")
    for share in ("share-x", f"share-{uuid4()}"):
        path = f"/cases/{stage.case}/shares/{share}/opened"
        problem(stage.write(ONCOLOGIST, "POST", path), 404, "share-not-found")
    # But for what could not be a share.
    assert stage.size() == size + 4
    assert {each.statement.outcome for each in stage.service.ledger.read(size, size + 4)} == {"refused"}
