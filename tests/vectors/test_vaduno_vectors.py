"""The exact bytes of an ML-DSA-44 cosigned message, and of leaves and nodes, as another implementation has them."""

import json
from collections.abc import Callable
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from domain.ledger.checkpoint import Checkpoint
from domain.ledger.cosignature_mldsa import ML_DSA_44, cosigned_message, message_of, verify_mldsa
from domain.ledger.note import VerifierKey, cosign_mldsa
from domain.ledger.tree import Frontier, leaf_hash, node_hash
from tests.shared import shared

SEED = bytes(range(32))


def test_leaves_and_nodes_have_the_published_hashes(counted: Callable[[str, int], None]) -> None:
    """Two leaves, the root over them, and the root of the empty tree."""
    vector = json.loads(shared("vectors/vaduno/spec/vectors/merkle.json").read_text("utf-8"))
    assert Frontier().root().hex() == vector["emptyTreeRoot"]
    leaves = {each["leaf"]: each["leafHash"] for each in vector["cases"] if "leaf" in each}
    assert {data: leaf_hash(data.encode()).hex() for data in leaves} == leaves
    (pair,) = [each for each in vector["cases"] if "root" in each]
    assert node_hash(bytes.fromhex(pair["left"]), bytes.fromhex(pair["right"])).hex() == pair["root"]
    assert Frontier().extend([leaf_hash(data.encode()) for data in leaves]).root().hex() == pair["root"]
    counted("published vectors, vaduno", 1 + len(vector["cases"]))


def test_the_cosigned_message_has_the_published_bytes(counted: Callable[[str, int], None]) -> None:
    """Fields and the checkpoint's own text both give the 109 bytes that the vector prints, and their digest."""
    vector = json.loads(shared("vectors/vaduno/spec/vectors/cosign-mldsa44-payload.json").read_text("utf-8"))
    given, payload = vector["input"], bytes.fromhex(vector["payloadHex"])
    root = bytes.fromhex(given["rootHashHex"])
    made = cosigned_message(given["cosignerName"], given["timestamp"], given["origin"], given["treeSize"], root)
    assert made == payload
    assert sha256(made).hexdigest() == vector["payloadSha256"]
    text = Checkpoint(given["origin"], given["treeSize"], root).body()
    assert message_of(text, given["cosignerName"], given["timestamp"]) == payload
    counted("published vectors, vaduno", 1)


def test_a_signature_line_is_put_together_as_the_vector_says() -> None:
    """Key id, time and signature stand in the order that the vector describes, and the signature is of its message."""
    vector = json.loads(shared("vectors/vaduno/spec/vectors/cosign-mldsa44-payload.json").read_text("utf-8"))
    given = vector["input"]
    text = Checkpoint(given["origin"], given["treeSize"], bytes.fromhex(given["rootHashHex"])).body()
    private = MLDSA44PrivateKey.from_seed_bytes(SEED)
    public = private.public_key().public_bytes_raw()
    line = cosign_mldsa(text, given["cosignerName"], private, given["timestamp"])
    assert line.key_hash == sha256(given["cosignerName"].encode() + b"\n\x06" + public).digest()[:4]
    assert line.key_hash == VerifierKey.make(given["cosignerName"], ML_DSA_44, public).key_hash
    assert line.signature[:8] == given["timestamp"].to_bytes(8, "big")
    verify_mldsa(public, line.signature[8:], bytes.fromhex(vector["payloadHex"]))
    assert len(line.signature) == 8 + 2420
