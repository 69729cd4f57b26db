"""Signed checkpoints and receipts over what is committed; any process of the ledger may make them."""

import psycopg
import structlog

from application import sql
from application.ledger.entries import Appended
from application.ledger.keyfiles import KeyFiles
from application.ledger.live_keys import LiveKeys
from application.ledger.locating import locate
from application.ledger.nodes import Nodes, recompute
from application.ledger.pin import Pin
from application.ledger.prepared import int8, prepare, run
from domain.errors import EntryNotFound, HeadBehindPin, HeadForked
from domain.ledger.checkpoint import Checkpoint, sign
from domain.ledger.note import Note
from domain.ledger.receipt import Receipt
from domain.ledger.tree import Frontier, inclusion_proof, root_at

_ANOTHER = "the database does not extend the last released checkpoint"
_SQL = sql.beside(__file__)
_INSERT_NOTE = b"ledger_insert_note"

log = structlog.get_logger(__name__)


class Checkpoints:
    """Signs committed roots, releases them past the pin, and proves entries against them."""

    def __init__(self, keys: KeyFiles, pin: Pin) -> None:
        self._keys = keys
        self._pin = pin
        self.live = LiveKeys(keys, pin)
        self._floor: int | None = None

    def release(self, checkpoint: Checkpoint, committed_at: int) -> bytes:
        """Sign a committed tree and pin the note, durably; returns the note, which may be handed out from now on.

        Signing is deterministic, so two processes that release the same size write the same bytes.

        Warning: call it only after the batch that made this root has committed.

        Raises:
            HeadForked: the pin has another root at this size.
        """
        note, *others = [sign(checkpoint, key, committed_at) for key in self.live.checkpoint_keys(checkpoint.size)]
        if others:
            signed = [Note.parse(each) for each in (note, *others)]
            note = Note(signed[0].text, tuple(line for each in signed for line in each.signatures)).render()
        self._pin.advance(note, checkpoint)
        return note

    def store(self, connection: psycopg.Connection, size: int, note: bytes) -> None:
        """Store a note that `release` gave: never before, so that whoever finds a stored note may hand it out.

        The row need not survive a crash, nor be there when the note is handed out, since the same bytes can be signed
        again (`signed`): its commit waits for no disk.
        """
        psycopg.RawCursor(connection).execute(_SQL["insert_note"], (size, note.decode()))

    def enable(self, connection: psycopg.Connection) -> None:
        """Make a writer's new connection ready for `store_quickly`."""
        prepare(connection, _INSERT_NOTE, _SQL["insert_note"])

    def store_quickly(self, connection: psycopg.Connection, size: int, note: bytes) -> None:
        """As `store`, by a connection that was made ready."""
        run(connection, _INSERT_NOTE, (int8(size), note))

    def floor(self, connection: psycopg.Connection) -> int:
        """Size of the newest tree that an earlier origin had to sign: where this one began after a restore, else 0."""
        if self._floor is None:
            row = connection.execute(_SQL["last_succession"]).fetchone()
            self._floor = row[0] if row is not None else 0
        return self._floor

    def signed(self, connection: psycopg.Connection, size: int) -> bytes:
        """The signed note of a committed size; signed now, where its batch's own process did not come to it.

        Raises:
            EntryNotFound: it was to be signed under an origin that the log had before it was restored.
        """
        row = connection.execute("SELECT note FROM ledger.checkpoint WHERE size = %s", (size,)).fetchone()
        if row is not None:
            return str(row[0]).encode()
        root = connection.execute("SELECT root, committed_at FROM ledger.root WHERE size = %s", (size,)).fetchone()
        if root is None:
            raise HeadForked("no batch ended at that size")
        if size <= self.floor(connection):
            raise EntryNotFound("that tree was not signed before the log was restored under another origin")
        # Another process committed it, and may have replaced the key that signs it.
        self.live.refresh(connection)
        note = self.release(Checkpoint(self._keys.origin, size, root[0]), root[1])
        self.store(connection, size, note)
        return note

    def latest(self, connection: psycopg.Connection) -> tuple[int, bytes]:
        """Size and signed note of the newest committed tree.

        Raises:
            EntryNotFound: the log is empty.
        """
        row = connection.execute("SELECT max(size) FROM ledger.root").fetchone()
        if row is None or row[0] is None:
            raise EntryNotFound("the log is empty")
        return row[0], self.signed(connection, row[0])

    def receipts(
        self,
        connection: psycopg.Connection,
        first: int,
        count: int,
        *,
        replayed: bool = False,
        read: dict[int, Nodes] | None = None,
    ) -> Appended:
        """Receipts of consecutive entries under the checkpoint of the batch that appended the last of them.

        `read` keeps, by size, what was read of the tree, for who asks again at once: where there are no tiles yet, that
        is all of it.

        Raises:
            EntryNotFound: the log does not reach that far.
        """
        row = connection.execute(_SQL["first_size"], (first + count, self.floor(connection))).fetchone()
        if row is None or row[0] is None:
            raise EntryNotFound
        size = row[0]
        note = self.signed(connection, size)
        nodes = Nodes(connection, size) if read is None else read.setdefault(size, Nodes(connection, size))
        receipts = tuple(
            Receipt.make(index, nodes(0, index), inclusion_proof(index, size, nodes), note)
            for index in range(first, first + count)
        )
        return Appended(first_index=first, receipts=receipts, replayed=replayed)

    def pinned(self) -> Checkpoint | None:
        """What was released last; None before the first.

        Read it before the head that is held against it: others append and pin meanwhile.

        Raises:
            NoteSignatureInvalid: the pin is not a checkpoint of this ledger.
        """
        return self._pin.read()

    def check_pin(self, connection: psycopg.Connection, head: Frontier, pinned: Checkpoint | None) -> None:
        """Hold a head against the pin, at the cost of a few look-ups.

        Raises:
            HeadBehindPin: the database is older than what was released; names both sizes.
            HeadForked: it is another history; names both sizes, and the first place that is wrong, if one is.
        """
        if pinned is None:
            return
        if head.size < pinned.size:
            log.critical("head.behind_pin", head=head.size, pinned=pinned.size)
            raise HeadBehindPin(
                f"the database is older than the last released checkpoint (the head is of {head.size} entries, the pin "
                f"of {pinned.size}): entry {head.size} and all behind it are missing;"
                " restore a newer copy, or go on by `caseledger new-origin`"
            )
        try:
            root = root_at(pinned.size, Nodes(connection, head.size))
        except (KeyError, IndexError):
            raise _forked(connection, head, pinned, "the log lacks entries below its head") from None
        if root != pinned.root:
            raise _forked(connection, head, pinned, _ANOTHER)

    def check_head(self, connection: psycopg.Connection, head: Frontier, pinned: Checkpoint | None) -> Checkpoint:
        """Recompute the tree from every stored leaf, and hold pin, tiles and head against that; about 2 s a million.

        Whether a leaf is that of its entry is seen when the entry is read.

        Raises:
            HeadForked: a leaf, a tile or the frontier was altered, or an entry is missing.
        """
        try:
            computed = recompute(connection, head.size, 0 if pinned is None else pinned.size)
        except HeadForked as error:
            raise _forked(connection, head, pinned, str(error)) from None
        if computed.head != head:
            raise _forked(connection, head, pinned, "the head is not the root of the stored entries")
        if pinned is not None and computed.earlier_root != pinned.root:
            raise _forked(connection, head, pinned, _ANOTHER)
        return Checkpoint(self._keys.origin, head.size, head.root())


def _forked(connection: psycopg.Connection, head: Frontier, pinned: Checkpoint | None, what: str) -> HeadForked:
    """Says the sizes that were compared, and the first place that is wrong, as far as it can be told."""
    place = locate(connection, head.size)
    size = 0 if pinned is None else pinned.size
    log.critical(
        "head.forked",
        head=head.size,
        pinned=size,
        first=None if place is None else place.first,
        last=None if place is None else place.last,
    )
    where = "entries, tiles and committed roots agree" if place is None else place.message
    return HeadForked(f"{what} (the head is of {head.size} entries, the pin of {size}): {where}")
