"""Actors' signing keys: proposed with proof of possession, approved by somebody else, replaced and revoked."""

from typing import Any

import msgspec
from psycopg_pool import ConnectionPool
from uuid_utils import uuid7

from application import sql
from application.ledger.entries import Guard
from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from application.ledger.streams import Loaded, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.request import Request
from domain.access import AccessRecorded
from domain.errors import AlreadyDone, BadSignature, KeyNotFound, WrongKey, WrongRole
from domain.event import Event
from domain.ledger.keys import check_ed25519_public_key, key_id, proof_of_possession_message, verify_ed25519
from domain.ledger.statement import decode_statement
from domain.signing_key import KeyEnrolmentRequested, RevocationReason, SigningKey, approve, evolve, revoke, rotate

_SQL = sql.beside(__file__)


class SuspectEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry whose actor's signature is in doubt. Times in microseconds UTC."""

    index: int
    case: str | None
    kind: str
    actor: str
    recorded_at: int


class SigningKeys:
    """Enrolment of keys, each a stream of its own, and what becomes of them."""

    def __init__(self, pool: ConnectionPool[Any], ledger: Ledger, keyring: Keyring, origin: str) -> None:
        self._pool = pool
        self._ledger = ledger
        self._keyring = keyring
        self._origin = origin

    def load(self, key: str) -> Loaded[SigningKey]:
        """A key's state.

        Raises:
            KeyNotFound: nobody proposed it.
        """
        loaded = self._ledger.load(f"key-{key}", evolve)
        if loaded is None:
            raise KeyNotFound
        return loaded

    def request(self, request: Request, public_key: str, possession: str) -> Outcome:
        """Propose one's own key; `possession` is its signature over (origin, owner, key id, public key). Both hex.

        Raises:
            WrongRole: patients do not sign with keys.
            BadPublicKey: low-order, non-canonical or malformed.
            WrongKey: the proof of possession does not hold.
            AlreadyDone: this key was proposed before.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "key")) is not None:
            return earlier
        if request.role == "patient":
            raise WrongRole("a patient acts without a key")
        raw = bytes.fromhex(public_key)
        check_ed25519_public_key(raw)
        key = key_id(raw)
        try:
            verify_ed25519(
                raw, bytes.fromhex(possession), proof_of_possession_message(self._origin, request.id, key, raw)
            )
        except BadSignature:
            raise WrongKey("the proof of possession is not this key's signature") from None
        if self._ledger.recorder.rows(f"key-{key}", None, 1, desc=False, limit=1):
            # Also as a key of the log's own: no key serves two purposes.
            raise AlreadyDone("this key was proposed before")
        event = KeyEnrolmentRequested(
            key=key, algorithm="ed25519", public_key=public_key, owner=request.id, possession=possession
        )
        self._keyring.create(f"key:{key}")
        return self._append(request, key, event, 1, {})

    def approve(self, request: Request, key: str) -> Outcome:
        """Approve somebody else's key: signatures count from here on.

        Raises:
            KeyNotFound, WrongRole, AlreadyDone.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "key")) is not None:
            return earlier
        loaded = self.load(key)
        event = approve(loaded.state, request.id, request.role)
        return self._append(request, key, event, loaded.version + 1, {loaded.id: loaded.head})

    def rotate(self, request: Request, key: str, successor: str) -> Outcome:
        """Put another enrolled key of the caller's in place of this one, which signs nothing from here on.

        Raises:
            KeyNotFound, WrongRole, WrongKey, AlreadyDone.
            GuardBroken: the successor's history has moved.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "key")) is not None:
            return earlier
        loaded, following = self.load(key), self.load(successor)
        event = rotate(loaded.state, following.state, request.id, request.role)
        guards = (Guard(following.id, following.head),)
        return self._append(request, key, event, loaded.version + 1, {loaded.id: loaded.head}, guards)

    def revoke(
        self, request: Request, key: str, reason: RevocationReason, compromised_since: int | None = None
    ) -> Outcome:
        """Revoke a key from this entry on; what it signed from `compromised_since` on (microseconds UTC) is in doubt.

        Raises:
            KeyNotFound, WrongRole, AlreadyDone, MalformedBody.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "key")) is not None:
            return earlier
        loaded = self.load(key)
        event = revoke(loaded.state, request.id, request.role, reason, compromised_since, request.now)
        return self._append(request, key, event, loaded.version + 1, {loaded.id: loaded.head})

    def suspects(self, request: Request, key: str) -> tuple[SuspectEntry, ...]:
        """Entries that the key signed, or may have signed, since it is said to have been in other hands.

        They stay valid: somebody has to look at each. That they were asked for is recorded first.

        Raises:
            KeyNotFound: no such key.
            WrongRole: not compliance.
        """
        state = self.load(key).state
        allowed = request.role == "compliance"
        self._record(request, key, "suspects", allowed=allowed)
        if not allowed:
            raise WrongRole("compliance looks after signatures that are in doubt")
        if state.compromised_since is None:
            return ()
        with sql.borrowed(self._pool) as connection:
            rows = connection.execute(_SQL["signed_by"], (key,)).fetchall()
        statements = [(index, decode_statement(raw.encode())) for index, raw in rows]
        # The signature was made between the two: in doubt unless it was over by then (see verify_signers.in_doubt).
        return tuple(
            SuspectEntry(index=index, case=each.case, kind=each.kind, actor=each.actor, recorded_at=each.recorded_at)
            for index, each in statements
            if (each.expires_at or 0) > state.compromised_since
        )

    def _record(self, request: Request, key: str, what: str, *, allowed: bool) -> None:
        event = AccessRecorded(
            what=what, basis="audit" if allowed else "none", refused_because=None if allowed else WrongRole.code
        )
        new = NewEvent(
            originator_id=f"access-{uuid7()}", originator_version=1, event=event, case=None, subject=f"key:{key}",
            object=key, outcome="allowed" if allowed else "refused",
        )  # fmt: skip
        self._ledger.append([new], request.act(request.id))

    def _append(
        self,
        request: Request,
        key: str,
        event: Event,
        rev: int,
        heads: dict[str, str],
        guards: tuple[Guard, ...] = (),
    ) -> Outcome:
        new = NewEvent(originator_id=f"key-{key}", originator_version=rev, event=event, case=None, subject=f"key:{key}")
        recordings = self._ledger.append(
            [new], request.act(request.id), heads=heads, guards=guards, idempotency=request.idempotency
        )
        return settled_outcome(self._ledger, request.idempotency, f"key-{key}", recordings)
