"""Receipts: what a caller keeps to show, without us, that an entry is in the log."""

from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from domain.errors import MalformedBody, ProofInvalid, TooLarge
from domain.ledger.batch_prover import BatchProver
from domain.ledger.checkpoint import SignedCheckpoint, open_checkpoint
from domain.ledger.encoding import encode
from domain.ledger.note import MAX_NOTE_BYTES, VerifierKey, b64decode_strict
from domain.ledger.tree import HASH_BYTES, MAX_PROOF_HASHES, verify_inclusion

# A note escaped in JSON at its worst, and room for the proof.
MAX_RECEIPT_BYTES = 2 * MAX_NOTE_BYTES + 8192


def _encode(node: bytes) -> str:
    return b2a_base64(node, newline=False).decode()


_encoded = lru_cache(16_384)(_encode)
"""Remembered, since the proofs of neighbours have most of their hashes in common."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry's index, leaf hash (lowercase hex), inclusion proof (base64) and signed checkpoint."""

    index: int
    leaf: str
    checkpoint: str
    proof: tuple[str, ...]

    @classmethod
    def make(cls, index: int, leaf: bytes, proof: Sequence[bytes], checkpoint: bytes) -> "Receipt":
        """The receipt of a leaf hash, with its proof in the tree of a signed checkpoint note."""
        encoded = tuple(map(_encoded, proof))
        return cls(index=index, leaf=leaf.hex(), checkpoint=checkpoint.decode(), proof=encoded)

    @classmethod
    def of_batch(cls, prover: BatchProver, checkpoint: bytes) -> list["Receipt"]:
        """The receipts of all leaves of a batch in order, in the tree that it made."""
        note = checkpoint.decode()
        return [
            cls(index=index, leaf=prover.node(0, index).hex(), checkpoint=note, proof=proof)
            for index, proof in enumerate(prover.proofs(_encode), prover.first)
        ]

    def to_json(self) -> bytes:
        """The receipt as canonical JSON."""
        return encode(self)

    @classmethod
    def from_json(cls, raw: bytes) -> "Receipt":
        """Reads a receipt; its claims are not verified by that. Raises: TooLarge, MalformedBody."""
        if len(raw) > MAX_RECEIPT_BYTES:
            raise TooLarge
        try:
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedBody("not a receipt") from error


def verify(receipt: Receipt, keys: Sequence[VerifierKey]) -> SignedCheckpoint:
    """Checks that the leaf is in the tree of the receipt's checkpoint, and that the log signed that.

    Whether the leaf is that of some entry is for the caller to compare (`leaf_hash`).

    Raises: MalformedNote, NoteSignatureInvalid, ProofInvalid.
    """
    if len(receipt.proof) > MAX_PROOF_HASHES:
        raise ProofInvalid("the proof has more than 64 hashes")
    signed = open_checkpoint(receipt.checkpoint.encode(errors="surrogatepass"), keys)
    try:
        leaf = bytes.fromhex(receipt.leaf)
        proof = [b64decode_strict(item) for item in receipt.proof]
    except ValueError as error:
        raise ProofInvalid("the leaf is not hex, or the proof not base64") from error
    if receipt.leaf != leaf.hex() or len(leaf) != HASH_BYTES:
        raise ProofInvalid("the leaf is not 32 bytes in lowercase hex")
    verify_inclusion(leaf, receipt.index, signed.checkpoint.size, proof, signed.checkpoint.root)
    return signed
