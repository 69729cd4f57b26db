"""Ids in paths: nothing that cannot be the id of what it names comes to stand in the log, whoever sends it."""

from typing import Any
from uuid import uuid4

import pytest

from api.paths import NAMES
from application.request import Request
from domain.errors import KeyNotFound, NotFound, WrongRole
from tests.api.people import (
    ADMINISTRATOR,
    COMPLIANCE,
    COORDINATOR,
    ONCOLOGIST,
    OTHER_PATIENT,
    PATIENT,
    SURGEON,
    TECHNICIAN,
    Stage,
    problem,
)

WORD = "zorbulon.quaxley"
EVERYBODY = (PATIENT, OTHER_PATIENT, COORDINATOR, SURGEON, ONCOLOGIST, TECHNICIAN, COMPLIANCE, ADMINISTRATOR)
SHA256 = "0" * 64
READS = {
    f"/cases/{{case}}/records/{WORD}": "not-found",
    f"/cases/{{case}}/records/opinion-{uuid4()}": "not-found",
    f"/cases/{{case}}/records/{WORD}/files/{SHA256}": "not-found",
    f"/cases/{{case}}/records/{WORD}/documents": "not-found",
    f"/cases/{{case}}/records/{WORD}/pictures": "not-found",
    f"/cases/{{case}}/records/{WORD}/pictures/{SHA256}": "not-found",
    f"/cases/{{case}}/records/{WORD}/report": "not-found",
    f"/cases/{{case}}/opinions/{WORD}": "not-found",
    f"/cases/{{case}}/opinions/opinion-{WORD}": "not-found",
    f"/cases/{{case}}/uploads/{WORD}": "upload-not-found",
    f"/cases/{{case}}/uploads/{uuid4()}/transfers/{WORD}": "upload-not-found",
    f"/erasure-requests/{WORD}": "erasure-request-not-found",
    f"/keys/{WORD}": "key-not-found",
    f"/keys/{WORD}/suspects": "key-not-found",
}
WRITES: dict[str, tuple[str, Any]] = {
    f"/cases/{{case}}/records/{WORD}/release": ("not-found", {"reason": "x"}),
    f"/cases/{{case}}/records/{WORD}/classification": ("not-found", {"kind": "pathology"}),
    f"/cases/{{case}}/opinions/{WORD}/delivery": ("not-found", {"channel": "portal"}),
    f"/cases/{{case}}/consents/{WORD}/withdrawal": ("not-found", {}),
    f"/cases/{{case}}/consents/consent-{WORD}/withdrawal": ("not-found", {}),
    f"/cases/{{case}}/shares/{WORD}/opened": ("share-not-found", None),
    f"/cases/{{case}}/holds/{WORD}/release": ("hold-not-found", {"reason": "x"}),
    f"/erasure-requests/{WORD}/approval": ("erasure-request-not-found", None),
    f"/erasure-requests/{WORD}/execution": ("erasure-request-not-found", None),
    f"/keys/{WORD}/approval": ("key-not-found", None),
    f"/keys/{WORD}/rotation": ("key-not-found", {"successor": "0" * 32}),
    f"/keys/{WORD}/revocation": ("key-not-found", {"reason": "lost"}),
}


def test_what_cannot_be_an_id_is_not_found_and_not_recorded(stage: Stage) -> None:
    """For everybody who signs in, on every route that names something: 404, no entry, and not what they sent."""
    stage.open()
    size = stage.size()
    for who in EVERYBODY:
        for path, code in READS.items():
            assert WORD not in problem(stage.ask(who, "GET", path), 404, code)["detail"], path
        for path, (code, body) in WRITES.items():
            answer = stage.write(who, "POST", path, body, **{"If-Match": '"1"'})
            assert WORD not in problem(answer, 404, code)["detail"], path
    assert stage.size() == size


def test_what_could_be_an_id_has_the_same_words(stage: Stage) -> None:
    """Who may read the case cannot tell an id that is not there from one that could not be; the former is on record."""
    stage.open()
    size = stage.size()
    for path, bad, good in (
        ("records", WORD, str(uuid4())),
        ("opinions", f"opinion-{WORD}", f"opinion-{uuid4()}"),
    ):
        told = [
            problem(stage.ask(PATIENT, "GET", f"/cases/{{case}}/{path}/{each}"), 404, "not-found")
            for each in (bad, good)
        ]
        assert told[0]["detail"] == told[1]["detail"]
    assert stage.size() == size + 2


def test_every_parameter_of_a_path_has_a_form(stage: Stage) -> None:
    """One that had none would let nothing pass; a new route says which form its parameters have."""
    names = {
        (each.name, each.type) for route in stage.app.routes for each in getattr(route, "path_parameters", {}).values()
    }
    assert {name for name, type_ in names if type_ is not int} <= NAMES
    assert {name for name, type_ in names if type_ is int} == {"index"}


def test_the_use_cases_hold_ids_to_their_forms_too(stage: Stage) -> None:
    """Whoever calls them."""
    stage.open()
    size, service = stage.size(), stage.service
    by = Request(id=COORDINATOR[1], role="coordinator", cause=str(uuid4()), now=stage.clock())
    for what, item in (("record", WORD), ("opinion", WORD), ("opinion", str(uuid4())), ("case", str(uuid4()))):
        for read in (service.accesses.read, service.accesses.require_still):
            with pytest.raises(NotFound):
                read(by, stage.case, what, item)  # type: ignore[arg-type]
    with pytest.raises(KeyNotFound):
        service.log_accesses.refused(by, "key-approval", WORD, WrongRole())
    assert stage.size() == size


def test_what_a_body_names_is_not_repeated(stage: Stage) -> None:
    """A record, an opinion, a consent or a key that is not there is refused without its name."""
    stage.until_routed()
    draft = stage.draft()
    pin = {**draft["opinion"]["relied_on"][0], "record": WORD}
    recipient = {"country": "GB", "organisation": "x", "actor": ONCOLOGIST[1]}
    consent = {"kind": "process", "purpose": "x", "language": "en", "text_sha256": SHA256, "supersedes": WORD}
    share = {"opinion": WORD, "consent": WORD, "recipient": recipient}
    erasure = {"scope": "record", "record": WORD, "reason": "objection"}
    stage.sign()
    stage.done(COORDINATOR, "POST", f"/cases/{{case}}/opinions/{stage.opinion}/delivery", {"channel": "portal"})
    for who, path, body in (
        (PATIENT, "/cases/{case}/consents", consent),
        (PATIENT, "/cases/{case}/shares", share),
        (PATIENT, "/cases/{case}/shares", {**share, "opinion": stage.opinion}),
        (PATIENT, f"/cases/{{case}}/consents/consent-{uuid4()}/withdrawal", {}),
        (PATIENT, "/cases/{case}/erasure-requests", erasure),
        (COORDINATOR, "/cases/{case}/routing", {"specialist": WORD}),
        (SURGEON, f"/keys/{stage.key_id}/rotation", {"successor": WORD}),
        (SURGEON, "/cases/{case}/opinions/prepared", {**draft, "opinion": {**draft["opinion"], "relied_on": [pin]}}),
        (SURGEON, "/cases/{case}/opinions/prepared", {**draft, "key": WORD}),
    ):
        answer = stage.write(who, "POST", path, body)
        assert 400 <= answer.status_code < 500, answer.text
        assert WORD not in answer.text
        assert "consent-" not in answer.text
