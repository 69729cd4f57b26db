"""Bearer tokens: JWTs that this ledger's own token key signs (RFC 7519, RFC 8037).

Only EdDSA is accepted, so neither `none` nor a public key taken for an HMAC secret gets in. Time is the caller's:
PyJWT's own checks read the clock, and are left off.
"""

import secrets
from typing import Annotated, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from api.roles import HumanRole
from domain.errors import BadToken
from domain.values import Identifier

ALGORITHM = "EdDSA"
AUDIENCE = "caseledger"
MAX_TOKEN_CHARACTERS = 2048
MAX_LIFETIME_S = 31 * 24 * 3600
LEEWAY_S = 5

_RESERVED = frozenset({"service", "unknown-patient"})
_Seconds = Annotated[int, msgspec.Meta(ge=0, lt=2**40)]


class Principal(msgspec.Struct, frozen=True):
    """Who a token speaks for."""

    id: str
    role: HumanRole


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    sub: Identifier
    role: HumanRole
    iss: str
    aud: Literal["caseledger"]
    iat: _Seconds
    exp: _Seconds
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    nbf: _Seconds = 0


def issue(key: Ed25519PrivateKey, origin: str, subject: str, role: str, ttl_s: int, now_s: int) -> str:
    """A token for a subject in a role, good for `ttl_s` seconds from `now_s` (seconds since 1970 UTC).

    Raises:
        BadToken: a subject, role or lifetime that would not be accepted.
    """
    claims = {
        "sub": subject,
        "role": role,
        "iss": origin,
        "aud": AUDIENCE,
        "iat": now_s,
        "exp": now_s + ttl_s,
        "jti": secrets.token_hex(16),
    }
    token = jwt.encode(claims, key, algorithm=ALGORITHM)
    Tokens(key.public_key(), origin).verify(token, now_s)
    return token


class Tokens:
    """Verifies the tokens of one ledger."""

    def __init__(self, key: Ed25519PublicKey, origin: str) -> None:
        self._key = key
        self._origin = origin

    def verify(self, token: str, now_s: float) -> Principal:
        """Who a token speaks for, at an instant (seconds since 1970 UTC).

        Raises:
            BadToken: malformed, not ours, expired, or for nobody.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise BadToken("the bearer token is too long")
        try:
            # The signature is checked here, and first; the claims are held to their shape below.
            raw = jwt.api_jws.decode(token, self._key, algorithms=[ALGORITHM])
            claims = msgspec.json.decode(raw, type=_Claims)
        except (jwt.PyJWTError, msgspec.MsgspecError, UnicodeError, ValueError, TypeError, RecursionError):
            raise BadToken("the bearer token is malformed, or not signed by this ledger") from None
        if claims.iss != self._origin:
            raise BadToken("the bearer token is of another ledger")
        if claims.sub in _RESERVED:
            raise BadToken("the bearer token is for nobody who signs in")
        if not 0 < claims.exp - claims.iat <= MAX_LIFETIME_S:
            raise BadToken("the bearer token lives too long, or not at all")
        if now_s >= claims.exp + LEEWAY_S:
            raise BadToken("the bearer token has expired")
        if max(claims.iat, claims.nbf) > now_s + LEEWAY_S:
            raise BadToken("the bearer token is not valid yet")
        return Principal(claims.sub, claims.role)
