"""Every proof against a reference written straight from the RFC's recursive definitions."""

import base64
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import CaseLedgerError, ProofInvalid
from domain.ledger.batch_prover import BatchProver
from domain.ledger.checkpoint import Checkpoint, open_checkpoint, sign, verifier_keys
from domain.ledger.note import Note, NoteSignature
from domain.ledger.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_at,
    verify_consistency,
    verify_inclusion,
)

LARGEST = 300
ENTRIES = [f"entry {number}".encode() for number in range(LARGEST)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def split(n: int) -> int:
    """The largest power of two smaller than n (RFC 6962 2.1)."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


@cache
def mth(start: int, end: int) -> bytes:
    """MTH(D[start:end]) of RFC 6962 2.1."""
    n = end - start
    if n == 0:
        return sha256(b"").digest()
    if n == 1:
        return sha256(b"\x00" + ENTRIES[start]).digest()
    k = split(n)
    return sha256(b"\x01" + mth(start, start + k) + mth(start + k, end)).digest()


def path(m: int, start: int, end: int) -> list[bytes]:
    """PATH(m, D[start:end]) of RFC 6962 2.1.1."""
    n = end - start
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, start, start + k), mth(start + k, end)]
    return [*path(m - k, start + k, end), mth(start, start + k)]


def subproof(m: int, start: int, end: int, known: bool) -> list[bytes]:
    """SUBPROOF(m, D[start:end], b) of RFC 6962 2.1.2."""
    n = end - start
    if m == n:
        return [] if known else [mth(start, end)]
    k = split(n)
    if m <= k:
        return [*subproof(m, start, start + k, known), mth(start + k, end)]
    return [*subproof(m - k, start + k, end, False), mth(start, start + k)]


def complete_nodes_of(size: int) -> Callable[[int, int], bytes]:
    """A node reader that has the complete nodes of a tree of that size, and fails for any other."""

    def node(level: int, index: int) -> bytes:
        start, end = index << level, (index + 1) << level
        assert 0 <= start < end <= size, f"asked for the incomplete node {level}, {index}"
        return mth(start, end)

    return node


def test_frontier_has_the_root_of_every_size() -> None:
    """One leaf at a time, the frontier's root is MTH at each size, and so is the root read from nodes."""
    frontier = Frontier()
    assert frontier.root() == root_at(0, complete_nodes_of(0)) == EMPTY_ROOT == mth(0, 0)
    for size, leaf in enumerate(LEAVES, 1):
        frontier = frontier.append(leaf)
        assert frontier.size == size
        assert frontier.root() == root_at(size, complete_nodes_of(size)) == mth(0, size)
        assert Frontier.from_bytes(size, frontier.to_bytes()) == frontier
        assert Frontier().extend(LEAVES[:size]) == frontier


def test_inclusion_of_every_leaf_at_every_size() -> None:
    """Each index of each size 1..300 has PATH as its proof, and the proof verifies."""
    for size in range(1, LARGEST + 1):
        node, root = complete_nodes_of(size), mth(0, size)
        for index in range(size):
            proof = inclusion_proof(index, size, node)
            assert proof == path(index, 0, size)
            verify_inclusion(LEAVES[index], index, size, proof, root)


def test_consistency_of_every_pair_of_sizes() -> None:
    """Each pair of sizes 1..300 has PROOF as its proof, and the proof verifies."""
    for size2 in range(1, LARGEST + 1):
        node = complete_nodes_of(size2)
        for size1 in range(1, size2 + 1):
            proof = consistency_proof(size1, size2, node)
            assert proof == subproof(size1, 0, size2, True)
            verify_consistency(size1, size2, mth(0, size1), mth(0, size2), proof)


@given(st.integers(1, LARGEST), st.data())
def test_inclusion_proof_fits_nothing_else(size: int, data: st.DataObject) -> None:
    """A proof with a bit flipped, or for another index, leaf, root, or with a hash more or less, is refused."""
    index = data.draw(st.integers(0, size - 1))
    proof, root = path(index, 0, size), mth(0, size)
    other = data.draw(st.integers(-2, size + 2).filter(lambda number: number != index))
    bit = data.draw(st.integers(0, 255))
    flipped = [(int.from_bytes(item) ^ 1 << bit).to_bytes(32) for item in [*proof, LEAVES[index], root]]
    wrong = [
        (LEAVES[index], other, proof, root),
        (flipped[-2], index, proof, root),
        (LEAVES[index], index, proof, flipped[-1]),
        (LEAVES[index], index, [*proof, root], root),
        *((LEAVES[index], index, [*proof[:at], flipped[at], *proof[at + 1 :]], root) for at in range(len(proof))),
    ]
    if proof:
        wrong += [(LEAVES[index], index, proof[1:], root), (LEAVES[index], index, proof[:-1], root)]
    for leaf, at, hashes, top in wrong:
        with pytest.raises(ProofInvalid):
            verify_inclusion(leaf, at, size, hashes, top)


@given(st.integers(1, LARGEST), st.integers(1, LARGEST), st.data())
def test_consistency_proof_fits_nothing_else(one: int, two: int, data: st.DataObject) -> None:
    """A consistency proof with one bit flipped anywhere, or with a hash more or less, is refused."""
    size1, size2 = sorted((one, two))
    proof, root1, root2 = subproof(size1, 0, size2, True), mth(0, size1), mth(0, size2)
    bit = data.draw(st.integers(0, 255))
    hashes = [*proof, root1, root2]
    for at in range(len(hashes)):
        bad = list(hashes)
        bad[at] = (int.from_bytes(bad[at]) ^ 1 << bit).to_bytes(32)
        with pytest.raises(ProofInvalid):
            verify_consistency(size1, size2, bad[-2], bad[-1], bad[:-2])
    for longer_or_shorter in ([*proof, root2], *([proof[1:], proof[:-1]] if proof else [])):
        with pytest.raises(ProofInvalid):
            verify_consistency(size1, size2, root1, root2, longer_or_shorter)


@given(st.lists(st.integers(0, LARGEST), max_size=8))
def test_batches_prove_what_they_appended(cuts: list[int]) -> None:
    """However a log is split into batches, each new leaf gets PATH in the tree that its batch made."""
    frontier = Frontier()
    for end in [*sorted(cuts), LARGEST]:
        start = frontier.size
        prover = BatchProver(frontier, LEAVES[start:end])
        assert (prover.size, prover.root) == (end, mth(0, end))
        assert prover.frontier == frontier.extend(LEAVES[start:end])
        assert prover.proofs(bytes) == [tuple(path(index, 0, end)) for index in range(start, end)]
        frontier = prover.frontier


def test_batches_of_every_start_and_small_length() -> None:
    """From each old size 0..129, batches of 1 to 9 leaves prove every new leaf."""
    for start in range(130):
        before = Frontier().extend(LEAVES[:start])
        for end in range(start + 1, start + 10):
            prover = BatchProver(before, LEAVES[start:end])
            assert prover.proofs(bytes) == [tuple(path(index, 0, end)) for index in range(start, end)]


@given(st.integers(0, LARGEST), st.integers(0, LARGEST))
def test_batch_serves_the_nodes_that_it_made(one: int, two: int) -> None:
    """Every complete node that holds a new leaf is served, with the hash that the whole tree gives it."""
    start, end = sorted((one, two))
    prover = BatchProver(Frontier().extend(LEAVES[:start]), LEAVES[start:end])
    for level in range(end.bit_length()):
        for index in range(start >> level, end >> level):
            assert prover.node(level, index) == mth(index << level, (index + 1) << level)


PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = verifier_keys("ledger.example/log", PRIVATE_KEY.public_key().public_bytes_raw())


@pytest.mark.parametrize("extensions", [(), ("an extension",)])
def test_any_flipped_bit_of_a_checkpoint_is_detected(extensions: tuple[str, ...]) -> None:
    """No single bit of a signed checkpoint can be flipped, in text, names, times or signatures."""
    note = sign(Checkpoint(KEYS[0].name, 300, mth(0, 300), extensions), PRIVATE_KEY, 1_700_000_000_000_000)
    assert open_checkpoint(note, KEYS).note == note
    for bit in range(len(note) * 8):
        flipped = bytearray(note)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CaseLedgerError):
            open_checkpoint(bytes(flipped), KEYS)


TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n"), max_size=80)
NAMES = st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters="+"), min_size=1, max_size=20)
SIGNATURES = st.builds(NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


@given(TEXT, st.lists(SIGNATURES, min_size=1, max_size=5))
def test_notes_round_trip(text: str, signatures: list[NoteSignature]) -> None:
    """Any note reads back as itself, whatever empty lines or look-alike signature lines its text has."""
    note = Note(text + "\n", tuple(signatures))
    assert Note.parse(note.render()) == note


@given(TEXT)
def test_parsed_notes_render_the_same_bytes(text: str) -> None:
    """Bytes that parse as a note are the bytes that it renders."""
    line = f"— a {base64.b64encode(b'12345').decode()}\n"
    raw = f"{text}\n\n{line}".encode()
    assert Note.parse(raw).render() == raw


def test_large_tree_with_random_batches() -> None:
    """Proofs of sampled leaves verify in a tree that grew by random batches to 20,000 leaves."""
    random, frontier = Random(20), Frontier()
    while frontier.size < 20_000:
        count = random.choice((1, 2, 63, 1000, 2049))
        leaves = [leaf_hash(random.randbytes(8)) for _ in range(count)]
        prover = BatchProver(frontier, leaves)
        for index in {frontier.size, prover.size - 1, random.randrange(frontier.size, prover.size)}:
            leaf = leaves[index - frontier.size]
            verify_inclusion(leaf, index, prover.size, prover.proof(index), prover.root)
        frontier = prover.frontier
