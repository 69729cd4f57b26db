"""What submitting an opinion refuses: each case changes one thing about a submission that would be accepted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from application.opinions import Prepared, Submission
from application.service import Service
from caseledger import signing
from domain.case import commands as c
from domain.case import events as e
from domain.errors import (
    AlreadyDone,
    BadPublicKey,
    CaseLedgerError,
    GuardBroken,
    PreparationExpired,
    PreparationReplayed,
    WrongKey,
    WrongRole,
    WrongStatement,
)
from domain.ledger.dsse import pre_authentication_encoding
from domain.ledger.signatures import PREPARED_FOR_US
from tests.conftest import Database
from tests.service_fixture import (
    ADMINISTRATOR,
    COMPLIANCE,
    CONTENT,
    COORDINATOR,
    CT,
    PATIENT,
    SURGEON,
    Walk,
    open_service,
    request,
)


@pytest.fixture
def walk(database: Database, tmp_path: Path) -> Iterator[Walk]:
    """A case in review, and a surgeon with an enrolled key."""
    with open_service(database, tmp_path) as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        walk.upload(CT)
        walk.enrol()
        walk.route()
        yield walk


def sent(walk: Walk) -> c.SignOpinionInput:
    """An opinion on everything that the case holds."""
    state = walk.service.cases.load(walk.case).state
    pins = tuple(e.RecordPin(record=r.record, manifest_sha256=r.manifest_sha256) for r in state.usable())
    return c.SignOpinionInput(content=CONTENT, relied_on=pins)


def prepared(walk: Walk) -> Prepared:
    """The opinion, prepared."""
    return walk.service.opinions.prepare(request(*SURGEON), walk.case, walk.key_id, sent(walk))


def signed(walk: Walk, key: Ed25519PrivateKey | None = None) -> Submission:
    """The opinion, prepared and signed."""
    one = prepared(walk)
    signature = (key or walk.key or Ed25519PrivateKey.generate()).sign(pre_authentication_encoding(one.statement))
    return Submission(
        statement=one.statement,
        blinding=one.blinding,
        payload=one.payload,
        preparation=one.preparation,
        signature=signature,
    )


def refused(walk: Walk, submission: Submission, kind: type[CaseLedgerError], who: tuple = SURGEON, **more: int) -> None:
    """It is refused, and the log has not grown."""
    before = walk.service.ledger.recorder.max_notification_id()
    with pytest.raises(kind):
        walk.service.opinions.submit(replace(request(*who), **more), walk.case, submission)
    assert walk.service.ledger.recorder.max_notification_id() == before


def test_another_key_does_not_sign_for_the_surgeon(walk: Walk) -> None:
    """The signature must be one of the key that the statement names."""
    refused(walk, signed(walk, Ed25519PrivateKey.generate()), WrongKey)


def test_a_statement_that_this_service_did_not_prepare_is_refused(walk: Walk) -> None:
    """Every byte of the statement is bound to its preparation."""
    one = signed(walk)
    altered = one.statement.replace(b'"purpose":"TREAT"', b'"purpose":"ETREAT"')
    again = walk.key.sign(pre_authentication_encoding(altered)) if walk.key else b""
    refused(walk, replace(one, statement=altered, signature=again), WrongStatement)
    refused(walk, replace(one, preparation=bytes(32)), WrongStatement)


def test_another_opinion_than_the_prepared_one_is_refused(walk: Walk) -> None:
    """Payload and blinding are held against the commitment."""
    one = signed(walk)
    other = one.payload.replace(b"Two-stage resection.", b"Two-stage RESECTION.")
    assert other != one.payload
    refused(walk, replace(one, payload=other), WrongStatement)
    refused(walk, replace(one, blinding=bytes(32)), WrongStatement)
    refused(walk, replace(one, payload=b"{"), WrongStatement)


def test_a_preparation_expires(walk: Walk) -> None:
    """Ten minutes after it was prepared, to the microsecond."""
    now = request(*SURGEON).now
    one = walk.service.opinions.prepare(replace(request(*SURGEON), now=now), walk.case, walk.key_id, sent(walk))
    submission = signing.sign(one, walk.key) if walk.key else None
    assert submission is not None
    refused(walk, submission, PreparationExpired, now=now + PREPARED_FOR_US)


def test_a_submission_counts_once(walk: Walk) -> None:
    """A replay finds that the case has moved."""
    one = signed(walk)
    walk.service.opinions.submit(request(*SURGEON), walk.case, one)
    refused(walk, one, PreparationReplayed)


def test_a_case_that_moved_needs_a_new_preparation(walk: Walk) -> None:
    """Whatever happened in between might have mattered."""
    one = signed(walk)
    walk.act(COORDINATOR, c.RecordOriginalVerdict(verdict="unresectable", centre="X", decided_on="2026-01-01"))
    refused(walk, one, PreparationReplayed)


def test_a_preparation_is_for_one_surgeon(walk: Walk) -> None:
    """Neither another surgeon nor another role submits it."""
    one = signed(walk)
    refused(walk, one, WrongStatement, who=("specialist", "surgeon-2"))
    refused(walk, one, WrongStatement, who=("coordinator", SURGEON[1]))


def test_a_key_that_moves_between_decision_and_append_breaks_the_append(walk: Walk) -> None:
    """The key's stream is a guard: what happened to it last is in the statement, and held at the append."""
    one = signed(walk)
    service: Service = walk.service
    load = service.signing_keys.load

    def moved(key: str) -> object:
        loaded = load(key)
        return replace(loaded, head="0" * 64)

    service.signing_keys.load = moved  # type: ignore[method-assign, assignment]
    try:
        refused(walk, one, WrongKey)
        stale = prepared(walk)
        submission = signing.sign(stale, walk.key) if walk.key else None
        assert submission is not None
        refused(walk, submission, GuardBroken)
    finally:
        service.signing_keys.load = load  # type: ignore[method-assign]


def test_only_an_enrolled_key_of_the_own_signs(walk: Walk) -> None:
    """Proposed is not enrolled, and another person's is not one's own."""
    key = Ed25519PrivateKey.generate()
    keys = walk.service.signing_keys
    proposed = keys.request(
        request(*SURGEON), **signing.prove_possession(key, walk.service.keys.origin, SURGEON[1])
    ).stream.removeprefix("key-")
    with pytest.raises(WrongKey):
        walk.service.opinions.prepare(request(*SURGEON), walk.case, proposed, sent(walk))
    proof = signing.prove_possession(Ed25519PrivateKey.generate(), walk.service.keys.origin, COORDINATOR[1])
    other = keys.request(request(*COORDINATOR), **proof).stream.removeprefix("key-")
    keys.approve(request(*COMPLIANCE), other)
    with pytest.raises(WrongKey):
        walk.service.opinions.prepare(request(*SURGEON), walk.case, other, sent(walk))


def test_enrolment_needs_possession_and_a_second_person(walk: Walk) -> None:
    """A proof for somebody else, a weak key, oneself as approver, twice: each is refused."""
    keys, origin = walk.service.signing_keys, walk.service.keys.origin
    key = Ed25519PrivateKey.generate()
    with pytest.raises(WrongKey):
        keys.request(request(*COORDINATOR), **signing.prove_possession(key, origin, SURGEON[1]))
    with pytest.raises(WrongKey):
        keys.request(request(*SURGEON), **signing.prove_possession(key, "another.example/log", SURGEON[1]))
    with pytest.raises(BadPublicKey):
        keys.request(request(*SURGEON), public_key="00" * 32, possession="00" * 64)
    with pytest.raises(WrongRole):
        keys.request(request(*PATIENT), **signing.prove_possession(key, origin, PATIENT[1]))
    made = keys.request(request(*ADMINISTRATOR), **signing.prove_possession(key, origin, ADMINISTRATOR[1]))
    name = made.stream.removeprefix("key-")
    for who in (ADMINISTRATOR, COORDINATOR, SURGEON):
        with pytest.raises(WrongRole):
            keys.approve(request(*who), name)
    keys.approve(request(*COMPLIANCE), name)
    with pytest.raises(AlreadyDone):
        keys.approve(request(*COMPLIANCE), name)
    with pytest.raises(AlreadyDone):
        keys.request(request(*ADMINISTRATOR), **signing.prove_possession(key, origin, ADMINISTRATOR[1]))
