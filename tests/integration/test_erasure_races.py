"""Who may erase, when, and what wins where two things happen at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from application.ledger.entries import IdempotencyKey
from application.ledger.keks import Keks
from application.privacy import erasure
from application.privacy.holds import ReleaseInput
from application.privacy.requests import ErasureInput, RefusalInput, new_event
from application.request import idempotency_key
from domain.errors import (
    AlreadyDone,
    ErasureRequestNotFound,
    GuardBroken,
    HoldNotFound,
    MissingPart,
    NotFound,
    OnHold,
    StaleRevision,
    SubjectErased,
    WrongPhase,
    WrongRole,
)
from tests.conftest import Database
from tests.erasure_fixture import HOLD, MARKED_PATIENT, Erasable, Marked, erasable, fence_of, marked
from tests.ledger_fixture import ACT
from tests.service_fixture import ADMINISTRATOR, COMPLIANCE, COORDINATOR, request


def between(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Let something happen after the next execution was decided, before it is appended."""
    decided = erasure.privacy.execute

    def then(*args: Any) -> Any:
        monkeypatch.setattr(erasure.privacy, "execute", decided)
        result = decided(*args)
        do()
        return result

    monkeypatch.setattr(erasure.privacy, "execute", then)


def test_a_hold_that_lands_between_decision_and_append_wins(
    site: Erasable, case: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The execution is refused; while the hold stands it stays so, and once it is released it goes through."""
    stream = case.approved()
    between(monkeypatch, lambda: site.service.holds.place(request(*COMPLIANCE), case.case, HOLD))
    with pytest.raises(GuardBroken):
        case.execute(stream)
    assert site.service.keyring.get(f"case:{case.case}")
    with pytest.raises(OnHold):
        case.execute(stream)
    with pytest.raises(OnHold):
        site.service.privacy.approve(request(*COMPLIANCE), case.ask())
    _, (hold,), _ = site.service.holds.of_case(request(*COMPLIANCE), case.case)
    between(
        monkeypatch,
        lambda: site.service.holds.release(request(*COMPLIANCE), case.case, hold.hold, ReleaseInput(reason="Settled.")),
    )
    with pytest.raises(OnHold):
        case.execute(stream)
    monkeypatch.undo()
    site.service.holds.release(request(*COMPLIANCE), case.case, hold.hold, ReleaseInput(reason="Settled."))
    case.execute(stream)
    with pytest.raises(SubjectErased):
        site.service.holds.place(request(*COMPLIANCE), case.case, HOLD)


def test_an_erasure_that_lands_before_a_hold_wins(
    site: Erasable, case: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No hold is acknowledged on what was erased a moment ago."""
    stream = case.approved()
    load = site.service.holds._load
    calls = []

    def slow(name: str) -> Any:
        if not calls:
            calls.append(name)
            case.execute(stream)
        return load(name)

    monkeypatch.setattr(site.service.holds, "_load", slow)
    with pytest.raises((SubjectErased, GuardBroken)):
        site.service.holds.place(request(*COMPLIANCE), case.case, HOLD)
    monkeypatch.undo()
    assert site.service.holds.of_case(request(*COMPLIANCE), case.case)[1] == ()


def test_whatever_moves_the_case_between_decision_and_append_is_not_overlooked(
    site: Erasable, case: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An execution that was decided on an older case is refused."""
    record = next(iter(site.service.cases.load(case.case).state.records))
    single, whole = case.approved("record", record), case.approved()
    between(monkeypatch, lambda: case.execute(single))
    with pytest.raises(StaleRevision):
        case.execute(whole)
    assert site.service.keyring.get(f"case:{case.case}")
    case.execute(whole)
    assert f"record:{record}" not in site.service.privacy.load(whole).state.subjects


def test_refusals(site: Erasable, database: Database) -> None:
    """Every step that is not in its turn is refused, and nothing is erased by any of them."""
    privacy, erasures = site.service.privacy, site.service.erasures
    case = Marked(service=site.service)
    case.open()
    case.prepare()
    stream = case.ask()
    with pytest.raises(WrongPhase):
        privacy.approve(request(*COMPLIANCE), stream)
    case.close()
    with pytest.raises(MissingPart):
        case.execute(stream)
    with pytest.raises(WrongRole):
        privacy.approve(request(*ADMINISTRATOR), stream)
    with pytest.raises(WrongRole):
        erasures.execute(request(*COMPLIANCE), stream)
    for missing in ("privacy-none", "case-1", f"privacy-{uuid4()}"):
        with pytest.raises(ErasureRequestNotFound):
            privacy.approve(request(*COMPLIANCE), missing)
        with pytest.raises(ErasureRequestNotFound):
            erasures.execute(request(*ADMINISTRATOR), missing)
    with pytest.raises(StaleRevision):
        privacy.approve(request(*COMPLIANCE, expected=2), stream)
    with pytest.raises(NotFound):
        privacy.request(
            request(*MARKED_PATIENT), case.case, ErasureInput(scope="record", record="none", reason="objection")
        )
    with pytest.raises(WrongRole):
        privacy.request(request("patient", "other"), case.case, ErasureInput(scope="case", reason="objection"))
    privacy.refuse(request(*COMPLIANCE), stream, RefusalInput(ground="legal_claims", explanation="A claim."))
    with pytest.raises(AlreadyDone):
        privacy.approve(request(*COMPLIANCE), stream)
    with pytest.raises(MissingPart):
        case.execute(stream)
    with pytest.raises(HoldNotFound):
        site.service.holds.release(request(*COMPLIANCE), case.case, "hold-none", ReleaseInput(reason="x"))
    with pytest.raises(WrongRole):
        site.service.holds.place(request(*COORDINATOR), case.case, HOLD)
    with pytest.raises(WrongRole):
        site.service.holds.of_case(request(*COORDINATOR), case.case)
    assert site.service.keyring.get(f"case:{case.case}")
    assert site.clearing.pending() == []
    again = case.approved()
    with pytest.raises(StaleRevision):
        erasures.execute(request(*ADMINISTRATOR, expected=1), again)
    erasures.execute(request(*ADMINISTRATOR, expected=2), again)
    with pytest.raises(AlreadyDone):
        case.execute(again)


def test_a_repeated_execution_has_the_first_ones_answer(site: Erasable, case: Marked) -> None:
    """By its Idempotency-Key, after the erasure as before."""
    stream = case.approved()
    key: IdempotencyKey = idempotency_key(b"s" * 32, "administrator/administrator-1", "key-1", b"execute")
    asked = msgspec.structs.replace(request(*ADMINISTRATOR), idempotency=key)
    first = site.service.erasures.execute(asked, stream)
    again = site.service.erasures.execute(asked, stream)
    assert (again.replayed, again.revision, again.index) == (True, first.revision, first.index)
    assert [each.leaf for each in again.receipts] == [each.leaf for each in first.receipts]


def test_a_patient_with_another_case_stays_who_they_are(site: Erasable, case: Marked) -> None:
    """The patient's own key goes with the last case that names them."""
    other = Marked(service=site.service)
    other.open()
    opened = site.service.ledger.stream(f"case-{case.case}")[0].event
    another = site.service.ledger.stream(f"case-{other.case}")[0].event
    assert opened.patient != another.patient  # type: ignore[union-attr]
    # A third case, of the first one's patient.
    third = str(uuid4())
    site.service.keyring.create(f"case:{third}", f"accountability:{third}")
    new = msgspec.structs.replace(new_event(f"case-{third}", 1, opened, third), subject=f"case:{third}")  # type: ignore[arg-type]
    site.service.ledger.append([new], ACT)
    stream = case.approved()
    case.execute(stream)
    patient = opened.patient.replace("-", ":", 1)  # type: ignore[union-attr]
    assert patient not in site.service.privacy.load(stream).state.subjects
    assert site.service.keyring.get(patient)


def test_what_is_not_settled_is_not_said_to_be_done(database: Database, tmp_path: Path) -> None:
    """As long as a key may live in some memory, the data is not said to be erased; what can go goes at once."""
    with erasable(database, tmp_path / "data", settle_s=3600.0) as one:
        case = marked(one)
        case.close()
        stream = case.approved()
        case.execute(stream)
        assert one.clearing.run() == []
        assert one.clearing.pending() == [stream]
        assert one.service.privacy.load(stream).state.status == "executed"
        assert [each for each in (one.data / "vault").rglob("*") if each.is_file()] == []
        assert f"case:{case.case}" in fence_of(one)
        assert one.service.keys.kek == Keks(one.data / "keys").read()[0]
