"""Ed25519 keys and signatures, strictly: what may be enrolled, and what counts as a signature (RFC 8032).

Libraries disagree about edge cases (low order, mixed order, encodings that are not canonical). A verdict
about a signature must not depend on who checks it, so they are refused here before a library is asked.
"""

import re
from functools import lru_cache
from hashlib import sha256
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.errors import BadPublicKey, BadSignature, ControlCharacter

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEY_ID_PATTERN = r"^[a-z0-9]{32}$"
POSSESSION_PREFIX = "caseledger/key-possession/v1\n"

# The curve -x^2 + y^2 = 1 + d x^2 y^2 over the integers mod P; its points have order 8 * L (RFC 8032 5.1).
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)
_Y_MASK = (1 << 255) - 1
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# Extended homogeneous coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, x y = T/Z (RFC 8032 5.1.4).
_Point: TypeAlias = tuple[int, int, int, int]
_IDENTITY: _Point = (0, 1, 1, 0)


def _add(a: _Point, b: _Point) -> _Point:
    """Sum of two points by the complete formula of RFC 8032 5.1.4, which also doubles."""
    m = (a[1] - a[0]) * (b[1] - b[0]) % _P
    n = (a[1] + a[0]) * (b[1] + b[0]) % _P
    c = 2 * a[3] * b[3] * _D % _P
    d = 2 * a[2] * b[2] % _P
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(scalar: int, point: _Point) -> _Point:
    result = _IDENTITY
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _is_identity(point: _Point) -> bool:
    return point[0] % _P == 0 and (point[1] - point[2]) % _P == 0


def _is_canonical(raw: bytes) -> bool:
    """Whether these 32 bytes are the one encoding of their point: y below P, no sign on x = 0 (RFC 8032)."""
    encoded = int.from_bytes(raw, "little")
    y, sign = encoded & _Y_MASK, encoded >> 255
    return y < _P and not (sign and y in (1, _P - 1))


def _decode(raw: bytes) -> _Point | None:
    """The point of a canonical encoding, or None where the curve has none (RFC 8032 5.1.3)."""
    encoded = int.from_bytes(raw, "little")
    y, sign = encoded & _Y_MASK, encoded >> 255
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _SQRT_M1 % _P
    if (x * x - square) % _P:
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


# Costs a few milliseconds of big integers, and a verifier meets the same few keys again and again.
@lru_cache(maxsize=1024)
def check_ed25519_public_key(raw: bytes) -> None:
    """Accepts only a canonical encoding of a point of prime order: the only public keys that are ever honest.

    A low-order key makes signatures that hold for every message; a mixed-order key makes signatures on which
    implementations disagree.

    Raises: BadPublicKey for any other length, encoding or point.
    """
    if len(raw) != PUBLIC_KEY_BYTES:
        raise BadPublicKey("an Ed25519 public key has 32 bytes")
    if not _is_canonical(raw):
        raise BadPublicKey("the public key is not canonically encoded")
    point = _decode(raw)
    if point is None:
        raise BadPublicKey("the public key is not a point of the curve")
    if _is_identity(_multiply(8, point)):
        raise BadPublicKey("the public key is of low order")
    if not _is_identity(_multiply(_L, point)):
        raise BadPublicKey("the public key has a low-order component")


@lru_cache(maxsize=1024)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    check_ed25519_public_key(raw)
    return Ed25519PublicKey.from_public_bytes(raw)


def key_id(raw: bytes) -> str:
    """Short name of a public key: the first 32 lowercase hex characters of its SHA-256."""
    return sha256(raw).hexdigest()[:32]


def verify_ed25519(public: bytes, signature: bytes, message: bytes) -> None:
    """Checks an Ed25519 signature strictly (RFC 8032 5.1.7, with the key held to `check_ed25519_public_key`).

    Raises: BadSignature; also for a key that is not acceptable, for S >= L and for R not canonically encoded.
    """
    try:
        key = _public_key(public)
    except BadPublicKey as refused:
        raise BadSignature("the signature is of a key that is not acceptable") from refused
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature("an Ed25519 signature has 64 bytes")
    if not _is_canonical(signature[:32]):
        raise BadSignature("the signature's R is not canonically encoded")
    if int.from_bytes(signature[32:], "little") >= _L:
        raise BadSignature("the signature's S is not reduced")
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise BadSignature from None


def proof_of_possession_message(origin: str, actor: str, key_id: str, public_key: bytes) -> bytes:
    """The bytes that a key signs at its enrolment, to show that the actor holds its private half.

    The prefix, then origin, actor, key id and the public key in lowercase hex, each ended by a newline. No
    statement's signed bytes can begin so (they begin with "DSSEv1 ").

    Raises: BadPublicKey when the id is not the key's. ControlCharacter when a field could be taken for two.
    """
    if key_id != sha256(public_key).hexdigest()[:32]:
        raise BadPublicKey("the key id is not that of the public key")
    fields = (origin, actor, key_id, public_key.hex())
    if any(_CONTROL.search(field) for field in fields):
        raise ControlCharacter
    return (POSSESSION_PREFIX + "".join(f"{field}\n" for field in fields)).encode()
