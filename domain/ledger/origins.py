"""Origins: the names that a log went by, each for a stretch of its indexes, and the entries that changed them.

A database that is older than what was released cannot go on under its name: other entries stand behind that name at the
same indexes already. It goes on under a new origin, whose first entry says so. The tree stays: the new log's tree has
the restored one as its prefix, and the entry that permits the change stands at the very index where it takes effect.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from domain.errors import BadSignature, CaseLedgerError, ControlCharacter, IntegrityFailure, WrongKey
from domain.ledger import encoding
from domain.ledger.bundle import key_stream
from domain.ledger.checkpoint import Checkpoint, open_checkpoint, read_unverified, verifier_keys
from domain.ledger.keys import key_id, verify_ed25519
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.report import Restored
from domain.ledger.statement import KeyId, Origin, Sha256Hex
from domain.ledger.succession import FOREVER, SERVICE_ROLE, HistoryBroken, LedgerKey
from domain.ledger.tree import Frontier
from domain.ledger.verify_signers import LogEntry
from domain.ledger.verify_trust import ENTRIES_SUFFIX, MAX_KEYS, TrustedKeys

SUCCEEDED = "ledger.origin_succeeded.v1"
STREAM = key_stream("origins")
"""A key's stream by its name, and so disclosed like one: it says which keys count where."""
ORIGIN_PREFIX = "caseledger/origin-succession/v1\n"
MAX_LOST = 16

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VerifierKey = Annotated[str, msgspec.Meta(max_length=4096)]
_Note = Annotated[str, msgspec.Meta(max_length=4096)]


class _Endorsement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    purpose: Literal["checkpoint", "entry"]
    key: KeyId
    signature: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]


class _Succeeded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,40}\Z")]
    origin: Origin
    size: Annotated[int, msgspec.Meta(ge=1, lt=encoding.MAX_INTEGER)]
    root: Sha256Hex
    lost: Annotated[tuple[_Note, ...], msgspec.Meta(min_length=1, max_length=MAX_LOST)]
    keys: Annotated[tuple[_VerifierKey, ...], msgspec.Meta(min_length=2, max_length=MAX_KEYS)]
    checkpoint_key: _VerifierKey
    entry_key: _VerifierKey
    endorsements: Annotated[tuple[_Endorsement, ...], msgspec.Meta(min_length=2, max_length=2)]


class Succession(msgspec.Struct, frozen=True, kw_only=True):
    """A change of origin, read: at which index, from what to what, what is lost, and who endorsed it."""

    index: int
    old: str
    new: str
    reason: str
    root: bytes
    lost: tuple[bytes, ...]
    """Signed notes; the first one is of the old origin, and of more entries than `index`."""
    claimed: tuple[Checkpoint, ...]
    """What they say, not verified."""
    keys: TrustedKeys
    """Of the old log, as the entry names them."""
    checkpoint_key: VerifierKey
    entry_key: VerifierKey
    endorsed_by: Mapping[str, bytes]
    """Raw public keys of the old log that signed for the change, by purpose."""
    item: LogEntry

    def restored(self, *, judged: bool) -> Restored:
        """What a report says of it; `judged` where the old log's keys were given."""
        return Restored(
            index=self.index, old=self.old, new=self.new, reason=self.reason, released=self.claimed[0].size,
            judged=judged, lost=tuple(each.origin for each in self.claimed[1:]),
        )  # fmt: skip


class Stretch(msgspec.Struct, frozen=True):
    """The indexes first <= index < stop, whose entries carry one origin."""

    origin: str
    first: int
    stop: int


class Origins(msgspec.Struct, frozen=True):
    """Every origin that a log went by; `last` is that of its checkpoint."""

    last: str
    successions: tuple[Succession, ...] = ()

    def stretches(self) -> tuple[Stretch, ...]:
        """The stretches in the log's order; there is at least one, and the last is open."""
        ends = [each.index for each in self.successions]
        names = [*(each.old for each in self.successions), self.last]
        return tuple(map(Stretch, names, [0, *ends], [*ends, FOREVER]))

    def at(self, index: int) -> str:
        """The origin that the entry at an index has to carry."""
        return next((each.old for each in self.successions if index < each.index), self.last)


def origin_message(
    old: str, size: int, root: bytes, lost: Iterable[bytes], checkpoint_key: VerifierKey, entry_key: VerifierKey
) -> bytes:
    """The bytes that the old log's keys sign when another origin takes its place.

    The prefix, then old origin, size, root and the SHA-256 of each lost note (lower-case hex), the new checkpoint key
    and the new key of entries, each ended by a newline. Nothing else that a log's keys sign begins so.

    Raises: ControlCharacter when a field could be taken for two.
    """
    digests = [sha256(note).hexdigest() for note in lost]
    fields = (old, str(size), root.hex(), *digests, str(checkpoint_key), str(entry_key))
    if any(_CONTROL.search(field) for field in fields):
        raise ControlCharacter
    return (ORIGIN_PREFIX + "".join(f"{field}\n" for field in fields)).encode()


def read_origins(last: str, stream: Sequence[LogEntry], payloads: Mapping[int, bytes]) -> Origins:
    """Read the stream of origins, which is empty for a log that was never restored, up to the origin `last`.

    Payloads are those that opened to their commitments. What is read holds together by itself: places, names, and the
    endorsements by the keys that each entry names; whether those are the old log's is for `check_succession`.

    Raises:
        HistoryBroken: it does not hold.
    """
    found: list[Succession] = []
    for item in stream:
        try:
            found.append(_read(item, payloads))
        except CaseLedgerError as error:
            raise HistoryBroken(str(error), item) from None
    for before, after in pairwise(found):
        if after.old != before.new:
            raise HistoryBroken("the log had another origin than the one that this entry took the place of", after.item)
    names = [*(each.old for each in found), *(each.new for each in found[-1:])]
    if found and (names[-1] != last or len(set(names)) != len(names)):
        raise HistoryBroken("the entry leads to another origin than the checkpoint's", found[-1].item)
    return Origins(last, tuple(found))


def _read(item: LogEntry, payloads: Mapping[int, bytes]) -> Succession:
    statement = item.statement
    if statement.kind != SUCCEEDED or statement.role != SERVICE_ROLE:
        raise WrongKey(f"the stream of origins holds {SUCCEEDED} by the service, and nothing else")
    if item.index not in payloads:
        raise WrongKey("what the entry says of the log before it is not disclosed")
    said = encoding.decode(payloads[item.index], _Succeeded)
    notes = tuple(note.encode() for note in said.lost)
    claimed = tuple(read_unverified(note) for note in notes)
    if said.size != item.index:
        raise WrongKey("a change of origin counts at the index behind the restored entries alone")
    if said.origin == statement.origin or claimed[0].origin != said.origin:
        raise WrongKey("the entry cites a checkpoint of another log than the one whose place it takes")
    if claimed[0].size <= item.index or said.origin in {each.origin for each in claimed[1:]}:
        raise WrongKey("nothing is lost of the log whose place this entry takes")
    keys = _keys(said.origin, said.keys)
    checkpoint_key, entry_key = VerifierKey.parse(said.checkpoint_key), VerifierKey.parse(said.entry_key)
    named = [(checkpoint_key, statement.origin), (entry_key, statement.origin + ENTRIES_SUFFIX)]
    if any(key.name != name or key.algorithm != ED25519 for key, name in named):
        raise WrongKey("the new keys are not named as the new origin")
    root = bytes.fromhex(said.root)
    message = origin_message(said.origin, said.size, root, notes, checkpoint_key, entry_key)
    return Succession(
        index=item.index,
        old=said.origin,
        new=statement.origin,
        reason=said.reason,
        root=root,
        lost=notes,
        claimed=claimed,
        keys=keys,
        checkpoint_key=checkpoint_key,
        entry_key=entry_key,
        endorsed_by=_endorsed(said.endorsements, keys, message),
        item=item,
    )


def _keys(origin: str, texts: Iterable[str]) -> TrustedKeys:
    parsed = [VerifierKey.parse(each) for each in texts]
    checkpoint = tuple(each for each in parsed if each.name == origin)
    entries = tuple(each for each in parsed if each.name == origin + ENTRIES_SUFFIX)
    usual = all(each.algorithm == ED25519 for each in parsed) and len(checkpoint) + len(entries) == len(parsed)
    if not (usual and checkpoint and entries):
        raise WrongKey("the entry does not name the keys of the log whose place it takes")
    return TrustedKeys(origin, checkpoint, entries)


def _endorsed(given: Sequence[_Endorsement], keys: TrustedKeys, message: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for purpose, known, each in zip(("checkpoint", "entry"), (keys.checkpoint, keys.entries), given, strict=True):
        named = {key_id(key.public_key): key.public_key for key in known}
        if each.purpose != purpose or each.key not in named:
            raise WrongKey("the change of origin is not endorsed by the old log's two keys")
        try:
            verify_ed25519(named[each.key], bytes.fromhex(each.signature), message)
        except BadSignature:
            raise WrongKey("the old log's keys did not sign for this change of origin") from None
        found[purpose] = named[each.key]
    return found


def check_succession(succession: Succession, old: Mapping[str, Sequence[LedgerKey]], new: Sequence[LedgerKey]) -> None:
    """Hold a change of origin against the keys that a verifier has come to trust, by purpose.

    The old log's keys of that time have to have endorsed it, and signed the checkpoint that is cited as lost; the key
    that the entry names has to be one of the new log's, and to have signed the entry.

    Raises:
        HistoryBroken.
    """
    for purpose, public_key in succession.endorsed_by.items():
        # By its own history, where that came back: a key that was replaced before speaks for the log no more.
        if public_key not in {each.public_key for each in old[purpose] if each.signs_entry(succession.index)}:
            raise HistoryBroken("the keys that endorsed the change of origin are not the old log's", succession.item)
    fitting = [each.public_key for each in old["checkpoint"] if each.signs_tree(succession.claimed[0].size)]
    known = [key for public_key in fitting for key in verifier_keys(succession.old, public_key)]
    try:
        open_checkpoint(succession.lost[0], known)
    except CaseLedgerError:
        message = "the checkpoint that is cited as lost is not signed by the old log"
        raise HistoryBroken(message, succession.item) from None
    if succession.entry_key.public_key not in {each.public_key for each in new}:
        raise HistoryBroken("the entry names another key than the new log's", succession.item)


def check_root(succession: Succession, root: bytes) -> None:
    """Hold the restored tree's root, as it follows from the tree at hand, against what the entry says.

    Raises:
        HistoryBroken.
    """
    if root != succession.root:
        raise HistoryBroken(
            "the entries before the change of origin are not those that it was made over", succession.item
        )


def root_before(index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Root of the tree that ends before the entry at `index`, from that entry's inclusion proof, which was verified.

    What the proof has to the left of the path are the peaks of that tree, smallest first (RFC 9162 2.1.3.2).

    Raises:
        IntegrityFailure: the proof is none of that place.
    """
    peaks: list[bytes] = []
    node, last = index, size - 1
    for sibling in proof:
        if node & 1 or node == last:
            peaks.append(sibling)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    if not peaks:
        raise IntegrityFailure("nothing stands before that entry")
    return Frontier(index, tuple(reversed(peaks))).root()


def statements(restored: Sequence[Restored]) -> list[str]:
    """What a report says of a log that was restored, in words."""
    said = []
    for each in restored:
        said.append(
            f"the log was RESTORED ({each.reason.replace('_', ' ')}): entries before {each.index} were first published "
            f"under the origin {each.old}; what that published from there up to size {each.released} is lost"
        )
        if each.lost:
            said.append(f"lost with it, by the word of {each.new}, is what was published under {', '.join(each.lost)}")
        if not each.judged:
            said.append(
                f"the keys of {each.old} were not given: that they are those which the entry at {each.index} names is "
                f"the word of {each.new}"
            )
    return said
