"""The imaging check over HTTP: queued, shown, read, overruled, released."""

import hashlib
from typing import Any

from application.work import jobs
from tests.api.people import (
    COMPLIANCE,
    COORDINATOR,
    OPEN,
    PATIENT,
    SURGEON,
    TECHNICIAN,
    Stage,
    problem,
)
from tests.api.test_whole_case import described
from tests.service_fixture import CT, MR_PROJECTIONS, dicom

REASON = "The plane is the hospital's own reconstruction."


def shown(stage: Stage) -> Any:
    """The case's imaging, as its coordinator sees it."""
    return stage.ask(COORDINATOR, "GET", "/cases/{case}").json()["content"]


def gathered(stage: Stage, folder: str) -> None:
    """A case with imaging that was checked."""
    stage.open()
    stage.prepare()
    stage.upload(folder)


def test_the_case_shows_that_a_check_is_queued_and_what_it_came_to(stage: Stage) -> None:
    """First the record that waits for it, then verdict, findings and advice."""
    stage.open()
    stage.prepare()
    upload = stage.begin()
    for number, content in enumerate(dicom(MR_PROJECTIONS)):
        stage.add(upload, f"{number}", content)
    path = upload.replace(stage.case, "{case}") + "/record"
    record = stage.done(PATIENT, "POST", path)["made"]["record"]
    waiting = shown(stage)
    assert (waiting["imaging"], waiting["imaging_unchecked"]) == (None, [record])
    assert waiting["imaging_check"] == "queued"
    stage.check()
    content = shown(stage)
    assert (content["imaging_unchecked"], content["imaging_check"]) == ([], None)
    imaging = content["imaging"]
    assert (imaging["verdict"], imaging["records"], imaging["overruled"]) == ("inadequate", [record], None)
    assert "not_a_volume" in imaging["findings"]
    assert imaging["advice"][0]["what"]
    described(stage)


def test_a_check_that_was_given_up_is_shown_and_asked_for(stage: Stage) -> None:
    """Whoever runs the service sees it in numbers, the coordinator at the case; asking for the check mends both."""
    stage.open()
    stage.prepare()
    upload = stage.begin()
    stage.add(upload, "1", dicom(CT)[0])
    stage.done(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
    with stage.service.pool.connection() as connection, connection.transaction():
        jobs.enqueue(connection, [stage.case])
        connection.execute("UPDATE procrastinate_jobs SET status = 'failed'")
    assert shown(stage)["imaging_check"] == "failed"
    ready = stage.ask(None, "GET", "/ready")
    assert (ready.status_code, ready.json()["jobs"][0]) == (200, {"queue": "imaging", "waiting": 0, "failed": 1})
    assert '\ncaseledger_jobs_failed{queue="imaging"} 1\n' in stage.ask(None, "GET", "/metrics").text
    stage.done(COORDINATOR, "POST", "/cases/{case}/imaging-checks")
    assert shown(stage)["imaging_check"] is None
    assert '\ncaseledger_jobs_failed{queue="imaging"} 0\n' in stage.ask(None, "GET", "/metrics").text
    described(stage)


def test_the_report_is_the_sealed_bytes_and_its_reading_is_on_record(stage: Stage) -> None:
    """Who judges by it gets exactly what the log names; a patient, or who is nobody to the case, does not."""
    gathered(stage, MR_PROJECTIONS)
    imaging = shown(stage)["imaging"]
    for who in (COORDINATOR, TECHNICIAN):
        size = stage.size()
        answer = stage.ask(who, "GET", "/cases/{case}/imaging-report")
        assert hashlib.sha256(answer.content).hexdigest() == imaging["report_sha256"]
        assert answer.headers["etag"] == f'"{stage.revision()}"'
        assert answer.json()["verdict"] == "inadequate"
        assert [each.statement.kind for each in stage.service.ledger.read(size, stage.size())] == ["access.recorded.v1"]
    for who in (PATIENT, SURGEON, COMPLIANCE):
        problem(stage.ask(who, "GET", "/cases/{case}/imaging-report"), 403, "wrong-role")
    described(stage)


def test_a_technician_overrules_and_advises(stage: Stage) -> None:
    """With a reason that the case shows; the coordinator is refused, and that is on record."""
    gathered(stage, CT)
    body = {"verdict": "adequate", "reason": REASON}
    problem(stage.write(COORDINATOR, "POST", "/cases/{case}/imaging-verdicts", body), 403, "wrong-role")
    advice = {"advice": [{"finding": "coverage_short", "what": "Please send the rest.", "why": "It ends early."}]}
    stage.done(TECHNICIAN, "POST", "/cases/{case}/imaging-advice", advice)
    stage.done(TECHNICIAN, "POST", "/cases/{case}/imaging-verdicts", body)
    imaging = shown(stage)["imaging"]
    assert imaging["verdict"] == "adequate"
    assert imaging["overruled"] == {"was": "limited", "by": TECHNICIAN[1], "reason": REASON}
    assert imaging["advice"] == advice["advice"]
    stage.done(COORDINATOR, "POST", "/cases/{case}/completeness")
    described(stage)


def test_another_patients_images_are_out_of_reach_until_a_person_has_decided(stage: Stage) -> None:
    """The check stops; nobody reads the record; a release has it checked again as this patient's."""
    other = {**OPEN, "patient": {"name": "Ada Markerwoman", "born_on": "1961-02-03"}}
    stage.case = stage.done(PATIENT, "POST", "/cases", other)["case"]
    stage.prepare()
    stage.upload(CT)
    content = shown(stage)
    assert content["imaging"]["verdict"] == "stop"
    assert "identity_mismatch" in content["imaging"]["findings"]
    assert content["records"][0]["quarantined"]
    for who in (PATIENT, COORDINATOR, TECHNICIAN):
        problem(stage.ask(who, "GET", f"/cases/{{case}}/records/{stage.record}"), 409, "wrong-phase")
    assert stage.ask(TECHNICIAN, "GET", "/cases/{case}/imaging-report").status_code == 200
    path, body = f"/cases/{{case}}/records/{stage.record}/release", {"reason": "The married name."}
    problem(stage.write(COORDINATOR, "POST", path, body), 403, "wrong-role")
    problem(stage.write(TECHNICIAN, "POST", "/cases/{case}/imaging-verdicts", {"verdict": "adequate", "reason": "x"}),
            409, "wrong-phase")  # fmt: skip
    stage.done(COMPLIANCE, "POST", path, body)
    assert shown(stage)["imaging_unchecked"] == [stage.record]
    stage.check()
    assert shown(stage)["imaging"]["verdict"] == "limited"
    described(stage)
