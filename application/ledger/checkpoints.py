"""Signed checkpoints and receipts over what is committed; any process of the ledger may make them."""

import psycopg

from application import sql
from application.ledger.entries import Appended
from application.ledger.keyfiles import KeyFiles
from application.ledger.live_keys import LiveKeys
from application.ledger.nodes import Nodes, recompute
from application.ledger.pin import Pin
from domain.errors import EntryNotFound, HeadBehindPin, HeadForked
from domain.ledger.checkpoint import Checkpoint, sign
from domain.ledger.note import Note
from domain.ledger.receipt import Receipt
from domain.ledger.tree import Frontier, inclusion_proof, root_at

_SQL = sql.beside(__file__)


class Checkpoints:
    """Signs committed roots, releases them past the pin, and proves entries against them."""

    def __init__(self, keys: KeyFiles, pin: Pin) -> None:
        self._keys = keys
        self._pin = pin
        self.live = LiveKeys(keys, pin)

    def release(self, connection: psycopg.Connection, checkpoint: Checkpoint, committed_at: int) -> bytes:
        """Sign a committed tree, pin the note and store it; returns the note.

        Signing is deterministic, so two processes that release the same size write the same bytes.
        Crash order: pinned before it is stored, so that whoever finds a stored note may hand it out. The row itself
        need not survive a crash, since the same bytes can be signed again: its commit waits for no disk.

        Warning: call it only after the batch that made this root has committed.

        Raises:
            HeadForked: the pin has another root at this size.
        """
        note, *others = [sign(checkpoint, key, committed_at) for key in self.live.checkpoint_keys(checkpoint.size)]
        if others:
            signed = [Note.parse(each) for each in (note, *others)]
            note = Note(signed[0].text, tuple(line for each in signed for line in each.signatures)).render()
        self._pin.advance(note, checkpoint)
        connection.execute(_SQL["insert_note"], (checkpoint.size, note.decode()))
        return note

    def signed(self, connection: psycopg.Connection, size: int) -> bytes:
        """The signed note of a committed size; signed now, where its batch's own process did not come to it."""
        row = connection.execute("SELECT note FROM ledger.checkpoint WHERE size = %s", (size,)).fetchone()
        if row is not None:
            return str(row[0]).encode()
        root = connection.execute("SELECT root, committed_at FROM ledger.root WHERE size = %s", (size,)).fetchone()
        if root is None:
            raise HeadForked("no batch ended at that size")
        # Another process committed it, and may have replaced the key that signs it.
        self.live.refresh(connection)
        return self.release(connection, Checkpoint(self._keys.origin, size, root[0]), root[1])

    def latest(self, connection: psycopg.Connection) -> tuple[int, bytes]:
        """Size and signed note of the newest committed tree.

        Raises:
            EntryNotFound: the log is empty.
        """
        row = connection.execute("SELECT max(size) FROM ledger.root").fetchone()
        if row is None or row[0] is None:
            raise EntryNotFound("the log is empty")
        return row[0], self.signed(connection, row[0])

    def receipts(self, connection: psycopg.Connection, first: int, count: int, *, replayed: bool = False) -> Appended:
        """Receipts of consecutive entries under the checkpoint of the batch that appended the last of them.

        Raises:
            EntryNotFound: the log does not reach that far.
        """
        row = connection.execute("SELECT min(size) FROM ledger.root WHERE size >= %s", (first + count,)).fetchone()
        if row is None or row[0] is None:
            raise EntryNotFound
        size = row[0]
        note = self.signed(connection, size)
        nodes = Nodes(connection, size)
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
            HeadBehindPin: the database is older than what was released.
            HeadForked: it is another history.
        """
        if pinned is None:
            return
        if head.size < pinned.size:
            raise HeadBehindPin
        try:
            root = root_at(pinned.size, Nodes(connection, head.size))
        except (KeyError, IndexError):
            raise HeadForked("the log lacks entries below its head") from None
        if root != pinned.root:
            raise HeadForked

    def check_head(self, connection: psycopg.Connection, head: Frontier, pinned: Checkpoint | None) -> Checkpoint:
        """Recompute the tree from every stored leaf, and hold pin, tiles and head against that; about 2 s a million.

        Whether a leaf is that of its entry is seen when the entry is read.

        Raises:
            HeadForked: a leaf, a tile or the frontier was altered, or an entry is missing.
        """
        computed = recompute(connection, head.size, 0 if pinned is None else pinned.size)
        if computed.head != head:
            raise HeadForked("the head is not the root of the stored entries")
        if pinned is not None and computed.earlier_root != pinned.root:
            raise HeadForked
        return Checkpoint(self._keys.origin, head.size, head.root())
