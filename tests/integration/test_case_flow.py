"""The use cases in one process, on a real database and real DICOM, without HTTP."""

import base64
import io
import json
import zipfile
from pathlib import Path

import pytest

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
