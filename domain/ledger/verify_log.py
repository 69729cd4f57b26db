"""Verifying a whole log up to a checkpoint: every entry, every chain, every signature, the tree's root.

The work falls into segments that know nothing of each other, so that any number of processes may scan them
(`verify_segment`); `LogVerification` takes what they found in the log's order. The streams of keys are read first,
since they say which keys signed what; that they are all of the log's key streams is held against the scan.
Memory: a revision and a leaf for each stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from domain.errors import CaseLedgerError, WrongKey
from domain.ledger import checkpoint, dsse, sealing
from domain.ledger.bundle import Disclosure
from domain.ledger.cosignature_policy import Policy
from domain.ledger.cosignature_verify import Support, support
from domain.ledger.encoding import MAX_INTEGER
from domain.ledger.log_report import LogReport
from domain.ledger.note import Note, VerifierKey
from domain.ledger.origins import STREAM, Origins, check_root, read_origins, statements
from domain.ledger.report import Check, Failure, Restored, Suspect
from domain.ledger.succession import HistoryBroken, is_service_stream, service_histories
from domain.ledger.tree import Frontier, leaf_hash, node_hash
from domain.ledger.verify_ledger import LedgerKeys, ledger_keys, streams_of
from domain.ledger.verify_segment import KEY_STREAMS, SEGMENT, EntryFailed, Segment, Task, check_follows, failure_of
from domain.ledger.verify_signers import ENROLLED, KeyHistory, LogEntry, read_history
from domain.ledger.verify_trust import TrustedKeys

CHECKS = (
    ("key histories", "disclosed as committed to; each key asked for, approved and ended by the right people"),
    ("origins", "one name of the log throughout, or each change endorsed by the log before it, over its own tree"),
    ("checkpoint", "the log's signatures of its tree's size and root (0x01, 0x04)"),
    ("entries", "envelopes and statements re-rendered to the same bytes, all of this log, none missing"),
    ("ledger signatures", "every entry signed by the log, by the key of its time"),
    ("actor signatures", "made where required, by the actor's enrolled key, in the right role"),
    ("chains", "all streams: revisions dense from 1, each entry names its predecessor's leaf"),
    ("tree", "the entries' bytes hash to the checkpoint's root"),
    ("older checkpoint", "the log that it was signed for is a prefix of this one"),
    ("post-quantum", "the log's ML-DSA-44 signature (0x06) of a tree that is a prefix of this one, up to its size"),
    ("key streams", "the histories that were read first are all that the log has of its keys"),
)


class LogVerification:
    """The judgement of one log: takes segments in order, then says what holds.

    `older` is a checkpoint that somebody kept; `openings` are those of the key streams, and `key_entries` the
    envelopes at the same indexes; a `policy` asks for its quorum of witnesses under the checkpoint. `post_quantum` is
    the newest checkpoint with a signature of the log's post-quantum key, which signs on a period and so lags: where
    such a key is given, it or the checkpoint itself has to have one. Without `keys` the result speaks of internal
    consistency only. Never raises for anything that the bytes hold.
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
        post_quantum: bytes | None = None,
    ) -> None:
        self._keys = keys
        self._policy = policy
        self._support = Support()
        self._openings = openings or {}
        self._claimed: checkpoint.Checkpoint | None = None
        self._earlier: dict[str, checkpoint.Checkpoint] = {}
        """Checkpoints of which this log has to be a continuation, by the check that asks for it."""
        self._earlier_roots: dict[int, bytes] = {}
        self._committed_at: int | None = None
        self._passed: dict[str, int | None] = {}
        self._failure: Failure | None = None
        self._count = 0
        self._frontier = Frontier()
        self._streams: dict[str, tuple[int, str]] = {}
        self._histories: dict[str, KeyHistory] = {}
        self._ledger_keys = LedgerKeys(checkpoint=(), entries=())
        self._origins = Origins("")
        self._key_streams: dict[str, list[LogEntry]] = {}
        self._key_payloads: dict[int, bytes] = {}
        self._key_leaves: dict[int, bytes] = {}
        self._scanned_keys: list[LogEntry] = []
        self._signed = 0
        self._suspects: list[Suspect] = []
        self._hold("key histories", lambda: self._read_keys(note, key_entries or {}))
        self._hold("origins", self._read_origins)
        self._hold("checkpoint", lambda: self._read_checkpoint(note))
        if older is not None:
            self._hold("older checkpoint", lambda: self._read_earlier("older checkpoint", older))
        if self._keys is not None and self._keys.post_quantum:
            self._hold("post-quantum", lambda: self._read_post_quantum(note, post_quantum))

    @property
    def failed(self) -> bool:
        """Whether something does not hold; what comes after is not judged."""
        return self._failure is not None

    def tasks(self) -> list[Task]:
        """The segments to scan, in the order in which `add` takes them."""
        if self._claimed is None or self.failed:
            return []
        size, origins = self._claimed.size, self._origins.stretches()
        wanted = sorted({*(each.size for each in self._earlier.values()), *(each.stop for each in origins)})
        return [
            Task(
                start=start,
                stop=min(start + SEGMENT, size),
                origins=origins,
                entry_keys=None if self._keys is None else self._ledger_keys.entries,
                histories=self._histories,
                cuts=tuple(cut for cut in wanted if start < cut <= start + SEGMENT),
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
        for cut, peaks in zip(segment.task.cuts, segment.cut_peaks, strict=True):
            self._earlier_roots[cut] = _joined(self._frontier, cut, peaks).root()
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
        self._hold("origins", self._compare_origins)
        self._hold("older checkpoint", lambda: self._compare_earlier("older checkpoint"))
        self._hold("post-quantum", lambda: self._compare_earlier("post-quantum"))
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
            restored=() if self.failed else self._restored(),
            remarks=() if self.failed else self._support.remarks(),
            origin=self._claimed.origin if self._claimed is not None else None,
            size=self._claimed.size if self._claimed is not None else None,
            committed_at=self._committed_at,
            post_quantum_size=self._passed.get("post-quantum") if not self.failed else None,
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
        if self._keys is not None:
            self._keys = self._keys.of(claimed.origin) or self._keys
        streams = self._key_streams
        for index in sorted(index for index in envelopes if index < claimed.size):
            raw = envelopes[index]
            entry = dsse.parse(raw)
            item = LogEntry(index=index, entry=entry, statement=entry.parsed(), leaf=leaf_hash(raw))
            streams.setdefault(item.statement.stream, []).append(item)
            self._key_leaves[index] = item.leaf
        payloads = self._key_payloads
        payloads |= {item.index: self._disclosed(item) for items in streams.values() for item in items}
        try:
            self._origins = read_origins(claimed.origin, streams.get(STREAM, ()), payloads)
        except HistoryBroken as broken:
            raise EntryFailed("key histories", str(broken), broken.item) from None
        for name, items in streams.items():
            for item in items:
                if item.statement.origin != self._origins.at(item.index):
                    raise EntryFailed("key histories", "the entry is of another log", item)
            if not name.startswith(KEY_STREAMS) or name == STREAM or is_service_stream(items):
                continue
            # A key that was asked for, and perhaps revoked, but not approved: nothing can be signed with it.
            if all(item.statement.kind != ENROLLED for item in items):
                continue
            key = name.removeprefix(KEY_STREAMS)
            try:
                self._histories[key] = read_history(self._origins.at(items[0].index), key, items, payloads)
            except CaseLedgerError as error:
                raise EntryFailed("key histories", str(error), items[-1]) from None
        return len(streams)

    def _read_origins(self) -> int:
        """The log's own keys, each for its stretch; and whether those of one origin endorsed the next."""
        try:
            for each in self._origins.stretches():
                service_histories(each.origin, streams_of(each.origin, self._key_streams), self._key_payloads)
            if self._keys is not None and self._keys.origin == self._origins.last:
                self._ledger_keys = ledger_keys(self._key_streams, self._key_payloads, self._keys, self._origins)
        except HistoryBroken as broken:
            check = "origins" if broken.item.statement.stream == STREAM else "key histories"
            raise EntryFailed(check, str(broken), broken.item) from None
        return len(self._origins.stretches())

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
        keys = self._ledger_keys.earlier.get(claimed.origin, ())
        if claimed.origin == self._keys.origin:
            keys = self._ledger_keys.checkpoint
        elif not keys:
            message = f"this is a checkpoint of the log {claimed.origin}, not of {self._keys.origin}"
            if any(self._keys.of(each.old) is not None for each in self._origins.successions):
                message += (
                    "; it took the place of that one after a restore, by its own word: its own keys are needed, too"
                )
            raise WrongKey(message)
        fitting = [key.public_key for key in keys if key.signs_tree(claimed.size)]
        known = [each for public in fitting for each in checkpoint.verifier_keys(claimed.origin, public)]
        signed = checkpoint.open_checkpoint(note, [*known, *post_quantum])
        return signed.checkpoint, len(signed.verified), signed.committed_at_s

    def _read_checkpoint(self, note: bytes) -> int | None:
        claimed, verified, committed_at_s = self._opened(note, *self._post_quantum_of(note))
        if claimed.size == 0:
            raise WrongKey("the log is empty: there is nothing to verify")
        self._support = support(note, verified, self._policy, (), None)
        self._claimed = claimed
        if committed_at_s is not None and committed_at_s * 1_000_000 < MAX_INTEGER:
            self._committed_at = committed_at_s * 1_000_000
        return None if self._keys is None else verified

    def _read_earlier(self, check: str, note: bytes, *post_quantum: VerifierKey) -> None:
        claimed = checkpoint.read_unverified(note)
        restored = next((each for each in self._origins.successions if each.old == claimed.origin), None)
        if restored is not None and claimed.size > restored.index:
            what = f"entries {restored.index} to {claimed.size - 1} of {claimed.origin} are lost"
            raise EntryFailed(check, f"the log was restored to size {restored.index} since: {what}")
        earlier, _, _ = self._opened(note, *post_quantum)
        if self._claimed is None or (restored is None and earlier.origin != self._claimed.origin):
            raise EntryFailed(check, "it is of another log")
        if earlier.size > self._claimed.size:
            raise EntryFailed(check, f"the log had {earlier.size} entries then, and has {self._claimed.size} now")
        self._earlier[check] = earlier

    def _post_quantum_of(self, note: bytes) -> tuple[VerifierKey, ...]:
        """The log's post-quantum keys where one of them signed this note; whether that holds is not judged here."""
        keys = () if self._keys is None else self._keys.post_quantum
        lines = {(line.name, line.key_hash) for line in Note.parse(note).signatures}
        return keys if any((key.name, key.key_hash) in lines for key in keys) else ()

    def _read_post_quantum(self, note: bytes, separate: bytes | None) -> None:
        """Either the checkpoint itself has the line, or a separate one of no more entries."""
        chosen = note if separate is None or self._post_quantum_of(note) else separate
        keys = self._post_quantum_of(chosen)
        if not keys:
            raise EntryFailed("post-quantum", "there is no checkpoint that the log's post-quantum key signed")
        self._read_earlier("post-quantum", chosen, *keys)

    def _entries(self) -> int:
        if self._claimed is None or self._count != self._claimed.size:
            raise EntryFailed("entries", "not every entry was looked at")
        return self._count

    def _tree(self) -> int:
        if self._claimed is None or self._frontier.root() != self._claimed.root:
            raise EntryFailed("tree", "the entries are not those that the checkpoint's root was made of")
        return self._count

    def _compare_earlier(self, check: str) -> int | None:
        earlier = self._earlier.get(check)
        if earlier is None:
            return None
        if earlier.size and self._earlier_roots.get(earlier.size) != earlier.root:
            raise EntryFailed(check, f"the first {earlier.size} entries are others than it was signed for")
        return earlier.size

    def _compare_origins(self) -> int:
        for each in self._origins.successions:
            try:
                check_root(each, self._earlier_roots.get(each.index, b""))
            except HistoryBroken as broken:
                raise EntryFailed("origins", str(broken), broken.item) from None
        return len(self._origins.stretches())

    def _restored(self) -> tuple[Restored, ...]:
        return tuple(
            each.restored(judged=self._keys is not None and self._keys.of(each.old) is not None)
            for each in self._origins.successions
        )

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
        yield from statements(self._restored())
        yield from self._support.statements()
        if (quantum := self._earlier.get("post-quantum")) is not None:
            behind = size - quantum.size
            rest = f"; the {behind} entries behind it rest on Ed25519 alone until it signs again" if behind else ""
            yield f"post-quantum up to size {quantum.size}: the log's ML-DSA-44 key signed that tree{rest}"
        if (older := self._earlier.get("older checkpoint")) is not None:
            yield f"the {older.size} entries of the older checkpoint are the first of these, unaltered"
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
