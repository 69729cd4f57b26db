"""A second verifier, which shares no code with the first, comes to the same results."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from domain.ledger import bundle, dsse
from domain.ledger.verify import verify
from domain.ledger.verify_trust import render_trusted_keys
from tests import independent_verifier
from tests.ledger_builder import LedgerBuilder, private_key, small_ledger

SOURCE = Path(independent_verifier.__file__)
LEDGER = small_ledger()
CONTENT = LEDGER.case_bundle()
KEY_LINES = render_trusted_keys(LEDGER.trusted_keys()).decode().splitlines()


def holds(path: Path, raw: bytes, lines: list[str] = KEY_LINES) -> bool:
    """Whether the second verifier accepts a bundle."""
    path.write_bytes(raw)
    try:
        return independent_verifier.verify(str(path), lines) > 0
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
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7 entries hold\n"
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
