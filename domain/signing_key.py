"""An actor's signing key: proposed with proof of possession, approved by a second person, replaced or revoked later.

Everything that becomes of a key is an entry of its own stream, so that a signature is judged by what stood there below
its index in the log.
"""

from typing import Annotated, Literal

import msgspec

from domain.errors import AlreadyDone, MalformedBody, WrongKey, WrongRole
from domain.event import Erased, Event, Meta, register
from domain.values import Identifier, Micros

PublicKeyHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
SignatureHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
RevocationReason = Literal["compromised", "lost", "superseded", "owner_left", "enrolled_in_error"]
"""A code and never words: the history of a key is disclosed with every bundle."""
KeyStatus = Literal["proposed", "enrolled", "rotated", "revoked"]

APPROVERS = ("compliance", "administrator")


@register.add("key.enrolment_requested.v1", subject="key")
class KeyEnrolmentRequested(Event, frozen=True, kw_only=True):
    """An actor showed that they hold a private key, and asks for it to be theirs here."""

    key: Identifier
    algorithm: Literal["ed25519"]
    public_key: PublicKeyHex
    owner: Identifier
    possession: SignatureHex
    """The key's signature over (origin, owner, key, public key): see `proof_of_possession_message`."""


@register.add("key.enrolled.v1", subject="key")
class KeyEnrolled(Event, frozen=True, kw_only=True):
    """A second person approved the key; signatures count from here on."""

    key: Identifier
    owner: Identifier


@register.add("key.rotated.v1", subject="key")
class KeyRotated(Event, frozen=True, kw_only=True):
    """The owner put another key of theirs in this one's place; this one's signatures count up to here."""

    key: Identifier
    owner: Identifier
    successor: Identifier


@register.add("key.revoked.v1", subject="key")
class KeyRevoked(Event, frozen=True, kw_only=True):
    """The key, an actor's or a service key, signs nothing from here on."""

    key: Identifier
    reason: RevocationReason
    compromised_since: Micros | None = None
    """What the key may have signed from this instant on (microseconds UTC) is in doubt, though it stays valid."""


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need to know of a key."""

    key: str
    public_key: str
    owner: str
    owner_role: str
    status: KeyStatus = "proposed"
    successor: str | None = None
    stopped_at: int | None = None
    """Index in the log of the entry after which its signatures no longer count."""
    compromised_since: int | None = None

    @property
    def enrolled(self) -> bool:
        """Whether signatures by it are accepted now."""
        return self.status == "enrolled"


def evolve(state: SigningKey | None, event: Event | Erased, meta: Meta) -> SigningKey | None:
    """Fold one event of an actor's key's stream; a service key's gives None."""
    match event:
        case KeyEnrolmentRequested():
            return SigningKey(key=event.key, public_key=event.public_key, owner=event.owner, owner_role=meta.role)
        case KeyEnrolled() if state is not None:
            return msgspec.structs.replace(state, status="enrolled")
        case KeyRotated() if state is not None:
            return msgspec.structs.replace(state, status="rotated", successor=event.successor, stopped_at=meta.index)
        case KeyRevoked() if state is not None:
            stopped_at = meta.index if state.stopped_at is None else state.stopped_at
            return msgspec.structs.replace(
                state, status="revoked", stopped_at=stopped_at, compromised_since=event.compromised_since
            )
    return state


def approve(state: SigningKey, actor: str, role: str) -> KeyEnrolled:
    """Decide on an approval.

    Raises:
        WrongRole: not a role that approves keys, or the key's own owner.
        AlreadyDone: enrolled before, or revoked.
    """
    check_approver(actor, role, state.owner)
    if state.status != "proposed":
        raise AlreadyDone(f"this key is {state.status} already")
    return KeyEnrolled(key=state.key, owner=state.owner)


def rotate(state: SigningKey, successor: SigningKey, actor: str, role: str) -> KeyRotated:
    """Decide on an owner's other key taking the place of this one.

    Raises:
        WrongRole: not by its owner, in the role that it is for.
        WrongKey: the successor is this very key, another owner's or role's, or not enrolled now.
        AlreadyDone: the key does not sign any more, or never did.
    """
    if (actor, role) != (state.owner, state.owner_role):
        raise WrongRole("a key is replaced by its owner")
    if not state.enrolled:
        raise AlreadyDone(f"this key is {state.status}, not enrolled")
    same = (successor.owner, successor.owner_role) == (state.owner, state.owner_role)
    if successor.key == state.key or not same or not successor.enrolled:
        raise WrongKey("a key is replaced by another enrolled key of the same owner, in the same role")
    return KeyRotated(key=state.key, owner=state.owner, successor=successor.key)


def revoke(
    state: SigningKey, actor: str, role: str, reason: RevocationReason, compromised_since: int | None, now: int
) -> KeyRevoked:
    """Decide on a revocation; a key that was replaced may still be revoked, to put what it signed in doubt.

    Raises:
        WrongRole: neither its owner nor a role that approves keys.
        AlreadyDone: revoked before.
        MalformedBody: `compromised_since` lies in the future.
    """
    if (actor, role) != (state.owner, state.owner_role) and role not in APPROVERS:
        raise WrongRole(f"a key is revoked by its owner, {' or '.join(APPROVERS)}")
    if state.status == "revoked":
        raise AlreadyDone("this key is revoked already")
    check_since(compromised_since, now)
    return KeyRevoked(key=state.key, reason=reason, compromised_since=compromised_since)


def check_approver(actor: str, role: str, proposer: str) -> None:
    """Let somebody else than the proposer pass, in a role that approves keys.

    Raises:
        WrongRole.
    """
    if role not in APPROVERS:
        raise WrongRole(f"a key is approved by {' or '.join(APPROVERS)}")
    if actor == proposer:
        raise WrongRole("nobody approves their own key")


def check_since(compromised_since: int | None, now: int) -> None:
    """A doubt begins in the past.

    Raises:
        MalformedBody.
    """
    if compromised_since is not None and compromised_since > now:
        raise MalformedBody("compromised_since: lies in the future")
