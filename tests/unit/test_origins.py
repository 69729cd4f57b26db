"""A log that was restored and goes on under another origin: what permits that, and what a verifier says of it."""

import re
from pathlib import Path

import msgspec
import pytest

from domain.event import encode
from domain.ledger.batch_prover import BatchProver
from domain.ledger.keys import verify_ed25519
from domain.ledger.origins import STREAM, SUCCEEDED, Origins, read_origins, root_before
from domain.ledger.tree import Frontier, leaf_hash
from domain.ledger.verify_trust import parse_trusted_keys, render_trusted_keys
from tests.ledger_builder import CASE, LedgerBuilder, Signer, private_key, public_bytes, small_ledger
from tests.restored_builder import A, B, C, M, Restored, judged, on_log, restored, said_by
from tests.verifying import BY, OWN, enrolled, fails

ROOT = Path(__file__).resolve().parents[2]


def test_a_restored_case_verifies_and_the_report_says_that_it_was_restored(tmp_path: Path) -> None:
    """With the keys of both logs, in either order, it says what was published first, and what is lost."""
    ledger = restored()
    content = ledger.whole_case(CASE)
    for keys in (ledger.all_keys(), msgspec.structs.replace(ledger.before[0], others=(ledger.trusted_keys(),))):
        report = judged(content, keys)
        assert report.ok, report.failure
        assert report.origin == B
        [found] = report.restored
        assert (found.index, found.old, found.new, found.released, found.judged) == (M, A, B, 11, True)
        said = " ".join(report.statements)
        assert f"entries before {M} were first published under the origin {A}" in said
        assert "up to size 11 is lost" in said
        assert {each.name: each.count for each in report.checks}["origins"] == 2
        log = on_log(ledger, tmp_path, keys)
        assert log.ok, log.failure
        assert log.restored == report.restored
        assert any("RESTORED" in each for each in log.statements)


def test_the_new_keys_alone_are_the_new_logs_word_for_the_old(tmp_path: Path) -> None:
    """They lead back to the old keys as the entry names them, and the report says whose word that is."""
    ledger = restored()
    for report in (
        judged(ledger.whole_case(CASE), ledger.trusted_keys()),
        on_log(ledger, tmp_path, ledger.trusted_keys()),
    ):
        assert report.ok, report.failure
        assert [each.judged for each in report.restored] == [False]
        assert any(f"the word of {B}" in each for each in report.statements)


def test_the_old_keys_alone_do_not_reach_the_new_log(tmp_path: Path) -> None:
    """That a log takes another's place is never enough to trust it; the report says what is missing."""
    ledger = restored()
    fails(judged(ledger.whole_case(CASE), ledger.before[0]), "checkpoint", None, "took the place of that one")
    report = on_log(ledger, tmp_path, ledger.before[0])
    assert report.failure is not None
    assert report.failure.check == "checkpoint"
    assert "its own keys are needed" in report.failure.message


def test_without_keys_the_succession_is_still_held_together() -> None:
    """Its endorsements are judged by the keys that it names; the report claims no more than consistency."""
    ledger = restored()
    report = judged(ledger.whole_case(CASE), None)
    assert report.ok, report.failure
    assert report.trust == "internal consistency only"
    assert [each.judged for each in report.restored] == [False]
    zeros = tuple(
        msgspec.structs.replace(each, signature="0" * 128)
        for each in said_by(restored()).endorsements
    )  # fmt: skip
    fails(judged(restored(endorsements=zeros).whole_case(CASE), None), "origins", M, "did not sign")


def test_actors_keys_of_the_old_origin_stay_good() -> None:
    """Enrolled under the old origin, a key signs under the new one; so does one that is enrolled afterwards."""
    ledger = restored()
    signer = _surgeon(ledger)
    ledger.sign_opinion(signer)
    ledger.sign_opinion(enrolled(ledger, "surgeon-2"))
    report = judged(ledger.whole_case(CASE), ledger.all_keys())
    assert report.ok, report.failure
    assert {each.name: each.count for each in report.checks}["actor signatures"] == 3


def _surgeon(ledger: Restored) -> Signer:
    name = next(each.key_id for each in ledger.statements if each.key_id is not None)
    return Signer("surgeon-1", "specialist", private_key("surgeon-1 key"), name)


def test_restored_twice_and_thrice(tmp_path: Path) -> None:
    """Each change is endorsed by the log before it; a restore to before a change makes that one, and its log, lost."""
    ledger = restored()
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    assert ledger.succeed(M + 2, C) == M + 2
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    for report in (judged(ledger.whole_case(CASE), ledger.all_keys()), on_log(ledger, tmp_path, ledger.all_keys())):
        assert report.ok, report.failure
        assert [(each.old, each.new, each.index) for each in report.restored] == [(A, B, M), (B, C, M + 2)]
    # Of the middle one no keys are given: its word is the third's.
    some = msgspec.structs.replace(ledger.trusted_keys(), others=(ledger.before[0],))
    report = judged(ledger.whole_case(CASE), some)
    assert report.ok, report.failure
    assert [each.judged for each in report.restored] == [True, False]


def test_an_older_checkpoint_of_the_old_origin(tmp_path: Path) -> None:
    """One that was restored is the first of these entries; one of what is lost fails, and says why."""
    ledger = restored()
    kept, lost = tmp_path / "kept", tmp_path / "lost"
    before = LedgerBuilder(A)
    before.entries = small_ledger().entries[: M - 1]
    kept.write_bytes(before.checkpoint())
    lost.write_bytes(ledger.released[0])
    report = on_log(ledger, tmp_path, ledger.all_keys(), since=kept)
    assert report.ok, report.failure
    assert {each.name: each.count for each in report.checks}["older checkpoint"] == M - 1
    report = on_log(ledger, tmp_path, ledger.all_keys(), since=lost)
    assert report.failure is not None
    assert report.failure.check == "older checkpoint"
    assert f"entries {M} to 10 of {A} are lost" in report.failure.message


def test_a_bundle_of_before_the_restore_still_verifies() -> None:
    """What somebody was given then is evidence, of what was lost too."""
    ledger = restored()
    old = small_ledger().case_bundle(CASE)
    for keys in (ledger.all_keys(), ledger.before[0]):
        report = judged(old, keys)
        assert report.ok, report.failure
        assert (report.origin, report.size, report.restored) == (A, 11, ())


@pytest.mark.parametrize("index", range(1, 40))
def test_the_root_before_an_entry_follows_from_its_inclusion_proof(index: int) -> None:
    """What stands left of the path are the peaks of the tree that ends before it."""
    leaves = [leaf_hash(b"%d" % number) for number in range(41)]
    for size in range(index + 1, 42):
        proof = BatchProver(Frontier(), leaves[:size]).proof(index)
        assert root_before(index, size, proof) == Frontier().extend(leaves[:index]).root()


def test_origins_of_indexes() -> None:
    """A log that was never restored has one, whatever the index."""
    origins = read_origins(A, (), {})
    assert origins == Origins(A)
    assert {origins.at(index) for index in (0, 7, 2**40)} == {A}
    ledger = restored()
    assert STREAM in ledger.heads


def test_key_files_of_several_logs() -> None:
    """They read back in their order, and each log has to be whole."""
    ledger = restored()
    keys = ledger.all_keys()
    raw = render_trusted_keys(keys)
    assert parse_trusted_keys(raw) == keys
    found = keys.of(A)
    assert found is not None
    assert (found.origin, [each.origin for each in found.others]) == (A, [B])
    assert keys.of("ledger.example/none") is None


def test_the_documented_example_is_the_golden_one() -> None:
    """The page's payload is the one that is kept for ever, and its message what the old keys signed for it."""
    text = (ROOT / "docs" / "ledger.md").read_text()
    payload, message = re.findall(r"<!-- origins: \w+ -->\n```text\n(.*?)\n?```", text, re.DOTALL)
    assert payload == (ROOT / "tests" / "golden" / f"{SUCCEEDED}.json").read_text()
    assert payload.encode() == encode(said_by(restored()))
    said = said_by(restored())
    signed = (message + "\n").encode()
    for key, each in zip(("checkpoint", "entry"), said.endorsements, strict=True):
        verify_ed25519(public_bytes(private_key(f"{A} {key}")), bytes.fromhex(each.signature), signed)


@pytest.mark.parametrize("size", range(1, 14))
def test_wherever_the_change_falls_among_the_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """At a segment's first entry, its last, or between: its root is put together, and a lie is found."""
    monkeypatch.setattr("domain.ledger.verify_log.SEGMENT", 4)
    ledger = Restored(A)
    for number in range(14):
        ledger.append(f"case-{number % 3}", "case.opened.v1", b"{}", **BY)
    ledger.succeed(size, B)
    for number in range(9):
        ledger.append(f"case-{number % 4}", "note.made.v1", b"{}", **BY)
    report = on_log(ledger, tmp_path, ledger.all_keys())
    assert report.ok, report.failure
    assert [each.index for each in report.restored] == [size]
    again = Restored(A)
    for number in range(14):
        again.append(f"case-{number % 3}", "case.opened.v1", b"{}", **BY)
    again.succeed(size, B, root="11" * 32)
    again.append("case-0", "note.made.v1", b"{}", **BY)
    bad = on_log(again, tmp_path / "bad", again.all_keys())
    assert bad.failure is not None
    assert (bad.failure.check, bad.failure.index) == ("origins", size)
