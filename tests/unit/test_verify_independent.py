"""A second verifier, which shares no code with the first, comes to the same results."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from domain.ledger import bundle, dsse, encoding
from domain.ledger.checkpoint import read_unverified, sign
from domain.ledger.cosignature import extended
from domain.ledger.cosignature_mldsa import ML_DSA_44
from domain.ledger.keys import key_id
from domain.ledger.note import Note, VerifierKey, cosign, cosign_mldsa
from domain.ledger.tree import leaf_hash
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys, render_trusted_keys
from tests import independent_verifier
from tests.ledger_builder import START, LedgerBuilder, Signer, private_key, public_bytes, small_ledger
from tests.unit.test_succession import OFFICER, Rotating, rotated_twice
from tests.verifying import BY, OWN, enrolled

OWNER = {"actor": "surgeon-1", "role": "specialist"}

SOURCE = Path(independent_verifier.__file__)
LEDGER = small_ledger()
CONTENT = LEDGER.case_bundle()
KEY_LINES = render_trusted_keys(LEDGER.trusted_keys()).decode().splitlines()


def holds(path: Path, raw: bytes, lines: list[str] = KEY_LINES) -> bool:
    """Whether the second verifier accepts a bundle."""
    path.write_bytes(raw)
    try:
        return independent_verifier.verify(str(path), lines)[0] > 0
    except Exception:  # noqa: BLE001 - it has no error types of its own
        return False


def test_it_is_small_and_imports_nothing_of_ours() -> None:
    """At most 80 lines; the standard library and cryptography."""
    source = SOURCE.read_text()
    assert len(source.splitlines()) <= 80
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_both_verify_an_honest_bundle(tmp_path: Path) -> None:
    """The same bundle and key file, in a process that sees nothing of the system."""
    (tmp_path / "bundle").write_bytes(bundle.write(CONTENT))
    (tmp_path / "keys").write_bytes(render_trusted_keys(LEDGER.trusted_keys()))
    command = [sys.executable, "-I", str(SOURCE), str(tmp_path / "bundle"), str(tmp_path / "keys")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == (
        "7 entries hold; not judged: 0 other lines of the checkpoint, 0 time stamps, what replaced a key of the log, "
        "keys in doubt\n"
    )
    assert verify(bundle.write(CONTENT), LEDGER.trusted_keys()).entries == 7


def _entry(at: int) -> bundle.Bundle:
    entry = dsse.parse(CONTENT.entries[at])
    raw = dsse.render(entry.statement.replace(b"TREAT", b"TREAD"), entry.signatures)
    return msgspec.structs.replace(CONTENT, entries=(*CONTENT.entries[:at], raw, *CONTENT.entries[at + 1 :]))


def _proof() -> bundle.Bundle:
    proof = msgspec.structs.replace(CONTENT.proofs[2], hashes=CONTENT.proofs[2].hashes[::-1])
    return msgspec.structs.replace(CONTENT, proofs=(*CONTENT.proofs[:2], proof, *CONTENT.proofs[3:]))


def _opening() -> bundle.Bundle:
    opening = msgspec.structs.replace(CONTENT.openings[2], payload=b"{}")
    return msgspec.structs.replace(CONTENT, openings=(*CONTENT.openings[:2], opening, *CONTENT.openings[3:]))


def _size() -> bundle.Bundle:
    return msgspec.structs.replace(CONTENT, checkpoint=CONTENT.checkpoint.replace(b"\n11\n", b"\n12\n"))


def _opinion(**fields: object) -> bundle.Bundle:
    ledger = LedgerBuilder()
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.approve_key(surgeon)
    if fields.pop("forged", False):
        fields["signatures"] = lambda raw: (private_key("x").sign(raw), ledger.entry_key.sign(raw))
    ledger.sign_opinion(surgeon, **fields)
    return ledger.case_bundle()


@pytest.mark.parametrize(
    ("content", "honest"),
    [
        (lambda: CONTENT, True),
        (_opinion, True),
        (lambda: LEDGER.case_bundle(until=3, disclose=lambda index: False), True),
        (lambda: _entry(0), False),
        (lambda: _entry(6), False),
        (_proof, False),
        (_opening, False),
        (_size, False),
        (lambda: LEDGER.bundle_of([0, 1, 3, 5, 7, 8], revision=5), False),
        (lambda: LEDGER.bundle_of([0, 1, 3, 4, 5, 7], revision=5), False),
        (lambda: _opinion(forged=True), False),
        (lambda: _opinion(actor="surgeon-2"), False),
        (lambda: _opinion(role="coordinator"), False),
        (lambda: _opinion(key_head="0" * 64), False),
    ],
)
def test_both_say_the_same(content: Callable[[], bundle.Bundle], honest: bool, tmp_path: Path) -> None:
    """Honest bundles hold for both; altered entries, proofs, openings, checkpoints, chains and actors for neither."""
    raw = bundle.write(content())
    assert (holds(tmp_path / "b", raw), verify(raw, LEDGER.trusted_keys()).ok) == (honest, honest)


# -- after rotations, and with what others say of the checkpoint --


def rotated(last: Callable[[Rotating], object] = lambda ledger: None) -> tuple[bundle.Bundle, list[TrustedKeys]]:
    """A bundle over two rotations of each of the log's keys, with an opinion whose key was replaced and revoked."""
    ledger, pairs = rotated_twice()
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon)
    key = {"key": surgeon.key_id}
    for kind, payload, by in (
        ("key.rotated.v1", key | {"owner": "surgeon-1", "successor": "b" * 32}, OWNER),
        ("key.revoked.v1", key | {"reason": "lost"}, OFFICER),
    ):
        ledger.append(bundle.key_stream(surgeon.key_id), kind, encoding.encode(payload), **by)
    last(ledger)
    return ledger.everything(), pairs


def lines_of(pairs: list[TrustedKeys]) -> list[str]:
    """A key file that names all of them."""
    return [line for each in pairs for line in render_trusted_keys(each).decode().splitlines()]


def all_keys(pairs: list[TrustedKeys]) -> TrustedKeys:
    """The same for the first verifier."""
    return msgspec.structs.replace(
        pairs[0],
        checkpoint=tuple(dict.fromkeys(key for each in pairs for key in each.checkpoint)),
        entries=tuple(dict.fromkeys(key for each in pairs for key in each.entries)),
    )


def by_an_old_key(ledger: Rotating) -> None:
    """An entry signed again by the log's first key."""
    old = private_key(f"{ledger.origin} entry")
    ledger.append(OWN, "note.made.v1", b"{}", signatures=lambda raw: (old.sign(raw),), **BY)


def by_an_ended_key(ledger: Rotating) -> None:
    """Another opinion by the key that was replaced and revoked."""
    key = private_key("surgeon-1 key")
    ledger.sign_opinion(Signer("surgeon-1", "specialist", key, key_id(public_bytes(key))))


def by_an_ended_key_of_an_old_head(ledger: Rotating) -> None:
    """The same, with the approval as the key's latest entry, as it was before the key ended."""
    key = private_key("surgeon-1 key")
    name = key_id(public_bytes(key))
    of_key = [at for at, each in enumerate(ledger.statements) if each.stream == bundle.key_stream(name)]
    head = leaf_hash(ledger.entries[of_key[1]]).hex()
    ledger.sign_opinion(Signer("surgeon-1", "specialist", key, name), key_head=head)


def test_both_verify_a_bundle_after_rotations(tmp_path: Path) -> None:
    """With every key of the log given; what an actor's key signed before its end stays valid."""
    content, pairs = rotated()
    raw = bundle.write(content)
    assert holds(tmp_path / "b", raw, lines_of(pairs))
    assert verify(raw, all_keys(pairs)).ok
    # What one pair leads to, the second verifier does not judge: it takes nobody's word for the others.
    assert not holds(tmp_path / "b", raw, lines_of(pairs[-1:]))


@pytest.mark.parametrize("lie", [by_an_old_key, by_an_ended_key, by_an_ended_key_of_an_old_head])
def test_neither_takes_a_key_past_its_end(lie: Callable[[Rotating], object], tmp_path: Path) -> None:
    """The log's own, and an actor's."""
    content, pairs = rotated(lie)
    raw = bundle.write(content)
    assert not holds(tmp_path / "b", raw, lines_of(pairs))
    assert not verify(raw, all_keys(pairs)).ok


@pytest.mark.parametrize(
    ("kind", "by", "honest"),
    [
        ("key.revoked.v1", OFFICER, True),
        ("key.revoked.v1", OWNER, True),
        ("key.revoked.v1", BY, False),
        ("key.rotated.v1", OWNER, True),
        ("key.rotated.v1", OFFICER, False),
        ("key.suspended.v1", OFFICER, False),
    ],
)
def test_both_say_the_same_of_an_actors_key_that_ended(
    kind: str, by: dict[str, str], honest: bool, tmp_path: Path
) -> None:
    """Who may end a key, and how."""
    ledger = LedgerBuilder()
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon)
    more = {"owner": "surgeon-1", "successor": "b" * 32} if kind == "key.rotated.v1" else {"reason": "lost"}
    ledger.append(bundle.key_stream(surgeon.key_id), kind, encoding.encode({"key": surgeon.key_id} | more), **by)
    raw = bundle.write(ledger.case_bundle())
    assert (holds(tmp_path / "b", raw), verify(raw, ledger.trusted_keys()).ok) == (honest, honest)


def test_both_verify_the_handover_of_the_checkpoint_key(tmp_path: Path) -> None:
    """Four lines of the log: by the old key alone, by the new one, by both; a later one by the old key is refused."""
    ledger = Rotating()
    ledger.begin()
    before, old = ledger.trusted_keys(), ledger.checkpoint_key
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    ledger.rotate("checkpoint")
    handover = read_unverified(ledger.checkpoint())
    notes = [Note.parse(sign(handover, key, START)) for key in (ledger.checkpoint_key, old)]
    both = Note(notes[0].text, tuple(line for each in notes for line in each.signatures)).render()
    raw = bundle.write(msgspec.structs.replace(ledger.everything(), checkpoint=both))
    for keys in ([before], [ledger.trusted_keys()], [before, ledger.trusted_keys()]):
        assert holds(tmp_path / "b", raw, lines_of(keys))
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    later = sign(read_unverified(ledger.checkpoint()), old, START)
    raw = bundle.write(msgspec.structs.replace(ledger.everything(), checkpoint=later))
    assert not holds(tmp_path / "b", raw, lines_of([before, ledger.trusted_keys()]))


def test_what_others_say_of_the_checkpoint_is_counted_and_not_judged(tmp_path: Path) -> None:
    """A witness's cosignature, the log's post-quantum line and a time stamp: it holds, and the output says so."""
    quantum = MLDSA44PrivateKey.from_seed_bytes(b"q" * 32)
    text = Note.parse(CONTENT.checkpoint).text
    witness = cosign(text, "witness.example/w", private_key("w"), 1_900_000_000)
    cosigned = extended(CONTENT.checkpoint, [cosign_mldsa(text, LEDGER.origin, quantum, 1_900_000_000), witness])
    stamps = (bundle.TimeStamp(rfc3161=b"anything"),)
    raw = bundle.write(msgspec.structs.replace(CONTENT, checkpoint=cosigned, time_stamps=stamps))
    (tmp_path / "b").write_bytes(raw)
    key = VerifierKey.make(LEDGER.origin, ML_DSA_44, quantum.public_key().public_bytes_raw())
    count, unjudged = independent_verifier.verify(str(tmp_path / "b"), [str(key), *KEY_LINES])
    assert (count, unjudged.split(", what")[0]) == (7, "not judged: 2 other lines of the checkpoint, 1 time stamps")
