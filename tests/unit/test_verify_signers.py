"""The verifier on actors' signatures: a key counts by its own history in the log, and a forged opinion is named."""

from collections.abc import Callable
from typing import Any

import pytest

from domain.ledger import bundle, verify_signers
from domain.ledger.keys import key_id
from domain.signing_key import APPROVERS
from tests.ledger_builder import LedgerBuilder, Signer, private_key, public_bytes
from tests.verifying import BY, CONTENT, OWN, changed, enrolled, fails, judge

OFFICER = {"actor": "officer-1", "role": "compliance"}


def _unapproved(ledger: LedgerBuilder) -> None:
    ledger.sign_opinion(ledger.request_key("surgeon-1", "specialist"))


def _approved_later(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.sign_opinion(surgeon)
    ledger.approve_key(surgeon)


def _approved_by_self(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.approve_key(surgeon, approver="surgeon-1")
    ledger.sign_opinion(surgeon)


def _approved_by_coordinator(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.approve_key(surgeon, approver="coordinator-1", role="coordinator")
    ledger.sign_opinion(surgeon)


def _approved_for_another(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.approve_key(surgeon, owner="surgeon-2")
    ledger.sign_opinion(surgeon)


def _no_possession(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist", possession="0" * 128)
    ledger.approve_key(surgeon)
    ledger.sign_opinion(surgeon)


def _asked_for_by_another(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist", owner="surgeon-2")
    ledger.approve_key(surgeon, owner="surgeon-2")
    ledger.sign_opinion(surgeon)


def _other_public_key(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist", public_key=public_bytes(private_key("x")).hex())
    ledger.approve_key(surgeon)
    ledger.sign_opinion(surgeon)


def _low_order_key(ledger: LedgerBuilder) -> None:
    # The identity: with it as public key, R = identity and S = 0 is a signature of every message for a lax verifier.
    low = (1).to_bytes(32, "little")
    name, stream = key_id(low), bundle.key_stream(key_id(low))
    asked = {"algorithm": "ed25519", "key": name, "owner": "surgeon-1"}
    asked |= {"possession": low.hex() + "0" * 64, "public_key": low.hex()}
    payload = bundle.encoding.encode(asked)
    ledger.append(stream, verify_signers.REQUESTED, payload, actor="surgeon-1", role="specialist")
    ledger.append(
        stream, verify_signers.ENROLLED, bundle.encoding.encode({"key": name, "owner": "surgeon-1"}), **OFFICER
    )
    ledger.sign_opinion(Signer("surgeon-1", "specialist", private_key("x"), name))


def _history_of_another_key(ledger: LedgerBuilder) -> None:
    stream = bundle.key_stream("a" * 32)
    for statement in _enrolment(ledger, "surgeon-1"):
        ledger.append(stream, **statement)
    ledger.sign_opinion(Signer("surgeon-1", "specialist", private_key("surgeon-1 key"), "a" * 32))


def _enrolment(ledger: LedgerBuilder, actor: str) -> list[dict[str, Any]]:
    """Kind, payload and actor of an honest key's two entries."""
    aside = LedgerBuilder(ledger.origin)
    enrolled(aside, actor)
    return [
        {"kind": each.kind, "payload": opening.payload, "actor": each.actor, "role": each.role}
        for each, opening in zip(aside.statements, aside.openings, strict=True)
        if opening is not None
    ]


def _unknown_history(ledger: LedgerBuilder) -> None:
    surgeon = enrolled(ledger)
    ledger.append(bundle.key_stream(surgeon.key_id), "key.suspended.v1", b"{}", **OFFICER)
    ledger.sign_opinion(surgeon)


def _end(ledger: LedgerBuilder, surgeon: Signer, kind: str, by: dict[str, str] = OFFICER, **fields: Any) -> int:
    """One more entry in a key's stream: rotation or revocation, as honest or not as its fields."""
    payload: dict[str, Any] = {"key": surgeon.key_id}
    payload |= {"owner": surgeon.actor, "successor": "b" * 32} if kind == "key.rotated.v1" else {"reason": "lost"}
    raw = bundle.encoding.encode({name: each for name, each in (payload | fields).items() if each is not None})
    return ledger.append(bundle.key_stream(surgeon.key_id), kind, raw, **by)


OWNER = {"actor": "surgeon-1", "role": "specialist"}


def _ended(kind: str, **more: Any) -> Callable[[LedgerBuilder], None]:
    def lie(ledger: LedgerBuilder) -> None:
        surgeon = enrolled(ledger)
        _end(ledger, surgeon, kind, **more)
        ledger.sign_opinion(surgeon)

    return lie


def _two_ends_in_the_wrong_order(ledger: LedgerBuilder) -> None:
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon)
    _end(ledger, surgeon, "key.revoked.v1")
    _end(ledger, surgeon, "key.rotated.v1", OWNER)


@pytest.mark.parametrize(
    ("lie", "check", "index", "words"),
    [
        (_unapproved, "signing keys", 0, "history is not"),
        (_approved_later, "actor signatures", 1, "not enrolled before"),
        (_approved_by_self, "signing keys", 1, "another person"),
        (_approved_by_coordinator, "signing keys", 1, "another person"),
        (_approved_for_another, "signing keys", 1, "another key or owner"),
        (_no_possession, "signing keys", 1, ""),
        (_asked_for_by_another, "signing keys", 1, "by its owner"),
        (_other_public_key, "signing keys", 1, "key id"),
        (_history_of_another_key, "signing keys", 1, "another key"),
        (_low_order_key, "signing keys", 1, ""),
        (_unknown_history, "signing keys", 2, "nothing else"),
        (_two_ends_in_the_wrong_order, "signing keys", 4, "nothing else"),
        (_ended("key.rotated.v1", by=OFFICER), "signing keys", 2, "by its owner"),
        (_ended("key.rotated.v1", by=OWNER | {"role": "patient"}), "signing keys", 2, "by its owner"),
        (_ended("key.rotated.v1", by=OWNER, owner="surgeon-2"), "signing keys", 2, "another key or owner"),
        (_ended("key.rotated.v1", by=OWNER, successor=None), "signing keys", 2, ""),
        (
            _ended("key.revoked.v1", by=BY),
            "signing keys",
            2,
            "revoked by",
        ),
        (_ended("key.revoked.v1", key="c" * 32), "signing keys", 2, "another key"),
        (_ended("key.revoked.v1", reason="because"), "signing keys", 2, ""),
        (_ended("key.rotated.v1", by=OWNER), "actor signatures", 3, "replaced or revoked before"),
        (_ended("key.revoked.v1"), "actor signatures", 3, "replaced or revoked before"),
        (_ended("key.revoked.v1", by=OWNER), "actor signatures", 3, "replaced or revoked before"),
    ],
)
def test_a_key_is_accepted_only_by_its_own_history(
    lie: Callable[[LedgerBuilder], None], check: str, index: int, words: str
) -> None:
    """Proof of possession by the owner, then approval by a second person, before the signed entry."""
    ledger = LedgerBuilder()
    lie(ledger)
    fails(judge(ledger.case_bundle()), check, index, words)


def test_what_a_key_signed_before_its_end_stays_valid() -> None:
    """A rotation, a revocation or both behind the opinion change nothing about it."""
    for kinds in (["key.rotated.v1"], ["key.revoked.v1"], ["key.rotated.v1", "key.revoked.v1"]):
        ledger = LedgerBuilder()
        surgeon = enrolled(ledger)
        ledger.sign_opinion(surgeon)
        for kind in kinds:
            _end(ledger, surgeon, kind, OWNER)
        report = judge(ledger.case_bundle())
        assert (report.ok, report.suspects) == (True, ())


def test_a_signature_of_the_doubtful_time_is_reported_and_holds() -> None:
    """In doubt is what may have been signed from that instant on: until when it could be signed decides."""
    ledger = LedgerBuilder()
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon)
    ends = ledger.statements[2].expires_at or 0
    index = _end(ledger, surgeon, "key.revoked.v1", compromised_since=ends - 1)
    report = judge(ledger.case_bundle())
    assert (report.ok, [(each.index, each.signature, each.since) for each in report.suspects]) == (
        True,
        [(2, "actor", ends - 1)],
    )
    assert any("SUSPECT" in each and "entries 2" in each for each in report.statements)
    again = LedgerBuilder()
    surgeon = enrolled(again)
    again.sign_opinion(surgeon)
    assert _end(again, surgeon, "key.revoked.v1", compromised_since=ends) == index
    assert judge(again.case_bundle()).suspects == ()


OpinionFields = Callable[[LedgerBuilder, Signer], dict[str, object]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (lambda ledger, by: {"signer": None}, "needs the actor's own"),
        (lambda ledger, by: {"signer": None, "kind": "opinion.signed.v2"}, "needs the actor's own"),
        (lambda ledger, by: {"signatures": lambda raw: (ledger.entry_key.sign(raw),)}, "come together"),
        (
            lambda ledger, by: {
                "signer": None,
                "signatures": lambda raw: (by.key.sign(raw), ledger.entry_key.sign(raw)),
            },
            "come together",
        ),
        (lambda ledger, by: {"role": "coordinator"}, "signed by a specialist"),
        (lambda ledger, by: {"actor": "surgeon-2"}, "not this actor's"),
        (lambda ledger, by: {"key_head": "0" * 64}, "key_head"),
        (lambda ledger, by: {"key_head": ledger.statements[1].prev}, "key_head"),
        (
            lambda ledger, by: {"signatures": lambda raw: (private_key("x").sign(raw), ledger.entry_key.sign(raw))},
            "signature",
        ),
        (
            lambda ledger, by: {"signatures": lambda raw: (by.key.sign(raw[:-1]), ledger.entry_key.sign(raw))},
            "signature",
        ),
    ],
)
def test_an_opinion_without_its_surgeons_signature_is_a_forgery(fields: OpinionFields, words: str) -> None:
    """Whatever the ledger itself signed: without the right key, role, actor and key_head the opinion fails."""
    ledger = LedgerBuilder()
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon, **fields(ledger, surgeon))
    report = judge(ledger.bundle_of([0, 1, 2] if ledger.statements[2].key_id else [2], revision=1))
    fails(report, "actor signatures", 2, words)
    assert report.verdict().startswith("NOT VERIFIED: entry 2 (opinion.signed.v")


def test_a_key_in_another_role_does_not_sign() -> None:
    """A key that was enrolled by its owner as something else signs no opinion."""
    ledger = LedgerBuilder()
    ledger.sign_opinion(enrolled(ledger, role="patient"), role="specialist")
    fails(judge(ledger.case_bundle()), "actor signatures", 2, "in this role")


def test_an_ordinary_entry_may_be_signed_too() -> None:
    """Where no signature is required a good one is accepted, and a bad one is not."""
    for key, ok in (("surgeon-1 key", True), ("x", False)):
        ledger = LedgerBuilder()
        surgeon = enrolled(ledger)
        signer = Signer(surgeon.actor, surgeon.role, private_key(key), surgeon.key_id)
        ledger.append(OWN, "note.made.v1", b"{}", actor="surgeon-1", role="specialist", signer=signer)
        assert judge(ledger.case_bundle()).ok is ok


def test_the_number_of_signing_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking a new public key is slow, so a bundle may name only so many."""
    monkeypatch.setattr("domain.ledger.verify_content.MAX_SIGNERS", 0)
    fails(judge(CONTENT), "completeness", None, "more than 0 signing keys")


def test_the_approving_roles_are_the_domains() -> None:
    """The verifier's own table of who approves keys equals the one that the service decides by."""
    assert verify_signers.APPROVING_ROLES == APPROVERS


def test_an_undisclosed_key_history_cannot_be_judged() -> None:
    """Without the key's payloads an actor's signature is not accepted."""
    openings = tuple(each for each in CONTENT.openings if each.index != 3)
    fails(judge(changed(openings=openings)), "signing keys", 3, "not disclosed")
