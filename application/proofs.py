"""Proofs between any two sizes of the committed log, each from a few tiles, and the checkpoints that they go with."""

import base64
from contextlib import suppress

import msgspec
import psycopg
from psycopg_pool import ConnectionPool

from application import sql
from application.ledger.checkpoints import Checkpoints
from application.ledger.nodes import Nodes
from domain.errors import EntryNotFound, InvalidInput
from domain.ledger.tlog_proof import TlogProof
from domain.ledger.tree import NodeReader, consistency_proof, inclusion_proof, root_at


class TreeHead(msgspec.Struct, frozen=True, kw_only=True):
    """The tree at a size: its root (hex), and the signed checkpoint of exactly that size.

    There is one of every size that a batch ended at; for the sizes between, `checkpoint` is null, and the root counts
    only together with a consistency proof to a size that has one.
    """

    size: int
    root: str
    checkpoint: str | None


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """That the leaf (hex) stands at `index` of the tree: hashes (base64) from leaf to root (RFC 9162 2.1.3)."""

    index: int
    leaf: str
    proof: tuple[str, ...]
    tree: TreeHead


class ConsistencyProof(msgspec.Struct, frozen=True, kw_only=True):
    """That the tree `to` extends the tree `from`: hashes (base64) in the order of RFC 9162 2.1.4."""

    from_: TreeHead = msgspec.field(name="from")
    to: TreeHead
    proof: tuple[str, ...]


class Proofs:
    """Proves with what is committed; what it tells holds nothing of a person."""

    def __init__(self, pool: ConnectionPool, checkpoints: Checkpoints) -> None:
        self._pool = pool
        self._checkpoints = checkpoints

    def inclusion(self, index: int, size: int | None = None) -> InclusionProof:
        """The proof of an entry in the tree of any size up to the committed one, which is what `None` stands for.

        Raises:
            EntryNotFound: the log does not reach that far, or that tree has no such entry.
        """
        with sql.borrowed(self._pool) as connection:
            size, head = self._sizes(connection, size)
            leaf, root, proof = Nodes(connection, head).ask(
                lambda node: (_leaf(index, size, node), root_at(size, node), inclusion_proof(index, size, node))
            )
            tree = self._head(connection, size, root)
        return InclusionProof(index=index, leaf=leaf.hex(), proof=_encoded(proof), tree=tree)

    def consistency(self, from_: int, to: int | None = None) -> ConsistencyProof:
        """The proof that the tree of one size is a prefix of that of another, the committed one by default.

        Raises:
            EntryNotFound: the log does not reach that far.
            InvalidInput: not 0 < from_ <= to; every tree extends the empty one.
        """
        with sql.borrowed(self._pool) as connection:
            to, head = self._sizes(connection, to)
            if not 0 < from_ <= to:
                raise InvalidInput("a consistency proof runs from a tree that is not empty to one not smaller")
            before, after, proof = Nodes(connection, head).ask(
                lambda node: (root_at(from_, node), root_at(to, node), consistency_proof(from_, to, node))
            )
            return ConsistencyProof(
                from_=self._head(connection, from_, before), to=self._head(connection, to, after), proof=_encoded(proof)
            )

    def tlog_proof(self, index: int, size: int | None = None) -> bytes:
        """The file of an entry's inclusion proof (C2SP tlog-proof), under the checkpoint of exactly that size.

        Raises:
            EntryNotFound: as `inclusion`; also for a size that no checkpoint was signed for.
        """
        found = self.inclusion(index, size)
        if found.tree.checkpoint is None:
            raise EntryNotFound("no checkpoint was signed for that size")
        hashes = tuple(base64.b64decode(each) for each in found.proof)
        return TlogProof(index=index, hashes=hashes, checkpoint=found.tree.checkpoint.encode()).render()

    def _sizes(self, connection: psycopg.Connection, size: int | None) -> tuple[int, int]:
        """The size that is asked for, and the committed one."""
        row = connection.execute("SELECT max(size) FROM ledger.root").fetchone()
        head = 0 if row is None or row[0] is None else int(row[0])
        wanted = head if size is None else size
        if not 0 < wanted <= head:
            raise EntryNotFound("the log has no tree of that size")
        return wanted, head

    def _head(self, connection: psycopg.Connection, size: int, root: bytes) -> TreeHead:
        ended = connection.execute("SELECT 1 FROM ledger.root WHERE size = %s", (size,)).fetchone()
        note = None
        if ended is not None:
            # What an origin before a restore left unsigned has none either.
            with suppress(EntryNotFound):
                note = self._checkpoints.signed(connection, size).decode()
        return TreeHead(size=size, root=root.hex(), checkpoint=note)


def _leaf(index: int, size: int, node: NodeReader) -> bytes:
    if not 0 <= index < size:
        raise EntryNotFound
    return node(0, index)


def _encoded(proof: list[bytes]) -> tuple[str, ...]:
    return tuple(base64.b64encode(each).decode() for each in proof)
