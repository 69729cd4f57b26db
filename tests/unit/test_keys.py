"""Which keys and signatures are acceptable (the curve's edge cases: tests/vectors/test_ed25519_vectors.py)."""

import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.errors import BadPublicKey, BadSignature, ControlCharacter
from domain.ledger.keys import (
    KEY_ID_PATTERN,
    check_ed25519_public_key,
    key_id,
    proof_of_possession_message,
    verify_ed25519,
)

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
L = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize("seed", range(20))
def test_honest_keys_are_accepted(seed: int) -> None:
    """A key made from a private key is of prime order and canonical."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    check_ed25519_public_key(private.public_key().public_bytes_raw())


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "32 bytes"),
        (PUBLIC[:31], "32 bytes"),
        (PUBLIC + b"\0", "32 bytes"),
        (b"\xff" * 32, "canonical"),
        ((2**255 - 19).to_bytes(32, "little"), "canonical"),
        ((1 + 2**255).to_bytes(32, "little"), "canonical"),
        ((2**255 - 20 + 2**255).to_bytes(32, "little"), "canonical"),
        ((2).to_bytes(32, "little"), "not a point"),
        ((0).to_bytes(32, "little"), "low order"),
        ((1).to_bytes(32, "little"), "low order"),
        (bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"), "low order"),
        (bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "low order"),
        ((2**255 - 20).to_bytes(32, "little"), "low order"),
    ],
)
def test_bad_keys_are_refused_with_the_reason(raw: bytes, why: str) -> None:
    """Another length or spelling, no point, or a point of low order is refused, and the message says which."""
    with pytest.raises(BadPublicKey, match=why):
        check_ed25519_public_key(raw)


def test_a_key_plus_a_point_of_order_two_is_refused() -> None:
    """Adding (0, -1) negates both coordinates: such a key has a low-order component."""
    encoded = int.from_bytes(PUBLIC, "little")
    y, sign = encoded & (2**255 - 1), encoded >> 255
    mixed = (2**255 - 19 - y) | (1 - sign) << 255
    with pytest.raises(BadPublicKey, match="component"):
        check_ed25519_public_key(mixed.to_bytes(32, "little"))


def test_key_id_is_short_ascii() -> None:
    """A key id is the head of the key's SHA-256 and fits its pattern."""
    assert key_id(PUBLIC) == "56475aa75463474c0285df5dbf2bcab7"
    assert re.fullmatch(KEY_ID_PATTERN, key_id(PUBLIC))


def test_signatures_hold_for_their_message_and_key_only() -> None:
    """A signature holds for what was signed, and for no other message, key or bytes."""
    signature = PRIVATE.sign(b"message")
    verify_ed25519(PUBLIC, signature, b"message")
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    s = int.from_bytes(signature[32:], "little")
    for public, signed, message, why in (
        (PUBLIC, signature, b"another", "does not hold"),
        (other, signature, b"message", "does not hold"),
        (PUBLIC, signature[:63], b"message", "64 bytes"),
        (PUBLIC, signature + b"\0", b"message", "64 bytes"),
        # Refused here, whatever the library beneath makes of them.
        (PUBLIC, signature[:32] + (s + L).to_bytes(32, "little"), b"message", "not reduced"),
        (PUBLIC, b"\xff" * 32 + signature[32:], b"message", "not canonical"),
    ):
        with pytest.raises(BadSignature, match=why):
            verify_ed25519(public, signed, message)


def test_a_low_order_key_signs_nothing() -> None:
    """The identity as a key would make one signature hold for every message; it is refused before that."""
    identity = (1).to_bytes(32, "little")
    with pytest.raises(BadSignature, match="key"):
        verify_ed25519(identity, identity + bytes(32), b"any message")


def test_possession_message_is_fixed_bytes() -> None:
    """The message names origin, actor, key id and key, one a line, under its own prefix."""
    assert proof_of_possession_message("ledger.example/a", "actor-1", key_id(PUBLIC), PUBLIC) == (
        b"caseledger/key-possession/v1\nledger.example/a\nactor-1\n56475aa75463474c0285df5dbf2bcab7\n"
        b"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\n"
    )


def test_possession_fields_cannot_run_together() -> None:
    """A line break inside a field is refused, and so is an id that is not the key's."""
    with pytest.raises(ControlCharacter):
        proof_of_possession_message("ledger.example/a\nactor", "1", key_id(PUBLIC), PUBLIC)
    with pytest.raises(BadPublicKey):
        proof_of_possession_message("ledger.example/a", "actor-1", "0" * 32, PUBLIC)
