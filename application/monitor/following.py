"""Looking: the log's head has not gone back, and every new checkpoint is signed and extends the last one.

A restore that the log tells of is followed, and said; it is believed only by what its new origin's key signed.
"""

from collections.abc import Callable, Sequence

import msgspec
import psycopg
import structlog

from application import sql
from application.ledger.nodes import Nodes
from application.monitor.judging import both_kinds, judge
from application.monitor.restorations import Restoration, origin_at, restorations
from application.monitor.state import Bad
from domain.errors import CaseLedgerError
from domain.ledger.checkpoint import Checkpoint, open_checkpoint
from domain.ledger.note import VerifierKey
from domain.ledger.tree import Frontier, consistency_proof, root_at, verify_consistency

STEP_CHECKPOINTS = 64
_SQL = sql.beside(__file__)

log = structlog.get_logger(__name__)


class Following:
    """The log's checkpoints from the pinned one on, as far as they are good; see `Watch` for what it is given."""

    def __init__(
        self,
        pinned: Callable[[], Checkpoint | None],
        keys: Callable[[], Sequence[VerifierKey]],
        accepted: Callable[[bytes], None],
        succeeded: Callable[[Checkpoint], None],
        released: Callable[[], Checkpoint | None],
    ) -> None:
        self._pinned = pinned
        self._released = released
        self._keys = keys
        self._accepted = accepted
        self._succeeded = succeeded
        self.last: Checkpoint | None = None
        """The newest stored checkpoint that was found good, after all before it."""
        self._held: Checkpoint | None = None
        """The pinned checkpoint that was found good."""
        self._held_released: Checkpoint | None = None
        self.behind = False
        """Whether there may be more checkpoints than were looked at."""
        self.head = 0
        """Size of the log when it was last looked at."""
        self.checkpoint = 0
        """Size of the newest checkpoint that was found good."""
        self.restored: tuple[Restoration, ...] = ()

    def look(self, connection: psycopg.Connection) -> Frontier:
        """The log's head, when everything that is new was found good.

        Raises:
            Bad: it was not.
            psycopg.Error: the database does not answer.
        """
        # Before the head: others append and pin meanwhile, and a pin read later may be of a tree that is not read yet.
        pinned, released = _read(self._pinned), _read(self._released)
        row = connection.execute(_SQL["head"], binary=True).fetchone()
        try:
            head = Frontier() if row is None else Frontier.from_bytes(row[0], row[1])
        except CaseLedgerError as error:
            raise Bad("head", int(row[0]) if row else 0, str(error)) from None
        self.restored = restorations(connection, self.restored)
        pinned = self._of_this_origin(connection, head, pinned)
        for known in (self.last, pinned, released):
            if known is not None and head.size < known.size:
                message = f"the log has {head.size} entries, and had {known.size} when that was signed"
                raise Bad("head", head.size, message)
        self.head = head.size
        if released is not None and released != self._held_released:
            if released.origin != origin_at(self.restored, head.size, released.origin):
                raise Bad("checkpoint", 0, f"the log goes by another origin than {released.origin}, which released it")
            self._held_released = self._extends(connection, head.size, self._held_released, released)
        if pinned is not None and pinned != self._held:
            # The first pin is where following begins: what is older is held against the roots in every pass.
            self.last = self.last or self._extends(connection, head.size, None, pinned)
            self._held = self._extends(connection, head.size, self._held, pinned)
        # With no pin of its own yet, it begins with the one that was released last.
        begin = 0 if released is None else released.size - 1
        after = self.last.size if self.last is not None else max(begin, 0)
        notes = connection.execute(_SQL["newer_notes"], (after, head.size, STEP_CHECKPOINTS), binary=True).fetchall()
        self.behind = len(notes) == STEP_CHECKPOINTS
        keys = both_kinds(self._keys()) if notes else ()
        for size, note in notes:
            found = judge(size, note, keys, self.restored)
            if found is not None:
                self.last = self._extends(connection, head.size, self.last, found)
            if found is not None and found.origin == origin_at(self.restored, head.size, found.origin):
                self._accepted(note.encode())
        if self.last is not None:
            self.checkpoint = self.last.size
        return head

    def _of_this_origin(
        self, connection: psycopg.Connection, head: Frontier, pinned: Checkpoint | None
    ) -> Checkpoint | None:
        """The pinned checkpoint; None where the log has been restored since, and goes on under another origin.

        That is no fork, and it is reported; but it is believed only by a checkpoint that the new origin's key signed.
        """
        at = next((each for each in self.restored if pinned and each.old == pinned.origin), None)
        if pinned is None or at is None:
            return pinned
        last = self.restored[-1]
        rows = connection.execute(_SQL["newer_notes"], (last.index, head.size, 1), binary=True).fetchall()
        try:
            [(size, note)] = rows
            new = open_checkpoint(note.encode(), both_kinds(self._keys())).checkpoint
        except (CaseLedgerError, ValueError):
            message = (
                f"the log says that it was restored and is {last.new} now, and no key of that is known to have signed"
            )
            raise Bad("checkpoint", at.index, message) from None
        if new.size != size or new.origin != last.new:
            raise Bad("checkpoint", at.index, f"the checkpoint of size {size} is not of {last.new}")
        self._extends(connection, head.size, None, new)
        if pinned.size <= at.index:
            self._extends(connection, head.size, None, pinned)
        else:
            marked = [msgspec.structs.replace(r, held=pinned.size) if r == at else r for r in self.restored]
            self.restored = tuple(marked)
        log.critical("monitor.restored", index=at.index, held=pinned.size, old=at.old, new=last.new)
        self.last = self._held = None
        self._succeeded(pinned)
        return None

    def _extends(
        self, connection: psycopg.Connection, size: int, last: Checkpoint | None, new: Checkpoint
    ) -> Checkpoint:
        """Hold a newer checkpoint against an older one, by a consistency proof from tiles; returns the newer one."""
        nodes = Nodes(connection, size)
        try:
            if last is None or last.size == 0:
                if nodes.ask(lambda node: root_at(new.size, node)) != new.root:
                    raise Bad("checkpoint", 0, f"the tree of size {new.size} has another root than was signed")
            else:
                before = last.size
                proof = nodes.ask(lambda node: consistency_proof(before, new.size, node))
                verify_consistency(last.size, new.size, last.root, new.root, proof)
        except (CaseLedgerError, KeyError, IndexError) as error:
            first = 0 if last is None else last.size
            raise Bad(
                "checkpoint", first, f"the checkpoint of size {new.size} does not extend the one of {first}: {error}"
            ) from None
        return new


def _read(pinned: Callable[[], Checkpoint | None]) -> Checkpoint | None:
    try:
        return pinned()
    except CaseLedgerError as error:
        raise Bad("checkpoint", 0, f"the pinned checkpoint: {error}") from None
