"""ML-DSA-44 cosignatures of checkpoints: the exact message, its key, and nothing of notes (C2SP tlog-cosignature).

What a kind 0x06 signature covers is a structure of name, time, origin, size and root; extension lines are not in it.
Signing is hedged (FIPS 204 3.4): the same message signed twice gives different bytes, and both hold.
"""

import base64
import binascii
import re
import struct
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from domain.errors import BadPublicKey, BadSignature, MalformedNote

ML_DSA_44 = 0x06
PUBLIC_KEY_BYTES = 1312
SIGNATURE_BYTES = 2420
LABEL = b"subtree/v1\n\0"
MAX_NAME_BYTES = 255
MAX_TIMESTAMP_S = 2**63 - 1

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_ROOT_BYTES = 32


@lru_cache(maxsize=64)
def check_mldsa_public_key(raw: bytes) -> None:
    """Accepts a raw ML-DSA-44 public key: any 1,312 bytes are the one encoding of a key (FIPS 204, pkDecode).

    Raises: BadPublicKey.
    """
    if len(raw) != PUBLIC_KEY_BYTES:
        raise BadPublicKey(f"an ML-DSA-44 public key has {PUBLIC_KEY_BYTES} bytes")
    try:
        MLDSA44PublicKey.from_public_bytes(raw)
    except ValueError:
        raise BadPublicKey("the ML-DSA-44 public key is not acceptable") from None


def cosigned_message(cosigner: str, timestamp_s: int, origin: str, size: int, root: bytes) -> bytes:
    """The `cosigned_message` of the whole tree of a checkpoint: subtree [0, size). The time is in POSIX seconds.

    Raises: MalformedNote when a field does not fit the structure.
    """
    names = cosigner.encode(), origin.encode()
    if not all(1 <= len(name) <= MAX_NAME_BYTES for name in names):
        raise MalformedNote("a cosigned name has 1 to 255 bytes")
    if not 0 <= timestamp_s <= MAX_TIMESTAMP_S or not 0 <= size < 2**63 or len(root) != _ROOT_BYTES:
        raise MalformedNote("a cosigned tree has a time and a size below 2^63, and a root of 32 bytes")
    opaque = [bytes([len(name)]) + name for name in names]
    time, bounds = struct.pack(">Q", timestamp_s), struct.pack(">QQ", 0, size)
    return b"".join((LABEL, opaque[0], time, opaque[1], bounds, root))


def message_of(text: str, cosigner: str, timestamp_s: int) -> bytes:
    """What a kind 0x06 signature under a checkpoint's text covers: its first three lines.

    Raises: MalformedNote when the text is no checkpoint's.
    """
    lines = text.split("\n", 3)
    if len(lines) != 4 or not _SIZE.fullmatch(lines[1]):
        raise MalformedNote("only a checkpoint is cosigned")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        raise MalformedNote("only a checkpoint is cosigned") from None
    if base64.b64encode(root).decode() != lines[2]:
        raise MalformedNote("only a checkpoint is cosigned")
    return cosigned_message(cosigner, timestamp_s, lines[0], int(lines[1]), root)


def sign(message: bytes, key: MLDSA44PrivateKey) -> bytes:
    """The 2,420 bytes of a signature, with an empty context."""
    return key.sign(message)


def verify_mldsa(public: bytes, signature: bytes, message: bytes) -> None:
    """Checks an ML-DSA-44 signature, with an empty context (FIPS 204 5.3).

    Raises: BadSignature; also for a key that is not acceptable.
    """
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_KEY_BYTES:
        raise BadSignature("an ML-DSA-44 signature has 2,420 bytes, and its key 1,312")
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise BadSignature("an ML-DSA-44 signature does not hold") from None
