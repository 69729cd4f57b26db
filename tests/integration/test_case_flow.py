"""The use cases in one process, on a real database and real DICOM, without HTTP."""

import base64
import io
import json
import zipfile
from pathlib import Path

import psycopg
import pytest

from application.cases import LoadedCase
from application.request import idempotency_key
from domain.case import commands as c
from domain.errors import MissingConsent, WrongRole
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys
from tests.conftest import Database
from tests.service_fixture import (
    COMPLIANCE,
    CT,
    MR_PROJECTIONS,
    ONCOLOGIST,
    PATIENT,
    SURGEON,
    Walk,
    open_service,
    request,
)


def test_a_case_goes_from_opening_to_a_shared_opinion_and_its_bundle_verifies(
    database: Database, tmp_path: Path
) -> None:
    """Every step is an entry; the bundle holds under the public keys alone, with content for the patient only."""
    with open_service(database, tmp_path) as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        walk.upload(MR_PROJECTIONS)
        assert service.cases.load(walk.case).state.phase == "gathering"
        walk.upload(CT)
        assert service.cases.load(walk.case).state.phase == "imaging_check"
        walk.enrol()
        walk.route()
        signed = walk.sign()
        share = walk.share()
        outcome, text = service.shares.open(request(*ONCOLOGIST), walk.case, share)
        assert text.opinion.content.resectability == "potentially_resectable_after_conversion"
        assert text.opinion.accepted_limits == ("12.5 mm only",)
        assert outcome.index > signed.index
        keys = service.keys
        trust = TrustedKeys(keys.origin, (keys.checkpoint_verifier(),), (keys.entry_verifier(),))
        for who, disclosed in ((PATIENT, True), (COMPLIANCE, False)):
            raw = service.bundles.export(request(*who), walk.case)
            report = verify(raw, trust)
            assert report.ok, report.failure
            assert (b"Two-stage resection" in _inflated(raw)) is disclosed


def test_a_share_does_not_open_after_its_consent_was_withdrawn(database: Database, tmp_path: Path) -> None:
    """The refusal is an entry of its own, and the case has not moved."""
    with open_service(database, tmp_path) as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        walk.upload(CT)
        walk.enrol()
        walk.route()
        walk.sign()
        share = walk.share()
        walk.act(PATIENT, c.WithdrawConsent(consent="consent-share-opinion"))
        before = service.cases.load(walk.case).revision
        size = service.ledger.recorder.max_notification_id() or 0
        with pytest.raises(MissingConsent):
            service.shares.open(request(*ONCOLOGIST), walk.case, share)
        with pytest.raises(WrongRole):
            service.shares.open(request("oncologist", "somebody-else"), walk.case, share)
        assert service.cases.load(walk.case).revision == before
        refusals = service.ledger.read(size, size + 2)
        assert [each.statement.outcome for each in refusals] == ["refused", "refused"]
        assert {each.statement.case for each in refusals} == {walk.case}


def _inflated(bundle: bytes) -> bytes:
    lines = zipfile.ZipFile(io.BytesIO(bundle)).read("openings.ndjson").splitlines()
    return b"".join(base64.b64decode(json.loads(line)["payload"]) for line in lines)


def test_a_patients_account_stands_nowhere_in_clear(database: Database, tmp_path: Path) -> None:
    """Neither in what they did, nor in what they were refused, in any case or in none."""
    with open_service(database, tmp_path) as service:
        walk = Walk(service)
        walk.open()
        walk.enrol()
        with pytest.raises(WrongRole):
            service.signing_keys.suspects(request(*PATIENT), walk.key_id)
        key = idempotency_key(bytes(32), PATIENT[1], "ada@example.org", b"x")
        assert "ada" not in key.key
        with psycopg.connect(database.superuser_url) as connection:
            rows = connection.execute("SELECT statement::text FROM ledger.entry").fetchall()
    assert len(rows) > 3
    assert not any(PATIENT[1] in row[0] for row in rows)
    assert any('"actor":"unknown-patient"' in row[0] for row in rows)


def test_a_read_that_is_overtaken_is_decided_anew(database: Database, tmp_path: Path) -> None:
    """Consent is withdrawn between the decision and its record: nothing is shown, and the refusal is recorded."""
    with open_service(database, tmp_path) as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        walk.upload(CT)
        walk.enrol()
        walk.route()
        load = service.cases.load

        def overtaken(case: str, *, version: int | None = None) -> LoadedCase:
            loaded = load(case, version=version)
            service.cases.load = load  # type: ignore[method-assign]
            walk.act(PATIENT, c.WithdrawConsent(consent="consent-review"))
            return loaded

        service.cases.load = overtaken  # type: ignore[method-assign]
        with pytest.raises(WrongRole):
            service.accesses.read(request(*SURGEON), walk.case, "case")
        last = service.ledger.read(size := (service.ledger.recorder.max_notification_id() or 1) - 1, size + 1)
        assert [each.statement.outcome for each in last] == ["refused"]
