"""Payloads: committed to in the statement, encrypted beside it, opened against the commitment.

The commitment hides: without `r` nobody can test a guess of the payload against it, not even after the key is gone.
Randomness comes from the caller.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

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
_LEAST_BYTES = _HEAD_BYTES + BLINDING_BYTES


class Opening(msgspec.Struct, frozen=True, gc=False):
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
    # Not `hmac.digest`: that lets go of the interpreter's lock, which among many writers costs more than the hash.
    return hmac.new(blinding, _LABEL + payload, "sha256").hexdigest()


def seal(key: bytes, nonce: bytes, opening: Opening, statement: bytes) -> bytes:
    """`version || nonce || AES-256-GCM(r || payload)` under the subject's key, with the statement's SHA-256 as AAD."""
    plaintext = opening.blinding + opening.payload
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plaintext, sha256(statement).digest())


class Opener:
    """Opens payloads that are sealed under one subject's key."""

    def __init__(self, key: bytes) -> None:
        self.decrypt = AESGCM(key).decrypt

    def open(self, sealed: bytes, statement: bytes, commitment: str) -> Opening:
        """Blinding and payload: decrypted, and checked against the statement's commitment.

        What opens also authenticates the statement's bytes: whoever sealed it held the subject's key.

        Raises:
            PayloadAltered: wrong key, altered bytes, another statement's payload, or not what the commitment says.
        """
        if len(sealed) < _LEAST_BYTES or sealed[0] != _VERSION[0]:
            raise PayloadAltered("the sealed payload has no known form")
        try:
            plaintext = self.decrypt(sealed[1:_HEAD_BYTES], sealed[_HEAD_BYTES:], sha256(statement).digest())
        except InvalidTag:
            raise PayloadAltered("the sealed payload does not open under its subject's key") from None
        opening = Opening(plaintext[:BLINDING_BYTES], plaintext[BLINDING_BYTES:])
        if not hmac.compare_digest(opening.commitment(), commitment):
            raise PayloadAltered("the payload is not the one that the statement commits to")
        return opening


def open_all(wanted: Sequence[tuple[Opener, bytes, bytes, str]]) -> list[bytes] | None:
    """The payloads of many entries, each of which `open` would give; None when there is one that it would refuse.

    Of each entry: whose key, sealed payload, statement, commitment. All are decrypted, then all are held against their
    commitments: a processor goes through the same work faster when nothing lies between.
    """
    if any(len(sealed) < _LEAST_BYTES or sealed[0] != _VERSION[0] for _, sealed, _, _ in wanted):
        return None
    try:
        plaintexts = [
            opener.decrypt(sealed[1:_HEAD_BYTES], sealed[_HEAD_BYTES:], sha256(statement).digest())
            for opener, sealed, statement, _ in wanted
        ]
    except InvalidTag:
        return None
    payloads = []
    for plaintext, (_, _, _, commitment) in zip(plaintexts, wanted, strict=True):
        payload = plaintext[BLINDING_BYTES:]
        if not hmac.compare_digest(commit(plaintext[:BLINDING_BYTES], payload), commitment):
            return None
        payloads.append(payload)
    return payloads
