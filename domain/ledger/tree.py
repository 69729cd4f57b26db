"""The Merkle tree over the log's entries: hashes, frontier, proofs and verification (RFC 6962, RFC 9162).

A node is addressed as (level, index): the root of the perfect subtree of 2**level leaves that starts at leaf
index * 2**level. Hashes are 32 bytes of SHA-256. What makes or checks a proof sees hashes, never entries.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeAlias

import msgspec

from domain.errors import EntryNotFound, IntegrityFailure, InvalidInput, ProofInvalid

HASH_BYTES = 32
MAX_SIZE = 2**63 - 1
MAX_PROOF_HASHES = 64
TILE_WIDTH = 256
EMPTY_ROOT = sha256(b"").digest()

NodeReader: TypeAlias = Callable[[int, int], bytes]
"""Reads the hash of node (level, index). Only complete subtrees are ever asked for."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry as a leaf: SHA-256(0x00 || entry) (RFC 6962 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962 2.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier(msgspec.Struct, frozen=True):
    """The right edge of a tree: all that is needed to append to it and to know its root.

    `peaks` are the roots of the perfect subtrees that a tree of `size` leaves splits into, largest (leftmost)
    first: one for each bit set in `size`.

    Raises: IntegrityFailure when the peaks are not those of a tree of that size.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.peaks) != self.size.bit_count():
            raise IntegrityFailure("a frontier has one peak for each bit set in its size")
        if any(len(peak) != HASH_BYTES for peak in self.peaks):
            raise IntegrityFailure("a peak is a hash of 32 bytes")

    def append(self, leaf: bytes) -> "Frontier":
        """The frontier after one more leaf hash."""
        return self.extend((leaf,))

    def extend(self, leaves: Sequence[bytes]) -> "Frontier":
        """The frontier after more leaf hashes, in order."""
        return grow(self, leaves)[1] if leaves else self

    def root(self) -> bytes:
        """Root hash of the tree; EMPTY_ROOT of the empty one."""
        return _bag(self.peaks) if self.peaks else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        """The peaks, one after another; 32 bytes each."""
        return b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> "Frontier":
        """The frontier that `to_bytes` wrote. Raises: IntegrityFailure when it is none of that size."""
        if len(data) % HASH_BYTES:
            raise IntegrityFailure("a frontier is a whole number of hashes")
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)))


def _bag(peaks: Sequence[bytes]) -> bytes:
    """Root over perfect subtrees, largest first: the smaller ones are joined first (RFC 6962 2.1)."""
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def grow(frontier: Frontier, leaves: Sequence[bytes]) -> tuple[list[list[bytes]], Frontier]:
    """Hashes a batch on, level by level, each node once.

    Returns the complete nodes of each level and the new frontier. Level L begins at index
    (old size >> L) & ~1: where the old tree has a peak at L it comes first, as left sibling of what is new.
    """
    if any(len(leaf) != HASH_BYTES for leaf in leaves):
        raise InvalidInput("a leaf hash has 32 bytes")
    if frontier.size + len(leaves) > MAX_SIZE:
        raise InvalidInput("the tree is full")
    levels: list[list[bytes]] = []
    old, new_peaks = list(frontier.peaks), []
    size, nodes = frontier.size, list(leaves)
    while size or nodes:
        if size & 1:
            nodes.insert(0, old.pop())
        levels.append(nodes)
        if len(nodes) & 1:
            new_peaks.append(nodes[-1])
        # zip over one iterator takes pairs and drops the odd last node, which is a peak.
        pairs = iter(nodes)
        nodes = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        size >>= 1
    return levels, Frontier(frontier.size + len(leaves), tuple(reversed(new_peaks)))


def range_root(start: int, end: int, node: NodeReader) -> bytes:
    """Root over the leaves [start, end), where start is a multiple of a power of two >= end - start."""
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(node(level, start >> level))
        start += 1 << level
    return _bag(peaks)


def root_at(size: int, node: NodeReader) -> bytes:
    """Root hash of the tree of the first `size` leaves. Raises: InvalidInput for a size that no tree has."""
    if not 0 <= size <= MAX_SIZE:
        raise InvalidInput("no tree has that size")
    return range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """Proof that leaf `index` is in the tree of `size` leaves, from leaf to root (RFC 9162 2.1.3.1).

    Raises: EntryNotFound when that tree has no such leaf.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise EntryNotFound
    proof = []
    start, end = 0, size
    while end - start > 1:
        level = (end - start - 1).bit_length() - 1
        middle = start + (1 << level)
        if index < middle:
            proof.append(range_root(middle, end, node))
            end = middle
        else:
            proof.append(node(level, start >> level))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(size1: int, size2: int, node: NodeReader) -> list[bytes]:
    """Proof that the tree of `size1` leaves is a prefix of that of `size2` (RFC 9162 2.1.4.1).

    Raises: InvalidInput unless 0 < size1 <= size2; every tree extends the empty one, so there is no proof.
    """
    if not 0 < size1 <= size2 <= MAX_SIZE:
        raise InvalidInput("a consistency proof runs from a tree that is not empty to one not smaller")
    proof = []
    start, end = 0, size2
    while end != size1:
        level = (end - start - 1).bit_length() - 1
        middle = start + (1 << level)
        if size1 <= middle:
            proof.append(range_root(middle, end, node))
            end = middle
        else:
            proof.append(node(level, start >> level))
            start = middle
    if start:
        # The old tree's right edge; when it is the whole old tree the verifier has it already.
        proof.append(range_root(start, end, node))
    proof.reverse()
    return proof


def check_hashes(proof: Sequence[bytes], *others: bytes) -> None:
    """Refuses, before anything is hashed, a proof that no tree has and hashes that are none."""
    if len(proof) > MAX_PROOF_HASHES:
        raise ProofInvalid("the proof has more than 64 hashes")
    if any(len(item) != HASH_BYTES for item in (*proof, *others)):
        raise ProofInvalid("a hash has 32 bytes")


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that the leaf hash stands at `index` of the tree with that size and root (RFC 9162 2.1.3.2).

    Raises: ProofInvalid.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofInvalid("the index lies outside of the tree")
    check_hashes(proof, leaf, root)
    fn, sn, computed = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise ProofInvalid("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            computed = node_hash(sibling, computed)
            # A node without a right sibling is promoted unchanged, so those levels have no hash in the proof.
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            computed = node_hash(computed, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProofInvalid("the inclusion proof is too short")
    if computed != root:
        raise ProofInvalid("the inclusion proof does not lead to the root")


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree (size2, root2) extends the tree (size1, root1) (RFC 9162 2.1.4.2).

    Raises: ProofInvalid; also from the empty tree, where no proof can say anything.
    """
    if not 0 < size1 <= size2 <= MAX_SIZE:
        raise ProofInvalid("consistency runs from a tree that is not empty to one not smaller")
    if size1 == size2:
        if proof or root1 != root2:
            raise ProofInvalid("trees of the same size are consistent only when they are the same")
        return
    check_hashes(proof, root1, root2)
    path = list(proof) if size1 & (size1 - 1) else [root1, *proof]
    if not path:
        raise ProofInvalid("the consistency proof is too short")
    fn, sn = size1 - 1, size2 - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    first = second = path[0]
    for item in path[1:]:
        if sn == 0:
            raise ProofInvalid("the consistency proof is too long")
        if fn & 1 or fn == sn:
            first, second = node_hash(item, first), node_hash(item, second)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            second = node_hash(second, item)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProofInvalid("the consistency proof is too short")
    if first != root1 or second != root2:
        raise ProofInvalid("the consistency proof does not lead to both roots")


def node_in_tile(hashes: Sequence[bytes], level_in_tile: int, index_in_tile: int) -> bytes:
    """Hash of a complete node inside of a tile, full or partial, from its bottom row (C2SP tlog-tiles).

    Levels count from 0, the row itself, to 8, the root of a full tile.
    Raises: InvalidInput when the tile does not hold that whole node.
    """
    width = 1 << level_in_tile if 0 <= level_in_tile <= 8 else 0
    if not width or len(hashes) > TILE_WIDTH or not 0 <= index_in_tile < len(hashes) // width:
        raise InvalidInput("the tile does not hold that node")
    row = list(hashes[index_in_tile * width : (index_in_tile + 1) * width])
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def tile_root(hashes: Sequence[bytes]) -> bytes:
    """Root of a full tile of 256 hashes: a hash of the tile above. Raises: InvalidInput when not full."""
    return node_in_tile(hashes, 8, 0)
