"""The log's own keys by the log: which of them signed what, judged from the keys that a verifier trusts.

The streams of service keys are read here by shapes of this module's own, as actors' keys are in `verify_signers`. A key
hands over to its successor by a message that both sign, so that trust follows the signatures of either: forwards from
the log's first key as well as backwards from a later one, and the key that signs entries cannot replace the one that
signs checkpoints.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from domain.errors import BadSignature, CaseLedgerError, ControlCharacter, WrongKey
from domain.ledger import encoding
from domain.ledger.bundle import key_stream
from domain.ledger.keys import key_id, verify_ed25519
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.statement import KeyId
from domain.ledger.verify_signers import APPROVING_ROLES, REVOKED, LogEntry, Revoked

PROPOSED, ENROLLED = "ledger.key_proposed.v1", "ledger.key_enrolled.v1"
ROTATED = "ledger.key_rotated.v1"
SUCCESSION_PREFIX = "caseledger/key-succession/v1\n"
PROPOSING_ROLE, SERVICE_ROLE = "administrator", "service"
FOREVER = 2**63

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_Purpose = Literal["entry", "checkpoint", "witness"]
_Signature = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
_VerifierKey = Annotated[str, msgspec.Meta(max_length=4096)]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    key: KeyId


class _Proposed(_Shape, frozen=True, kw_only=True):
    purpose: _Purpose
    vkey: _VerifierKey
    replaces: KeyId | None = None
    possession: _Signature | None = None


class _Enrolled(_Shape, frozen=True, kw_only=True):
    purpose: _Purpose
    vkey: _VerifierKey


class _Rotated(_Shape, frozen=True, kw_only=True):
    purpose: Literal["entry", "checkpoint"]
    successor: KeyId
    endorsement: _Signature


def succession_message(origin: str, purpose: str, old: str, vkey: str) -> bytes:
    """The bytes that the old key and the new one sign when one of a log's keys hands over.

    The prefix, then origin, purpose, the old key's id and the new verifier key, each ended by a newline. No statement's
    signed bytes begin so (they begin with "DSSEv1 "), and no checkpoint's (they begin with an origin).

    Raises: ControlCharacter when a field could be taken for two.
    """
    fields = (origin, purpose, old, vkey)
    if any(_CONTROL.search(field) for field in fields):
        raise ControlCharacter
    return (SUCCESSION_PREFIX + "".join(f"{field}\n" for field in fields)).encode()


class HistoryBroken(Exception):
    """A service key's history does not hold; `item` is the entry at which that shows. Never leaves the verifier."""

    def __init__(self, message: str, item: LogEntry) -> None:
        super().__init__(message)
        self.item = item


class ServiceKeyHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A service key's stream, read: what it is for, since when, and what became of it. Indexes are in the log."""

    key: str
    purpose: str
    vkey: VerifierKey
    enrolled: int
    replaces: str | None
    possession: bytes
    last: int
    """Index of its rotation; `FOREVER` while it has none."""
    successor: str | None
    endorsement: bytes
    revoked: int | None
    compromised_since: int | None
    item: LogEntry
    """The last entry of the stream, to name it."""


def is_service_stream(stream: Sequence[LogEntry]) -> bool:
    """Whether a stream claims to be a service key's history."""
    return stream[0].statement.kind in (PROPOSED, ENROLLED)


def read_service_history(
    origin: str, name: str, stream: Sequence[LogEntry], payloads: Mapping[int, bytes]
) -> ServiceKeyHistory:
    """Read a service key's stream: [proposal,] enrolment[, rotation][, revocation], by the right people.

    Payloads are those that opened to their commitments. A kind that this version does not know is refused.

    Raises:
        WrongKey: another history than that, or its payloads are not all disclosed.
        BadPublicKey: the key is not acceptable.
        MalformedBody: a payload has another shape.
    """
    kinds = [item.statement.kind for item in stream]
    steps = dict(zip(kinds, stream, strict=True)) if len(set(kinds)) == len(kinds) else {}
    if [each for each in (PROPOSED, ENROLLED, ROTATED, REVOKED) if each in steps] != kinds or ENROLLED not in steps:
        raise WrongKey("the service key's history is not proposal, enrolment, rotation, revocation, in that order")
    if any(item.index not in payloads for item in stream):
        raise WrongKey("the key's history is not disclosed")
    given = encoding.decode(payloads[steps[ENROLLED].index], _Enrolled)
    vkey = VerifierKey.parse(given.vkey)
    asked = encoding.decode(payloads[steps[PROPOSED].index], _Proposed) if PROPOSED in steps else None
    rotated = encoding.decode(payloads[steps[ROTATED].index], _Rotated) if ROTATED in steps else None
    revoked = encoding.decode(payloads[steps[REVOKED].index], Revoked) if REVOKED in steps else None
    said = [each for each in (asked, given, rotated) if each is not None]
    if {each.key for each in said} | ({revoked.key} if revoked else set()) != {name} or key_id(vkey.public_key) != name:
        raise WrongKey("the key's history speaks of another key")
    if len({each.purpose for each in said}) != 1 or (asked is not None and asked.vkey != given.vkey):
        raise WrongKey("the key's history contradicts itself")
    _check_people(steps, asked is None)
    _check_form(origin, given.purpose, vkey, asked)
    return ServiceKeyHistory(
        key=name,
        purpose=given.purpose,
        vkey=vkey,
        enrolled=steps[ENROLLED].index,
        replaces=asked.replaces if asked else None,
        possession=bytes.fromhex(asked.possession or "") if asked else b"",
        last=steps[ROTATED].index if rotated else FOREVER,
        successor=rotated.successor if rotated else None,
        endorsement=bytes.fromhex(rotated.endorsement) if rotated else b"",
        revoked=steps[REVOKED].index if revoked else None,
        compromised_since=revoked.compromised_since if revoked else None,
        item=stream[-1],
    )


def _check_people(steps: Mapping[str, LogEntry], first: bool) -> None:
    """Who did what; the log's first keys are its own word."""
    by = steps[ENROLLED].statement
    if first and by.role != SERVICE_ROLE:
        raise WrongKey("the log's first keys are enrolled by the service itself")
    if not first:
        proposer = steps[PROPOSED].statement
        if proposer.role != PROPOSING_ROLE or by.actor == proposer.actor or by.role not in APPROVING_ROLES:
            raise WrongKey(f"the key was not proposed by an {PROPOSING_ROLE} and approved by another person")
    if any(steps[kind].statement.role not in APPROVING_ROLES for kind in (ROTATED, REVOKED) if kind in steps):
        raise WrongKey(f"the key was not replaced or revoked as {' or '.join(APPROVING_ROLES)}")


def _check_form(origin: str, purpose: str, vkey: VerifierKey, asked: _Proposed | None) -> None:
    own = {"entry": f"{origin}/entries", "checkpoint": origin}
    if purpose == "witness":
        if asked is None or vkey.name in own.values() or asked.replaces is not None or asked.possession is not None:
            raise WrongKey("a witness's key is proposed, under a name of its own")
        return
    if vkey.name != own[purpose] or vkey.algorithm != ED25519:
        raise WrongKey("the key does not have the name and kind that its purpose needs")
    if asked is not None and (asked.replaces is None or asked.possession is None):
        raise WrongKey("a key of the log takes another's place, and shows that it is held")


def service_histories(
    origin: str, streams: Mapping[str, Sequence[LogEntry]], payloads: Mapping[int, bytes]
) -> dict[str, ServiceKeyHistory]:
    """Histories of all service keys among the streams, by key id, every succession among them checked.

    Of a key that was proposed and never enrolled there is none: nothing can be signed with it.

    Raises:
        HistoryBroken.
    """
    found: dict[str, ServiceKeyHistory] = {}
    for name, stream in streams.items():
        if is_service_stream(stream) and any(item.statement.kind == ENROLLED for item in stream):
            try:
                key = name.removeprefix(key_stream(""))
                found[key] = read_service_history(origin, key, stream, payloads)
            except CaseLedgerError as error:
                raise HistoryBroken(str(error), stream[-1]) from None
    for history in found.values():
        after = found.get(history.successor or "")
        if after is not None:
            check_succession(origin, history, after)
    return found


class LedgerKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the log that a verifier has come to trust, and the indexes of the entries that it signs.

    `first` to `last`, both included; a checkpoint key signs trees whose last entry is one of those, and the handover
    itself is under the signatures of both.
    """

    public_key: bytes
    first: int = 0
    last: int = FOREVER
    compromised_since: int | None = None

    def signs_entry(self, index: int) -> bool:
        """Whether the entry at this index is this key's to sign."""
        return self.first <= index <= self.last

    def signs_tree(self, size: int) -> bool:
        """Whether the tree of this size is this key's to sign."""
        return self.first <= size <= self.last + 1


def trusted_ledger_keys(
    origin: str, trusted: Iterable[VerifierKey], purpose: str, histories: Mapping[str, ServiceKeyHistory]
) -> tuple[LedgerKey, ...]:
    """The keys of a purpose that the trusted ones lead to, forwards and backwards, each with its stretch of the log.

    A trusted key whose history is not there counts everywhere: nothing says that it was replaced.

    Raises:
        HistoryBroken: a key was replaced, but its successor's history is missing or says something else, or the old
            or the new key did not sign for it.
    """
    known = {name: each for name, each in histories.items() if each.purpose == purpose}
    waiting = {key_id(key.public_key): key.public_key for key in trusted if key.algorithm == ED25519}
    found: dict[str, LedgerKey] = {}
    while waiting:
        name, public_key = waiting.popitem()
        history = known.get(name)
        if history is None:
            found[name] = LedgerKey(public_key=public_key)
            continue
        first = 0
        if history.replaces is not None:
            before = known.get(history.replaces)
            if before is None:
                raise HistoryBroken("the history of the key that this one replaced is missing", history.item)
            check_succession(origin, before, history)
            first = before.last + 1
            if before.key not in found:
                waiting[before.key] = before.vkey.public_key
        if history.successor is not None:
            after = known.get(history.successor)
            if after is None:
                raise HistoryBroken("the history of the key that replaced this one is missing", history.item)
            check_succession(origin, history, after)
            if after.key not in found:
                waiting[after.key] = after.vkey.public_key
        found[name] = LedgerKey(
            public_key=public_key, first=first, last=history.last, compromised_since=history.compromised_since
        )
    return tuple(found.values())


def check_succession(origin: str, old: ServiceKeyHistory, new: ServiceKeyHistory) -> None:
    """Hold two histories against each other: each names the other, and both keys signed for it.

    Raises:
        HistoryBroken.
    """
    if old.successor != new.key or new.replaces != old.key or not new.enrolled < old.last:
        raise HistoryBroken("a key and its successor do not name each other", old.item)
    message = succession_message(origin, old.purpose, old.key, str(new.vkey))
    try:
        verify_ed25519(old.vkey.public_key, old.endorsement, message)
        verify_ed25519(new.vkey.public_key, new.possession, message)
    except BadSignature:
        raise HistoryBroken("a key and its successor did not both sign the succession", old.item) from None
