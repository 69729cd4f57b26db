"""Payloads: committed to in the statement, encrypted beside it, opened against the commitment.

The commitment hides: without `r` nobody can test a guess of the payload against it, not even after the key is gone.
Randomness comes from the caller.
"""

import hashlib
import hmac

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import PayloadAltered, TooLarge
from domain.ledger.statement import MAX_PAYLOAD_BYTES

BLINDING_BYTES = 32
NONCE_BYTES = 12
KEY_BYTES = 32

_LABEL = b"caseledger/payload/v1\0"
_VERSION = b"\x01"
_HEAD_BYTES = 1 + NONCE_BYTES


class Opening(msgspec.Struct, frozen=True):
    """What a commitment opens to: 32 random bytes and the payload (canonical JSON of an event)."""

    blinding: bytes
    payload: bytes

    def commitment(self) -> str:
        """HMAC-SHA256 of the payload under the blinding, as lower-case hex."""
        return commit(self.blinding, self.payload)


def commit(blinding: bytes, payload: bytes) -> str:
    """`HMAC-SHA256(r, "caseledger/payload/v1\\0" || payload)` as lower-case hex; `r` is 32 random bytes.

    Raises:
        TooLarge: the payload has more than 256 KiB.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise TooLarge(f"a payload has at most {MAX_PAYLOAD_BYTES} bytes, this one has {len(payload)}")
    return hmac.digest(blinding, _LABEL + payload, "sha256").hex()


def seal(key: bytes, nonce: bytes, opening: Opening, statement: bytes) -> bytes:
    """`version || nonce || AES-256-GCM(r || payload)` under the subject's key, with the statement's SHA-256 as AAD."""
    plaintext = opening.blinding + opening.payload
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plaintext, hashlib.sha256(statement).digest())


class Opener:
    """Opens payloads that are sealed under one subject's key."""

    def __init__(self, key: bytes) -> None:
        self._decrypt = AESGCM(key).decrypt

    def open(self, sealed: bytes, statement: bytes, commitment: str) -> Opening:
        """Decrypt a payload and check it against the statement's commitment.

        What opens also authenticates the statement's bytes: whoever sealed it held the subject's key.

        Raises:
            PayloadAltered: wrong key, altered bytes, another statement's payload, or not what the commitment says.
        """
        if len(sealed) < _HEAD_BYTES + BLINDING_BYTES or sealed[:1] != _VERSION:
            raise PayloadAltered("the sealed payload has no known form")
        try:
            plaintext = self._decrypt(sealed[1:_HEAD_BYTES], sealed[_HEAD_BYTES:], hashlib.sha256(statement).digest())
        except InvalidTag:
            raise PayloadAltered("the sealed payload does not open under its subject's key") from None
        opening = Opening(plaintext[:BLINDING_BYTES], plaintext[BLINDING_BYTES:])
        if not hmac.compare_digest(opening.commitment(), commitment):
            raise PayloadAltered("the payload is not the one that the statement commits to")
        return opening


def open_sealed(key: bytes, sealed: bytes, statement: bytes, commitment: str) -> Opening:
    """As `Opener.open`, for one payload.

    Raises:
        PayloadAltered: see there.
    """
    return Opener(key).open(sealed, statement, commitment)
