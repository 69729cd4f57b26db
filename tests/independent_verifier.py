"""A second verifier of case bundles, from docs/ledger.md; imports nothing of the system. Arguments: BUNDLE KEYS."""

import base64
import hashlib
import hmac
import json
import sys
import zipfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NEEDS_ACTOR = {"opinion.signed.v1": "specialist"}
TYPE = b"application/vnd.caseledger.statement.v1+json"
sha256, b64, key_of = hashlib.sha256, base64.b64decode, Ed25519PublicKey.from_public_bytes


def subtree_root(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """RFC 6962 2.1.1, from the root down: the last hash of the proof is the sibling nearest to the root."""
    if size == 1:
        return leaf if not proof else b""
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return sha256(b"\1" + subtree_root(leaf, index, half, proof[:-1]) + proof[-1]).digest()
    return sha256(b"\1" + proof[-1] + subtree_root(leaf, index - half, size - half, proof[:-1])).digest()


def verify(bundle: str, key_lines: list[str]) -> int:
    """Number of entries that hold; anything else raises."""
    archive = zipfile.ZipFile(bundle)
    lines = {name: archive.read(name).splitlines() for name in archive.namelist() if name.endswith(".ndjson")}
    manifest, (text, signatures) = json.loads(archive.read("bundle.json")), archive.read("checkpoint").split(b"\n\n")
    vkeys = [line.split("+", 2) for line in key_lines if line and line[0] != "#"]
    trusted = {name: b64(key)[1:] for name, _, key in vkeys if b64(key)[0] == 1}
    origin, size, root = text.decode().split("\n")
    public, ledger = trusted[origin], trusted[f"{origin}/entries"]
    plain, timed = (b64(line.split(b" ")[2]) for line in signatures.splitlines()[:2])
    ids = [sha256(origin.encode() + kind + public).digest()[:4] for kind in (b"\n\x01", b"\n\x04")]
    assert (manifest["origin"], [plain[:4], timed[:4]]) == (origin, ids)
    key_of(public).verify(plain[4:], text + b"\n")
    time_s = int.from_bytes(timed[4:12], "big")
    key_of(public).verify(timed[12:], b"cosignature/v1\ntime %d\n%s\n" % (time_s, text))
    openings = {each["index"]: each for each in map(json.loads, lines["openings.ndjson"])}
    streams, payloads, later = {}, {}, []  # type: ignore[var-annotated]
    for raw, proof in zip(lines["entries.ndjson"], map(json.loads, lines["proofs.ndjson"]), strict=True):
        envelope, index, leaf = json.loads(raw), proof["index"], sha256(b"\0" + raw).digest()
        body = b64(envelope["payload"])
        statement, made = json.loads(body), [b64(each["sig"]) for each in envelope["signatures"]]
        signed = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE, len(body), body)
        key_of(ledger).verify(made[-1], signed)
        assert subtree_root(leaf, index, int(size), [b64(each) for each in proof["hashes"]]) == b64(root)
        chain = streams.setdefault(statement["stream"], [])
        assert (statement["origin"], envelope["payloadType"]) == (origin, TYPE.decode())
        assert (statement["rev"], statement.get("prev")) == (len(chain) + 1, chain[-1][0] if chain else None)
        chain.append((leaf.hex(), index, statement))
        if index in openings:
            opened, key = b64(openings[index]["payload"]), b64(openings[index]["blinding"])
            assert hmac.digest(key, b"caseledger/payload/v1\0" + opened, "sha256").hex() == statement["commitment"]
            payloads[index] = json.loads(opened)
        assert len(made) == 1 + ("key_id" in statement) > (statement["kind"] in NEEDS_ACTOR)
        later += [(index, statement, made[0], signed)] if len(made) == 2 else []
    assert len(streams["case-" + manifest["case"]]) == manifest["revision"]
    for index, statement, signature, signed in later:
        (_, asked, request), (head, given, approval) = streams["key-" + statement["key_id"]]
        key, owner = payloads[asked], payloads[asked]["owner"]
        assert payloads[given] == {"owner": owner, "key": key["key"]} == {"owner": owner, "key": statement["key_id"]}
        assert (asked < given < index, statement["key_head"]) == (True, head)
        assert owner == request["actor"] == statement["actor"] != approval["actor"]
        assert approval["role"] in ("compliance", "administrator")
        assert request["role"] == statement["role"] == NEEDS_ACTOR.get(statement["kind"], statement["role"])
        fields = ("caseledger/key-possession/v1", origin, owner, key["key"], key["public_key"], "")
        public = key_of(bytes.fromhex(key["public_key"]))
        public.verify(bytes.fromhex(key["possession"]), "\n".join(fields).encode())
        public.verify(signature, signed)
    return sum(map(len, streams.values()))


if __name__ == "__main__":
    sys.stdout.write(f"{verify(sys.argv[1], Path(sys.argv[2]).read_text().splitlines())} entries hold\n")
