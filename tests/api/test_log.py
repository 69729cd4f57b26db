"""The log over HTTP: tiles, bundles, proofs, readiness, metrics, and who may ask for what."""

import base64
import gzip
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.condition import Watched
from api.tokens import Tokens
from application.monitor.state import Finding, MonitorState
from caseledger import verify_log_command
from caseledger.log.sources import HttpSource
from caseledger.verify_log_command import Wanted
from domain.ledger import tlog_proof
from domain.ledger.tile import read_entries, read_hashes
from domain.ledger.tree import leaf_hash, verify_consistency, verify_inclusion
from domain.ledger.verify_trust import parse_trusted_keys
from projections.follower import FollowerState
from tests.api.people import COMPLIANCE, COORDINATOR, OPEN, PATIENT, Stage, problem
from tests.api.test_whole_case import described

WITNESS = ("witness", "witness-1")


def test_tiles_are_everybodys_and_kept_by_caches(stage: Stage) -> None:
    """Exact bytes, immutable when full; what is not there, or is written otherwise, is not found."""
    stage.open()
    size = stage.size()
    answer = stage.ask(None, "GET", f"/tile/0/000.p/{size}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert len(read_hashes(answer.content, size)) == size
    for path in (
        "0/000",
        f"0/000.p/{size + 1}",
        "1/000.p/1",
        "0/0",
        "00/000.p/1",
        "0//000.p/1",
        "0/000.p/01",
        "x/000",
        "0",
    ):
        problem(stage.ask(None, "GET", f"/tile/{path}"), 404, "not-found")
    paths = stage.client.get("/schema/openapi.json").json()["paths"]
    assert list(paths["/tile/{level}/{tile}"]["get"]["responses"]["200"]["content"]) == ["application/octet-stream"]
    assert list(paths["/tile/entries/{tile}"]["get"]["responses"]["200"]["content"]) == ["application/octet-stream"]


def test_a_full_tile_is_immutable(stage: Stage) -> None:
    """256 hashes, to be kept for a year."""
    service = stage.service
    stage.open()
    while stage.size() < 256:
        stage.ask(COORDINATOR, "GET", "/cases/{case}")
        for _ in range(20):
            stage.ask(PATIENT, "GET", "/cases/{case}")
    answer = stage.ask(None, "GET", "/tile/0/000")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    leaves = [row.leaf for row in service.ledger.recorder.range(0, 256)]
    assert read_hashes(answer.content, 256) == leaves
    assert len(stage.ask(None, "GET", "/tile/1/000.p/1").content) == 32


def test_entries_are_for_compliance_and_witnesses(stage: Stage) -> None:
    """Nobody else, and no cache; each entry is the pre-image of its hash."""
    stage.open()
    size = stage.size()
    path = f"/tile/entries/000.p/{size}"
    problem(stage.ask(None, "GET", path), 401, "bad-token")
    for who in (PATIENT, COORDINATOR, ("administrator", "administrator-1")):
        problem(stage.ask(who, "GET", path), 403, "wrong-role")
        problem(stage.ask(who, "GET", "/key-openings"), 403, "wrong-role")
    before = stage.size()
    for who in (COMPLIANCE, WITNESS):
        answer = stage.ask(who, "GET", path, headers={"Accept-Encoding": "identity"})
        assert answer.headers["cache-control"] == "private, no-store"
        hashes = read_hashes(stage.ask(None, "GET", f"/tile/0/000.p/{size}").content, size)
        assert [leaf_hash(each) for each in read_entries(answer.content, size)] == hashes
        packed = stage.ask(who, "GET", path, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content in (answer.content, gzip.compress(answer.content, 1, mtime=0))
        problem(stage.ask(who, "GET", "/tile/entries/009"), 404, "not-found")
    # One entry for each reader, however often they ask.
    assert stage.size() == before + 2


def test_a_witness_reads_the_log_and_nothing_else(stage: Stage) -> None:
    """No case, no key, no way to write; and nothing of it is put on a case's record."""
    stage.open()
    before = stage.size()
    problem(stage.ask(WITNESS, "GET", "/cases/{case}"), 403, "wrong-role")
    problem(stage.ask(WITNESS, "GET", "/cases/{case}/bundle"), 403, "wrong-role")
    problem(stage.write(WITNESS, "POST", "/cases", OPEN), 403, "wrong-role")
    assert stage.size() == before


def test_proofs_are_everybodys(stage: Stage) -> None:
    """As JSON between any two sizes, as a file for a size that has a checkpoint."""
    opened = stage.open()
    stage.prepare()
    size, keys = stage.size(), parse_trusted_keys(stage.ask(None, "GET", "/keys.txt").content)
    index = opened["index"]
    found = stage.ask(None, "GET", f"/proofs/inclusion?index={index}").json()
    note = stage.ask(None, "GET", "/checkpoint")
    assert (note.headers["content-type"], note.headers["cache-control"]) == ("text/plain; charset=utf-8", "no-cache")
    root = bytes.fromhex(found["tree"]["root"])
    proof = [base64.b64decode(each) for each in found["proof"]]
    verify_inclusion(bytes.fromhex(found["leaf"]), index, size, proof, root)
    assert found["tree"]["checkpoint"] == stage.ask(None, "GET", "/checkpoint").text
    older = stage.ask(None, "GET", f"/proofs/inclusion?index={index}&size={index + 1}").json()
    both = stage.ask(None, "GET", f"/proofs/consistency?from={index + 1}&to={size}").json()
    assert both["from"] == older["tree"]
    assert both["to"] == found["tree"]
    old = bytes.fromhex(older["tree"]["root"])
    verify_consistency(index + 1, size, old, root, [base64.b64decode(each) for each in both["proof"]])
    file = stage.ask(None, "GET", f"/proofs/inclusion?index={index}", headers={"Accept": "text/plain"})
    assert file.headers["content-type"] == "text/plain; charset=utf-8"
    tlog_proof.verify(tlog_proof.parse(file.content), bytes.fromhex(found["leaf"]), keys.checkpoint)
    problem(stage.ask(None, "GET", f"/proofs/inclusion?index={size}"), 404, "entry-not-found")
    problem(stage.ask(None, "GET", f"/proofs/consistency?from={size}&to={size - 1}"), 400, "invalid-input")
    for query in (
        "inclusion",
        "inclusion?index=-1",
        "inclusion?index=x",
        "inclusion?index=0&size=0",
        "consistency?from=0",
    ):
        assert stage.ask(None, "GET", f"/proofs/{query}").status_code == 400
    described(stage)


def test_the_whole_log_is_verified_over_http(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a witness's token and the published keys: checkpoint, openings, bundles; its opinion too."""
    stage.until_shared()
    (tmp_path / "keys").write_bytes(stage.ask(None, "GET", "/keys.txt").content)

    def get(self: HttpSource, connection: Any, path: str, limit: int) -> bytes:
        who = None if path.startswith("checkpoint") else WITNESS
        answer = stage.ask(who, "GET", f"/{path}", headers={"Accept-Encoding": "identity"})
        assert answer.status_code == 200, answer.text
        return answer.content

    with stage.service.pool.connection() as connection:
        stage.service.cosignatures.cosign(connection, stage.size())
    monkeypatch.setattr(HttpSource, "_get", get)
    size = stage.size()
    report = verify_log_command.verify(HttpSource("http://localhost"), Wanted(keys=tmp_path / "keys", jobs=1))
    assert report.failure is None
    assert report.entries == size
    assert next(each.count for each in report.checks if each.name == "actor signatures") == 1


def test_readiness_and_metrics_hold_no_person(stage: Stage) -> None:
    """Both are public and numbers; with nothing wrong the service is ready."""
    stage.open()
    ready = stage.ask(None, "GET", "/ready")
    said = ready.json()
    assert (ready.status_code, said["ready"], said["problems"]) == (200, True, [])
    assert said["head"] == said["pin"] == stage.size()
    metrics = stage.ask(None, "GET", "/metrics")
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = metrics.text
    assert f"\ncaseledger_head_entries {stage.size()}\n" in text
    assert "account-1" not in text
    assert stage.case not in text
    described(stage)


GOOD = MonitorState(
    verdict="good", head=9, checkpoint=9, position=3, passes=4, passed_size=9, looked_at=2, passed_at=2, began_at=1
)
FOUND = Finding(what="entry", index=5, message="the stored bytes do not hash to the entry's leaf", found_at=3)


@pytest.mark.parametrize("case", ["good", "bad", "stopped"])
def test_what_is_wrong_makes_it_not_ready(stage: Stage, case: str) -> None:
    """A bad position, or a view that nobody follows; both are in the answer and in the metrics."""
    state = msgspec.structs.replace(GOOD, verdict="bad", finding=FOUND) if case == "bad" else GOOD
    status: Any = "stopped" if case == "stopped" else "following"
    view = FollowerState(projection="cases", status=status, position=7, head=9, error="DatabaseUnavailable")
    service = stage.service
    watched = Watched(followers=lambda: [view], monitor=lambda: state)
    views: Any = None
    app = create_app(
        service, views, Tokens(service.keys.token.public_key(), service.keys.origin), threads=2, watched=watched
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        answer, text = client.get("/ready"), client.get("/metrics").text
    said = answer.json()
    assert (answer.status_code, said["ready"]) == ((200, True) if case == "good" else (503, False))
    assert said["monitor"]["bad_at"] == (5 if case == "bad" else None)
    assert said["monitor"]["known_since"] == "1970-01-01T00:00:00.000001Z"
    assert said["views"][0]["view"] == "cases"
    assert f"caseledger_ready {int(case == 'good')}\n" in text
    assert f"caseledger_monitor_good {int(case != 'bad')}\n" in text
    assert ("caseledger_monitor_bad_index 5\n" in text) == (case == "bad")
    assert f'caseledger_view_up{{view="cases"}} {int(case != "stopped")}\n' in text
    for line in text.splitlines():
        assert re.fullmatch(
            r'# (HELP|TYPE) caseledger_\w+ .+|caseledger_\w+(\{(view|queue)="\w+"\})? [0-9.e+-]+', line
        ), line
