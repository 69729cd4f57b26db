"""The keys of the log itself and of its witnesses: enrolled, replaced and revoked by entries of their own streams.

The first pair is enrolled by the service when the log begins, and is trusted from outside. Every later key is proposed
by an administrator and approved by a second person; with the approval of a log's own key its predecessor stops, and
both keys have signed for that (`succession_message`).
"""

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec

from domain.errors import AlreadyDone, WrongRole
from domain.event import Erased, Event, Meta, register
from domain.ledger.note import VerifierKey
from domain.signing_key import APPROVERS, KeyRevoked, RevocationReason, SignatureHex, check_approver, check_since
from domain.values import Identifier

Purpose = Literal["entry", "checkpoint", "witness"]
VerifierKeyText = Annotated[str, msgspec.Meta(min_length=10, max_length=4096, pattern=r"\A[!-~]+\Z")]
"""A verifier key in the notation of C2SP signed-note; its name is printable ASCII without spaces."""
ServiceKeyStatus = Literal["proposed", "enrolled", "rotated", "revoked", "deactivated"]
"""A key that is `deactivated` (NIST SP 800-57 part 1) signed for an origin that ended by a restore: it signs nothing
any more, and what it signed still verifies."""
PROPOSER = "administrator"


@register.add("ledger.key_proposed.v1", subject="key")
class ServiceKeyProposed(Event, frozen=True, kw_only=True):
    """An administrator asks for a key to be a witness's, or to take the place of one of the log's own."""

    key: Identifier
    purpose: Purpose
    vkey: VerifierKeyText
    replaces: Identifier | None = None
    """Key whose place it takes; absent for a witness."""
    possession: SignatureHex | None = None
    """The new key's signature of the succession message; absent for a witness."""


@register.add("ledger.key_enrolled.v1", subject="key")
class ServiceKeyEnrolled(Event, frozen=True, kw_only=True):
    """The key counts from here on; without a proposal before it, this is one of the log's first two."""

    key: Identifier
    purpose: Purpose
    vkey: VerifierKeyText


@register.add("ledger.key_rotated.v1", subject="key")
class ServiceKeyRotated(Event, frozen=True, kw_only=True):
    """The last entry under this key: the successor, enrolled before it, signs whatever follows."""

    key: Identifier
    purpose: Literal["entry", "checkpoint"]
    successor: Identifier
    endorsement: SignatureHex
    """This key's signature of the succession message."""


class ServiceKey(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need to know of a service key."""

    key: str
    purpose: Purpose
    vkey: str
    status: ServiceKeyStatus
    proposer: str = ""
    replaces: str | None = None
    possession: str | None = None
    successor: str | None = None


def evolve(state: ServiceKey | None, event: Event | Erased, meta: Meta) -> ServiceKey | None:
    """Fold one event of a service key's stream; an actor's key gives None."""
    match event:
        case ServiceKeyProposed():
            return ServiceKey(
                key=event.key, purpose=event.purpose, vkey=event.vkey, status="proposed", proposer=meta.actor,
                replaces=event.replaces, possession=event.possession,
            )  # fmt: skip
        case ServiceKeyEnrolled() if state is None:
            return ServiceKey(key=event.key, purpose=event.purpose, vkey=event.vkey, status="enrolled")
        case ServiceKeyEnrolled() if state is not None:
            return msgspec.structs.replace(state, status="enrolled")
        case ServiceKeyRotated() if state is not None:
            return msgspec.structs.replace(state, status="rotated", successor=event.successor)
        case KeyRevoked() if state is not None:
            return msgspec.structs.replace(state, status="revoked")
    return state


def of_origin(state: ServiceKey, names: Collection[str]) -> ServiceKey:
    """The key as it stands now that the log's own keys go by `names`: one that has another name ended by a restore."""
    if state.purpose == "witness" or state.status != "enrolled" or VerifierKey.parse(state.vkey).name in names:
        return state
    return msgspec.structs.replace(state, status="deactivated")


def check_proposer(role: str) -> None:
    """Let an administrator pass.

    Raises:
        WrongRole: anybody else.
    """
    if role != PROPOSER:
        raise WrongRole(f"an {PROPOSER} proposes the service's keys")


def approve(state: ServiceKey, actor: str, role: str) -> ServiceKeyEnrolled:
    """Decide on an approval.

    Raises:
        WrongRole: not a role that approves keys, or the proposer.
        AlreadyDone: it was settled before.
    """
    check_approver(actor, role, state.proposer)
    if state.status != "proposed":
        raise AlreadyDone(f"this key is {state.status} already")
    return ServiceKeyEnrolled(key=state.key, purpose=state.purpose, vkey=state.vkey)


def revoke(
    state: ServiceKey,
    role: str,
    reason: RevocationReason,
    compromised_since: int | None,
    now: int,
    *,
    in_use: bool = True,
) -> KeyRevoked:
    """Decide on a revocation. A key that the log signs with is replaced first: without one nothing could be appended.

    `in_use` is false for a key of an origin that the log had before a restore: nothing is signed with it any more.

    Raises:
        WrongRole: not a role that approves keys.
        AlreadyDone: revoked before, or the log signs with it.
        MalformedBody: `compromised_since` lies in the future.
    """
    if role not in APPROVERS:
        raise WrongRole(f"a service key is revoked by {' or '.join(APPROVERS)}")
    if state.status == "revoked":
        raise AlreadyDone("this key is revoked already")
    if in_use and state.status == "enrolled" and state.purpose != "witness":
        raise AlreadyDone("the log signs with this key: replace it first, then revoke it")
    check_since(compromised_since, now)
    return KeyRevoked(key=state.key, reason=reason, compromised_since=compromised_since)
