"""Judging actors' signatures by nothing but the log: whose key it was, who approved it, what had become of it by then.

The events of a key's stream are read here by shapes of this module's own, so that the verifier needs no other part of
the system.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from domain.errors import EntryAltered, WrongKey
from domain.ledger import dsse, encoding
from domain.ledger.keys import proof_of_possession_message, verify_ed25519
from domain.ledger.signatures import REQUIRED_ROLE
from domain.ledger.statement import ActorId, KeyId, Microseconds, Sha256Hex, Statement

REQUESTED, ENROLLED = "key.enrolment_requested.v1", "key.enrolled.v1"
ROTATED, REVOKED = "key.rotated.v1", "key.revoked.v1"
APPROVING_ROLES = ("compliance", "administrator")
# Without the version: a later shape of an opinion needs its surgeon's signature no less.
_ROLE_BY_NAME = {topic.rpartition(".v")[0]: role for topic, role in REQUIRED_ROLE.items()}


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry as read from the bundle: index in the log, parts, and leaf hash (32 bytes)."""

    index: int
    entry: dsse.Entry
    statement: Statement
    leaf: bytes


class _Requested(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: KeyId
    algorithm: Literal["ed25519"]
    public_key: Sha256Hex  # 32 bytes in hex, too
    owner: ActorId
    possession: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]


class _Enrolled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: KeyId
    owner: ActorId


class _Rotated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: KeyId
    owner: ActorId
    successor: KeyId


class Revoked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The end of a key, an actor's or the log's: why, and since when what it signed is in doubt (microseconds UTC)."""

    key: KeyId
    reason: Literal["compromised", "lost", "superseded", "owner_left", "enrolled_in_error"]
    compromised_since: Microseconds | None = None


class KeyHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was enrolled: its raw public key, its owner and their role, its approval, its stream's leaves."""

    public_key: bytes
    owner: str
    role: str
    approved: int
    """Index in the log of the approval; None of the key's signatures counts before."""
    stopped: int | None
    """Index of the rotation or revocation; none of its signatures counts after."""
    compromised_since: int | None
    leaves: tuple[tuple[int, str], ...]
    """Index and leaf (hex) of every entry of the key's stream, ascending."""

    def head_before(self, index: int) -> str | None:
        """Leaf of the key's latest entry below this index of the log."""
        return next((leaf for at, leaf in reversed(self.leaves) if at < index), None)


def read_history(origin: str, key_id: str, stream: Sequence[LogEntry], payloads: Mapping[int, bytes]) -> KeyHistory:
    """Read a key's stream: the owner's request with proof of possession, another person's approval, and then nothing
    else than a rotation, a revocation, or both in this order.

    Payloads are those that opened to their commitments. A kind that this version does not know is refused, since it
    might revoke.

    Raises:
        WrongKey: another history than that, or its payloads are not all disclosed.
        BadPublicKey, BadSignature: the key is not acceptable, or its owner did not show to hold it.
        MalformedBody: a payload has another shape.
    """
    kinds = [item.statement.kind for item in stream]
    if kinds[:2] != [REQUESTED, ENROLLED] or kinds[2:] not in ([], [ROTATED], [REVOKED], [ROTATED, REVOKED]):
        raise WrongKey(f"the key's history is not {REQUESTED}, then {ENROLLED}, and nothing else but its end")
    request, approval, *ends = stream
    if any(item.index not in payloads for item in stream):
        raise WrongKey("the key's history is not disclosed")
    asked = encoding.decode(payloads[request.index], _Requested)
    given = encoding.decode(payloads[approval.index], _Enrolled)
    if asked.key != key_id or given.key != key_id or given.owner != asked.owner:
        raise WrongKey("the key's history speaks of another key or owner")
    if request.statement.actor != asked.owner:
        raise WrongKey("the key was not asked for by its owner")
    if approval.statement.actor == asked.owner or approval.statement.role not in APPROVING_ROLES:
        raise WrongKey(f"the key was not approved by another person as {' or '.join(APPROVING_ROLES)}")
    compromised_since = None
    for item in ends:
        revoked = _read_end(item, asked, request.statement.role, payloads[item.index])
        compromised_since = revoked.compromised_since if revoked is not None else None
    public_key = bytes.fromhex(asked.public_key)
    message = proof_of_possession_message(origin, asked.owner, key_id, public_key)
    verify_ed25519(public_key, bytes.fromhex(asked.possession), message)
    return KeyHistory(
        public_key=public_key,
        owner=asked.owner,
        role=request.statement.role,
        approved=approval.index,
        stopped=ends[0].index if ends else None,
        compromised_since=compromised_since,
        leaves=tuple((item.index, item.leaf.hex()) for item in stream),
    )


def _read_end(item: LogEntry, asked: _Requested, role: str, payload: bytes) -> Revoked | None:
    """Hold a rotation or revocation against who may do it; the revocation, if it is one."""
    by = item.statement
    if by.kind == ROTATED:
        rotated = encoding.decode(payload, _Rotated)
        if (rotated.key, rotated.owner) != (asked.key, asked.owner) or rotated.successor == asked.key:
            raise WrongKey("the key's history speaks of another key or owner")
        if (by.actor, by.role) != (asked.owner, role):
            raise WrongKey("the key was not replaced by its owner")
        return None
    revoked = encoding.decode(payload, Revoked)
    if revoked.key != asked.key:
        raise WrongKey("the key's history speaks of another key or owner")
    if by.actor != asked.owner and by.role not in APPROVING_ROLES:
        raise WrongKey(f"the key was not revoked by its owner, {' or '.join(APPROVING_ROLES)}")
    return revoked


def judge(item: LogEntry, histories: Mapping[str, KeyHistory]) -> bool:
    """Whether an actor signed this entry; if so the signature holds, with a key that was theirs when it was appended.

    Raises:
        EntryAltered: number of signatures and key id do not agree, or a signature that this kind needs is missing or by
            another role.
        WrongKey: the key is not the actor's, not enrolled before, or its history had moved on.
        BadSignature: the signature does not hold.
    """
    statement, signatures = item.statement, item.entry.signatures
    required = _ROLE_BY_NAME.get(statement.kind.rpartition(".v")[0])
    if (statement.key_id is not None) != (len(signatures) == 2):
        raise EntryAltered("a key id and two signatures come together")
    if required is not None and statement.key_id is None:
        raise EntryAltered("an entry of this kind needs the actor's own signature")
    if required is not None and statement.role != required:
        raise EntryAltered(f"an entry of this kind is signed by a {required}")
    if statement.key_id is None:
        return False
    key = histories[statement.key_id]
    if key.owner != statement.actor or key.role != statement.role:
        raise WrongKey("the key is not this actor's in this role")
    if not key.approved < item.index:
        raise WrongKey("the key was not enrolled before this entry")
    if key.stopped is not None and key.stopped < item.index:
        raise WrongKey("the key had been replaced or revoked before this entry")
    if statement.key_head != key.head_before(item.index):
        raise WrongKey("key_head is not the key's latest entry before this one")
    verify_ed25519(key.public_key, signatures[0], dsse.pre_authentication_encoding(item.entry.statement))
    return True


def in_doubt(item: LogEntry, histories: Mapping[str, KeyHistory]) -> int | None:
    """Since when the key that signed this entry was in other hands, where that may be how it came about.

    The signature was made between `recorded_at` and `expires_at`, so the later one decides.
    """
    key = histories.get(item.statement.key_id or "")
    since = key.compromised_since if key is not None else None
    return since if since is not None and (item.statement.expires_at or 0) > since else None


def signers(items: Sequence[LogEntry]) -> dict[str, LogEntry]:
    """Ids of the keys that entries name, each with the first entry that does."""
    found: dict[str, LogEntry] = {}
    for item in items:
        if item.statement.key_id is not None:
            found.setdefault(item.statement.key_id, item)
    return found
