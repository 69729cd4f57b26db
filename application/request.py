"""What every use case is told about the request that it serves."""

import hashlib
import hmac

import msgspec

from application.ledger.entries import IdempotencyKey
from application.ledger.streams import Act
from domain.case.actor import Actor
from domain.errors import StaleRevision
from domain.values import Role

PURPOSE: dict[str, str] = {
    "patient": "PATRQT",
    "coordinator": "HOPERAT",
    "technician": "HOPERAT",
    "specialist": "TREAT",
    "translator": "HOPERAT",
    "oncologist": "TREAT",
    "compliance": "HCOMPL",
    "administrator": "HSYSADMIN",
    "witness": "HCOMPL",
    "service": "HOPERAT",
}
"""Purpose of use that a role has unless it names another (HL7 v3 PurposeOfUse)."""


UNKNOWN_PATIENT = "unknown-patient"
"""A patient who has no id where they act: another's case, none at all, or a case that was erased with what tied their
account to their id in it. Whoever asked for that erasure is known by the id that their request is on record under.
"""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request: who, when (microseconds UTC), and how it is told apart from a repetition."""

    id: str
    """The id under which the caller signs in; for a patient, the account that stands nowhere in clear."""
    role: Role
    cause: str
    """UUID that the server gave this request."""
    now: int
    expected: int | None = None
    """Revision that the caller saw (If-Match); None where it does not matter."""
    idempotency: IdempotencyKey | None = None
    occurred_at: int | None = None

    def actor(self) -> Actor:
        """The caller, as decisions see them."""
        return Actor(id=self.id, role=self.role, account=self.id if self.role == "patient" else "")

    def require_seen(self, revision: int, what: str = "the case") -> None:
        """Let a request pass that saw its subject (`what`) at this revision, or that does not say what it saw.

        Raises:
            StaleRevision: it saw another.
        """
        if self.expected is not None and self.expected != revision:
            raise StaleRevision(f"{what}: revision {revision}, not {self.expected}")

    def act(self, actor_id: str) -> Act:
        """What the entries of this request have in common; `actor_id` stands in the log.

        A patient's account never does: where no case gives the patient an id, they are an unknown one.
        """
        unnamed = self.role == "patient" and actor_id == self.id
        return Act(
            actor=UNKNOWN_PATIENT if unnamed else actor_id,
            role=self.role,
            purpose=PURPOSE[self.role],
            cause=self.cause,
            recorded_at=self.now,
            occurred_at=self.occurred_at,
        )


def idempotency_key(secret: bytes, caller: str, key: str, *parts: bytes) -> IdempotencyKey:
    """An Idempotency-Key with the digest of what is asked for.

    The caller, the key and the content are blinded by a secret: the table they are kept in names nobody, and a guess of
    what was asked for cannot be tested against it.
    """

    def blind(*items: bytes) -> bytes:
        mac = hmac.new(secret, digestmod=hashlib.sha256)
        for item in items:
            mac.update(len(item).to_bytes(8, "big") + item)
        return mac.digest()

    return IdempotencyKey(
        actor=blind(b"caller", caller.encode()).hex()[:32],
        key=blind(b"key", key.encode()).hex(),
        request_digest=blind(b"request", *parts),
    )
