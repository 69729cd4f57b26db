"""ML-DSA-44 against the accumulated vectors of C2SP's community cryptography test vectors.

The product's library generates keys and verifies; it signs hedged only, so the deterministic signatures that the digest
covers come from the tests' own reference.
"""

import re
from collections.abc import Callable
from hashlib import shake_128

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from domain.errors import BadSignature
from domain.ledger.cosignature_mldsa import check_mldsa_public_key, sign, verify_mldsa
from tests.reference_mldsa import Key
from tests.shared import shared

ITERATIONS = 100


def test_a_hundred_accumulated_keys_and_signatures_give_the_published_digest(
    counted: Callable[[str, int], None],
) -> None:
    """The library's public keys, and signatures that it verifies, hash to what the vectors say for 100 iterations."""
    text = shared("vectors/c2sp-cctv/ML-DSA/accumulated/README.md").read_text("utf-8")
    found = re.search(r"### ML-DSA-44\n\n- 100 iterations: `([0-9a-f]{64})`", text)
    assert found is not None
    seeds, accumulated = shake_128(b"").digest(32 * ITERATIONS), shake_128()
    for at in range(ITERATIONS):
        seed = seeds[32 * at : 32 * (at + 1)]
        private = MLDSA44PrivateKey.from_seed_bytes(seed)
        public = private.public_key().public_bytes_raw()
        check_mldsa_public_key(public)
        signature = Key(seed).sign(b"")
        verify_mldsa(public, signature, b"")
        verify_mldsa(public, sign(b"", private), b"")
        accumulated.update(public + signature)
    assert accumulated.hexdigest(32) == found[1]
    counted("published vectors, C2SP/CCTV ML-DSA-44 (accumulated keys and signatures)", ITERATIONS)


def test_no_bit_of_a_signature_may_change() -> None:
    """Over the whole length of a signature, a turned bit is refused; challenge, response and hints alike."""
    key = Key(bytes(32))
    signature = key.sign(b"message")
    verify_mldsa(key.public, signature, b"message")
    for at in range(0, len(signature), 5):
        changed = bytearray(signature)
        changed[at] ^= 1 << at % 8
        with pytest.raises(BadSignature):
            verify_mldsa(key.public, bytes(changed), b"message")
