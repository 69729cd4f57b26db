"""The edge-case keys and signatures of C2SP/CCTV decide which keys and which signatures are good."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from domain.errors import BadPublicKey, BadSignature
from domain.ledger.keys import check_ed25519_public_key, verify_ed25519
from tests.shared import shared

BAD_KEY = {"low_order_A", "non_canonical_A", "low_order_component_A"}
# With a key of prime order, these leave the equation of RFC 8032 5.1.7 unsatisfied or R misspelt.
BAD_SIGNATURE = {"low_order_residue", "non_canonical_R", "low_order_component_R"}


@pytest.fixture(scope="module")
def vectors() -> list[dict[str, Any]]:
    """All 914 vectors."""
    found: list[dict[str, Any]] = json.loads(
        shared("vectors", "c2sp-cctv", "ed25519", "ed25519vectors.json").read_text()
    )
    assert len(found) == 914
    return found


def test_edge_case_keys_are_refused_at_enrolment(vectors: list[dict[str, Any]]) -> None:
    """Low-order, mixed-order and non-canonical keys are refused, each of them; clean ones are accepted."""
    refused = 0
    for vector in vectors:
        bad = bool(BAD_KEY & set(vector["flags"] or ()))
        try:
            check_ed25519_public_key(bytes.fromhex(vector["key"]))
            assert not bad, vector["number"]
        except BadPublicKey:
            assert bad, vector["number"]
            refused += 1
    assert (refused, len(vectors) - refused) == (886, 28)


def test_edge_case_signatures_hold_only_when_strictly_good(
    vectors: list[dict[str, Any]], counted: Callable[[str, int], None]
) -> None:
    """A signature holds exactly when neither key nor R is an edge case on which verifiers disagree."""
    held = 0
    for vector in vectors:
        bad = bool((BAD_KEY | BAD_SIGNATURE) & set(vector["flags"] or ()))
        parts = bytes.fromhex(vector["key"]), bytes.fromhex(vector["sig"]), vector["msg"].encode()
        try:
            verify_ed25519(*parts)
            assert not bad, vector["number"]
            held += 1
        except BadSignature:
            assert bad, vector["number"]
    assert held > 0
    counted("published vectors, C2SP/CCTV Ed25519", len(vectors))
