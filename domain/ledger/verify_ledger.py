"""Which of the log's own keys a bundle's checkpoint and entries have to be signed by, as its key history says.

Read before anything is believed: the history only ever narrows down or leads on from keys that the verifier trusts, by
signatures of theirs. Its entries are then judged like all others.
"""

from collections.abc import Iterable, Sequence

import msgspec

from domain.errors import CaseLedgerError, EntryAltered
from domain.ledger import dsse, sealing
from domain.ledger.bundle import Disclosure
from domain.ledger.keys import verify_ed25519
from domain.ledger.succession import (
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
    entries: tuple[LedgerKey, ...]
    problem: str | None = None
    item: LogEntry | None = None
    """The entry at which the history stops making sense."""


def ledger_keys(items: Iterable[LogEntry], openings: Iterable[Disclosure], trusted: TrustedKeys) -> LedgerKeys:
    """What the trusted keys lead to by the histories among these entries."""
    streams: dict[str, list[LogEntry]] = {}
    for item in items:
        streams.setdefault(item.statement.stream, []).append(item)
    service = {name: stream for name, stream in streams.items() if is_service_stream(stream)}
    wanted = {item.index: item for stream in service.values() for item in stream}
    payloads = {
        opening.index: opening.payload
        for opening in openings
        if opening.index in wanted
        and sealing.commit(opening.blinding, opening.payload) == wanted[opening.index].statement.commitment
    }
    given = LedgerKeys(
        checkpoint=tuple(LedgerKey(public_key=key.public_key) for key in trusted.checkpoint),
        entries=tuple(LedgerKey(public_key=key.public_key) for key in trusted.entries),
    )
    try:
        histories = service_histories(trusted.origin, service, payloads)
        return LedgerKeys(
            checkpoint=trusted_ledger_keys(trusted.origin, trusted.checkpoint, "checkpoint", histories),
            entries=trusted_ledger_keys(trusted.origin, trusted.entries, "entry", histories),
        )
    except HistoryBroken as broken:
        return msgspec.structs.replace(given, problem=str(broken), item=broken.item)


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
