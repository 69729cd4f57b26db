"""Closing, holds and erasure over HTTP, and every way in which they are refused."""

from typing import Any
from uuid import uuid4

import pytest

from domain.access import AccessRecorded
from tests.api.people import (
    ADMINISTRATOR,
    COMPLIANCE,
    COORDINATOR,
    ONCOLOGIST,
    OTHER_COORDINATOR,
    OTHER_PATIENT,
    PATIENT,
    SURGEON,
    TECHNICIAN,
    Stage,
    Who,
    problem,
)

CASE = {"scope": "case", "reason": "consent_withdrawn"}
HOLD = {"reason": "A claim is pending.", "authority": "Court of Example"}
REFUSAL = {"ground": "legal_claims", "explanation": "A claim is pending."}
EVERYBODY = (PATIENT, COORDINATOR, SURGEON, ONCOLOGIST, TECHNICIAN, COMPLIANCE, ADMINISTRATOR)


@pytest.fixture
def prepared(stage: Stage) -> Stage:
    """A case with a coordinator."""
    stage.open()
    stage.prepare()
    return stage


def ask(stage: Stage, who: Who = PATIENT, body: dict[str, Any] | None = None) -> str:
    """A new request's path."""
    made = stage.done(who, "POST", "/cases/{case}/erasure-requests", body or CASE)["made"]["erasure_request"]
    return f"/erasure-requests/{made}"


def step(stage: Stage, who: Who, path: str, revision: int, body: Any = None) -> Any:
    """A step of a request, by who saw it at that revision."""
    return stage.write(who, "POST", path, body, **{"If-Match": f'"{revision}"'})


def close(stage: Stage) -> None:
    """The coordinator closes the case."""
    stage.done(COORDINATOR, "POST", "/cases/{case}/closure", {"reason": "completed"})


def last_access(stage: Stage) -> AccessRecorded:
    """What the newest entry says, which is an access."""
    size = stage.size()
    (logged,) = stage.service.ledger.read(size - 1, size)
    assert isinstance(logged.event, AccessRecorded)
    return logged.event


def last_actor(stage: Stage) -> str:
    """Who the newest entry names."""
    size = stage.size()
    (logged,) = stage.service.ledger.read(size - 1, size)
    return logged.statement.actor


def test_an_erasure_from_the_request_to_its_story(stage: Stage) -> None:
    """Asked for, approved and executed by three people; then the case is gone, and the request still answers."""
    stage.until_shared()
    close(stage)
    assert stage.ask(COORDINATOR, "GET", "/cases/{case}").json()["phase"] == "closed"
    answer = stage.write(PATIENT, "POST", "/cases/{case}/erasure-requests", CASE)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    path = answer.headers["location"]
    assert path == f"/erasure-requests/{answer.json()['made']['erasure_request']}"
    assert step(stage, COMPLIANCE, f"{path}/approval", 1).headers["etag"] == '"2"'
    executed = step(stage, ADMINISTRATOR, f"{path}/execution", 2)
    assert (executed.status_code, executed.headers["etag"]) == (200, '"3"')
    assert len(executed.json()["receipts"]) >= 4

    problem(stage.ask(PATIENT, "GET", "/cases/{case}"), 410, "subject-erased")
    problem(stage.ask(COORDINATOR, "GET", f"/cases/{{case}}/opinions/{stage.opinion}"), 410, "subject-erased")
    for who in (PATIENT, COMPLIANCE, ADMINISTRATOR):
        answer = stage.ask(who, "GET", path)
        said = answer.json()
        assert answer.headers["etag"] == '"3"'
        assert (said["status"], said["scope"], said["case"], said["overdue"]) == ("executed", "case", stage.case, False)
        assert [each["role"] for each in said["steps"]] == ["patient", "compliance", "administrator"]
        assert len({each["actor"] for each in said["steps"]}) == 3
        assert said["checkpoint"].startswith(stage.service.keys.origin)
        assert int(said["checkpoint"].split("\n")[1]) >= said["position"]
        assert last_access(stage).what == "erasure-request"
        # The patient's account went with the case, and their id in it stands on the request: they are still the same.
        assert last_actor(stage) == next(each["actor"] for each in said["steps"] if each["role"] == who[0])
    trail = stage.ask(COMPLIANCE, "GET", "/cases/{case}/trail").json()["entries"]
    assert "case.content_erased.v1" in {each["kind"] for each in trail}


def test_a_repetition_has_the_first_ones_answer(prepared: Stage) -> None:
    """Each write by its Idempotency-Key, an execution too."""
    close(prepared)
    path = ask(prepared)
    for who, what, revision in ((COMPLIANCE, "approval", 1), (ADMINISTRATOR, "execution", 2)):
        first, again = (
            prepared.write(who, "POST", f"{path}/{what}", key=f"once-{what}", **{"If-Match": f'"{revision}"'})
            for _ in range(2)
        )
        assert first.json() == again.json()
        assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("missing", ["If-Match", "Idempotency-Key"])
def test_what_a_write_needs(prepared: Stage, missing: str) -> None:
    """Changing a request or releasing a hold names the revision; every write has its key."""
    path = ask(prepared)
    hold = prepared.done(COMPLIANCE, "POST", "/cases/{case}/holds", HOLD)["made"]["hold"]
    headers = {"If-Match": '"1"', "Idempotency-Key": "k", "Content-Type": "application/json"}
    del headers[missing]
    for who, target, body in (
        (COMPLIANCE, f"{path}/approval", None),
        (COMPLIANCE, f"{path}/refusal", REFUSAL),
        (ADMINISTRATOR, f"{path}/execution", None),
        (COMPLIANCE, f"/cases/{{case}}/holds/{hold}/release", {"reason": "x"}),
        (COORDINATOR, "/cases/{case}/closure", {"reason": "completed"}),
    ):
        problem(prepared.ask(who, "POST", target, headers=headers, json=body), 428, "precondition-required")
    if missing == "Idempotency-Key":
        for who, target, body in (
            (PATIENT, "/cases/{case}/erasure-requests", CASE),
            (COMPLIANCE, "/cases/{case}/holds", HOLD),
        ):
            problem(prepared.ask(who, "POST", target, json=body), 428, "precondition-required")


@pytest.mark.parametrize("who", [*EVERYBODY, OTHER_PATIENT, OTHER_COORDINATOR], ids=lambda each: each[1])
def test_who_may_do_what(prepared: Stage, who: Who) -> None:
    """Whoever else tries is refused, changes nothing, and is on record."""
    close(prepared)
    path = ask(prepared)
    hold = prepared.done(COMPLIANCE, "POST", "/cases/{case}/holds", HOLD)["made"]["hold"]
    allowed = {
        "/cases/{case}/closure": (),
        "/cases/{case}/erasure-requests": (PATIENT, COORDINATOR),
        "/cases/{case}/holds": (COMPLIANCE,),
        f"/cases/{{case}}/holds/{hold}/release": (COMPLIANCE,),
        f"{path}/approval": (COMPLIANCE,),
        f"{path}/refusal": (COMPLIANCE,),
        f"{path}/execution": (ADMINISTRATOR,),
    }
    bodies = {"requests": CASE, "holds": HOLD, "release": {"reason": "x"}, "refusal": REFUSAL, "closure": {"reason": "died"}}  # fmt: skip  # noqa: E501
    for target, those in allowed.items():
        if who in those or (who == COORDINATOR and target.endswith("closure")):
            continue
        body = bodies.get(target.rpartition("/")[2].rpartition("-")[2])
        revision = prepared.revision() if target.endswith("closure") else 1
        answer = prepared.write(who, "POST", target, body, **{"If-Match": f'"{revision}"'})
        problem(answer, 403, "wrong-role")
        assert last_access(prepared).refused_because == "wrong-role"
    if who not in (PATIENT, COORDINATOR, COMPLIANCE, ADMINISTRATOR):
        problem(prepared.ask(who, "GET", path), 403, "wrong-role")
    if who != COMPLIANCE:
        problem(prepared.ask(who, "GET", "/cases/{case}/legal-hold"), 403, "wrong-role")


def test_strangers_learn_no_revision_of_a_request(prepared: Stage) -> None:
    """Whatever they claim to have seen, they are refused for who they are."""
    path = ask(prepared)
    for what, body in (("approval", None), ("refusal", REFUSAL), ("execution", None)):
        refused = (step(prepared, OTHER_PATIENT, f"{path}/{what}", seen, body) for seen in (1, 7))
        told = [problem(each, 403, "wrong-role") for each in refused]
        assert told[0]["detail"] == told[1]["detail"]


def test_out_of_turn(prepared: Stage) -> None:
    """Each step waits for the one before it, and none is taken twice."""
    path = ask(prepared)
    problem(step(prepared, ADMINISTRATOR, f"{path}/execution", 1), 409, "missing-part")
    problem(step(prepared, COMPLIANCE, f"{path}/approval", 1), 409, "wrong-phase")
    close(prepared)
    problem(prepared.write(COORDINATOR, "POST", "/cases/{case}/closure", {"reason": "died"}), 409, "wrong-phase")
    problem(step(prepared, COMPLIANCE, f"{path}/approval", 2), 412, "stale-revision")
    assert step(prepared, COMPLIANCE, f"{path}/approval", 1).is_success
    problem(step(prepared, COMPLIANCE, f"{path}/approval", 2), 409, "already-done")
    problem(step(prepared, COMPLIANCE, f"{path}/refusal", 2, REFUSAL), 409, "already-done")
    problem(step(prepared, ADMINISTRATOR, f"{path}/execution", 1), 412, "stale-revision")
    assert step(prepared, ADMINISTRATOR, f"{path}/execution", 2).is_success
    problem(step(prepared, ADMINISTRATOR, f"{path}/execution", 3), 409, "already-done")
    problem(prepared.write(PATIENT, "POST", "/cases/{case}/erasure-requests", CASE), 410, "subject-erased")
    problem(prepared.write(COMPLIANCE, "POST", "/cases/{case}/holds", HOLD), 410, "subject-erased")


def test_three_different_people(prepared: Stage) -> None:
    """Whoever asked does not approve, and neither of them executes, whatever role they sign in with."""
    close(prepared)
    path = ask(prepared, COORDINATOR)
    problem(step(prepared, ("compliance", COORDINATOR[1]), f"{path}/approval", 1), 403, "wrong-role")
    problem(step(prepared, ("compliance", PATIENT[1]), f"{path}/approval", 1), 403, "wrong-role")
    assert step(prepared, COMPLIANCE, f"{path}/approval", 1).is_success
    for name in (COORDINATOR[1], COMPLIANCE[1], PATIENT[1]):
        problem(step(prepared, ("administrator", name), f"{path}/execution", 2), 403, "wrong-role")


def test_a_hold_blocks_until_it_is_released(prepared: Stage) -> None:
    """Approval and execution are refused while one stands; who looks at the holds sees them all."""
    close(prepared)
    path = ask(prepared)
    placed = prepared.write(COMPLIANCE, "POST", "/cases/{case}/holds", HOLD)
    assert (placed.status_code, placed.headers["etag"]) == (201, '"1"')
    hold = placed.json()["made"]["hold"]
    problem(step(prepared, COMPLIANCE, f"{path}/approval", 1), 409, "on-hold")
    release = f"/cases/{{case}}/holds/{hold}/release"
    problem(step(prepared, COMPLIANCE, release, 2, {"reason": "Settled."}), 412, "stale-revision")
    assert step(prepared, COMPLIANCE, release, 1, {"reason": "Settled."}).is_success
    problem(step(prepared, COMPLIANCE, release, 2, {"reason": "Settled."}), 409, "already-done")
    assert step(prepared, COMPLIANCE, f"{path}/approval", 1).is_success
    prepared.done(COMPLIANCE, "POST", "/cases/{case}/holds", HOLD)
    problem(step(prepared, ADMINISTRATOR, f"{path}/execution", 2), 409, "on-hold")
    answer = prepared.ask(COMPLIANCE, "GET", "/cases/{case}/legal-hold")
    said = answer.json()
    assert (answer.headers["etag"], said["revision"]) == ('"3"', 3)
    assert said["stands"] is True
    assert [each["released_at"] is None for each in said["holds"]] == [False, True]
    assert {each["authority"] for each in said["holds"]} == {"Court of Example"}


def test_a_refusal_names_its_ground(prepared: Stage) -> None:
    """Who asked is told which; without one nothing is refused."""
    path = ask(prepared)
    for body in ({"explanation": "No."}, {"ground": "because", "explanation": "No."}, {"ground": "legal_claims"}):
        problem(step(prepared, COMPLIANCE, f"{path}/refusal", 1, body), 400, "malformed-body")
    assert step(prepared, COMPLIANCE, f"{path}/refusal", 1, REFUSAL).is_success
    said = prepared.ask(PATIENT, "GET", path).json()
    assert (said["status"], said["ground"], said["explanation"]) == ("refused", "legal_claims", "A claim is pending.")
    prepared.clock.ahead_s = 40 * 86_400
    assert prepared.ask(PATIENT, "GET", path).json()["overdue"] is False


def test_what_is_late_is_shown(prepared: Stage) -> None:
    """A request that nobody has decided on within its month."""
    path = ask(prepared)
    prepared.clock.ahead_s = 33 * 86_400
    assert prepared.ask(COMPLIANCE, "GET", path).json()["overdue"] is True


def test_one_record(prepared: Stage) -> None:
    """A record that is named is erased in whatever phase; its own reads are refused, the case's are not."""
    prepared.upload()
    for body, status, code in (
        ({**CASE, "scope": "record"}, 409, "missing-part"),
        ({**CASE, "record": prepared.record}, 409, "missing-part"),
        ({**CASE, "scope": "record", "record": str(uuid4())}, 404, "not-found"),
        ({**CASE, "scope": "everything"}, 400, "malformed-body"),
        ({**CASE, "reason": "Markerwords"}, 400, "malformed-body"),
    ):
        problem(prepared.write(PATIENT, "POST", "/cases/{case}/erasure-requests", body), status, code)
    path = ask(prepared, COORDINATOR, {"scope": "record", "record": prepared.record, "reason": "wrong_person"})
    assert step(prepared, COMPLIANCE, f"{path}/approval", 1).is_success
    assert step(prepared, ADMINISTRATOR, f"{path}/execution", 2).is_success
    problem(prepared.ask(PATIENT, "GET", f"/cases/{{case}}/records/{prepared.record}"), 404, "not-found")
    said = prepared.ask(COORDINATOR, "GET", "/cases/{case}").json()
    assert (said["phase"], said["content"]["records"]) == ("gathering", [])
    again = ask(prepared)
    assert again != path


def test_what_is_not_there(prepared: Stage) -> None:
    """Requests and holds of no such name, and ids that cannot be one."""
    for name in (str(uuid4()), "none", "0" * 36):
        problem(prepared.ask(COMPLIANCE, "GET", f"/erasure-requests/{name}"), 404, "erasure-request-not-found")
        for what, body in (("approval", None), ("refusal", REFUSAL), ("execution", None)):
            answer = step(prepared, COMPLIANCE, f"/erasure-requests/{name}/{what}", 1, body)
            problem(answer, 404, "erasure-request-not-found")
    answer = step(prepared, COMPLIANCE, "/cases/{case}/holds/hold-none/release", 1, {"reason": "x"})
    problem(answer, 404, "hold-not-found")
    answer = prepared.write(COMPLIANCE, "POST", f"/cases/{uuid4()}/holds", HOLD)
    problem(answer, 404, "case-not-found")
