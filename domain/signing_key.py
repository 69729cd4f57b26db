"""An actor's signing key: proposed with proof of possession, then approved by a second person."""

from typing import Annotated, Literal

import msgspec

from domain.errors import AlreadyDone, WrongRole
from domain.event import Erased, Event, Meta, register
from domain.values import Identifier

PublicKeyHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
SignatureHex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]

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


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need to know of a key."""

    key: str
    public_key: str
    owner: str
    owner_role: str
    enrolled: bool = False


def evolve(state: SigningKey | None, event: Event | Erased, meta: Meta) -> SigningKey | None:
    """Fold one event of a key's stream."""
    match event:
        case KeyEnrolmentRequested():
            return SigningKey(
                key=event.key, public_key=event.public_key, owner=event.owner, owner_role=meta.role
            )
        case KeyEnrolled() if state is not None:
            return msgspec.structs.replace(state, enrolled=True)
    return state


def approve(state: SigningKey, actor: str, role: str) -> KeyEnrolled:
    """Decide on an approval.

    Raises:
        WrongRole: not a role that approves keys, or the key's own owner.
        AlreadyDone: enrolled before.
    """
    if role not in APPROVERS:
        raise WrongRole(f"a key is approved by {' or '.join(APPROVERS)}")
    if actor == state.owner:
        raise WrongRole("nobody approves their own key")
    if state.enrolled:
        raise AlreadyDone("this key is enrolled already")
    return KeyEnrolled(key=state.key, owner=state.owner)
