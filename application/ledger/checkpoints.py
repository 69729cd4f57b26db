"""Signed checkpoints and receipts over what is committed; any process of the ledger may make them."""

import psycopg

from application.ledger.entries import Appended
from application.ledger.keyfiles import KeyFiles
from application.ledger.nodes import Nodes
from application.ledger.pin import Pin
from domain.errors import EntryNotFound, HeadBehindPin, HeadForked
from domain.ledger.checkpoint import Checkpoint, sign
from domain.ledger.receipt import Receipt
from domain.ledger.tree import Frontier, inclusion_proof, root_at


class Checkpoints:
    """Signs committed roots, releases them past the pin, and proves entries against them."""

    def __init__(self, keys: KeyFiles, pin: Pin) -> None:
        self._keys = keys
        self._pin = pin

    def release(self, connection: psycopg.Connection, checkpoint: Checkpoint, committed_at: int) -> bytes:
        """Sign a committed tree, store the note and pin it; returns the note.

        Signing is deterministic, so two processes that release the same size write the same bytes.

        Warning: call it only after the batch that made this root has committed.

        Raises:
            HeadForked: the pin has another root at this size.
        """
        note = sign(checkpoint, self._keys.checkpoint, committed_at)
        connection.execute(
            "INSERT INTO ledger.checkpoint (size, note) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (checkpoint.size, note.decode()),
        )
        self._pin.advance(note)
        return note

    def signed(self, connection: psycopg.Connection, size: int) -> bytes:
        """The signed note of a committed size; signed now, where its batch's own process did not come to it."""
        row = connection.execute("SELECT note FROM ledger.checkpoint WHERE size = %s", (size,)).fetchone()
        if row is not None:
            return str(row[0]).encode()
        root = connection.execute("SELECT root, committed_at FROM ledger.root WHERE size = %s", (size,)).fetchone()
        if root is None:
            raise HeadForked("no batch ended at that size")
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

    def check_head(self, connection: psycopg.Connection, head: Frontier) -> Checkpoint:
        """Hold the committed tree against the pin: roots are recomputed from stored hashes, not believed.

        Raises:
            HeadBehindPin: the database is older than what was released.
            HeadForked: it is another history.
        """
        pinned = self._pin.read()
        nodes = Nodes(connection, head.size)
        if pinned is not None:
            if head.size < pinned.size:
                raise HeadBehindPin
            if root_at(pinned.size, nodes) != pinned.root:
                raise HeadForked
        if root_at(head.size, nodes) != head.root():
            raise HeadForked("the head is not the root of the stored entries")
        return Checkpoint(self._keys.origin, head.size, head.root())
