"""How far the log's post-quantum key has followed a log that is verified whole: it signs on a period, and so lags."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from caseledger import verify_log_command
from caseledger.log.sources import DirectorySource
from caseledger.verify_log_command import Wanted
from domain.ledger import verify_log
from domain.ledger.cosignature import extended
from domain.ledger.cosignature_mldsa import ML_DSA_44
from domain.ledger.log_report import LogReport
from domain.ledger.note import Note, NoteSignature, VerifierKey, cosign_mldsa, cosignature_time_s
from domain.ledger.verify_trust import render_trusted_keys
from tests.ledger_builder import LedgerBuilder, small_ledger
from tests.log_fixture import publish

BY: dict[str, Any] = {"actor": "coordinator-1", "role": "coordinator"}
QUANTUM = MLDSA44PrivateKey.from_seed_bytes(b"q" * 32)
PUBLIC = QUANTUM.public_key().public_bytes_raw()


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of four entries, so that a small log has several."""
    monkeypatch.setattr(verify_log, "SEGMENT", 4)


def signed(note: bytes) -> bytes:
    """A checkpoint with a post-quantum line of the same time."""
    parsed = Note.parse(note)
    origin = parsed.text.partition("\n")[0]
    time_s = cosignature_time_s(parsed.signatures[1])
    return extended(note, [cosign_mldsa(parsed.text, origin, QUANTUM, time_s)])


def grown(ledger: LedgerBuilder, count: int) -> LedgerBuilder:
    """The ledger, with more entries."""
    for _ in range(count):
        ledger.append("case-other", "case.reopened.v1", b"{}", **BY)
    return ledger


def report_on(ledger: LedgerBuilder, place: Path, **more: Any) -> LogReport:
    """The report on what lies in a directory, with a key file that names the post-quantum key."""
    own = VerifierKey.make(ledger.origin, ML_DSA_44, PUBLIC)
    trusted = msgspec.structs.replace(ledger.trusted_keys(), post_quantum=(own,))
    (place / "keys").write_bytes(render_trusted_keys(trusted))
    return verify_log_command.verify(DirectorySource(place), Wanted(keys=place / "keys", jobs=1, **more))


def fails(report: LogReport, check: str, words: str) -> None:
    """Holds that a report names this failure."""
    assert report.failure is not None
    assert report.failure.check == check, report.failure
    assert words in report.failure.message
    assert report.post_quantum_size is None


@pytest.mark.parametrize("behind", [0, 1, 3, 4, 5, 30])
def test_the_newest_signed_tree_is_a_prefix_and_the_report_says_its_size(tmp_path: Path, behind: int) -> None:
    """All of the log is verified, and the post-quantum key's word reaches as far as it signed."""
    ledger = small_ledger()
    lagging = signed(ledger.checkpoint())
    publish(grown(ledger, behind), tmp_path)
    (tmp_path / "checkpoint-post-quantum").write_bytes(lagging)
    report = report_on(ledger, tmp_path)
    assert report.failure is None
    assert (report.size, report.entries, report.post_quantum_size) == (11 + behind, 11 + behind, 11)
    assert next(each.count for each in report.checks if each.name == "post-quantum") == 11
    (said,) = (each for each in report.statements if each.startswith("post-quantum up to size 11"))
    assert (f"the {behind} entries behind it rest on Ed25519 alone" in said) == bool(behind)


def test_a_checkpoint_that_has_the_line_itself_needs_no_other(tmp_path: Path) -> None:
    """Post-quantum holds up to its own size; one beside it is not looked at."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    (tmp_path / "checkpoint").write_bytes(signed(ledger.checkpoint()))
    (tmp_path / "checkpoint-post-quantum").write_bytes(b"nonsense")
    report = report_on(ledger, tmp_path)
    assert (report.failure, report.post_quantum_size) == (None, 11)


def test_a_kept_checkpoint_is_verified_with_an_older_signed_one(tmp_path: Path) -> None:
    """The one that somebody kept may lack the line; the newest that has it must not be of more entries."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    lagging = signed(ledger.checkpoint())
    publish(grown(ledger, 2), tmp_path)
    (tmp_path / "kept").write_bytes(ledger.checkpoint())
    publish(grown(ledger, 2), tmp_path)
    (tmp_path / "checkpoint-post-quantum").write_bytes(lagging)
    report = report_on(ledger, tmp_path, checkpoint=tmp_path / "kept")
    assert (report.failure, report.size, report.post_quantum_size) == (None, 13, 11)
    (tmp_path / "checkpoint-post-quantum").write_bytes(signed(ledger.checkpoint()))
    report = report_on(ledger, tmp_path, checkpoint=tmp_path / "kept")
    fails(report, "post-quantum", "had 15 entries then, and has 13 now")


def test_a_key_that_signed_nothing_fails(tmp_path: Path) -> None:
    """Whoever brings the key asks for its word: none at all, or a line stripped off, is not passed over."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    fails(report_on(ledger, tmp_path), "post-quantum", "no checkpoint that the log's post-quantum key signed")
    (tmp_path / "checkpoint-post-quantum").write_bytes(ledger.checkpoint())
    fails(report_on(ledger, tmp_path), "post-quantum", "no checkpoint that the log's post-quantum key signed")


def test_a_signed_tree_that_the_log_does_not_continue_is_found(tmp_path: Path) -> None:
    """A history rewritten since, by whoever can make Ed25519 signatures but not these."""
    ledger, fork = small_ledger(), small_ledger()
    fork.entries = [*fork.entries[:5], fork.entries[6]]
    publish(ledger, tmp_path)
    (tmp_path / "checkpoint-post-quantum").write_bytes(signed(fork.checkpoint()))
    fails(report_on(ledger, tmp_path), "post-quantum", "the first 6 entries are others than it was signed for")
    other = LedgerBuilder("ledger.example/other")
    other.append("case-1", "case.opened.v1", b"{}", **BY)
    (tmp_path / "checkpoint-post-quantum").write_bytes(signed(other.checkpoint()))
    fails(report_on(ledger, tmp_path), "post-quantum", "no checkpoint that the log's post-quantum key signed")


def test_a_bad_line_is_not_passed_over(tmp_path: Path) -> None:
    """One bit of it, under the newest checkpoint or the older one; and one that says another time."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    released = ledger.checkpoint()
    line = Note.parse(signed(released)).signatures[-1]
    bad = NoteSignature(line.name, line.key_hash, line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    late = cosign_mldsa(Note.parse(released).text, ledger.origin, QUANTUM, 1_999_999_999)
    for wrong in (bad, late):
        (tmp_path / "checkpoint-post-quantum").write_bytes(extended(released, [wrong]))
        fails(report_on(ledger, tmp_path), "post-quantum", "")
    (tmp_path / "checkpoint").write_bytes(extended(released, [bad]))
    (tmp_path / "checkpoint-post-quantum").write_bytes(signed(released))
    fails(report_on(ledger, tmp_path), "checkpoint", "")
    (tmp_path / "checkpoint").write_bytes(released)
    (tmp_path / "checkpoint-post-quantum").write_bytes(b"hello")
    fails(report_on(ledger, tmp_path), "post-quantum", "")


def test_without_the_key_nothing_is_asked(tmp_path: Path) -> None:
    """Who brings Ed25519 keys only has the rest judged, and sees that this was not."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    (tmp_path / "checkpoint-post-quantum").write_bytes(b"nonsense")
    (tmp_path / "keys").write_bytes(render_trusted_keys(ledger.trusted_keys()))
    report = verify_log_command.verify(DirectorySource(tmp_path), Wanted(keys=tmp_path / "keys", jobs=1))
    assert (report.failure, report.post_quantum_size) == (None, None)
    assert next(each.ok for each in report.checks if each.name == "post-quantum") is None
