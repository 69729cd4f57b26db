"""Which of the log's own keys a bundle's checkpoint and entries have to be signed by, as its key history says.

Read before anything is believed: the history only ever narrows down or leads on from keys that the verifier trusts, by
signatures of theirs. Its entries are then judged like all others.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from domain.errors import CaseLedgerError, EntryAltered
from domain.ledger import dsse
from domain.ledger.keys import verify_ed25519
from domain.ledger.origins import Origins, check_succession
from domain.ledger.succession import (
    ENROLLED,
    FOREVER,
    HistoryBroken,
    LedgerKey,
    is_service_stream,
    service_histories,
    trusted_ledger_keys,
)
from domain.ledger.verify_signers import LogEntry
from domain.ledger.verify_trust import TrustedKeys


class LedgerKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of checkpoints and of entries with their stretches of the log; and what is wrong with their history."""

    checkpoint: tuple[LedgerKey, ...]
    """Of the log as it is named now."""
    entries: tuple[LedgerKey, ...]
    """Of all origins that it went by."""
    earlier: Mapping[str, tuple[LedgerKey, ...]] = {}
    """The checkpoint keys of the origins before, for the trees that were theirs and still stand."""
    problem: str | None = None
    item: LogEntry | None = None
    """The entry at which the history stops making sense."""


def bundled_ledger_keys(
    items: Iterable[LogEntry], payloads: Mapping[int, bytes], trusted: TrustedKeys, origins: Origins
) -> LedgerKeys:
    """What the trusted keys lead to by the histories among these entries, or what is wrong with these."""
    streams: dict[str, list[LogEntry]] = {}
    for item in items:
        streams.setdefault(item.statement.stream, []).append(item)
    try:
        return ledger_keys(streams, payloads, trusted, origins)
    except HistoryBroken as broken:
        return LedgerKeys(
            checkpoint=tuple(LedgerKey(public_key=key.public_key) for key in trusted.checkpoint),
            entries=tuple(LedgerKey(public_key=key.public_key) for key in trusted.entries),
            problem=str(broken),
            item=broken.item,
        )


def ledger_keys(
    streams: Mapping[str, Sequence[LogEntry]], payloads: Mapping[int, bytes], trusted: TrustedKeys, origins: Origins
) -> LedgerKeys:
    """What the trusted keys of a log lead to, by the histories among these streams; each key for its stretch.

    Where the log went by other origins before, the keys of each count below its end: those that are given for it, or
    else those that the entry names which took its place.

    Raises:
        HistoryBroken: a history, or a change of origin, does not hold.
    """
    entries: list[LedgerKey] = []
    checkpoint: tuple[LedgerKey, ...] = ()
    earlier: dict[str, tuple[LedgerKey, ...]] = {}
    found: list[dict[str, tuple[LedgerKey, ...]]] = []
    for number, stretch in enumerate(origins.stretches()):
        named = [each.keys for each in origins.successions[number : number + 1]]
        given = trusted.of(stretch.origin)
        keys = given or named[0]
        histories = service_histories(stretch.origin, streams_of(stretch.origin, streams), payloads)
        found.append(
            {
                "checkpoint": trusted_ledger_keys(stretch.origin, keys.checkpoint, "checkpoint", histories),
                "entry": trusted_ledger_keys(stretch.origin, keys.entries, "entry", histories),
            }
        )
        entries += [_within(key, stretch.first, stretch.stop - 1) for key in found[-1]["entry"]]
        # The first tree that is the new origin's to sign holds the entry that says so.
        checkpoint = tuple(_within(key, stretch.first + (number > 0), FOREVER) for key in found[-1]["checkpoint"])
        if stretch.stop != FOREVER:
            earlier[stretch.origin] = tuple(_within(key, 0, stretch.stop - 1) for key in found[-1]["checkpoint"])
        if number:
            check_succession(origins.successions[number - 1], found[-2], found[-1]["entry"])
    return LedgerKeys(checkpoint=checkpoint, entries=tuple(entries), earlier=earlier)


def streams_of(origin: str, streams: Mapping[str, Sequence[LogEntry]]) -> dict[str, Sequence[LogEntry]]:
    """The service keys' streams whose key was enrolled under an origin."""
    return {
        name: stream
        for name, stream in streams.items()
        if is_service_stream(stream)
        and any(item.statement.kind == ENROLLED and item.statement.origin == origin for item in stream)
    }


def _within(key: LedgerKey, first: int, last: int) -> LedgerKey:
    return msgspec.structs.replace(key, first=max(key.first, first), last=min(key.last, last))


def verify_ledger_signature(item: LogEntry, keys: Sequence[LedgerKey]) -> LedgerKey:
    """The log's key that signed this entry, at an index that is that key's to sign.

    Raises:
        EntryAltered: none of them did.
    """
    for key in keys:
        if key.signs_entry(item.index) and _signed(item, key):
            return key
    if any(_signed(item, key) for key in keys):
        raise EntryAltered("the ledger's signature is of a key that was not in place, or not any more")
    raise EntryAltered("the ledger's signature is not of a given key")


def _signed(item: LogEntry, key: LedgerKey) -> bool:
    try:
        verify_ed25519(
            key.public_key, item.entry.signatures[-1], dsse.pre_authentication_encoding(item.entry.statement)
        )
    except CaseLedgerError:
        return False
    return True
