"""What the API says of a request, in logs and headers: nothing personal."""

import psycopg
import pytest
import structlog

from application.cases import Cases
from tests.api.people import COORDINATOR, MARKERS, OPEN, PATIENT, Stage, problem
from tests.conftest import Database


def test_no_personal_data_reaches_a_log(stage: Stage) -> None:
    """Over a whole case with markers planted in every text, refusals included: routes, ids and codes, and no more."""
    with structlog.testing.capture_logs() as logs:
        stage.until_shared()
        stage.ask(PATIENT, "GET", "/cases/{case}?name=Markerwoman")
        stage.ask(PATIENT, "GET", "/Markerwoman")
        stage.ask(PATIENT, "GET", "/cases/Markerwoman")
        stage.ask(PATIENT, "MARKERWOMAN", "/cases")
        stage.write(PATIENT, "POST", "/cases", raw=b'{"Markerwoman": "Markerwoman"}')
    text = repr(logs)
    assert not [each for each in MARKERS if each in text]
    assert "MARKERWOMAN" not in text
    requests = [each for each in logs if each["event"] == "request"]
    assert len(requests) == len(stage.answers)
    assert stage.case not in {each["route"] for each in requests}
    assert {each["route"] for each in requests} >= {"/cases/{case}", "/cases/{case}/uploads/{upload}/files", "none"}
    assert {each.get("actor") for each in requests if each.get("role") == "patient"} == {None}
    assert {each.get("actor") for each in requests if each.get("role") == "coordinator"} == {COORDINATOR[1]}
    assert [each["cause"] for each in requests] == [each.headers["x-request-id"] for each in stage.answers]


def test_an_unforeseen_failure_says_only_what_kind_it_was(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has no detail, and the log the exception's type; its message may quote anything."""

    def fail(*_: object) -> None:
        raise RuntimeError("Ada Markerwoman, 1961-02-03")

    monkeypatch.setattr(Cases, "open", fail)
    with structlog.testing.capture_logs() as logs:
        said = problem(stage.write(PATIENT, "POST", "/cases", OPEN), 500, "internal-error")
    assert "detail" not in said
    failure = next(each for each in logs if each["event"] == "unhandled_exception")
    assert failure["type"] == "builtins.RuntimeError"
    assert said["instance"] == f"urn:uuid:{failure['cause']}"
    assert "Markerwoman" not in repr(logs)


def test_every_answer_forbids_storing_and_sniffing(stage: Stage) -> None:
    """Answers and problems carry the headers that keep them out of caches; a checkpoint is public, but never stale."""
    stage.open()
    stage.ask(PATIENT, "GET", "/cases/{case}")
    stage.ask(None, "GET", "/cases/{case}")
    stage.ask(None, "GET", "/nothing")
    stage.ask(None, "GET", "/checkpoint")
    assert [each.headers["cache-control"] for each in stage.answers[-1:]] == ["no-cache"]
    for answer in stage.answers[:-1]:
        assert answer.headers["cache-control"] == "no-store"
    for answer in stage.answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_an_entry_names_the_request_that_made_it(stage: Stage) -> None:
    """The cause in the statement is the id that the caller was given."""
    said = stage.open()
    (logged,) = stage.service.ledger.read(said["index"], said["index"] + 1)
    assert logged.statement.cause == stage.answers[-1].headers["x-request-id"]


def test_a_payload_that_does_not_open_is_named_in_the_problem(stage: Stage, database: Database) -> None:
    """Index in the log and revision of the stream, as members of the problem document; nothing of the payload."""
    stage.open()
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger.entry DISABLE TRIGGER append_only")
        row = connection.execute(
            "UPDATE ledger.entry SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)"
            " WHERE stream = %s AND rev = 1 RETURNING index",
            (f"case-{stage.case}",),
        ).fetchone()
    assert row is not None
    said = problem(stage.ask(PATIENT, "GET", "/cases/{case}"), 500, "payload-altered")
    assert said["entry"] == {"index": row[0], "revision": 1}
    assert said["detail"].startswith(f"entry {row[0]}, revision 1: ")
