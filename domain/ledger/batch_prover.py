"""Proofs for the leaves of a batch, made of what hashing the batch gave: no stored node is read."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from domain.errors import EntryNotFound, InvalidInput
from domain.ledger.tree import Frontier, grow, node_hash

T = TypeVar("T")


class BatchProver:
    """Proofs for leaves that were just appended, in the tree that they made, without any stored node.

    Every sibling on the way from a new leaf to the root is a peak of the old frontier or made by the batch:
    hashing the batch once yields them all; a proof then costs a look-up a level. `frontier` is the new one.
    """

    def __init__(self, before: Frontier, leaves: Sequence[bytes]) -> None:
        self.first = before.size
        self._levels, self.frontier = grow(before, leaves)
        self.size = self.frontier.size
        self.root = self.frontier.root()
        # _edge[level] is the incomplete node at the right end of a level, where there is one.
        self._edge: list[bytes | None] = []
        edge: bytes | None = None
        for level, nodes in enumerate(self._levels):
            self._edge.append(edge)
            if self.size >> level & 1:
                edge = nodes[-1] if edge is None else node_hash(nodes[-1], edge)

    def node(self, level: int, index: int) -> bytes:
        """Hash of a complete node that holds a new leaf, or of an old peak that is the left sibling of one.

        Raises: InvalidInput for a node left of those, or not complete; it is kept elsewhere or not at all.
        """
        if not (0 <= level < len(self._levels) and self._start(level) <= index < self.size >> level):
            raise InvalidInput("this batch did not make that node")
        return self._levels[level][index - self._start(level)]

    def proof(self, index: int) -> list[bytes]:
        """Inclusion proof of the new leaf at `index` of the log. Raises: EntryNotFound when it is not new."""
        if not self.first <= index < self.size:
            raise EntryNotFound
        proof = []
        at = index
        for level in range((self.size - 1).bit_length()):
            sibling, complete = at ^ 1, self.size >> level
            if sibling < complete:
                proof.append(self._levels[level][sibling - self._start(level)])
            elif sibling == complete and (edge := self._edge[level]) is not None:
                proof.append(edge)
            at >>= 1
        return proof

    def proofs(self, of: Callable[[bytes], T]) -> list[tuple[T, ...]]:
        """The inclusion proofs of all new leaves, in order, with `of` taken of each hash, once for all proofs with it.

        From the root down: what is above two nodes is the same for both of them.
        """
        if self.size == self.first:
            return []
        above: list[tuple[T, ...]] = [()]
        for level in reversed(range((self.size - 1).bit_length())):
            nodes, start, complete = self._levels[level], self._start(level), self.size >> level
            edge = self._edge[level]
            parents = self.first >> level + 1
            below: list[tuple[T, ...]] = []
            for at in range(self.first >> level, ((self.size - 1) >> level) + 1):
                rest = above[(at >> 1) - parents]
                sibling = at ^ 1
                if sibling < complete:
                    rest = (of(nodes[sibling - start]), *rest)
                elif sibling == complete and edge is not None:
                    rest = (of(edge), *rest)
                below.append(rest)
            above = below
        return above

    def _start(self, level: int) -> int:
        return self.first >> level & ~1
