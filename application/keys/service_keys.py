"""The service's own keys and its witnesses': enrolled, replaced and revoked by entries in the log.

One administrator proposes a key, another person approves it. The approval of a key of the log's own appends its
enrolment and its predecessor's end together, under the old key; from the next entry on the new one signs.
"""

from contextlib import suppress
from typing import Any

from psycopg_pool import ConnectionPool
from uuid_utils import uuid7

from application import sql
from application.ledger.keyfiles import raw_public
from application.ledger.keyring import Keyring
from application.ledger.live_keys import LiveKeys
from application.ledger.store import Ledger
from application.ledger.streams import Loaded, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.request import Request
from domain.errors import (
    AlreadyDone,
    BadPublicKey,
    BadSignature,
    KeyNotFound,
    MissingPart,
    StaleRevision,
    WrongKey,
)
from domain.event import Event
from domain.ledger.bundle import key_stream
from domain.ledger.keys import key_id, verify_ed25519
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.succession import succession_message
from domain.ledger.verify_trust import ENTRIES_SUFFIX
from domain.service_key import (
    Purpose,
    ServiceKey,
    ServiceKeyEnrolled,
    ServiceKeyProposed,
    ServiceKeyRotated,
    approve,
    check_proposer,
    evolve,
    of_origin,
    revoke,
)
from domain.signing_key import RevocationReason

_SQL = sql.beside(__file__)


class ServiceKeys:
    """Keys of entries, checkpoints and witnesses, each a stream `key-<key id>` of its own."""

    def __init__(
        self, pool: ConnectionPool[Any], ledger: Ledger, keyring: Keyring, live: LiveKeys, origin: str
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._keyring = keyring
        self._live = live
        self._origin = origin

    def begin(self, now: int) -> None:
        """Bring the key files into step with the log; where it knows no key of its own yet, enrol the first two.

        `now` is in microseconds UTC. Several processes may do so at once. Any later append of theirs stands under the
        keys' streams as guards, so that none goes in under a key that was replaced.

        Raises:
            Misconfigured: the log's present key is not among the key files.
        """
        self._ledger.recorder.refresh_keys()
        if not self._live.enrolled():
            keys = self._live.files
            pairs: list[tuple[Purpose, VerifierKey]] = [
                ("entry", keys.entry_verifier()),
                ("checkpoint", keys.checkpoint_verifier()),
            ]
            new = []
            for purpose, vkey in pairs:
                key = key_id(vkey.public_key)
                event = ServiceKeyEnrolled(key=key, purpose=purpose, vkey=str(vkey))
                self._keyring.create(f"key:{key}")
                new.append(_new(key, 1, event))
            request = Request(id="service", role="service", cause=str(uuid7()), now=now)
            # Stale where another process began in the same moment.
            with suppress(StaleRevision):
                self._ledger.append(new, request.act("service"))
            self._ledger.recorder.refresh_keys()

    def load(self, key: str) -> Loaded[ServiceKey]:
        """A service key's state.

        Raises:
            KeyNotFound: nobody proposed it, or it is an actor's.
        """
        loaded = self._ledger.load(key_stream(key), evolve)
        if loaded is None:
            raise KeyNotFound
        return loaded

    def all(self) -> list[ServiceKey]:
        """Every service key that was ever proposed, in the order of the log."""
        with sql.borrowed(self._pool) as connection:
            rows = connection.execute(_SQL["service_keys"]).fetchall()
        names = (self._origin, self._origin + ENTRIES_SUFFIX)
        return [of_origin(self.load(stream.removeprefix(key_stream(""))).state, names) for (stream,) in rows]

    def witnesses(self) -> tuple[VerifierKey, ...]:
        """The witnesses' keys that are enrolled now, and not revoked."""
        return tuple(
            VerifierKey.parse(each.vkey)
            for each in self.all()
            if each.purpose == "witness" and each.status == "enrolled"
        )

    def of_the_log(self) -> list[str]:
        """Ids of the keys, past and present, that signed entries or checkpoints."""
        return [
            each.key
            for each in self.all()
            # A revoked one may have been the last of an origin before a restore, which none replaced.
            if each.purpose != "witness" and each.status != "proposed"
        ]

    def propose(
        self, request: Request, purpose: Purpose, vkey: str, replaces: str | None = None, possession: str | None = None
    ) -> Outcome:
        """Propose a key, in the verifier key notation of C2SP signed-note.

        A witness's has a name of its own, and neither of the rest. A key of the log's own takes the present one's
        place (`replaces`); `possession` is its signature, in hex, of the succession message, and its private half is
        in the data directory already: `caseledger key rotate` makes all three.

        Raises:
            WrongRole: not an administrator.
            BadPublicKey: not a verifier key, or low-order, non-canonical, of another name or kind than needed.
            WrongKey: `replaces` is not the present key, or the proof of possession does not hold.
            MissingPart: the private half is not in the data directory.
            AlreadyDone: this key was proposed before.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "key")) is not None:
            return earlier
        check_proposer(request.role)
        parsed = VerifierKey.parse(vkey)
        key = key_id(parsed.public_key)
        self._check(purpose, parsed, replaces, possession)
        if self._ledger.recorder.rows(key_stream(key), None, 1, desc=False, limit=1):
            raise AlreadyDone("this key was proposed before")
        event = ServiceKeyProposed(key=key, purpose=purpose, vkey=vkey, replaces=replaces, possession=possession)
        self._keyring.create(f"key:{key}")
        return self._append(request, [_new(key, 1, event)], {})

    enrol_service_key = propose
    """The first half of an enrolment; `approve`, by somebody else, is the second."""

    def approve(self, request: Request, key: str) -> Outcome:
        """Approve somebody else's proposal; a key of the log's own takes its predecessor's place with that.

        Raises:
            KeyNotFound, WrongRole, AlreadyDone.
            WrongKey: its predecessor has been replaced by another in the meantime.
            MissingPart: the private half is not in the data directory.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "key")) is not None:
            return earlier
        loaded = self.load(key)
        state = loaded.state
        new = [_new(key, loaded.version + 1, approve(state, request.id, request.role))]
        heads = {loaded.id: loaded.head}
        if state.purpose != "witness":
            # First, since another process may have replaced the key meanwhile.
            self._check(state.purpose, VerifierKey.parse(state.vkey), state.replaces, state.possession)
            old = self.load(state.replaces or "")
            message = succession_message(self._origin, state.purpose, old.state.key, state.vkey)
            endorsement = self._live.private(state.purpose).sign(message).hex()
            event = ServiceKeyRotated(key=old.state.key, purpose=state.purpose, successor=key, endorsement=endorsement)
            # The end comes last, so that everything up to it, and nothing behind it, is the old key's.
            new.append(_new(old.state.key, old.version + 1, event, object=key))
            heads[old.id] = old.head
        outcome = self._append(request, new, heads)
        self._ledger.recorder.refresh_keys()
        return outcome

    def revoke(
        self, request: Request, key: str, reason: RevocationReason, compromised_since: int | None = None
    ) -> Outcome:
        """Revoke a witness's key, a proposal, or a key of the log's own that was replaced before.

        Raises:
            KeyNotFound, WrongRole, AlreadyDone, MalformedBody.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "key")) is not None:
            return earlier
        loaded = self.load(key)
        # After it was loaded, since another process may have put it in use meanwhile.
        self._ledger.recorder.refresh_keys()
        present = {key_id(raw_public(self._live.private(purpose))) for purpose in ("entry", "checkpoint")}
        event = revoke(loaded.state, request.role, reason, compromised_since, request.now, in_use=key in present)
        return self._append(request, [_new(key, loaded.version + 1, event)], {loaded.id: loaded.head})

    def _check(self, purpose: Purpose, vkey: VerifierKey, replaces: str | None, possession: str | None) -> None:
        own = {"entry": f"{self._origin}/entries", "checkpoint": self._origin}
        self._ledger.recorder.refresh_keys()
        if purpose == "witness":
            if vkey.name in own.values():
                raise BadPublicKey("a witness has a name of its own")
            if replaces is not None or possession is not None:
                raise WrongKey("a witness's key replaces none of the log's")
            return
        if vkey.name != own[purpose] or vkey.algorithm != ED25519:
            raise BadPublicKey(f"a key for this purpose is an Ed25519 key (0x01) named {own[purpose]}")
        present = key_id(raw_public(self._live.private(purpose)))
        if replaces != present or possession is None:
            raise WrongKey("it does not take the present key's place")
        try:
            message = succession_message(self._origin, purpose, present, str(vkey))
            verify_ed25519(vkey.public_key, bytes.fromhex(possession), message)
        except BadSignature:
            raise WrongKey("the proof of possession is not this key's signature") from None
        if not self._live.holds(purpose, key_id(vkey.public_key)):
            raise MissingPart("the key's private half is not in this ledger's data directory")

    def _append(self, request: Request, new: list[NewEvent], heads: dict[str, str]) -> Outcome:
        recordings = self._ledger.append(new, request.act(request.id), heads=heads, idempotency=request.idempotency)
        return settled_outcome(self._ledger, request.idempotency, new[0].originator_id, recordings)


def _new(key: str, rev: int, event: Event, *, object: str | None = None) -> NewEvent:  # noqa: A002 - the statement's
    return NewEvent(
        originator_id=key_stream(key),
        originator_version=rev,
        event=event,
        case=None,
        subject=f"key:{key}",
        object=object,
    )
