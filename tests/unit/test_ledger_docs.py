"""The worked example of docs/ledger.md is recomputed, so that the description cannot drift from the code."""

import io
import re
import zipfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.ledger import bundle, dsse, sealing
from domain.ledger.batch_prover import BatchProver
from domain.ledger.checkpoint import Checkpoint, sign
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.statement import Statement, encode_statement
from domain.ledger.tree import Frontier, leaf_hash
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys, parse_trusted_keys, render_trusted_keys
from tests import independent_verifier

DOCUMENT = Path(__file__).parents[2] / "docs" / "ledger.md"
ORIGIN, CASE = "ledger.example/docs", "0199c0de-0000-7000-8000-000000000001"
ENTRY_KEY, CHECKPOINT_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
PAYLOADS = (b'{"why":"told_unresectable"}', b'{"assignee":"coordinator-1"}')
KINDS = ("case.opened.v1", "coordinator.assigned.v1")
TIME = 1_800_000_000_000_000


def computed() -> tuple[dict[str, str], bytes, TrustedKeys]:
    """Every block of the example by name, the bundle, and the keys to verify it with."""
    entries: list[bytes] = []
    openings: list[sealing.Opening] = []
    blocks: dict[str, str] = {}
    for at, (kind, payload) in enumerate(zip(KINDS, PAYLOADS, strict=True)):
        opening = sealing.Opening(bytes([0x10 + at]) * 32, payload)
        statement = encode_statement(
            Statement(
                origin=ORIGIN,
                stream=bundle.case_stream(CASE),
                rev=at + 1,
                prev=leaf_hash(entries[-1]).hex() if entries else None,
                case=CASE,
                kind=kind,
                actor="coordinator-1",
                role="coordinator",
                recorded_at=TIME + at * 1_000_000,
                cause=f"0199c0de-0000-7000-8000-00000000000{at + 2}",
                purpose="TREAT",
                subject=f"case:{CASE}",
                commitment=opening.commitment(),
            )
        )
        signed = dsse.pre_authentication_encoding(statement)
        entries.append(dsse.render(statement, (ENTRY_KEY.sign(signed),)))
        openings.append(opening)
        if at == 0:
            blocks |= {"payload": payload.decode(), "blinding": opening.blinding.hex()}
            blocks |= {"commitment": opening.commitment(), "statement": statement.decode(), "pae": signed.decode()}
            blocks |= {"envelope": entries[0].decode()}
    leaves = [leaf_hash(each) for each in entries]
    prover = BatchProver(Frontier(), leaves)
    note = sign(Checkpoint(ORIGIN, 2, prover.root), CHECKPOINT_KEY, TIME + 2_000_000)
    raw = bundle.write(
        bundle.Bundle(
            manifest=bundle.Manifest(origin=ORIGIN, case=CASE, revision=2, exported_at=TIME + 3_000_000),
            checkpoint=note,
            entries=tuple(entries),
            proofs=tuple(bundle.Proof(index=at, hashes=tuple(prover.proof(at))) for at in range(2)),
            openings=(bundle.Disclosure(index=0, blinding=openings[0].blinding, payload=openings[0].payload),),
        )
    )
    keys = TrustedKeys(
        ORIGIN,
        (VerifierKey.make(ORIGIN, ED25519, CHECKPOINT_KEY.public_key().public_bytes_raw()),),
        (VerifierKey.make(f"{ORIGIN}/entries", ED25519, ENTRY_KEY.public_key().public_bytes_raw()),),
    )
    blocks |= {"leaves": "\n".join(each.hex() for each in leaves), "root": prover.root.hex()}
    blocks["keys"] = render_trusted_keys(keys).decode()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        blocks |= {name: archive.read(name).decode() for name in bundle.MEMBERS}
    return {name: text.removesuffix("\n") for name, text in blocks.items()}, raw, keys


def documented() -> dict[str, str]:
    """The blocks that stand in the document, by name."""
    found = re.findall(r"<!-- example: (\S+) -->\n```\w*\n(.*?)\n```\n", DOCUMENT.read_text(), re.DOTALL)
    return dict(found)


def test_the_worked_example_is_what_the_code_computes() -> None:
    """Every block, byte for byte, and none missing."""
    blocks, _, _ = computed()
    assert documented() == blocks


def test_the_worked_example_verifies(tmp_path: Path) -> None:
    """The documented bundle and key file hold for both verifiers."""
    blocks, raw, keys = computed()
    assert parse_trusted_keys(documented()["keys"].encode()) == keys
    report = verify(raw, keys)
    assert (report.ok, report.revision, report.size) == (True, 2, 2)
    (tmp_path / "bundle").write_bytes(raw)
    assert independent_verifier.verify(str(tmp_path / "bundle"), blocks["keys"].splitlines())[0] == 2


def test_the_checks_are_documented_in_their_order() -> None:
    """The list of checks names each, as the report does."""
    listed = re.findall(r"^\d+\. \*\*(.+?)\*\*", DOCUMENT.read_text(), re.MULTILINE)
    assert listed == [check.name for check in verify(b"", None).checks]
