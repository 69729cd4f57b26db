"""Keys through the API: what enrolment refuses, and what becomes of a key."""

import base64
import json

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.clock import instant
from application.ledger.key_rotation import make_next
from application.ledger.keyfiles import raw_public
from caseledger import signing
from domain.ledger.note import COSIGNATURE_V1, VerifierKey
from domain.ledger.verify_trust import parse_trusted_keys
from tests.api.people import ADMINISTRATOR, COMPLIANCE, COORDINATOR, SURGEON, Stage
from tests.shared import shared
from tests.vectors.test_ed25519_vectors import BAD_KEY


def test_enrolment_refuses_every_edge_case_key(stage: Stage) -> None:
    """All 914 vectors of C2SP/CCTV as an actor's key and as a witness's: a bad one is called so, and nothing kept."""
    vectors = json.loads(shared("vectors", "c2sp-cctv", "ed25519", "ed25519vectors.json").read_text())
    assert len(vectors) == 914
    size, answers = stage.size(), {True: set(), False: set()}
    for vector in vectors:
        bad = bool(BAD_KEY & set(vector["flags"] or ()))
        body = {"public_key": vector["key"], "possession": vector["sig"]}
        answer = stage.write(SURGEON, "POST", "/keys", body)
        answers[bad].add((answer.status_code, answer.json()["type"].rpartition(":")[2]))
        if bad:
            key = base64.b64encode(bytes([COSIGNATURE_V1]) + bytes.fromhex(vector["key"])).decode()
            vkey = {"purpose": "witness", "vkey": f"witness.example/w+00000000+{key}"}
            answer = stage.write(ADMINISTRATOR, "POST", "/service-keys/proposals", vkey)
            assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (422, "bad-public-key")
    assert answers == {True: {(422, "bad-public-key")}, False: {(403, "wrong-key")}}
    # What is not that key's signature is refused, and on record as refused; a key that is none is not even a key.
    kept = stage.service.ledger.read(size, stage.size())
    assert {(each.statement.kind, each.statement.outcome) for each in kept} == {("access.recorded.v1", "refused")}
    assert len(kept) == sum(not BAD_KEY & set(vector["flags"] or ()) for vector in vectors)


def enrol(stage: Stage) -> str:
    """A key of the surgeon's, approved."""
    proof = signing.prove_possession(Ed25519PrivateKey.generate(), stage.service.keys.origin, SURGEON[1])
    key: str = stage.done(SURGEON, "POST", "/keys", proof)["made"]["key"]
    stage.done(COMPLIANCE, "POST", f"/keys/{key}/approval")
    return key


def test_an_owner_replaces_a_key_and_compliance_revokes_it(stage: Stage) -> None:
    """The key shows what became of it, with instants as everywhere."""
    key, following = enrol(stage), enrol(stage)
    body = {"successor": following}
    assert stage.write(COMPLIANCE, "POST", f"/keys/{key}/rotation", body).status_code == 403
    done = stage.done(SURGEON, "POST", f"/keys/{key}/rotation", body)
    shown = stage.ask(SURGEON, "GET", f"/keys/{key}").json()
    assert (shown["enrolled"], shown["status"], shown["successor"]) == (False, "rotated", following)
    assert shown["stopped_at"] == done["index"]
    body = {"reason": "compromised", "compromised_since": "2026-01-02T03:04:05.25+01:00"}
    assert stage.write(COORDINATOR, "POST", f"/keys/{key}/revocation", body).status_code == 403
    stage.done(COMPLIANCE, "POST", f"/keys/{key}/revocation", body)
    shown = stage.ask(SURGEON, "GET", f"/keys/{key}").json()
    assert (shown["status"], shown["compromised_since"]) == ("revoked", "2026-01-02T02:04:05.250000Z")
    assert stage.ask(COMPLIANCE, "GET", f"/keys/{key}/suspects").json() == []
    assert stage.ask(ADMINISTRATOR, "GET", f"/keys/{key}/suspects").status_code == 403
    for bad in ({"reason": "because"}, {"reason": "lost", "compromised_since": "yesterday"}, {}):
        assert stage.write(COMPLIANCE, "POST", f"/keys/{following}/revocation", bad).status_code in (400, 422)
    assert stage.write(COMPLIANCE, "POST", f"/keys/{'0' * 32}/revocation", {"reason": "lost"}).status_code == 404


def test_an_opinion_of_the_doubtful_time_is_listed(stage: Stage) -> None:
    """Index, case, kind, actor and time of what the key signed; nothing of what it says."""
    stage.open()
    stage.prepare()
    stage.upload()
    stage.enrol()
    stage.route()
    since = stage.clock()
    stage.sign()
    body = {"reason": "compromised", "compromised_since": instant(since).isoformat()}
    stage.done(SURGEON, "POST", f"/keys/{stage.key_id}/revocation", body)
    (found,) = stage.ask(COMPLIANCE, "GET", f"/keys/{stage.key_id}/suspects").json()
    assert (found["case"], found["kind"], found["actor"]) == (stage.case, "opinion.signed.v1", SURGEON[1])


def test_the_logs_own_keys_are_replaced_by_two_people(stage: Stage) -> None:
    """What `key rotate` prints is proposed by one and approved by another; the published keys follow."""
    stage.service.service_keys.begin(stage.clock())
    before = parse_trusted_keys(stage.ask(None, "GET", "/keys.txt").content)
    for purpose in ("entry", "checkpoint"):
        made = msgspec.to_builtins(make_next(stage.service.checkpoints.live.files.again(), purpose))
        assert stage.write(COMPLIANCE, "POST", "/service-keys/proposals", made).status_code == 403
        key = stage.done(ADMINISTRATOR, "POST", "/service-keys/proposals", made)["made"]["key"]
        assert stage.write(ADMINISTRATOR, "POST", f"/keys/{key}/approval").status_code == 403
        stage.done(COMPLIANCE, "POST", f"/keys/{key}/approval")
    shown = stage.ask(SURGEON, "GET", "/service-keys").json()
    assert [(each["purpose"], each["status"]) for each in shown] == [
        ("entry", "rotated"), ("checkpoint", "rotated"), ("entry", "enrolled"), ("checkpoint", "enrolled"),
    ]  # fmt: skip
    after = parse_trusted_keys(stage.ask(None, "GET", "/keys.txt").content)
    assert (before.entries[0] in after.entries[1:], before.checkpoint[0] in after.checkpoint[1:]) == (True, True)
    assert (len(after.entries), len(after.checkpoint)) == (2, 2)


def test_a_witness_is_enrolled_and_revoked(stage: Stage) -> None:
    """By the same routes as everybody's keys."""
    vkey = str(VerifierKey.make("witness.example/w", COSIGNATURE_V1, raw_public(Ed25519PrivateKey.generate())))
    key = stage.done(ADMINISTRATOR, "POST", "/service-keys/proposals", {"purpose": "witness", "vkey": vkey})["made"][
        "key"
    ]
    stage.done(COMPLIANCE, "POST", f"/keys/{key}/approval")
    assert stage.ask(SURGEON, "GET", f"/keys/{key}").status_code == 404
    stage.done(COMPLIANCE, "POST", f"/keys/{key}/revocation", {"reason": "owner_left"})
    assert [each["status"] for each in stage.ask(SURGEON, "GET", "/service-keys").json()] == ["revoked"]
