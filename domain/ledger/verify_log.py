"""Verifying a whole log up to a checkpoint: every entry, every chain, every signature, the tree's root.

The work falls into segments that know nothing of each other, so that any number of processes may scan them
(`verify_segment`); `LogVerification` takes what they found in the log's order. The streams of keys are read first,
since they say which keys signed what; that they are all of the log's key streams is held against the scan.
Memory: a revision and a leaf for each stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from domain.errors import CaseLedgerError, MalformedBundle, WrongKey
from domain.ledger import checkpoint, dsse, encoding, sealing
from domain.ledger.bundle import Disclosure
from domain.ledger.cosignature_policy import Policy
from domain.ledger.cosignature_verify import Support, support
from domain.ledger.encoding import MAX_INTEGER
from domain.ledger.log_report import LogReport
from domain.ledger.note import VerifierKey
from domain.ledger.report import Check, Failure, Suspect
from domain.ledger.succession import HistoryBroken, LedgerKey, is_service_stream, service_histories, trusted_ledger_keys
from domain.ledger.tree import Frontier, leaf_hash, node_hash
from domain.ledger.verify_segment import KEY_STREAMS, SEGMENT, EntryFailed, Segment, Task, check_follows, failure_of
from domain.ledger.verify_signers import ENROLLED, KeyHistory, LogEntry, read_history
from domain.ledger.verify_trust import TrustedKeys

MAX_OPENINGS_BYTES = 256 * 1024 * 1024

CHECKS = (
    ("key histories", "disclosed as committed to; each key asked for, approved and ended by the right people"),
    ("checkpoint", "the log's signatures of its tree's size and root (0x01, 0x04)"),
    ("entries", "envelopes and statements re-rendered to the same bytes, all of this log, none missing"),
    ("ledger signatures", "every entry signed by the log, by the key of its time"),
    ("actor signatures", "made where required, by the actor's enrolled key, in the right role"),
    ("chains", "all streams: revisions dense from 1, each entry names its predecessor's leaf"),
    ("tree", "the entries' bytes hash to the checkpoint's root"),
    ("older checkpoint", "the log that it was signed for is a prefix of this one"),
    ("key streams", "the histories that were read first are all that the log has of its keys"),
)


def read_openings(raw: bytes) -> dict[int, Disclosure]:
    """Openings of the entries of key streams, one canonical JSON document a line, by index.

    Raises:
        MalformedBundle: another shape, above 256 MiB, or two of one index; names the line.
    """
    if len(raw) > MAX_OPENINGS_BYTES:
        raise MalformedBundle(f"a file of openings has at most {MAX_OPENINGS_BYTES} bytes")
    found: dict[int, Disclosure] = {}
    for number, line in enumerate(raw.removesuffix(b"\n").split(b"\n") if raw else (), 1):
        try:
            opening = encoding.decode(line, Disclosure)
        except CaseLedgerError as error:
            raise MalformedBundle(f"line {number} of the openings: {error}") from None
        if found.setdefault(opening.index, opening) is not opening:
            raise MalformedBundle(f"line {number} of the openings: the entry has an opening already")
    return found


class LogVerification:
    """The judgement of one log: takes segments in order, then says what holds.

    `older` is a checkpoint that somebody kept; `openings` are those of the key streams, and `key_entries` the
    envelopes at the same indexes; a `policy` asks for its quorum of witnesses under the checkpoint. Without `keys` the
    result speaks of internal consistency only. Never raises for anything that the bytes hold.
    """

    def __init__(
        self,
        note: bytes,
        keys: TrustedKeys | None,
        *,
        older: bytes | None = None,
        openings: Mapping[int, Disclosure] | None = None,
        key_entries: Mapping[int, bytes] | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._keys = keys
        self._policy = policy
        self._support = Support()
        self._openings = openings or {}
        self._claimed: checkpoint.Checkpoint | None = None
        self._older: checkpoint.Checkpoint | None = None
        self._older_root: bytes | None = None
        self._committed_at: int | None = None
        self._passed: dict[str, int | None] = {}
        self._failure: Failure | None = None
        self._count = 0
        self._frontier = Frontier()
        self._streams: dict[str, tuple[int, str]] = {}
        self._histories: dict[str, KeyHistory] = {}
        self._ledger_keys: dict[str, tuple[LedgerKey, ...]] = {}
        self._key_leaves: dict[int, bytes] = {}
        self._scanned_keys: list[LogEntry] = []
        self._signed = 0
        self._suspects: list[Suspect] = []
        self._hold("key histories", lambda: self._read_keys(note, key_entries or {}))
        self._hold("checkpoint", lambda: self._read_checkpoint(note))
        if older is not None:
            self._hold("older checkpoint", lambda: self._read_older(older))

    @property
    def failed(self) -> bool:
        """Whether something does not hold; what comes after is not judged."""
        return self._failure is not None

    def tasks(self) -> list[Task]:
        """The segments to scan, in the order in which `add` takes them."""
        if self._claimed is None or self.failed:
            return []
        size, origin = self._claimed.size, self._claimed.origin
        older = self._older.size if self._older is not None else 0
        return [
            Task(
                start=start,
                stop=min(start + SEGMENT, size),
                origin=origin,
                entry_keys=None if self._keys is None else self._ledger_keys["entry"],
                histories=self._histories,
                cut=older if start < older <= start + SEGMENT else None,
            )
            for start in range(0, size, SEGMENT)
        ]

    def add(self, segment: Segment) -> None:
        """Take the next segment; the first failure in the log's order is the one that counts."""
        if self.failed:
            return
        for part in segment.streams:
            last_rev, last_leaf = self._streams.get(part.stream, (0, None))
            try:
                check_follows(part.rev, part.prev, last_rev, last_leaf)
            except EntryFailed as failed:
                if segment.failure is None or (segment.failure.index or 0) > part.index:
                    about = failure_of(failed.check, str(failed), part.index)
                    self._failure = msgspec.structs.replace(about, kind=part.kind, revision=part.rev)
                    self._count = part.index
                    return
            self._streams[part.stream] = (part.last_rev, part.last_leaf)
        self._count += segment.count
        if segment.failure is not None:
            self._failure = segment.failure
            return
        if segment.task.cut is not None:
            self._older_root = _joined(self._frontier, segment.task.cut, segment.cut_peaks).root()
        self._frontier = _joined(self._frontier, segment.task.stop, segment.peaks)
        self._scanned_keys.extend(segment.key_entries)
        self._signed += segment.signed
        self._suspects.extend(segment.suspects)

    def report(self) -> LogReport:
        """The judgement, when every segment was added."""
        self._hold("entries", self._entries)
        self._hold("ledger signatures", lambda: None if self._keys is None else self._count)
        self._hold("actor signatures", lambda: self._signed)
        self._hold("chains", lambda: len(self._streams))
        self._hold("tree", self._tree)
        self._hold("older checkpoint", self._compare_older)
        self._hold("key streams", self._compare_keys)
        failed_at = self._failure.check if self._failure is not None else None
        checks = []
        for name, what in CHECKS:
            count = self._passed.get(name)
            ok = False if name == failed_at else None if count is None else True
            checks.append(Check(name=name, what=what, count=(count or 0) if ok else 0, ok=ok))
        return LogReport(
            ok=not self.failed,
            trust="given keys" if self._keys is not None else "internal consistency only",
            checks=tuple(checks),
            failure=self._failure,
            statements=() if self.failed else tuple(self._statements()),
            suspects=() if self.failed else tuple(sorted(self._suspects, key=lambda each: each.index)),
            remarks=() if self.failed else self._support.remarks(),
            origin=self._claimed.origin if self._claimed is not None else None,
            size=self._claimed.size if self._claimed is not None else None,
            committed_at=self._committed_at,
            entries=self._count,
            streams=len(self._streams),
        )

    def _hold(self, check: str, step: Callable[[], int | None]) -> None:
        if self.failed:
            return
        try:
            self._passed[check] = step()
        except EntryFailed as failed:
            self._failure = failure_of(check, str(failed), failed.item.index if failed.item else None, failed.item)
        except CaseLedgerError as error:
            self._failure = failure_of(check, str(error), None)

    def _read_keys(self, note: bytes, envelopes: Mapping[int, bytes]) -> int:
        """Histories of all keys, from the entries that are disclosed; who signed what follows from them."""
        claimed = checkpoint.read_unverified(note)
        streams: dict[str, list[LogEntry]] = {}
        for index in sorted(index for index in envelopes if index < claimed.size):
            raw = envelopes[index]
            entry = dsse.parse(raw)
            item = LogEntry(index=index, entry=entry, statement=entry.parsed(), leaf=leaf_hash(raw))
            streams.setdefault(item.statement.stream, []).append(item)
            self._key_leaves[index] = item.leaf
        payloads = {item.index: self._disclosed(item) for items in streams.values() for item in items}
        for name, items in streams.items():
            if not name.startswith(KEY_STREAMS) or is_service_stream(items):
                continue
            # A key that was asked for, and perhaps revoked, but not approved: nothing can be signed with it.
            if all(item.statement.kind != ENROLLED for item in items):
                continue
            key = name.removeprefix(KEY_STREAMS)
            try:
                self._histories[key] = read_history(claimed.origin, key, items, payloads)
            except CaseLedgerError as error:
                raise EntryFailed("key histories", str(error), items[-1]) from None
        try:
            service = service_histories(claimed.origin, streams, payloads)
            if self._keys is not None:
                for purpose, trusted in (("entry", self._keys.entries), ("checkpoint", self._keys.checkpoint)):
                    self._ledger_keys[purpose] = trusted_ledger_keys(claimed.origin, trusted, purpose, service)
        except HistoryBroken as broken:
            raise EntryFailed("key histories", str(broken), broken.item) from None
        return len(streams)

    def _disclosed(self, item: LogEntry) -> bytes:
        opening = self._openings.get(item.index)
        if opening is None or sealing.commit(opening.blinding, opening.payload) != item.statement.commitment:
            raise EntryFailed("key histories", "the payload is not the one that the entry commits to", item)
        return opening.payload

    def _opened(self, note: bytes, *post_quantum: VerifierKey) -> tuple[checkpoint.Checkpoint, int, int | None]:
        """A checkpoint, how many of the log's signatures hold, and the signed time in seconds.

        Where a post-quantum key is given, its signature is required, too.
        """
        claimed = checkpoint.read_unverified(note)
        if self._keys is None:
            return claimed, 0, None
        if claimed.origin != self._keys.origin:
            raise WrongKey(f"this is a checkpoint of the log {claimed.origin}, not of {self._keys.origin}")
        fitting = [key.public_key for key in self._ledger_keys["checkpoint"] if key.signs_tree(claimed.size)]
        known = [each for public in fitting for each in checkpoint.verifier_keys(claimed.origin, public)]
        signed = checkpoint.open_checkpoint(note, [*known, *post_quantum])
        return signed.checkpoint, len(signed.verified), signed.committed_at_s

    def _read_checkpoint(self, note: bytes) -> int | None:
        post_quantum = () if self._keys is None else self._keys.post_quantum
        claimed, verified, committed_at_s = self._opened(note, *post_quantum)
        if claimed.size == 0:
            raise WrongKey("the log is empty: there is nothing to verify")
        self._support = support(note, verified, self._policy, (), None)
        self._claimed = claimed
        if committed_at_s is not None and committed_at_s * 1_000_000 < MAX_INTEGER:
            self._committed_at = committed_at_s * 1_000_000
        return None if self._keys is None else verified

    def _read_older(self, note: bytes) -> int | None:
        older, _, _ = self._opened(note)
        if self._claimed is None or older.origin != self._claimed.origin:
            raise EntryFailed("older checkpoint", "it is of another log")
        if older.size > self._claimed.size:
            message = f"the log had {older.size} entries then, and has {self._claimed.size} now"
            raise EntryFailed("older checkpoint", message)
        self._older = older
        return None

    def _entries(self) -> int:
        if self._claimed is None or self._count != self._claimed.size:
            raise EntryFailed("entries", "not every entry was looked at")
        return self._count

    def _tree(self) -> int:
        if self._claimed is None or self._frontier.root() != self._claimed.root:
            raise EntryFailed("tree", "the entries are not those that the checkpoint's root was made of")
        return self._count

    def _compare_older(self) -> int | None:
        if self._older is None:
            return None
        if self._older.size and self._older_root != self._older.root:
            message = f"the first {self._older.size} entries are others than it was signed for"
            raise EntryFailed("older checkpoint", message)
        return self._older.size

    def _compare_keys(self) -> int:
        for item in self._scanned_keys:
            if self._key_leaves.pop(item.index, None) != item.leaf:
                raise EntryFailed("key streams", "this entry of a key's history was not disclosed", item)
        if self._key_leaves:
            raise EntryFailed("key streams", f"entry {min(self._key_leaves)} was disclosed, and is of no key")
        return len(self._scanned_keys)

    def _statements(self) -> Iterator[str]:
        size = self._claimed.size if self._claimed is not None else 0
        yield f"complete: every entry up to size {size}; entries after this checkpoint are not excluded"
        if self._keys is None:
            yield "no keys were given, so the log's signatures were not judged: anybody can have made all of this"
        yield from self._support.statements()
        if self._older is not None:
            yield f"the {self._older.size} entries of the older checkpoint are the first of these, unaltered"
        else:
            yield "no older checkpoint was given: that the log was never another one before is not shown"
        if self._suspects:
            places = ", ".join(map(str, sorted({each.index for each in self._suspects})[:20]))
            yield (
                f"{len(self._suspects)} signatures are SUSPECT: made when their key may have been in other hands "
                f"(entries {places})"
            )
        yield "payloads are not looked at here, but for those of keys; a case's bundle discloses them"


def _joined(frontier: Frontier, size: int, peaks: Sequence[bytes]) -> Frontier:
    """A frontier of full segments, and behind it the peaks of one that goes up to `size`, which may not be full."""
    peaks, number = [*frontier.peaks, *peaks], frontier.size // SEGMENT
    while size - frontier.size == SEGMENT and number & 1:
        right = peaks.pop()
        peaks.append(node_hash(peaks.pop(), right))
        number >>= 1
    return Frontier(size, tuple(peaks))
