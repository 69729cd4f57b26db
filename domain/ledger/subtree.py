"""Subtrees: ranges of leaves that may begin inside a tree, and proofs about them (draft-ietf-plants-merkle-tree-certs).

A subtree [start, end) has a start that is a multiple of the smallest power of two not below end - start. Its root is
then that of a tree of those leaves alone, and nodes of the whole tree are all that proofs about it need. The trees of
checkpoints are the subtrees [0, size). An empty one may stand anywhere, and is part of every tree that reaches so far.
"""

from collections.abc import Sequence

import msgspec

from domain.errors import EntryNotFound, InvalidInput, ProofInvalid
from domain.ledger.tree import (
    EMPTY_ROOT,
    MAX_SIZE,
    NodeReader,
    check_hashes,
    inclusion_proof,
    node_hash,
    range_root,
    verify_inclusion,
)


class Subtree(msgspec.Struct, frozen=True):
    """The leaves with start <= index < end.

    Raises: InvalidInput when no subtree has these bounds.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= MAX_SIZE:
            raise InvalidInput("a subtree ends where it starts, or behind that")
        if self.size and self.start % (1 << (self.size - 1).bit_length()):
            raise InvalidInput("a subtree starts at a multiple of a power of two that is not below its size")

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self.end - self.start

    def root(self, node: NodeReader) -> bytes:
        """Its root hash; EMPTY_ROOT of an empty one. Asks for complete nodes of the whole tree."""
        return range_root(self.start, self.end, node) if self.size else EMPTY_ROOT


class _Sibling(msgspec.Struct, frozen=True):
    """A range beside the way from a tree's root down to a subtree.

    `inside` is a left one that the subtree spans too: the way goes on to where its right end is.
    """

    start: int
    end: int
    left: bool
    inside: bool


def _way(subtree: Subtree, size: int) -> list[_Sibling]:
    """The siblings on the way from the root of a tree of `size` leaves down to the right end of a subtree of it."""
    if not subtree.size:
        return []
    siblings = []
    start, end, first = 0, size, subtree.start
    while (start, end) != (first, subtree.end):
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if subtree.end <= middle:
            siblings.append(_Sibling(middle, end, left=False, inside=False))
            end = middle
            continue
        # Only a subtree that begins where this node does reaches across its middle.
        inside = first < middle
        siblings.append(_Sibling(start, middle, left=True, inside=inside))
        start, first = middle, max(first, middle)
    return siblings


def subtree_inclusion_proof(index: int, subtree: Subtree, node: NodeReader) -> list[bytes]:
    """Proof that leaf `index` of the log is in the subtree, from leaf to root (draft, "Subtree Inclusion Proofs").

    Raises: EntryNotFound when it is not one of its leaves.
    """
    if not subtree.start <= index < subtree.end:
        raise EntryNotFound
    start = subtree.start
    return inclusion_proof(index - start, subtree.size, lambda level, at: node(level, (start >> level) + at))


def verify_subtree_inclusion(leaf: bytes, index: int, subtree: Subtree, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that the leaf hash stands at `index` of the log, in the subtree with that root.

    Raises: ProofInvalid.
    """
    verify_inclusion(leaf, index - subtree.start, subtree.size, proof, root)


def subtree_consistency_proof(subtree: Subtree, size: int, node: NodeReader) -> list[bytes]:
    """Proof that the subtree is part of the tree of `size` leaves (draft, "Subtree Consistency Proofs").

    Raises: InvalidInput when the subtree ends behind the tree.
    """
    if not subtree.end <= size <= MAX_SIZE:
        raise InvalidInput("the subtree ends behind the tree")
    way = _way(subtree, size)
    proof = [range_root(each.start, each.end, node) for each in way]
    spanned = [each for each in way if each.inside]
    if spanned:
        # What is left of the subtree at its right end; where it is a node of the tree the verifier has it already.
        proof.append(range_root(spanned[-1].end, subtree.end, node))
    proof.reverse()
    return proof


def verify_subtree_consistency(
    subtree: Subtree, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Checks that the subtree with its root is part of the tree (size, root).

    Of an empty subtree the tree's root says nothing, and is not looked at.
    Raises: ProofInvalid.
    """
    if not subtree.end <= size <= MAX_SIZE:
        raise ProofInvalid("the subtree ends behind the tree")
    if subtree.size in (0, size):
        if proof or subtree_root != (root if subtree.size else EMPTY_ROOT):
            raise ProofInvalid("an empty subtree has the empty root, and a whole tree its own; neither has a proof")
        return
    check_hashes(proof, subtree_root, root)
    way = _way(subtree, size)
    spans = any(each.inside for each in way)
    if len(proof) != len(way) + spans:
        raise ProofInvalid("the subtree's proof has another length than its place gives")
    small = large = proof[0] if spans else subtree_root
    for sibling, item in zip(reversed(way), proof[spans:], strict=True):
        if sibling.inside:
            small = node_hash(item, small)
        large = node_hash(item, large) if sibling.left else node_hash(large, item)
    if small != subtree_root or large != root:
        raise ProofInvalid("the subtree's proof does not lead to both roots")
