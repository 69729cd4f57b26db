"""`caseledger verify`: its output and exit status, and the key file that it is given."""

import io
import json
from pathlib import Path

import msgspec
import pytest

from caseledger import verify_command
from domain.errors import BadPublicKey
from domain.ledger import bundle
from domain.ledger.note import COSIGNATURE_V1, ED25519, VerifierKey
from domain.ledger.report import Report
from domain.ledger.verify import STEPS
from domain.ledger.verify_trust import parse_trusted_keys, render_trusted_keys
from tests.ledger_builder import CASE, LedgerBuilder
from tests.verifying import CONTENT, KEYS, LEDGER, changed, judge


def test_a_key_file_holds_one_logs_keys() -> None:
    """Comments and blank lines are skipped; anything but one log's two kinds of key is refused."""
    text = render_trusted_keys(KEYS).decode()
    assert parse_trusted_keys(f"# given by hand\n\n{text}".encode()) == KEYS
    check, entries = str(KEYS.checkpoint[0]), str(KEYS.entries[0])
    other = LedgerBuilder("ledger.example/other").trusted_keys()
    timed = VerifierKey.make(KEYS.origin, COSIGNATURE_V1, KEYS.checkpoint[0].public_key)
    same = VerifierKey.make(f"{KEYS.origin}/entries", ED25519, KEYS.checkpoint[0].public_key)
    for lines in (
        [], [check], [entries], [check, entries, "hello"], [check, entries, str(other.entries[0])], [check, str(same)],
        [check, entries, str(timed)], [check, entries[:-4]], [check, entries.replace("+", "-")], [check, entries] * 40,
    ):  # fmt: skip
        with pytest.raises(BadPublicKey):
            parse_trusted_keys("\n".join(lines).encode())
    for raw in (b"\xff\xfe", b"#" * 70_000):
        with pytest.raises(BadPublicKey):
            parse_trusted_keys(raw)


def command(path: Path, keys: Path | None, *, as_json: bool = False) -> tuple[int, str, str]:
    """Exit status, output and errors of the command."""
    out, err = io.StringIO(), io.StringIO()
    return verify_command.run(path, keys, as_json=as_json, out=out, err=err), out.getvalue(), err.getvalue()


def test_the_command_prints_a_table_and_a_verdict(tmp_path: Path) -> None:
    """Exit status 0 and a last line VERIFIED, or 1 and a last line that names the entry."""
    good, bad, keys = tmp_path / "good", tmp_path / "bad", tmp_path / "keys"
    good.write_bytes(bundle.write(CONTENT))
    swapped = (*CONTENT.entries[:5], LEDGER.entries[9], CONTENT.entries[6])
    bad.write_bytes(bundle.write(changed(entries=swapped)))
    keys.write_bytes(render_trusted_keys(KEYS))
    status, out, err = command(good, keys)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith(f"VERIFIED: case {CASE} to revision 5")
    assert sum(" ok " in line for line in out.splitlines()) == len(STEPS)
    status, out, _ = command(bad, keys)
    assert status == 1
    assert out.splitlines()[-1].startswith("NOT VERIFIED: entry 7 (case.reopened.v1, revision 3): the inclusion proof")
    status, out, _ = command(good, None)
    assert (status, "no keys were given" in out) == (0, True)


def test_the_command_prints_json(tmp_path: Path) -> None:
    """The typed report, as it is."""
    (tmp_path / "b").write_bytes(bundle.write(CONTENT))
    status, out, _ = command(tmp_path / "b", None, as_json=True)
    assert status == 0
    assert msgspec.json.decode(out, type=Report) == judge(CONTENT, None)
    assert json.loads(out)["trust"] == "internal consistency only"


def test_the_command_tells_unusable_files_from_bad_ones(tmp_path: Path) -> None:
    """2 for what cannot be read or is no key file; a file that is no bundle is a bundle that does not verify."""
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    assert command(tmp_path / "none", None)[0] == 2
    assert command(tmp_path, None)[0] == 2
    assert command(junk, junk)[0] == 2
    assert command(junk, None)[0] == 1
