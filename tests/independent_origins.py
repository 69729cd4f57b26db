"""A second verifier of restored logs' bundles, from docs/ledger.md: whose entries, and by whose leave. BUNDLE KEYS.

Imports nothing of the system. Chains, actors and rotations are for `independent_verifier`.
"""

import base64
import hashlib
import hmac
import json
import sys
import zipfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TYPE = b"application/vnd.caseledger.statement.v1+json"
sha256, b64, key_of = hashlib.sha256, base64.b64decode, Ed25519PublicKey.from_public_bytes


def climb(leaf: bytes, index: int, size: int, proof: list[bytes]) -> tuple[bytes, bytes]:
    """RFC 9162 2.1.3.2: the root; and the root of the tree before the leaf, whose peaks are all that is to the left."""
    node, last, root, before = index, size - 1, leaf, b""
    for sibling in proof:
        if node & 1 or node == last:
            root, before = (
                sha256(b"\1" + sibling + root).digest(),
                sha256(b"\1" + sibling + before).digest() if before else sibling,
            )
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            root = sha256(b"\1" + root + sibling).digest()
        node, last = node >> 1, last >> 1
    return root, before


def checkpoint(note: bytes, public: bytes) -> tuple[str, int, bytes]:
    """A note's origin, size and root; both of the log's signatures hold."""
    text, signatures = note.split(b"\n\n")
    origin, size, root = text.decode().split("\n")
    plain, timed = (b64(line.split(b" ")[2])[4:] for line in signatures.splitlines()[:2])
    key_of(public).verify(plain, text + b"\n")
    key_of(public).verify(timed[8:], b"cosignature/v1\ntime %d\n%s\n" % (int.from_bytes(timed[:8], "big"), text))
    return origin, int(size), b64(root)


def verify(bundle: str, key_lines: list[str]) -> list[tuple[int, str, int]]:
    """Where the log was restored, what it was called until then, and what that had released; anything else raises."""
    archive = zipfile.ZipFile(bundle)
    lines = {name: archive.read(name).splitlines() for name in archive.namelist() if name.endswith(".ndjson")}
    vkeys = [line.split("+", 2) for line in key_lines if line and line[0] != "#"]
    trusted = {name: b64(key)[1:] for name, _, key in vkeys if b64(key)[0] == 1}
    last = json.loads(archive.read("bundle.json"))["origin"]
    origin, size, root = checkpoint(archive.read("checkpoint"), trusted[last])
    openings = {each["index"]: each for each in map(json.loads, lines["openings.ndjson"])}
    entries, found = [], []
    for raw, proof in zip(lines["entries.ndjson"], map(json.loads, lines["proofs.ndjson"]), strict=True):
        envelope, index = json.loads(raw), proof["index"]
        body = b64(envelope["payload"])
        statement, leaf = json.loads(body), sha256(b"\0" + raw).digest()
        reached, before = climb(leaf, index, size, [b64(each) for each in proof["hashes"]])
        assert reached == root
        signed = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE, len(body), body)
        key_of(trusted[statement["origin"] + "/entries"]).verify(b64(envelope["signatures"][-1]["sig"]), signed)
        entries.append((index, statement["origin"]))
        if statement["kind"] == "ledger.origin_succeeded.v1":
            said, r = b64(openings[index]["payload"]), b64(openings[index]["blinding"])
            assert hmac.digest(r, b"caseledger/payload/v1\0" + said, "sha256").hex() == statement["commitment"]
            found.append((index, statement, json.loads(said), before))
    for index, statement, said, before in found:
        old, notes = said["origin"], [note.encode() for note in said["lost"]]
        assert (statement["stream"], statement["role"], said["size"]) == ("key-origins", "service", index)
        fields = [old, str(index), before.hex(), *(sha256(note).hexdigest() for note in notes)]
        fields += [said["checkpoint_key"], said["entry_key"]]
        message = ("caseledger/origin-succession/v1\n" + "".join(f"{each}\n" for each in fields)).encode()
        for name, each in zip((old, f"{old}/entries"), said["endorsements"], strict=True):
            key_of(trusted[name]).verify(bytes.fromhex(each["signature"]), message)
        assert b64(said["entry_key"].split("+", 2)[2])[1:] == trusted[statement["origin"] + "/entries"]
        assert checkpoint(notes[0], trusted[old])[:2] > (old, index)
    names = [*(said["origin"] for _, _, said, _ in found), last]
    assert (origin, [each["origin"] for _, each, _, _ in found]) == (last, names[1:])
    for index, name in entries:
        assert name == names[sum(at <= index for at, *_ in found)]
    return [(at, said["origin"], int(said["lost"][0].split("\n")[1])) for at, _, said, _ in found]


if __name__ == "__main__":
    for at, name, released in verify(sys.argv[1], Path(sys.argv[2]).read_text().splitlines()):
        sys.stdout.write(f"restored at {at}: {name} had released {released}\n")
