"""What goes on when an access ends in the middle of it, and when more is to be drawn than there is room for."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from application import standing
from application.cases import new_events
from application.records.vault import Vault
from application.sandbox.sandbox import Answer
from domain.access import AccessRecorded
from domain.case.events import RecordQuarantined
from tests.api.people import COORDINATOR, PATIENT, SURGEON, TECHNICIAN, Stage, problem
from tests.service_fixture import CT, dicom, request

LETTER = b"A letter of which nobody has read a word yet. " * 40


@pytest.fixture(autouse=True)
def asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer holds for no time at all."""
    monkeypatch.setattr(standing, "AGAIN_S", 0.0)


def file_of(stage: Stage) -> tuple[str, int]:
    """A file of the case's record as the manifest lists it: its path, and its length in bytes."""
    manifest = stage.ask(PATIENT, "GET", f"/cases/{{case}}/records/{stage.record}").json()
    file = manifest["files"][0]
    return f"/cases/{{case}}/records/{stage.record}/files/{file['sha256']}", file["bytes"]


def interrupted(monkeypatch: pytest.MonkeyPatch, path: str, do: Any, after: int = 3) -> None:
    """Have that file come out of the vault in small chunks, and something happen once between two of them."""
    sha256, whole, done = path.rpartition("/")[2], Vault.stream, threading.Event()

    def slowly(self: Vault, record: str, identity: str, wanted: str) -> Iterator[bytes]:
        content = b"".join(whole(self, record, identity, wanted))
        for number in range(0, len(content), 1000):
            if wanted == sha256 and number == after * 1000 and not done.is_set():
                done.set()
                do()
            yield content[number : number + 1000]

    monkeypatch.setattr(Vault, "stream", slowly)


def last_refusal(stage: Stage) -> Any:
    """The newest access on record that was refused."""
    found = [each for each in stage.service.ledger.read(0, stage.size()) if isinstance(each.event, AccessRecorded)]
    return next((each for each in reversed(found) if each.event.refused_because), None)


def test_a_download_is_cut_off_when_consent_is_withdrawn(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The specialist has what was sent before, short of the announced length; the refusal is on record."""
    stage.until_routed()
    path, length = file_of(stage)
    consents = stage.ask(PATIENT, "GET", "/cases/{case}").json()["content"]["consents"]
    review = next(each["consent"] for each in consents if each["kind"] == "review")
    assert len(stage.ask(SURGEON, "GET", path).content) == length
    assert last_refusal(stage) is None

    def withdraw() -> None:
        stage.done(PATIENT, "POST", f"/cases/{{case}}/consents/{review}/withdrawal", {})

    interrupted(monkeypatch, path, withdraw)
    cut = stage.ask(SURGEON, "GET", path)
    assert int(cut.headers["content-length"]) == length
    assert len(cut.content) < 3000
    refused = last_refusal(stage)
    assert (refused.statement.actor, refused.statement.object) == (SURGEON[1], stage.record)
    problem(stage.ask(SURGEON, "GET", path), 403, "wrong-role")
    # It is nobody else's access that ended.
    assert len(stage.ask(PATIENT, "GET", path).content) == length


def test_quarantine_cuts_off_the_last_chunk_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads slowly gets nothing that was held back meanwhile."""
    stage.open()
    stage.prepare()
    stage.upload()
    path, length = file_of(stage)

    def quarantine() -> None:
        loaded = stage.service.cases.load(stage.case)
        event = RecordQuarantined(record=stage.record, findings=("identity_mismatch",))
        new = new_events(loaded.stream, loaded.revision, stage.case, (event,))
        act = request("service", "service").act("service")
        stage.service.ledger.append(new, act, heads={loaded.stream: loaded.head})

    interrupted(monkeypatch, path, quarantine, after=(length - 1) // 1000)
    cut = stage.ask(PATIENT, "GET", path)
    assert len(cut.content) < length
    assert last_refusal(stage).event.refused_because == "wrong-phase"


def test_a_picture_that_was_being_drawn_is_not_shown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are documents' facts; what was made stays, for whoever may see it."""
    stage.until_routed()
    consents = stage.ask(PATIENT, "GET", "/cases/{case}").json()["content"]["consents"]
    transfer = next(each["consent"] for each in consents if each["kind"] == "transfer_to_country")
    sandbox, withdrawn = stage.service.sandbox, threading.Event()
    run = sandbox.run

    def meanwhile(*args: Any) -> Answer:
        answer = run(*args)
        if not withdrawn.is_set():
            withdrawn.set()
            stage.done(PATIENT, "POST", f"/cases/{{case}}/consents/{transfer}/withdrawal", {})
        return answer

    monkeypatch.setattr(sandbox, "run", meanwhile)
    problem(stage.ask(SURGEON, "GET", f"/cases/{{case}}/records/{stage.record}/pictures"), 403, "wrong-role")
    assert withdrawn.is_set()
    assert stage.ask(PATIENT, "GET", f"/cases/{{case}}/records/{stage.record}/pictures").status_code == 200


def letter(stage: Stage) -> str:
    """A document's record."""
    upload = stage.begin(kind="oncologist_letter")
    assert stage.add(upload, "letter.txt", LETTER).status_code == 201
    said = stage.done(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")
    return f"/cases/{{case}}/records/{said['made']['record']}"


def test_a_blocked_drawer_keeps_nobody_else_waiting(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are drawn, four wait and are told to come again, the rest at once; all other requests are answered."""
    stage.open()
    stage.prepare()
    upload = stage.begin()
    assert stage.add(upload, "IM1", dicom(CT)[0]).status_code == 201
    made = stage.done(PATIENT, "POST", upload.replace(stage.case, "{case}") + "/record")["made"]["record"]
    asked = [f"/cases/{{case}}/records/{made}/pictures", *[letter(stage) + "/documents" for _ in range(9)]]
    service, free, blocked = stage.service, threading.Event(), threading.Semaphore(0)
    assert service.pictures._room is service.documents._room
    service.pictures._room.patience_s = 1.0
    run = service.sandbox.run

    def stuck(*args: Any) -> Answer:
        blocked.release()
        assert free.wait(30)
        return run(*args)

    monkeypatch.setattr(service.sandbox, "run", stuck)
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda path=path: answers.append(stage.ask(COORDINATOR, "GET", path))) for path in asked
    ]
    for thread in threads[:2]:
        thread.start()
        assert blocked.acquire(timeout=10)
    for thread in threads[2:]:
        thread.start()
    began = time.monotonic()
    # Eight handler threads in all; none but two of them is kept by the drawer for longer than it has patience.
    for who, path in ((PATIENT, "/cases/{case}"), (TECHNICIAN, f"/cases/{{case}}/records/{made}")):
        assert stage.ask(who, "GET", path).status_code == 200
    assert time.monotonic() - began < 5
    for thread in threads[2:]:
        thread.join(10)
    assert len(answers) == 8
    for each in answers:
        problem(each, 503, "unavailable")
        assert int(each.headers["retry-after"]) > 0
    free.set()
    for thread in threads:
        thread.join(30)
    assert [each.status_code for each in answers[8:]] == [200, 200]
    # There is room again, for those who were sent away too.
    assert stage.ask(COORDINATOR, "GET", asked[-1]).status_code == 200
