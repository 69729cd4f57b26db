"""Verifying a whole log up to a checkpoint: every entry, every chain, every signature, the tree's root.

The work falls into segments that know nothing of each other, so that any number of processes may scan them
(`verify_segment`); `LogVerification` takes what they found in the log's order. The streams of keys are read first
(`verify_log_keys`), since they say which keys signed what; then the checkpoints (`verify_log_checkpoints`).
Memory: a revision and a leaf for each stream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from domain.errors import CaseLedgerError
from domain.ledger import checkpoint
from domain.ledger.bundle import Disclosure
from domain.ledger.cosignature_policy import Policy
from domain.ledger.log_report import LogReport
from domain.ledger.origins import check_root, statements
from domain.ledger.report import Check, Failure, Restored, Suspect
from domain.ledger.succession import HistoryBroken
from domain.ledger.tree import Frontier, node_hash
from domain.ledger.verify_log_checkpoints import LogCheckpoints
from domain.ledger.verify_log_keys import LogKeys
from domain.ledger.verify_segment import SEGMENT, EntryFailed, Segment, Task, check_follows, failure_of
from domain.ledger.verify_signers import LogEntry
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
        self._keys = LogKeys(keys)
        self._checkpoints = LogCheckpoints(self._keys)
        self._passed: dict[str, int | None] = {}
        self._failure: Failure | None = None
        self._count = 0
        self._frontier = Frontier()
        self._cut_roots: dict[int, bytes] = {}
        """Roots of the trees that earlier checkpoints and other origins speak of, as the entries give them, by size."""
        self._streams: dict[str, tuple[int, str]] = {}
        self._scanned_keys: list[LogEntry] = []
        self._signed = 0
        self._suspects: list[Suspect] = []
        self._hold("key histories", lambda: self._read_keys(note, key_entries or {}, openings or {}))
        self._hold("origins", self._keys.read_origins)
        self._hold("checkpoint", lambda: self._checkpoints.read(note, policy))
        if older is not None:
            self._hold("older checkpoint", lambda: self._checkpoints.read_earlier("older checkpoint", older))
        if self._keys.given is not None and self._keys.given.post_quantum:
            self._hold("post-quantum", lambda: self._checkpoints.read_post_quantum(note, post_quantum))

    @property
    def failed(self) -> bool:
        """Whether something does not hold; what comes after is not judged."""
        return self._failure is not None

    def tasks(self) -> list[Task]:
        """The segments to scan, in the order in which `add` takes them."""
        claimed = self._checkpoints.claimed
        if claimed is None or self.failed:
            return []
        size, origins = claimed.size, self._keys.origins.stretches()
        wanted = sorted({*(each.size for each in self._checkpoints.earlier.values()), *(each.stop for each in origins)})
        return [
            Task(
                start=start,
                stop=min(start + SEGMENT, size),
                origins=origins,
                entry_keys=None if self._keys.given is None else self._keys.ledger.entries,
                histories=self._keys.histories,
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
            self._cut_roots[cut] = _joined(self._frontier, cut, peaks).root()
        self._frontier = _joined(self._frontier, segment.task.stop, segment.peaks)
        self._scanned_keys.extend(segment.key_entries)
        self._signed += segment.signed
        self._suspects.extend(segment.suspects)

    def report(self) -> LogReport:
        """The judgement, when every segment was added."""
        self._hold("entries", self._entries)
        self._hold("ledger signatures", lambda: None if self._keys.given is None else self._count)
        self._hold("actor signatures", lambda: self._signed)
        self._hold("chains", lambda: len(self._streams))
        self._hold("tree", self._tree)
        self._hold("origins", self._compare_origins)
        self._hold("older checkpoint", lambda: self._checkpoints.compare("older checkpoint", self._cut_roots))
        self._hold("post-quantum", lambda: self._checkpoints.compare("post-quantum", self._cut_roots))
        self._hold("key streams", lambda: self._keys.compare(self._scanned_keys))
        failed_at = self._failure.check if self._failure is not None else None
        claimed = self._checkpoints.claimed
        checks = []
        for name, what in CHECKS:
            count = self._passed.get(name)
            ok = False if name == failed_at else None if count is None else True
            checks.append(Check(name=name, what=what, count=(count or 0) if ok else 0, ok=ok))
        return LogReport(
            ok=not self.failed,
            trust="given keys" if self._keys.given is not None else "internal consistency only",
            checks=tuple(checks),
            failure=self._failure,
            statements=() if self.failed else tuple(self._statements()),
            suspects=() if self.failed else tuple(sorted(self._suspects, key=lambda each: each.index)),
            restored=() if self.failed else self._restored(),
            remarks=() if self.failed else self._checkpoints.support.remarks(),
            origin=claimed.origin if claimed is not None else None,
            size=claimed.size if claimed is not None else None,
            committed_at=self._checkpoints.committed_at,
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

    def _read_keys(self, note: bytes, envelopes: Mapping[int, bytes], openings: Mapping[int, Disclosure]) -> int:
        """What was disclosed of entries that the checkpoint does not hold is not looked at."""
        claimed = checkpoint.read_unverified(note)
        inside = {index: raw for index, raw in envelopes.items() if index < claimed.size}
        return self._keys.read(claimed.origin, inside, openings)

    def _entries(self) -> int:
        claimed = self._checkpoints.claimed
        if claimed is None or self._count != claimed.size:
            raise EntryFailed("entries", "not every entry was looked at")
        return self._count

    def _tree(self) -> int:
        claimed = self._checkpoints.claimed
        if claimed is None or self._frontier.root() != claimed.root:
            raise EntryFailed("tree", "the entries are not those that the checkpoint's root was made of")
        return self._count

    def _compare_origins(self) -> int:
        for each in self._keys.origins.successions:
            try:
                check_root(each, self._cut_roots.get(each.index, b""))
            except HistoryBroken as broken:
                raise EntryFailed("origins", str(broken), broken.item) from None
        return len(self._keys.origins.stretches())

    def _restored(self) -> tuple[Restored, ...]:
        return tuple(
            each.restored(judged=self._keys.given is not None and self._keys.given.of(each.old) is not None)
            for each in self._keys.origins.successions
        )

    def _statements(self) -> Iterator[str]:
        claimed = self._checkpoints.claimed
        size = claimed.size if claimed is not None else 0
        yield f"complete: every entry up to size {size}; entries after this checkpoint are not excluded"
        if self._keys.given is None:
            yield "no keys were given, so the log's signatures were not judged: anybody can have made all of this"
        yield from statements(self._restored())
        yield from self._checkpoints.support.statements()
        if (quantum := self._checkpoints.earlier.get("post-quantum")) is not None:
            behind = size - quantum.size
            rest = f"; the {behind} entries behind it rest on Ed25519 alone until it signs again" if behind else ""
            yield f"post-quantum up to size {quantum.size}: the log's ML-DSA-44 key signed that tree{rest}"
        if (older := self._checkpoints.earlier.get("older checkpoint")) is not None:
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
