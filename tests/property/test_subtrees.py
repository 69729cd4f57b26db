"""Every proof about a subtree against the draft's recursive definition (draft-ietf-plants-merkle-tree-certs)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import EntryNotFound, InvalidInput, ProofInvalid
from domain.ledger.subtree import (
    Subtree,
    subtree_consistency_proof,
    subtree_inclusion_proof,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from domain.ledger.tree import EMPTY_ROOT, MAX_SIZE, consistency_proof, inclusion_proof
from tests.property.test_proofs import LEAVES, complete_nodes_of, mth, path, split

LARGEST = 70


def ceiling(n: int) -> int:
    """The smallest power of two that is not below n."""
    power = 1
    while power < n:
        power *= 2
    return power


def bounds(size: int) -> list[tuple[int, int]]:
    """All subtrees of a tree of that size that have leaves."""
    return [(s, e) for e in range(1, size + 1) for s in range(e) if s % ceiling(e - s) == 0]


def subproof(start: int, end: int, left: int, n: int, known: bool) -> list[bytes]:
    """SUBTREE_SUBPROOF(start, end, D[left:left + n], b) of the draft."""
    if (start, end) == (0, n):
        return [] if known else [mth(left, left + n)]
    k = split(n)
    if end <= k:
        return [*subproof(start, end, left, k, known), mth(left + k, left + n)]
    if k <= start:
        return [*subproof(start - k, end - k, left + k, n - k, known), mth(left, left + k)]
    return [*subproof(0, end - k, left + k, n - k, False), mth(left, left + k)]


def flipped(item: bytes, bit: int) -> bytes:
    """The same hash but for one bit."""
    return (int.from_bytes(item) ^ 1 << bit).to_bytes(32)


def test_bounds_are_those_of_the_draft() -> None:
    """A range is a subtree exactly where its start is a multiple of its size's power of two."""
    for start in range(-1, 40):
        for end in range(-1, 40):
            if start == end >= 0 or (end <= 40 and (start, end) in bounds(40)):
                assert Subtree(start, end).size == end - start
            else:
                with pytest.raises(InvalidInput):
                    Subtree(start, end)
    with pytest.raises(InvalidInput):
        Subtree(0, MAX_SIZE + 1)


def test_every_leaf_of_every_subtree() -> None:
    """Each leaf has PATH within its subtree as its proof, read from nodes of the whole tree alone."""
    for start, end in bounds(LARGEST):
        subtree, node = Subtree(start, end), complete_nodes_of(end)
        assert subtree.root(node) == mth(start, end)
        for index in range(start, end):
            proof = subtree_inclusion_proof(index, subtree, node)
            assert proof == path(index - start, start, end)
            verify_subtree_inclusion(LEAVES[index], index, subtree, proof, mth(start, end))
        for index in (start - 1, end):
            with pytest.raises(EntryNotFound):
                subtree_inclusion_proof(index, subtree, node)


def test_every_subtree_of_every_tree() -> None:
    """Each subtree of each size 1..70 has SUBTREE_PROOF as its proof, and the proof verifies."""
    for size in range(1, LARGEST + 1):
        node = complete_nodes_of(size)
        for start, end in bounds(size):
            proof = subtree_consistency_proof(Subtree(start, end), size, node)
            assert proof == subproof(start, end, 0, size, True)
            verify_subtree_consistency(Subtree(start, end), size, mth(start, end), mth(0, size), proof)


def test_what_starts_at_the_first_leaf_is_a_tree() -> None:
    """From leaf 0 on, proofs are the inclusion and consistency proofs of RFC 9162."""
    for size in range(1, LARGEST + 1):
        node = complete_nodes_of(size)
        for end in range(1, size + 1):
            assert subtree_consistency_proof(Subtree(0, end), size, node) == consistency_proof(end, size, node)
            assert subtree_inclusion_proof(end - 1, Subtree(0, size), node) == inclusion_proof(end - 1, size, node)


@given(st.integers(1, LARGEST), st.data())
def test_inclusion_fits_nothing_else(size: int, data: st.DataObject) -> None:
    """With a bit flipped, a hash more or less, or for another index, subtree or root, a proof is refused."""
    start, end = data.draw(st.sampled_from(bounds(size)))
    index = data.draw(st.integers(start, end - 1))
    subtree, bit, root = Subtree(start, end), data.draw(st.integers(0, 255)), mth(start, end)
    proof = path(index - start, start, end)
    wrong = [
        (flipped(LEAVES[index], bit), index, proof, root),
        (LEAVES[index], index, proof, flipped(root, bit)),
        (LEAVES[index], index, [*proof, root], root),
        (LEAVES[index], index, [root, *proof], root),
        *((LEAVES[index], other, proof, root) for other in range(start - 2, end + 2) if other != index),
        *(
            (LEAVES[index], index, [*proof[:at], flipped(proof[at], bit), *proof[at + 1 :]], root)
            for at in range(len(proof))
        ),
    ]
    if proof:
        wrong += [(LEAVES[index], index, proof[1:], root), (LEAVES[index], index, proof[:-1], root)]
    for leaf, at, hashes, top in wrong:
        with pytest.raises(ProofInvalid):
            verify_subtree_inclusion(leaf, at, subtree, hashes, top)


@given(st.integers(1, LARGEST), st.data())
def test_consistency_fits_nothing_else(size: int, data: st.DataObject) -> None:
    """With a bit flipped anywhere, a hash more or less, or another subtree's root, a proof is refused."""
    start, end = data.draw(st.sampled_from(bounds(size)))
    subtree, bit = Subtree(start, end), data.draw(st.integers(0, 255))
    proof = subproof(start, end, 0, size, True)
    hashes = [*proof, mth(start, end), mth(0, size)]
    for at in range(len(hashes)):
        bad = [*hashes[:at], flipped(hashes[at], bit), *hashes[at + 1 :]]
        with pytest.raises(ProofInvalid):
            verify_subtree_consistency(subtree, size, bad[-2], bad[-1], bad[:-2])
    for longer_or_shorter in ([*proof, hashes[-1]], *([proof[1:], proof[:-1]] if proof else [])):
        with pytest.raises(ProofInvalid):
            verify_subtree_consistency(subtree, size, hashes[-2], hashes[-1], longer_or_shorter)
    other = data.draw(st.sampled_from(bounds(LARGEST)).filter(lambda each: each != (start, end)))
    with pytest.raises(ProofInvalid):
        verify_subtree_consistency(Subtree(*other), size, hashes[-2], hashes[-1], proof)


@pytest.mark.parametrize(("start", "end", "size"), [(0, 5, 4), (4, 4, 3), (0, 1, 0), (0, 1, MAX_SIZE + 1)])
def test_wrong_sizes_are_refused(start: int, end: int, size: int) -> None:
    """A subtree is not part of a tree that ends before it, nor of one that is too large to be."""

    def never(level: int, index: int) -> bytes:
        raise AssertionError("no node should be read")

    with pytest.raises(InvalidInput):
        subtree_consistency_proof(Subtree(start, end), size, never)
    with pytest.raises(ProofInvalid):
        verify_subtree_consistency(Subtree(start, end), size, mth(0, 1), mth(0, 1), [])


def test_an_empty_subtree_has_the_empty_root_and_no_proof() -> None:
    """Wherever it stands, nothing is read for it, and nothing is proven by it."""
    reads = complete_nodes_of(0)
    for at in range(4):
        empty = Subtree(at, at)
        assert empty.root(reads) == EMPTY_ROOT
        assert subtree_consistency_proof(empty, 3, reads) == []
        verify_subtree_consistency(empty, 3, EMPTY_ROOT, mth(0, 3), [])
        for root, proof in ((mth(0, 3), []), (EMPTY_ROOT, [EMPTY_ROOT])):
            with pytest.raises(ProofInvalid):
                verify_subtree_consistency(empty, 3, root, mth(0, 3), proof)
        with pytest.raises(ProofInvalid):
            verify_subtree_inclusion(LEAVES[at], at, empty, [], LEAVES[at])


def test_hostile_proofs_are_refused_before_anything_is_hashed() -> None:
    """Too many hashes, or hashes of another length, in the largest tree that there can be."""
    subtree = Subtree(MAX_SIZE - 1, MAX_SIZE)
    for proof in ([EMPTY_ROOT] * 65, [b"short"], [EMPTY_ROOT] * 62 + [b""]):
        with pytest.raises(ProofInvalid):
            verify_subtree_consistency(subtree, MAX_SIZE, EMPTY_ROOT, EMPTY_ROOT, proof)
        with pytest.raises(ProofInvalid):
            verify_subtree_inclusion(EMPTY_ROOT, MAX_SIZE - 1, subtree, proof, EMPTY_ROOT)
