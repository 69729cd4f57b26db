"""What a case shows a specialist whose consents name their records."""

from typing import Any

import pytest

from domain.access import AccessRecorded
from tests.api.people import COORDINATOR, PATIENT, SURGEON, TECHNICIAN, Stage, problem
from tests.service_fixture import MR_PROJECTIONS, dicom

LETTER = b"Markerwords: the tumour was found unresectable."


@pytest.fixture
def narrowed(stage: Stage) -> Stage:
    """A case in review under consents that cover its first record; a letter and more imaging came in later."""
    stage.open()
    stage.prepare()
    stage.upload()
    known = stage.ask(PATIENT, "GET", "/cases/{case}").json()["content"]["consents"]
    for each in known:
        if each["kind"] != "process":
            covers = {"covers": {"records": [stage.record]}, "recipient": {"country": "IN"}}
            stage.consent(each["kind"], supersedes=each["consent"], **covers)
    stage.enrol()
    stage.route()
    return stage


def letter(stage: Stage) -> str:
    """A letter that nobody consented to show; its record."""
    upload = stage.begin(kind="oncologist_letter")
    assert stage.add(upload, "letter.txt", LETTER).status_code == 201
    said = stage.done(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
    made: str = said["made"]["record"]
    return made


def seen(stage: Stage, who: tuple[str, str]) -> Any:
    """The case, as somebody sees it."""
    return stage.ask(who, "GET", "/cases/{case}").json()


def test_the_case_shows_a_specialist_the_records_that_consents_cover(narrowed: Stage) -> None:
    """What came later is the patient's and the coordinator's to see, and for the specialist it does not exist."""
    first, later = narrowed.record, letter(narrowed)
    assert [each["record"] for each in seen(narrowed, SURGEON)["content"]["records"]] == [first]
    for who in (PATIENT, COORDINATOR):
        assert [each["record"] for each in seen(narrowed, who)["content"]["records"]] == [first, later]
    before = narrowed.size()
    absent = narrowed.ask(SURGEON, "GET", "/cases/{case}/records/0192d3a4-0000-7000-8000-000000000000")
    for path in ("", "/documents", f"/files/{'0' * 64}", "/pictures", "/report"):
        hidden = narrowed.ask(SURGEON, "GET", f"/cases/{{case}}/records/{later}{path}")
        told = problem(hidden, 404, "not-found")
        assert {**told, "instance": ""} == {**problem(absent, 404, "not-found"), "instance": ""}
    refused = [each.event for each in narrowed.service.ledger.read(before, narrowed.size())]
    because = [each.refused_because for each in refused if isinstance(each, AccessRecorded)]
    # The log is told the real reason.
    assert because == ["not-found", *["missing-consent"] * 5]


def test_a_check_that_looked_at_a_hidden_record_is_hidden(narrowed: Stage) -> None:
    """Verdict, findings, advice and report rest on all that was checked; nothing of them is shown."""
    first = seen(narrowed, SURGEON)
    assert first["content"]["imaging"]["records"] == [narrowed.record]
    assert first["imaging_verdict"] == "limited"
    covered = narrowed.record
    narrowed.upload(MR_PROJECTIONS)
    hidden = narrowed.record
    after = seen(narrowed, SURGEON)
    assert (after["imaging_verdict"], after["content"]["imaging"], after["content"]["imaging_check"]) == (None,) * 3
    assert hidden not in str(after)
    assert seen(narrowed, COORDINATOR)["content"]["imaging"]["records"] == [covered, hidden]
    problem(narrowed.ask(SURGEON, "GET", "/cases/{case}/imaging-report"), 403, "missing-consent")
    problem(narrowed.ask(SURGEON, "GET", f"/cases/{{case}}/records/{covered}/report"), 403, "missing-consent")
    assert narrowed.ask(COORDINATOR, "GET", f"/cases/{{case}}/records/{covered}/report").status_code == 200
    assert narrowed.ask(SURGEON, "GET", f"/cases/{{case}}/records/{covered}").status_code == 200
    problem(narrowed.ask(TECHNICIAN, "GET", "/cases/{case}"), 403, "wrong-role")


def test_unchecked_imaging_that_is_hidden_is_not_counted(narrowed: Stage) -> None:
    """Not even that a check is awaited."""
    upload = narrowed.begin()
    assert narrowed.add(upload, "IM1", dicom(MR_PROJECTIONS)[0]).status_code == 201
    narrowed.done(PATIENT, "POST", upload.replace(narrowed.case, "{case}") + "/record")
    told = seen(narrowed, SURGEON)["content"]
    assert (told["imaging_unchecked"], told["imaging_check"]) == ([], None)
    assert seen(narrowed, COORDINATOR)["content"]["imaging_check"] == "queued"
