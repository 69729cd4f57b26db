"""The monitor: follows the log and never believes it. One step is small; a thread takes one after another, unhurried.

Two things go on by turns. *Looking*: the head has not gone back, and every new checkpoint is signed by the log and
consistent with the last one that was accepted. *Re-hashing*: the stored bytes of every entry are hashed to their leaf,
leaves to tiles, all of it to every committed root, over and over from the log's beginning; the checkpoints on the way
are still those that the log signed, and no payload is gone that was not erased.

The first thing that does not hold is reported with its position, and stays reported.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Literal

import msgspec
import psycopg
import structlog

from application import sql
from application.ledger.entries import signatures
from application.ledger.nodes import Nodes, differing_tile, no_levels
from application.monitor.restorations import Restoration, can_judge, origin_at, restorations
from domain.errors import CaseLedgerError
from domain.ledger.checkpoint import Checkpoint, open_checkpoint, read_unverified, verifier_keys
from domain.ledger.dsse import render
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.tree import TILE_WIDTH, Frontier, consistency_proof, leaf_hash, root_at, verify_consistency

STEP_ENTRIES = 4 * TILE_WIDTH
STEP_CHECKPOINTS = 64
_SQL = sql.beside(__file__)

Verdict = Literal["starting", "good", "bad"]

log = structlog.get_logger(__name__)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What does not hold, and where: the index of the first entry that it concerns."""

    what: Literal["head", "checkpoint", "entry", "tile", "root"]
    index: int
    message: str
    found_at: int
    """Microseconds UTC."""


class MonitorState(msgspec.Struct, frozen=True, kw_only=True):
    """What the monitor knows, how far it got, and how old that is. Positions are tree sizes, times microseconds UTC."""

    verdict: Verdict = "starting"
    """`good` once a whole pass has ended well; until then nothing is said of the log's end."""
    head: int = 0
    """Size of the log when it was last looked at."""
    checkpoint: int = 0
    """Size of the newest checkpoint that was found signed, and consistent with those before it."""
    position: int = 0
    """Entries re-hashed in the pass that is under way."""
    passes: int = 0
    passed_size: int = 0
    """Size of the log that the last complete pass went through."""
    looked_at: int | None = None
    """When the database last answered."""
    passed_at: int | None = None
    """When the last complete pass ended."""
    began_at: int | None = None
    """When that pass began: what was altered since is not seen yet."""
    restored: tuple[Restoration, ...] = ()
    """Changes of origin after a restore: said for ever, and no finding."""
    finding: Finding | None = None
    error: str | None = None
    """Class of what keeps the monitor from looking; it is tried again."""


class _Bad(Exception):
    """Something does not hold; never leaves this module."""

    def __init__(self, what: Literal["head", "checkpoint", "entry", "tile", "root"], index: int, message: str) -> None:
        super().__init__(message)
        self.what = what
        self.index = index


def server_clock() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Watch:
    """The monitor's work, step by step, without a thread.

    `pinned` gives the checkpoint that the log has to extend; `keys` all checkpoint keys that the log has had, each
    judging both lines that it signs (0x01, 0x04); `accepted` is told every note that was found good.
    """

    def __init__(
        self,
        pinned: Callable[[], Checkpoint | None],
        keys: Callable[[], Sequence[VerifierKey]],
        *,
        accepted: Callable[[bytes], None] = lambda note: None,
        succeeded: Callable[[Checkpoint], None] = lambda pinned: None,
        clock: Callable[[], int] = server_clock,
    ) -> None:
        self._pinned = pinned
        self._keys = keys
        self._accepted = accepted
        self._succeeded = succeeded
        self._clock = clock
        self._last: Checkpoint | None = None
        """The newest stored checkpoint that was found good, after all before it."""
        self._held: Checkpoint | None = None
        self._behind = False
        """The pinned checkpoint that was found good."""
        self._target = 0
        self._frontier = Frontier()
        self._levels = no_levels()
        self._began_at = 0
        self._judged: dict[int, bytes] = {}
        """Of each step of a pass, by its first entry: the digest of the stored notes whose signatures were found good.
        Only what differs from that is judged again, since a signature costs more than all else of an entry."""
        self.state = MonitorState()

    def step(self, connection: psycopg.Connection) -> bool:
        """Look, and re-hash a little; whether a pass has just ended, or nothing can be done any more.

        Raises:
            psycopg.Error: the database does not answer.
        """
        if self.state.finding is not None:
            return True
        try:
            head = self._look(connection)
            # A pass is not over while there are checkpoints that it has not come to.
            behind = self._behind
            ended = self._rehash(connection, head) and not behind
        except _Bad as bad:
            finding = Finding(what=bad.what, index=bad.index, message=str(bad), found_at=self._clock())
            self._set(verdict="bad", finding=finding, looked_at=self._clock())
            log.critical("monitor.bad", what=bad.what, index=bad.index)
            return True
        self._set(looked_at=self._clock(), error=None)
        return ended

    def failed(self, error: Exception) -> None:
        """Put on the state what keeps the monitor from looking: its class, never its message."""
        self._set(error=type(error).__name__)

    def _look(self, connection: psycopg.Connection) -> Frontier:
        # Before the head: others append and pin meanwhile, and a pin read later may be of a tree that is not read yet.
        pinned = self._read_pin()
        row = connection.execute(_SQL["head"], binary=True).fetchone()
        try:
            head = Frontier() if row is None else Frontier.from_bytes(row[0], row[1])
        except CaseLedgerError as error:
            raise _Bad("head", int(row[0]) if row else 0, str(error)) from None
        self._set(restored=restorations(connection, self.state.restored))
        pinned = self._of_this_origin(connection, head, pinned)
        for known in (self._last, pinned):
            if known is not None and head.size < known.size:
                message = f"the log has {head.size} entries, and had {known.size} when that was signed"
                raise _Bad("head", head.size, message)
        self._set(head=head.size)
        if pinned is not None and pinned != self._held:
            # The first pin is where following begins: what is older is held against the roots in every pass.
            self._last = self._last or self._extends(connection, head.size, None, pinned)
            self._held = self._extends(connection, head.size, self._held, pinned)
        after = self._last.size if self._last is not None else 0
        notes = connection.execute(_SQL["newer_notes"], (after, head.size, STEP_CHECKPOINTS), binary=True).fetchall()
        self._behind = len(notes) == STEP_CHECKPOINTS
        keys = self._both_kinds() if notes else ()
        for size, note in notes:
            found = self._judge(size, note, keys)
            if found is not None:
                self._last = self._extends(connection, head.size, self._last, found)
            if found is not None and found.origin == origin_at(self.state.restored, head.size, found.origin):
                self._accepted(note.encode())
        if self._last is not None:
            self._set(checkpoint=self._last.size)
        return head

    def _judge(self, size: int, note: str, keys: Sequence[VerifierKey]) -> Checkpoint | None:
        """A stored checkpoint, its signatures good; None where that cannot be judged."""
        if not can_judge(self.state.restored, size, keys):
            return None
        found = _opened(size, note, keys)
        if found.size != size:
            raise _Bad("checkpoint", size - 1, f"the checkpoint of size {size} speaks of another size")
        if found.origin != origin_at(self.state.restored, size, found.origin):
            raise _Bad("checkpoint", size - 1, f"the checkpoint of size {size} is of another log")
        return found

    def _of_this_origin(
        self, connection: psycopg.Connection, head: Frontier, pinned: Checkpoint | None
    ) -> Checkpoint | None:
        """The pinned checkpoint; None where the log has been restored since, and goes on under another origin.

        That is no fork, and it is reported; but it is believed only by a checkpoint that the new origin's key signed.
        """
        at = next((each for each in self.state.restored if pinned and each.old == pinned.origin), None)
        if pinned is None or at is None:
            return pinned
        last = self.state.restored[-1]
        rows = connection.execute(_SQL["newer_notes"], (last.index, head.size, 1), binary=True).fetchall()
        try:
            [(size, note)] = rows
            new = open_checkpoint(note.encode(), self._both_kinds()).checkpoint
        except (CaseLedgerError, ValueError):
            message = (
                f"the log says that it was restored and is {last.new} now, and no key of that is known to have signed"
            )
            raise _Bad("checkpoint", at.index, message) from None
        if new.size != size or new.origin != last.new:
            raise _Bad("checkpoint", at.index, f"the checkpoint of size {size} is not of {last.new}")
        self._extends(connection, head.size, None, new)
        if pinned.size <= at.index:
            self._extends(connection, head.size, None, pinned)
        else:
            marked = [msgspec.structs.replace(r, held=pinned.size) if r == at else r for r in self.state.restored]
            self._set(restored=tuple(marked))
        log.critical("monitor.restored", index=at.index, held=pinned.size, old=at.old, new=last.new)
        self._last = self._held = None
        self._succeeded(pinned)
        return None

    def _read_pin(self) -> Checkpoint | None:
        try:
            return self._pinned()
        except CaseLedgerError as error:
            raise _Bad("checkpoint", 0, f"the pinned checkpoint: {error}") from None

    def _extends(
        self, connection: psycopg.Connection, size: int, last: Checkpoint | None, new: Checkpoint
    ) -> Checkpoint:
        """Hold a newer checkpoint against an older one, by a consistency proof from tiles; returns the newer one."""
        nodes = Nodes(connection, size)
        try:
            if last is None or last.size == 0:
                if nodes.ask(lambda node: root_at(new.size, node)) != new.root:
                    raise _Bad("checkpoint", 0, f"the tree of size {new.size} has another root than was signed")
            else:
                before = last.size
                proof = nodes.ask(lambda node: consistency_proof(before, new.size, node))
                verify_consistency(last.size, new.size, last.root, new.root, proof)
        except (CaseLedgerError, KeyError, IndexError) as error:
            first = 0 if last is None else last.size
            raise _Bad(
                "checkpoint", first, f"the checkpoint of size {new.size} does not extend the one of {first}: {error}"
            ) from None
        return new

    def _rehash(self, connection: psycopg.Connection, head: Frontier) -> bool:
        """Go on by some entries; a pass that reaches its end is held against the head and begins anew."""
        at = self._frontier.size
        if at == 0:
            self._target, self._began_at = head.size, self._clock()
        stop = min(at + STEP_ENTRIES, self._target)
        leaves = [self._leaf(*row) for row in self._rows(connection, at, stop)]
        if (hole := connection.execute(_SQL["hole"], (at, stop), binary=True).fetchall()[0][0]) is not None:
            raise _Bad("entry", hole, "the payload is missing, and its subject was not erased")
        self._levels[0] = leaves
        if (bad := differing_tile(connection, at // TILE_WIDTH, self._levels)) is not None:
            raise _Bad("tile", bad.first_entry(), f"the stored tile {bad.tile.path()} is not what the entries give")
        self._frontier = self._compare_roots(connection, leaves)
        self._set(position=self._frontier.size)
        if self._frontier.size < self._target:
            return False
        if self._target == head.size and self._frontier != head:
            raise _Bad("head", max(head.size - 1, 0), "the head is not what the entries give")
        self._frontier, self._levels = Frontier(), no_levels()
        self._set(
            verdict="good",
            passes=self.state.passes + 1,
            passed_size=self._target,
            passed_at=self._clock(),
            began_at=self._began_at,
        )
        return True

    def _rows(
        self, connection: psycopg.Connection, start: int, stop: int
    ) -> list[tuple[int, str, bytes, bytes, bytes]]:
        rows = connection.execute(_SQL["entries"], (start, stop), binary=True).fetchall()
        for expected, row in enumerate(rows, start):
            if row[0] != expected:
                raise _Bad("entry", expected, "the entry is missing")
        if len(rows) != stop - start:
            raise _Bad("entry", start + len(rows), "the entry is missing")
        return rows

    def _leaf(self, index: int, statement: str, actor: bytes | None, ledger: bytes, leaf: bytes) -> bytes:
        if leaf_hash(render(statement.encode(), signatures(actor, ledger))) != leaf:
            raise _Bad("entry", index, "the stored bytes do not hash to the entry's leaf")
        return leaf

    def _compare_roots(self, connection: psycopg.Connection, leaves: list[bytes]) -> Frontier:
        """Hold every committed root among these leaves, and what is signed over it, against them."""
        frontier = self._frontier
        start, stop = frontier.size, frontier.size + len(leaves)
        known = {self._last.size: self._last.root} if self._last is not None else {}
        rows = connection.execute(_SQL["roots"], (start, stop), binary=True).fetchall()
        keys = self._both_kinds()
        digest = sha256("\n".join(map(str, keys)).encode())
        for _, _, note in rows:
            digest.update(sha256((note or "").encode()).digest())
        judged = self._judged.get(start) == digest.digest()
        for size, root, note in rows:
            frontier = frontier.extend(leaves[frontier.size - start : size - start])
            signed = root if note is None else _root_of(note)
            if any(each != frontier.root() for each in (root, known.get(size, root), signed)):
                raise _Bad("root", size - 1, f"the root of size {size} is not what the entries give")
            if note is not None and not judged and can_judge(self.state.restored, size, keys):
                _check_signatures(size, note, keys)
        self._judged[start] = digest.digest()
        return frontier.extend(leaves[frontier.size - start :])

    def _both_kinds(self) -> tuple[VerifierKey, ...]:
        """The keys, each as the verifier of both lines that it signs: else nobody would see the second one altered."""
        given = self._keys()
        pairs = [verifier_keys(key.name, key.public_key) for key in given if key.algorithm == ED25519]
        return tuple(dict.fromkeys((*given, *(key for pair in pairs for key in pair))))

    def _set(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)


def _check_signatures(size: int, note: str, keys: Sequence[VerifierKey]) -> None:
    _opened(size, note, keys)


def _opened(size: int, note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    try:
        return open_checkpoint(note.encode(), keys).checkpoint
    except CaseLedgerError as error:
        raise _Bad("checkpoint", size - 1, f"the checkpoint of size {size}: {error}") from None


def _root_of(note: str) -> bytes:
    """The root that a stored note claims; nothing where it is none any more."""
    try:
        return read_unverified(note.encode()).root
    except CaseLedgerError:
        return b""
