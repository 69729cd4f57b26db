"""Checkpoints and receipts: what they say, and what it takes to believe them."""

import base64
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.errors import (
    BadPublicKey,
    MalformedBody,
    MalformedNote,
    NoteSignatureInvalid,
    ProofInvalid,
    TooLarge,
)
from domain.ledger import receipt as receipts
from domain.ledger.batch_prover import BatchProver
from domain.ledger.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    open_checkpoint,
    read_unverified,
    sign,
    verifier_keys,
)
from domain.ledger.note import COSIGNATURE_V1, Note, VerifierKey, cosign, sign_ed25519
from domain.ledger.receipt import MAX_RECEIPT_BYTES, Receipt
from domain.ledger.tree import EMPTY_ROOT, Frontier, leaf_hash

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
ORIGIN = "ledger.example/a"
KEYS = verifier_keys(ORIGIN, PRIVATE.public_key().public_bytes_raw())
LEAVES = [leaf_hash(bytes([number])) for number in range(7)]
PROVER = BatchProver(Frontier(), LEAVES)
CHECKPOINT = Checkpoint(ORIGIN, 7, PROVER.root)
COMMITTED_AT = 1_700_000_000_999_999
NOTE = sign(CHECKPOINT, PRIVATE, COMMITTED_AT)
ROOT = base64.b64encode(PROVER.root).decode()
WITNESS = VerifierKey.make("witness.example/w", COSIGNATURE_V1, OTHER.public_key().public_bytes_raw())

PLAIN, TIMED = Note.parse(NOTE).signatures


def note(*signatures: object) -> bytes:
    """The checkpoint's text under other signature lines."""
    return Note(CHECKPOINT.body(), msgspec.convert(signatures, tuple, from_attributes=True)).render()


def test_the_body_is_three_lines_and_extensions() -> None:
    """A checkpoint's text is origin, size and root, then its extensions, and reads back as the same."""
    extended = Checkpoint(ORIGIN, 7, PROVER.root, ("one", "two"))
    assert extended.body() == f"{ORIGIN}\n7\n{ROOT}\none\ntwo\n"
    assert Checkpoint.parse(extended.body()) == extended
    assert Checkpoint.parse(CHECKPOINT.body()) == CHECKPOINT


def test_the_specification_s_own_example_parses() -> None:
    """The checkpoint that C2SP tlog-checkpoint prints is read, origin, size and root."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    parsed = Checkpoint.parse(text)
    assert (parsed.origin, parsed.size) == ("example.com/behind-the-sofa", 20852163)
    assert parsed.root.hex() == "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    assert parsed.body() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n7\n{ROOT}",
        f"\n7\n{ROOT}\n",
        f"{ORIGIN}\n07\n{ROOT}\n",
        f"{ORIGIN}\n-7\n{ROOT}\n",
        f"{ORIGIN}\n+7\n{ROOT}\n",
        f"{ORIGIN}\n 7\n{ROOT}\n",
        f"{ORIGIN}\n7_0\n{ROOT}\n",
        f"{ORIGIN}\n\u0667\n{ROOT}\n",
        f"{ORIGIN}\n\n{ROOT}\n",
        f"{ORIGIN}\n{2**63}\n{ROOT}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n",
        f"{ORIGIN}\n0\n{ROOT}\n",
        f"{ORIGIN}\n7\n{ROOT[:-1]}\n",
        f"{ORIGIN}\n7\n{ROOT} \n",
        f"{ORIGIN}\n7\n{base64.b64encode(PROVER.root[:31]).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(PROVER.root + b'x').decode()}\n",
        f"{ORIGIN}\n7\n{ROOT}\n\n",
        f"{ORIGIN}\n7\n{ROOT}\n\nextension\n",
        f"{ORIGIN}\r\n7\n{ROOT}\n",
        f"cosignature/v1\n7\n{ROOT}\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    """A missing line, another spelling of size or root, an empty line, or the reserved origin is refused."""
    with pytest.raises(MalformedNote):
        Checkpoint.parse(text)


def test_the_empty_tree_has_a_checkpoint() -> None:
    """A log signs size 0 with the root of the empty tree."""
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert open_checkpoint(sign(empty, PRIVATE, COMMITTED_AT), KEYS).checkpoint == empty


def test_opening_gives_signers_and_commit_time() -> None:
    """A signed checkpoint opens to what was signed, both keys, and the commit time in seconds, rounded down."""
    assert open_checkpoint(NOTE, KEYS) == SignedCheckpoint(CHECKPOINT, NOTE, KEYS, 1_700_000_000)
    assert read_unverified(NOTE) == CHECKPOINT


def test_signing_is_deterministic() -> None:
    """Two processes that sign the same committed size make the same bytes."""
    assert sign(CHECKPOINT, PRIVATE, COMMITTED_AT) == NOTE


def test_without_the_cosignature_key_there_is_no_time() -> None:
    """Who knows only the plain key learns nothing of the commit time."""
    opened = open_checkpoint(NOTE, KEYS[:1])
    assert (opened.verified, opened.committed_at_s) == (KEYS[:1], None)


def test_witnesses_come_on_top() -> None:
    """A witness's cosignature is verified when its key is known, else ignored, and gives no commit time."""
    witnessed = note(PLAIN, TIMED, cosign(CHECKPOINT.body(), WITNESS.name, OTHER, 1_800_000_000))
    assert open_checkpoint(witnessed, KEYS).verified == KEYS
    opened = open_checkpoint(witnessed, [*KEYS, WITNESS])
    assert (opened.verified, opened.committed_at_s) == ((*KEYS, WITNESS), 1_700_000_000)
    with pytest.raises(NoteSignatureInvalid):
        open_checkpoint(witnessed, [WITNESS])


def test_no_key_opens_nothing() -> None:
    """Without keys there is no verification, and so no checkpoint; nor with the keys of another log."""
    with pytest.raises(NoteSignatureInvalid):
        open_checkpoint(NOTE, [])
    with pytest.raises(NoteSignatureInvalid):
        open_checkpoint(NOTE, verifier_keys("ledger.example/b", PRIVATE.public_key().public_bytes_raw()))
    with pytest.raises(NoteSignatureInvalid):
        open_checkpoint(NOTE, verifier_keys(ORIGIN, OTHER.public_key().public_bytes_raw()))


def test_the_key_must_be_that_of_the_origin() -> None:
    """A known key of another name may not sign for an origin."""
    foreign = sign_ed25519(CHECKPOINT.body(), "ledger.example/b", PRIVATE)
    keys = verifier_keys("ledger.example/b", PRIVATE.public_key().public_bytes_raw())
    with pytest.raises(NoteSignatureInvalid):
        open_checkpoint(note(foreign), keys)


def test_neither_signature_can_be_stripped() -> None:
    """With both keys known, a checkpoint that lacks the plain signature or the cosignature is refused."""
    for left in (PLAIN, TIMED):
        with pytest.raises(NoteSignatureInvalid):
            open_checkpoint(note(left), KEYS)


def test_two_commit_times_are_refused() -> None:
    """One checkpoint has one commit time: two good cosignatures of the log that differ are a failure."""
    later = cosign(CHECKPOINT.body(), ORIGIN, PRIVATE, 1_700_000_001)
    with pytest.raises(NoteSignatureInvalid):
        open_checkpoint(note(PLAIN, TIMED, later), KEYS)
    assert open_checkpoint(note(PLAIN, TIMED, TIMED), KEYS).committed_at_s == 1_700_000_000


def test_a_rotated_key_still_opens() -> None:
    """Old and new keys of an origin may both be known; one of them has to have signed."""
    keys = (*verifier_keys(ORIGIN, OTHER.public_key().public_bytes_raw()), *KEYS)
    assert open_checkpoint(NOTE, keys).verified == KEYS


def test_an_origin_that_names_no_key_is_not_signed() -> None:
    """An origin with a space may be read but not signed."""
    with pytest.raises(BadPublicKey):
        sign(Checkpoint("some log", 7, PROVER.root), PRIVATE, COMMITTED_AT)
    with pytest.raises(MalformedNote):
        sign(CHECKPOINT, PRIVATE, -1)


RECEIPTS = [Receipt.make(index, leaf, PROVER.proof(index), NOTE) for index, leaf in enumerate(LEAVES)]


@pytest.mark.parametrize("receipt", RECEIPTS)
def test_receipts_verify_and_round_trip(receipt: Receipt) -> None:
    """Each leaf's receipt verifies to its checkpoint, also after a way through JSON."""
    assert Receipt.from_json(receipt.to_json()) == receipt
    assert receipts.verify(receipt, KEYS) == open_checkpoint(NOTE, KEYS)


@pytest.mark.parametrize(
    "change",
    [
        {"index": 2},
        {"index": -1},
        {"index": 7},
        {"leaf": LEAVES[2].hex()},
        {"leaf": LEAVES[1].hex().upper()},
        {"leaf": " " + LEAVES[1].hex()},
        {"leaf": "zz"},
        {"leaf": ""},
        {"proof": ()},
        {"proof": RECEIPTS[1].proof[::-1]},
        {"proof": RECEIPTS[1].proof * 30},
        {"proof": (*RECEIPTS[1].proof[:-1], "not base64")},
        {"proof": (*RECEIPTS[1].proof[:-1], RECEIPTS[1].proof[-1].rstrip("="))},
    ],
)
def test_altered_receipts_are_refused(change: dict[str, object]) -> None:
    """A receipt with another index, leaf or proof, or with another spelling of them, does not verify."""
    receipts.verify(RECEIPTS[1], KEYS)
    with pytest.raises(ProofInvalid):
        receipts.verify(msgspec.structs.replace(RECEIPTS[1], **change), KEYS)


def test_a_receipt_needs_a_signed_checkpoint() -> None:
    """A receipt proves nothing with no keys, with another log's, or when its checkpoint is no note."""
    strangers = verifier_keys(ORIGIN, OTHER.public_key().public_bytes_raw())
    for keys in ((), strangers):
        with pytest.raises(NoteSignatureInvalid):
            receipts.verify(RECEIPTS[0], keys)
    for checkpoint in ("", CHECKPOINT.body(), "\ud800\n"):
        with pytest.raises(MalformedNote):
            receipts.verify(msgspec.structs.replace(RECEIPTS[0], checkpoint=checkpoint), KEYS)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        json.dumps({**json.loads(RECEIPTS[0].to_json()), "more": 1}).encode(),
    ],
)
def test_what_is_not_a_receipt_is_refused(raw: bytes) -> None:
    """Other JSON, unknown members and broken bytes are no receipt."""
    with pytest.raises(MalformedBody):
        Receipt.from_json(raw)


def test_huge_receipts_are_not_read() -> None:
    """More bytes than any receipt has are refused before they are decoded."""
    with pytest.raises(TooLarge):
        Receipt.from_json(b" " * (MAX_RECEIPT_BYTES + 1))
