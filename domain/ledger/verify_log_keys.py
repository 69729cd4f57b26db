"""What a log's streams of keys say, read before anything is scanned: what it was called, and which keys signed what.

They are disclosed apart from the log; that they are all of its key streams is held against the scan (`compare`).
"""

from collections.abc import Mapping, Sequence

from domain.errors import CaseLedgerError
from domain.ledger import dsse, sealing
from domain.ledger.bundle import Disclosure
from domain.ledger.origins import STREAM, Origins, read_origins
from domain.ledger.succession import HistoryBroken, is_service_stream, service_histories
from domain.ledger.tree import leaf_hash
from domain.ledger.verify_ledger import LedgerKeys, ledger_keys, streams_of
from domain.ledger.verify_segment import KEY_STREAMS, EntryFailed
from domain.ledger.verify_signers import ENROLLED, KeyHistory, LogEntry, read_history
from domain.ledger.verify_trust import TrustedKeys


class LogKeys:
    """The keys of one log: those that were given, and what its histories make of them.

    Empty until `read` and, after it, `read_origins` have passed.
    """

    def __init__(self, given: TrustedKeys | None) -> None:
        self.given = given
        """The keys that are trusted; None where only internal consistency is judged."""
        self.origins = Origins("")
        self.histories: dict[str, KeyHistory] = {}
        """Of actors' keys, by key id."""
        self.ledger = LedgerKeys(checkpoint=(), entries=())
        self._streams: dict[str, list[LogEntry]] = {}
        self._payloads: dict[int, bytes] = {}
        self._leaves: dict[int, bytes] = {}

    def read(self, origin: str, envelopes: Mapping[int, bytes], openings: Mapping[int, Disclosure]) -> int:
        """Histories of all keys of the log of that name, from the entries that are disclosed; how many there are.

        Raises:
            EntryFailed, CaseLedgerError: an entry is not as committed to, or a history does not hold.
        """
        if self.given is not None:
            self.given = self.given.of(origin) or self.given
        streams = self._streams
        for index in sorted(envelopes):
            raw = envelopes[index]
            entry = dsse.parse(raw)
            item = LogEntry(index=index, entry=entry, statement=entry.parsed(), leaf=leaf_hash(raw))
            streams.setdefault(item.statement.stream, []).append(item)
            self._leaves[index] = item.leaf
        payloads = self._payloads
        payloads |= {item.index: _disclosed(item, openings) for items in streams.values() for item in items}
        try:
            self.origins = read_origins(origin, streams.get(STREAM, ()), payloads)
        except HistoryBroken as broken:
            raise EntryFailed("key histories", str(broken), broken.item) from None
        for name, items in streams.items():
            for item in items:
                if item.statement.origin != self.origins.at(item.index):
                    raise EntryFailed("key histories", "the entry is of another log", item)
            if not name.startswith(KEY_STREAMS) or name == STREAM or is_service_stream(items):
                continue
            # A key that was asked for, and perhaps revoked, but not approved: nothing can be signed with it.
            if all(item.statement.kind != ENROLLED for item in items):
                continue
            key = name.removeprefix(KEY_STREAMS)
            try:
                self.histories[key] = read_history(self.origins.at(items[0].index), key, items, payloads)
            except CaseLedgerError as error:
                raise EntryFailed("key histories", str(error), items[-1]) from None
        return len(streams)

    def read_origins(self) -> int:
        """The log's own keys, each for its stretch; and whether those of one origin endorsed the next.

        Raises:
            EntryFailed: a history of theirs, or a change of origin, does not hold.
        """
        try:
            for each in self.origins.stretches():
                service_histories(each.origin, streams_of(each.origin, self._streams), self._payloads)
            if self.given is not None and self.given.origin == self.origins.last:
                self.ledger = ledger_keys(self._streams, self._payloads, self.given, self.origins)
        except HistoryBroken as broken:
            check = "origins" if broken.item.statement.stream == STREAM else "key histories"
            raise EntryFailed(check, str(broken), broken.item) from None
        return len(self.origins.stretches())

    def compare(self, scanned: Sequence[LogEntry]) -> int:
        """Hold what was read against the entries of keys that the log itself has.

        Raises:
            EntryFailed: one of them was not disclosed, or one that was is of no key.
        """
        disclosed = dict(self._leaves)
        for item in scanned:
            if disclosed.pop(item.index, None) != item.leaf:
                raise EntryFailed("key streams", "this entry of a key's history was not disclosed", item)
        if disclosed:
            raise EntryFailed("key streams", f"entry {min(disclosed)} was disclosed, and is of no key")
        return len(scanned)


def _disclosed(item: LogEntry, openings: Mapping[int, Disclosure]) -> bytes:
    opening = openings.get(item.index)
    if opening is None or sealing.commit(opening.blinding, opening.payload) != item.statement.commitment:
        raise EntryFailed("key histories", "the payload is not the one that the entry commits to", item)
    return opening.payload
