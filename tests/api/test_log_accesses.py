"""Reads of the log as such, and refusals that concern no case, are in the log; reading it to its end ends."""

from typing import Any

import pytest

from application import log_accesses
from application.log_accesses import SUBJECT, LogAccesses
from application.request import Request
from domain.access import AccessRecorded
from domain.errors import NotFound
from domain.ledger.tile import TileAddress, read_entries
from tests.api.people import (
    COMPLIANCE,
    COORDINATOR,
    OPEN,
    OTHER_PATIENT,
    PATIENT,
    SPECIALIST,
    SURGEON,
    TECHNICIAN,
    Stage,
    problem,
)

WITNESS = ("witness", "witness-1")
DAY_S = 24 * 3600


def accesses(stage: Stage, start: int) -> list[tuple[Any, ...]]:
    """Who, what, of which, how it ended, and why; from an index on."""
    return [
        (
            each.statement.actor,
            each.event.what,
            each.statement.object,
            each.statement.outcome,
            each.event.refused_because,
        )
        for each in stage.service.ledger.read(start, stage.size())
        if isinstance(each.event, AccessRecorded)
    ]


def bundle(stage: Stage, who: tuple[str, str], size: int) -> Any:
    """The newest bundle of a log of that size."""
    index, width = divmod(size, 256)
    return stage.ask(who, "GET", f"/tile/entries/{index:03d}.p/{width}")


def test_a_mirror_that_follows_the_log_comes_to_its_end(stage: Stage) -> None:
    """The first read makes an entry, which the next read shows; after that nothing new comes of reading."""
    stage.open()
    start, sizes = stage.size(), []
    for _ in range(5):
        sizes.append(stage.size())
        assert bundle(stage, WITNESS, sizes[-1]).status_code == 200
    assert sizes == [start, *[start + 1] * 4]
    assert accesses(stage, start) == [("witness-1", "entries", "entries:0-65535", "allowed", None)]
    shown = stage.ask(WITNESS, "GET", f"/tile/entries/000.p/{start + 1}", headers={"Accept-Encoding": "identity"})
    assert b"witness-1" not in shown.content  # in base64
    assert len(read_entries(shown.content, start + 1)) == start + 1


def test_each_reader_each_day_and_each_stretch_is_on_record(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another reader, the next day, another stretch; and keys' openings beside them."""
    monkeypatch.setattr(log_accesses, "STRETCH", 4)
    stage.open()
    stage.prepare()
    start = stage.size()
    reading = stage.service.log_accesses
    for who, index, ahead in (("a", 0, 0), ("a", 3, 0), ("b", 0, 0), ("a", 4, 0), ("a", 0, DAY_S), ("a", 1, DAY_S)):
        by = Request(id=who, role="compliance", cause="c", now=stage.clock() + ahead * 1_000_000)
        assert reading.read(by, "entries", lambda: b"x", index) == b"x"
    assert [each[:3] for each in accesses(stage, start)] == [
        ("a", "entries", "entries:0-3"),
        ("b", "entries", "entries:0-3"),
        ("a", "entries", "entries:4-7"),
        ("a", "entries", "entries:0-3"),
    ]
    before = stage.size()
    for _ in range(2):
        assert stage.ask(COMPLIANCE, "GET", "/key-openings").status_code == 200
    assert accesses(stage, before) == [(COMPLIANCE[1], "key-openings", "key-openings", "allowed", None)]


def test_a_restart_makes_no_second_entry(stage: Stage) -> None:
    """What a process has forgotten, the ledger has not: the same reader, day and stretch are one stream."""
    stage.open()
    service, before = stage.service, stage.size()
    by = Request(id="witness-1", role="witness", cause="c", now=stage.clock())
    for _ in range(3):
        LogAccesses(service.ledger, service.keyring, service.keys.preparation).read(by, "entries", lambda: b"x")
    assert stage.size() == before + 1


def test_what_is_not_there_was_not_read(stage: Stage) -> None:
    """Nothing is on record of a bundle that nobody got, or who asks for ever others would grow the log by it."""
    stage.open()
    before = stage.size()
    by = Request(id="compliance-1", role="compliance", cause="c", now=stage.clock())

    def missing() -> bytes:
        raise NotFound

    with pytest.raises(NotFound):
        stage.service.log_accesses.read(by, "entries", missing, TileAddress(None, 10**6, 256).start)
    problem(bundle(stage, COMPLIANCE, before + 9), 404, "not-found")
    assert stage.size() == before


def test_who_tried_to_read_the_log_is_on_record(stage: Stage) -> None:
    """Once a day each; patients under no name, and one of them does not stand for another."""
    stage.open()
    start = stage.size()
    for index in range(3):
        for who in (COORDINATOR, PATIENT, OTHER_PATIENT):
            problem(stage.ask(who, "GET", f"/tile/entries/00{index}"), 403, "wrong-role")
    refused = ("entries", "entries", "refused", "wrong-role")
    assert sorted(accesses(stage, start)) == [(COORDINATOR[1], *refused), *[("unknown-patient", *refused)] * 2]
    assert {each.statement.subject for each in stage.service.ledger.read(start, stage.size())} == {SUBJECT}


def test_refused_changes_of_keys_are_on_record(stage: Stage) -> None:
    """Who tried what with which key, and why not; for the log's own keys, too."""
    stage.enrol()
    start, key = stage.size(), stage.key_id
    body = {"reason": "lost"}
    problem(stage.write(COORDINATOR, "POST", f"/keys/{key}/approval"), 403, "wrong-role")
    problem(stage.write(COMPLIANCE, "POST", f"/keys/{key}/approval"), 409, "already-done")
    problem(stage.write(TECHNICIAN, "POST", f"/keys/{key}/revocation", body), 403, "wrong-role")
    problem(stage.write(SURGEON, "POST", f"/keys/{key}/rotation", {"successor": key}), 403, "wrong-key")
    proposal = {"public_key": "a" * 64, "possession": "0" * 128}
    problem(stage.write(PATIENT, "POST", "/keys", proposal), 403, "wrong-role")
    vkey = {"purpose": "witness", "vkey": "w.example/w+00000000+AAAA"}
    problem(stage.write(COMPLIANCE, "POST", "/service-keys/proposals", vkey), 403, "wrong-role")
    problem(stage.write(COMPLIANCE, "POST", "/specialists", SPECIALIST), 403, "wrong-role")
    problem(stage.write(SURGEON, "POST", "/cases", OPEN), 403, "wrong-role")
    assert accesses(stage, start) == [
        (COORDINATOR[1], "key-approval", key, "refused", "wrong-role"),
        (COMPLIANCE[1], "key-approval", key, "refused", "already-done"),
        (TECHNICIAN[1], "key-revocation", key, "refused", "wrong-role"),
        (SURGEON[1], "key-rotation", key, "refused", "wrong-key"),
        ("unknown-patient", "key-proposal", None, "refused", "wrong-role"),
        (COMPLIANCE[1], "key-proposal", None, "refused", "wrong-role"),
        (COMPLIANCE[1], "specialist", None, "refused", "wrong-role"),
        (SURGEON[1], "case", None, "refused", "wrong-role"),
    ]
    raw = b"".join(row.raw for row in stage.service.ledger.recorder.range(start, stage.size()))
    assert OTHER_PATIENT[1].encode() not in raw
    assert PATIENT[1].encode() not in raw
