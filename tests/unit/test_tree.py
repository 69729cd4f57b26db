"""Hashes, bounds and refusals of the Merkle tree (its proofs: tests/property/test_proofs.py)."""

from collections.abc import Sequence

import pytest

from domain.errors import EntryNotFound, IntegrityFailure, InvalidInput, ProofInvalid
from domain.ledger import tree
from domain.ledger.batch_prover import BatchProver
from domain.ledger.tree import (
    EMPTY_ROOT,
    MAX_SIZE,
    TILE_WIDTH,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    node_in_tile,
    root_at,
    tile_root,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(256)]


def never(level: int, index: int) -> bytes:
    """A node reader that must not be asked."""
    raise AssertionError("no node should be read")


def test_published_hashes() -> None:
    """The empty root and the hash of the empty entry are the ones that every RFC 6962 log has."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


@pytest.mark.parametrize(
    ("size", "peaks"),
    [
        (-1, ()),
        (1, ()),
        (0, (EMPTY_ROOT,)),
        (3, (EMPTY_ROOT,)),
        (1, (b"short",)),
        (MAX_SIZE + 1, (EMPTY_ROOT,)),
    ],
)
def test_impossible_frontiers_are_refused(size: int, peaks: tuple[bytes, ...]) -> None:
    """A frontier has a 32-byte peak for each bit of its size, or it is a sign of damage."""
    with pytest.raises(IntegrityFailure):
        Frontier(size, peaks)
    with pytest.raises(IntegrityFailure):
        Frontier.from_bytes(size, b"".join(peaks))


def test_appending_leaves_the_old_frontier_alone() -> None:
    """A frontier does not change when one that extends it is made, and extending by nothing changes nothing."""
    before = Frontier().extend(LEAVES[:7])
    peaks = before.peaks
    before.extend(LEAVES[7:20])
    assert before.peaks == peaks
    assert before.extend(()) == before
    assert BatchProver(before, []).frontier == before
    assert BatchProver(Frontier(), []).root == EMPTY_ROOT


def test_only_hashes_are_appended() -> None:
    """An entry passed where its leaf hash belongs is refused."""
    with pytest.raises(InvalidInput):
        Frontier().append(b"an entry, not its hash")


def test_a_full_tree_takes_no_more() -> None:
    """The tree stops at 2^63 - 1 leaves."""
    full = Frontier(MAX_SIZE, (LEAVES[0],) * 63)
    with pytest.raises(InvalidInput):
        full.append(LEAVES[0])


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (0, -1), (0, MAX_SIZE + 1)])
def test_no_proof_outside_of_the_tree(index: int, size: int) -> None:
    """An index that the tree does not have gets neither a proof nor a verification."""
    with pytest.raises(EntryNotFound):
        inclusion_proof(index, size, never)
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


@pytest.mark.parametrize(("size1", "size2"), [(0, 0), (0, 5), (6, 5), (-1, 5), (1, MAX_SIZE + 1)])
def test_no_consistency_from_nothing_or_backwards(size1: int, size2: int) -> None:
    """Consistency runs forwards from a tree that has leaves."""
    with pytest.raises(InvalidInput):
        consistency_proof(size1, size2, never)
    with pytest.raises(ProofInvalid):
        verify_consistency(size1, size2, EMPTY_ROOT, EMPTY_ROOT, [])


def test_no_root_of_an_absurd_size() -> None:
    """A negative size has no root."""
    with pytest.raises(InvalidInput):
        root_at(-1, never)


@pytest.mark.parametrize("proof", [[LEAVES[0]] * 65, [LEAVES[0]] * 1_000_000, [b"short"], [LEAVES[0] * 2]])
def test_bad_proofs_are_refused_before_hashing(proof: Sequence[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 64 hashes, or what is no hash, costs the verifier no hashing."""

    def hashed(left: bytes, right: bytes) -> bytes:
        raise AssertionError("something was hashed")

    monkeypatch.setattr(tree, "node_hash", hashed)
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[0], 0, MAX_SIZE, proof, LEAVES[0])
    with pytest.raises(ProofInvalid):
        verify_consistency(3, MAX_SIZE, LEAVES[0], LEAVES[0], proof)


def test_a_leaf_or_root_that_is_no_hash_is_refused() -> None:
    """A leaf and a root of another length than 32 bytes never match, even each other."""
    with pytest.raises(ProofInvalid):
        verify_inclusion(b"same", 0, 1, [], b"same")


def test_the_largest_tree_has_proofs_of_63_hashes() -> None:
    """At the bound the algorithms still terminate, with the longest proofs that there are."""
    proof = inclusion_proof(0, MAX_SIZE, lambda level, index: LEAVES[level])
    assert len(proof) == 63
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[0], 0, MAX_SIZE, proof, EMPTY_ROOT)


def test_a_batch_has_no_other_nodes_or_proofs() -> None:
    """Old leaves, leaves to come, and nodes left of the frontier or not yet complete are refused."""
    prover = BatchProver(Frontier().extend(LEAVES[:5]), LEAVES[5:11])
    for index in (-1, 4, 11):
        with pytest.raises(EntryNotFound):
            prover.proof(index)
    assert prover.node(0, 4) == LEAVES[4]
    for level, index in ((0, 3), (0, 11), (1, 1), (1, 5), (3, 1), (4, 0), (-1, 4), (0, -1)):
        with pytest.raises(InvalidInput):
            prover.node(level, index)


def test_tiles_agree_with_the_tree() -> None:
    """A full tile's root and inner nodes are those of the tree, and a partial tile has its complete nodes."""
    assert len(LEAVES) == TILE_WIDTH
    prover = BatchProver(Frontier(), LEAVES)
    assert tile_root(LEAVES) == prover.root
    for level in range(9):
        for index in range(TILE_WIDTH >> level):
            assert node_in_tile(LEAVES, level, index) == prover.node(level, index)
    assert node_in_tile(LEAVES[:7], 1, 2) == prover.node(1, 2)


@pytest.mark.parametrize(("width", "level", "index"), [(7, 1, 3), (7, 3, 0), (256, 9, 0), (256, -1, 0), (256, 0, -1)])
def test_a_tile_has_no_other_nodes(width: int, level: int, index: int) -> None:
    """A node that is not wholly inside of the tile is refused."""
    with pytest.raises(InvalidInput):
        node_in_tile(LEAVES[:width], level, index)


@pytest.mark.parametrize("width", [0, 255, 257])
def test_a_tile_that_is_not_full_has_no_root(width: int) -> None:
    """Only 256 hashes make a tile's root."""
    with pytest.raises(InvalidInput):
        tile_root([*LEAVES, EMPTY_ROOT][:width])
