"""A second verifier of case bundles, from docs/ledger.md; imports nothing of the system. Arguments: BUNDLE KEYS."""

import hashlib
import hmac
import json
import sys
import zipfile
from base64 import b64decode as b64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NEEDS_ACTOR, APPROVERS = {"opinion.signed.v1": "specialist"}, ("compliance", "administrator")
TYPE, ROTATED = b"application/vnd.caseledger.statement.v1+json", "ledger.key_rotated.v1"
KEY = [f"key.{each}.v1" for each in ("enrolment_requested", "enrolled", "rotated", "revoked")]
UNJUDGED = "not judged: {} other lines of the checkpoint, {} time stamps, what replaced a key of the log, keys in doubt"
sha256, unhex, key_of = hashlib.sha256, bytes.fromhex, Ed25519PublicKey.from_public_bytes


def subtree_root(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """RFC 6962 2.1.1, from the root down: the last hash of the proof is the sibling nearest to the root."""
    if size == 1:
        return leaf if not proof else b""
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return sha256(b"\1" + subtree_root(leaf, index, half, proof[:-1]) + proof[-1]).digest()
    return sha256(b"\1" + proof[-1] + subtree_root(leaf, index - half, size - half, proof[:-1])).digest()


def verify(bundle: str, key_lines: list[str]) -> tuple[int, str]:
    """Number of entries that hold, and what was not judged; anything else raises."""
    archive = zipfile.ZipFile(bundle)
    lines = {name: archive.read(name).splitlines() for name in archive.namelist() if name.endswith(".ndjson")}
    manifest, (text, signatures) = json.loads(archive.read("bundle.json")), archive.read("checkpoint").split(b"\n\n")
    origin, size, root = text.decode().split("\n")
    opened = {each["index"]: each for each in map(json.loads, lines["openings.ndjson"])}
    payloads = {index: json.loads(b64(each["payload"])) for index, each in opened.items()}
    streams, made = {}, []  # type: ignore[var-annotated]
    for raw, proof in zip(lines["entries.ndjson"], map(json.loads, lines["proofs.ndjson"]), strict=True):
        envelope, index, leaf = json.loads(raw), proof["index"], sha256(b"\0" + raw).digest()
        body, by = b64(envelope["payload"]), [b64(each["sig"]) for each in envelope["signatures"]]
        statement = json.loads(body)
        assert subtree_root(leaf, index, int(size), [b64(each) for each in proof["hashes"]]) == b64(root)
        chain = streams.setdefault(statement["stream"], [])
        assert (statement["origin"], envelope["payloadType"]) == (origin, TYPE.decode())
        assert (statement["rev"], statement.get("prev")) == (len(chain) + 1, chain[-1][0] if chain else None)
        chain.append((leaf.hex(), index, statement))
        for key, payload in [(b64(opened[index]["blinding"]), opened[index]["payload"])] if index in opened else []:
            commitment = hmac.digest(key, b"caseledger/payload/v1\0" + b64(payload), "sha256").hex()
            assert commitment == statement["commitment"]
        assert len(by) == 1 + ("key_id" in statement) > (statement["kind"] in NEEDS_ACTOR)
        made.append((index, statement, by, b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE, len(body), body)))
    assert (len(streams["case-" + manifest["case"]]), manifest["origin"]) == (manifest["revision"], origin)
    since, until = ({payloads[i][k]: i for i, e, *_ in made if e["kind"] == ROTATED} for k in ("successor", "key"))
    keys = [(name, b64(vkey)[1:]) for name, _, vkey in (line.split("+", 2) for line in key_lines if "+A" in line)]
    own = [(n, since.get(k, -1), until.get(k, 1 << 63), key) for n, key in keys for k in [sha256(key).hexdigest()[:32]]]
    note = {(name.decode(), b64(raw)[:4]): b64(raw)[4:] for _, name, raw in map(bytes.split, signatures.splitlines())}
    public = next(key for name, a, z, key in own if name == origin and a < int(size) <= z + 1)
    plain, timed = (note[origin, sha256(origin.encode() + kind + public).digest()[:4]] for kind in (b"\n\1", b"\n\4"))
    key_of(public).verify(plain, text + b"\n")
    key_of(public).verify(timed[8:], b"cosignature/v1\ntime %d\n%s\n" % (int.from_bytes(timed[:8]), text))
    for index, statement, (*actor, ledger), signed in made:
        key_of(next(k for n, a, z, k in own if n == origin + "/entries" and a < index <= z)).verify(ledger, signed)
        for signature in actor:
            (_, asked, request), (_, given, approval), *_ = chain = streams["key-" + (name := statement["key_id"])]
            key, owner, kinds = payloads[asked], request["actor"], [each["kind"] for *_, each in chain]
            assert [(e["kind"], payloads[at]["key"]) for _, at, e in chain] == [(k, name) for k in KEY if k in kinds]
            assert [head for head, at, _ in chain if at < index][1:] == [statement["key_head"]]
            assert owner == key["owner"] == payloads[given]["owner"] == statement["actor"] != approval["actor"]
            assert request["role"] == statement["role"] == NEEDS_ACTOR.get(statement["kind"], statement["role"])
            for *_, by in chain[1:]:  # who approves may revoke as well, but not rotate
                assert (by["kind"] == KEY[2]) <= (by["actor"] == owner) >= (by["role"] not in APPROVERS)
            fields = ("caseledger/key-possession/v1", origin, owner, key["key"], key["public_key"], "")
            key_of(unhex(key["public_key"])).verify(unhex(key["possession"]), "\n".join(fields).encode())
            key_of(unhex(key["public_key"])).verify(signature, signed)
    return len(made), UNJUDGED.format(len(note) - 2, len(lines.get("timestamps.ndjson", [])))


if __name__ == "__main__":
    sys.stdout.write("{} entries hold; {}\n".format(*verify(sys.argv[1], Path(sys.argv[2]).read_text().splitlines())))
