"""Actors' signing keys: proposed with proof of possession, approved by somebody else."""

from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from application.ledger.streams import Loaded, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.request import Request
from domain.errors import AlreadyDone, BadSignature, KeyNotFound, WrongKey, WrongRole
from domain.event import Event
from domain.ledger.keys import check_ed25519_public_key, key_id, proof_of_possession_message, verify_ed25519
from domain.signing_key import KeyEnrolmentRequested, SigningKey, approve, evolve


class SigningKeys:
    """Enrolment of keys, each a stream of its own."""

    def __init__(self, ledger: Ledger, keyring: Keyring, origin: str) -> None:
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
        if self._ledger.load(f"key-{key}", evolve) is not None:
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

    def _append(self, request: Request, key: str, event: Event, rev: int, heads: dict[str, str]) -> Outcome:
        new = NewEvent(originator_id=f"key-{key}", originator_version=rev, event=event, case=None, subject=f"key:{key}")
        recordings = self._ledger.append([new], request.act(request.id), heads=heads, idempotency=request.idempotency)
        return settled_outcome(self._ledger, request.idempotency, f"key-{key}", recordings)
