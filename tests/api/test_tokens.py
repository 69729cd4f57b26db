"""Bearer tokens: what is accepted, and everything that is not."""

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.tokens import LEEWAY_S, MAX_LIFETIME_S, MAX_TOKEN_CHARACTERS, Principal, Tokens, issue
from domain.errors import BadToken
from tests.api.people import PATIENT, Stage, problem

KEY = Ed25519PrivateKey.generate()
ORIGIN = "ledger.example/one"
NOW = 1_800_000_000
TOKENS = Tokens(KEY.public_key(), ORIGIN)
CLAIMS: dict[str, Any] = {
    "sub": "coordinator-1",
    "role": "coordinator",
    "iss": ORIGIN,
    "aud": "caseledger",
    "iat": NOW,
    "exp": NOW + 60,
    "jti": "1",
}


def made(key: Any = KEY, algorithm: str = "EdDSA", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token with claims changed, or left out where None is given."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def test_a_good_token_speaks_for_its_subject() -> None:
    """Subject and role come out as they were issued, until it expires."""
    token = issue(KEY, ORIGIN, "surgeon-1", "specialist", 60, NOW)
    assert TOKENS.verify(token, NOW + 60 + LEEWAY_S - 1) == Principal("surgeon-1", "specialist")
    with pytest.raises(BadToken, match="expired"):
        TOKENS.verify(token, NOW + 60 + LEEWAY_S)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "ledger.example/two"},
        {"aud": "another"},
        {"aud": ["caseledger", "another"]},
        {"role": None},
        {"role": "service"},
        {"role": "root"},
        {"sub": None},
        {"sub": "Ada Markerwoman"},
        {"sub": "service"},
        {"sub": "unknown-patient"},
        {"sub": "a" * 65},
        {"iat": None},
        {"exp": None},
        {"jti": None},
        {"iss": None},
        {"aud": None},
        {"iat": NOW + LEEWAY_S + 1},
        {"nbf": NOW + LEEWAY_S + 1},
        {"exp": NOW - LEEWAY_S - 1, "iat": NOW - 60},
        {"exp": NOW + MAX_LIFETIME_S + 1},
        {"exp": "never"},
        {"exp": 1e300},
    ],
    ids=str,
)
def test_other_claims_are_refused(changes: dict[str, Any]) -> None:
    """Another ledger's, expired, not yet valid, too long-lived, for nobody, or with a claim missing."""
    with pytest.raises(BadToken):
        TOKENS.verify(made(**changes), NOW)


def test_other_signatures_are_refused() -> None:
    """Another key, no signature, the public key as an HMAC secret, a changed byte, an unknown critical header."""
    secret = KEY.public_key().public_bytes_raw()
    good = made()
    header, payload, signature = good.split(".")
    forged = [
        made(Ed25519PrivateKey.generate()),
        made(None, "none"),
        made(secret, "HS256"),
        made(secret.hex().encode(), "HS256"),
        f"{header}.{payload}.",
        f"{header}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        made(headers={"crit": ["x"], "x": 1}),
        "",
        "a.b.c",
        "\udcff",
        good + "A" * MAX_TOKEN_CHARACTERS,
    ]
    for token in forged:
        with pytest.raises(BadToken):
            TOKENS.verify(token, NOW)


def test_a_pem_of_the_public_key_is_no_secret() -> None:
    """PyJWT itself refuses to sign with it; a token forged by hand is refused here."""
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(jwt.InvalidKeyError):
        made(pem, "HS256")


@pytest.mark.parametrize(
    ("subject", "role", "ttl_s"), [("service", "coordinator", 60), ("a", "service", 60), ("a", "patient", 0)]
)
def test_nothing_is_issued_that_would_not_be_accepted(subject: str, role: str, ttl_s: int) -> None:
    """A bad subject, role or lifetime shows when the token is made."""
    with pytest.raises(BadToken):
        issue(KEY, ORIGIN, subject, role, ttl_s, NOW)


def test_a_request_without_a_good_token_is_answered_with_401(stage: Stage) -> None:
    """Missing, of another scheme, sent twice, expired: a problem that says how to sign in, and no entry in the log."""
    good = stage.token(PATIENT)
    size = stage.size()
    expired = issue(
        stage.service.keys.token, stage.service.keys.origin, "a", "patient", 1, stage.clock() // 1_000_000 - 60
    )
    for given in (
        [],
        [good],
        [f"Basic {good}"],
        [f"Bearer {good}"] * 2,
        ["Bearer "],
        [f"Bearer {expired}"],
        ["Bearer é"],
    ):
        answer = stage.client.get("/keys/" + "0" * 32, headers=[("Authorization", each.encode()) for each in given])
        problem(answer, 401, "bad-token")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    stage.clock.ahead_s = 7200
    late = stage.client.get("/keys/" + "0" * 32, headers={"Authorization": f"Bearer {good}"})
    problem(late, 401, "bad-token")
    assert stage.size() == size
