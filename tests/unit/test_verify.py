"""The verifier: what an honest bundle shows, and how each lie is named, even where the ledger itself signed it."""

import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest

from domain.ledger import bundle
from domain.ledger.checkpoint import Checkpoint, read_unverified, sign
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.report import Report
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys
from tests.ledger_builder import LedgerBuilder, private_key, public_bytes, small_ledger
from tests.verifying import BY, CONTENT, KEYS, LEDGER, OWN, changed, enrolled, fails, judge


def test_an_honest_bundle_is_verified() -> None:
    """Every check passes and counts what it looked at."""
    report = judge(CONTENT)
    assert report.ok
    assert report.failure is None
    assert {check.name: (check.count, check.ok) for check in report.checks} == {
        "structure": (5, True), "checkpoint": (2, True), "entries": (7, True), "origins": (1, True),
        "ledger signatures": (7, True),
        "inclusion": (7, True), "chains": (2, True), "completeness": (5, True), "openings": (7, True),
        "signing keys": (1, True), "actor signatures": (1, True),
    }  # fmt: skip
    assert (report.trust, report.size, report.revision, report.entries) == ("given keys", 11, 5, 7)
    assert report.committed_at == 1_800_000_011_000_000
    assert "complete to revision 5 of the case; later entries are not excluded" in report.statements


def test_without_keys_only_consistency_is_claimed() -> None:
    """Signatures of the log are then not judged, no time is reported, and the verdict says so."""
    report = judge(CONTENT, None)
    assert (report.ok, report.trust, report.committed_at) == (True, "internal consistency only", None)
    assert [check.name for check in report.checks if check.ok is None] == ["checkpoint", "ledger signatures"]
    assert "NOT AUTHENTICATED" in report.verdict()
    assert any("no keys were given" in each for each in report.statements)


def test_a_part_of_a_case_is_verified_to_its_revision() -> None:
    """A bundle may end before the case does; keys that signed nothing in it are not there."""
    report = judge(LEDGER.case_bundle(until=2))
    assert (report.ok, report.revision, report.entries) == (True, 2, 2)
    assert report.checks[-1].count == 0


def test_payloads_that_are_not_disclosed_are_counted() -> None:
    """Proofs hold without content; what is missing is said."""
    report = judge(LEDGER.case_bundle(disclose=lambda index: index == 1))
    assert report.ok
    assert "3 of 7 payloads are disclosed and match; 4 are not disclosed" in report.statements


def test_entries_of_an_erased_subject_verify() -> None:
    """An entry without a commitment has nothing to open, and is counted apart."""
    ledger = small_ledger()
    ledger.append(OWN, "case.closed.v1", None, **BY)
    content = ledger.case_bundle()
    report = judge(content)
    assert report.ok
    assert any(each.startswith("1 entries commit to no payload") for each in report.statements)
    invented = bundle.Disclosure(index=11, blinding=bytes(32), payload=b"{}")
    report = judge(msgspec.structs.replace(content, openings=(*content.openings, invented)))
    fails(report, "openings", 11, "commits to no payload")


def test_expiry_is_judged_only_by_the_signed_time() -> None:
    """An actor's signature that may have expired before the checkpoint's commit time is not claimed to be in time."""

    def said(report: Report) -> str:
        return next(each for each in report.statements if "before they expired" in each)

    assert said(judge(CONTENT)).startswith("1 of 1")
    assert said(judge(CONTENT, None)).startswith("0 of 1")
    ledger = LedgerBuilder()
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon, expires_at=1_800_000_003_999_999)
    assert said(judge(ledger.case_bundle())).startswith("0 of 1")


def test_keys_of_another_log_are_not_believed() -> None:
    """Neither a log of another name nor another key under the same name verifies."""
    other = LedgerBuilder("ledger.example/other").trusted_keys()
    fails(judge(CONTENT, other), "checkpoint", None, "not of ledger.example/other")
    stranger = VerifierKey.make(KEYS.origin, ED25519, public_bytes(private_key("stranger")))
    fails(judge(CONTENT, TrustedKeys(KEYS.origin, (stranger,), KEYS.entries)), "checkpoint", None, "no known key")
    entries = VerifierKey.make(f"{KEYS.origin}/entries", ED25519, public_bytes(private_key("stranger")))
    fails(judge(CONTENT, TrustedKeys(KEYS.origin, KEYS.checkpoint, (entries,))), "ledger signatures", 0, "given key")


def test_after_a_rotation_any_given_key_counts() -> None:
    """Several keys of one log may be given."""
    entries = VerifierKey.make(f"{KEYS.origin}/entries", ED25519, public_bytes(private_key("stranger")))
    assert judge(CONTENT, TrustedKeys(KEYS.origin, KEYS.checkpoint, (entries, *KEYS.entries))).ok


@pytest.mark.parametrize("line", [4, 5])
def test_a_stripped_checkpoint_signature_is_missed(line: int) -> None:
    """The log signs each checkpoint twice; without either signature the checkpoint is not accepted."""
    lines = CONTENT.checkpoint.splitlines(keepends=True)
    note = b"".join(each for at, each in enumerate(lines) if at != line)
    fails(judge(changed(checkpoint=note)), "checkpoint", None, "signature")


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n\n\n",
        b"x" * 1000,
        b"\xff",
        b"a\x1b[31m\n1\nAAAA\n\n",
        CONTENT.checkpoint.replace(b"\n11\n", b"\n11\n\x1b[2J\n"),
        CONTENT.checkpoint.replace(b"\n11\n", b"\n011\n"),
        CONTENT.checkpoint.replace(b"\n11\n", b"\n" + b"9" * 400 + b"\n"),
        CONTENT.checkpoint + b"\n",
        CONTENT.checkpoint[:-1],
    ],
)
def test_hostile_notes_are_refused(note: bytes) -> None:
    """What is not a signed note fails as the checkpoint, with keys and without."""
    for keys in (KEYS, None):
        report = judge(changed(checkpoint=note), keys)
        fails(report, "checkpoint", None, "")
        assert report.failure is not None
        assert report.failure.member == bundle.CHECKPOINT


def test_a_checkpoint_of_another_log_is_refused() -> None:
    """Even where no key says whose it is, it has to be of the log that the bundle names."""
    other = LedgerBuilder("ledger.example/other")
    other.append(OWN, "case.opened.v1", b"{}", **BY)
    fails(judge(changed(checkpoint=other.checkpoint()), None), "checkpoint", None, "another log")


def test_a_time_that_no_clock_shows_is_refused() -> None:
    """A commit time beyond the range of times in the ledger fails, also when it is signed."""
    checkpoint = Checkpoint(LEDGER.origin, 11, read_unverified(CONTENT.checkpoint).root)
    for committed_at in (2**53 + 1_000_000, 2**62 * 1_000_000):
        note = sign(checkpoint, LEDGER.checkpoint_key, committed_at)
        fails(judge(changed(checkpoint=note)), "checkpoint", None, "out of range")


def test_an_older_checkpoint_does_not_cover_later_entries() -> None:
    """Entries above the checkpoint's size are not under it."""
    ledger = LedgerBuilder()
    ledger.append(OWN, "case.opened.v1", b"{}", **BY)
    note = ledger.checkpoint()
    ledger.append(OWN, "case.closed.v1", b"{}", **BY)
    fails(judge(msgspec.structs.replace(ledger.case_bundle(), checkpoint=note)), "inclusion", 0, "")


def test_proofs_of_another_length_are_refused() -> None:
    """Too short, too long, empty, or of a neighbour: the entry's index is named."""
    hashes = CONTENT.proofs[3].hashes
    for wrong in (hashes[:-1], (*hashes, hashes[0]), (), hashes[::-1], CONTENT.proofs[4].hashes):
        proof = bundle.Proof(index=CONTENT.proofs[3].index, hashes=wrong)
        report = judge(changed(proofs=(*CONTENT.proofs[:3], proof, *CONTENT.proofs[4:])))
        fails(report, "inclusion", CONTENT.proofs[3].index, "proof")


def test_nothing_is_never_green() -> None:
    """A bundle without entries, or without one of the case, fails."""
    fails(judge(changed(entries=(), proofs=(), openings=())), "structure", None, "no entry")
    fails(judge(LEDGER.bundle_of([2, 6, 9, 10], revision=4)), "completeness", None, "0 entries")


def test_a_missing_entry_is_missed() -> None:
    """Leaving out the first, a middle or the last entry of the case is seen, and so is a key's."""
    whole = [0, 1, 3, 4, 5, 7, 8]
    expected = ((1, "chains", 4), (4, "chains", 5), (7, "chains", 8), (8, "completeness", 7), (0, "chains", 3))
    for gone, check, index in expected:
        report = judge(LEDGER.bundle_of([each for each in whole if each != gone], revision=5))
        fails(report, check, index, "")
    fails(judge(LEDGER.bundle_of([1, 4, 5, 7, 8], revision=5)), "signing keys", 7, "not in the bundle")
    fails(judge(LEDGER.bundle_of([0, 1, 4, 5, 7, 8], revision=5)), "signing keys", 0, "history")


def test_foreign_entries_are_refused() -> None:
    """Entries of another case, or of a key that signed nothing here, do not belong into the bundle."""
    fails(judge(LEDGER.bundle_of([0, 1, 2, 3, 4, 5, 7, 8], revision=5)), "completeness", 2, "belongs neither")
    fails(judge(LEDGER.bundle_of([0, 1, 3, 4], revision=2)), "completeness", 0, "belongs neither")


def test_an_altered_opening_is_named() -> None:
    """Another payload or blinding than the one committed to."""
    for at, opening in enumerate(CONTENT.openings):
        for field in ("payload", "blinding"):
            other = bytes([getattr(opening, field)[0] ^ 1]) + getattr(opening, field)[1:]
            altered = msgspec.structs.replace(opening, **{field: other})
            openings = (*CONTENT.openings[:at], altered, *CONTENT.openings[at + 1 :])
            report = judge(changed(openings=openings))
            fails(report, "openings", opening.index, "commits to")
            assert report.failure is not None
            assert (report.failure.member, report.failure.kind is not None) == (bundle.OPENINGS, True)


def _opening(ledger: LedgerBuilder) -> None:
    ledger.append(OWN, "case.opened.v1", b"{}", **BY)


def _rev_gap(ledger: LedgerBuilder) -> None:
    _opening(ledger)
    ledger.append(OWN, "case.closed.v1", b"{}", rev=3, **BY)


def _rev_twice(ledger: LedgerBuilder) -> None:
    _opening(ledger)
    ledger.append(OWN, "case.closed.v1", b"{}", rev=1, prev=None, **BY)


def _forked(ledger: LedgerBuilder) -> None:
    _opening(ledger)
    ledger.append(OWN, "case.closed.v1", b"{}", prev="0" * 64, **BY)


def _other_origin(ledger: LedgerBuilder) -> None:
    _opening(ledger)
    ledger.append(OWN, "case.closed.v1", b"{}", origin="ledger.example/else", **BY)


def _other_case(ledger: LedgerBuilder) -> None:
    _opening(ledger)
    ledger.append(OWN, "case.closed.v1", b"{}", case="else", **BY)


def _stranger_signed(ledger: LedgerBuilder) -> None:
    _opening(ledger)
    ledger.append(OWN, "case.closed.v1", b"{}", signatures=lambda raw: (private_key("x").sign(raw),), **BY)


def _order_swapped(ledger: LedgerBuilder) -> None:
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon, signatures=lambda raw: (ledger.entry_key.sign(raw), surgeon.key.sign(raw)))


def _bad_statement(ledger: LedgerBuilder) -> None:
    _opening(ledger)
    ledger.append(OWN, "case.closed.v1", b"{}", purpose="\x1b[2J", **BY)


@pytest.mark.parametrize(
    ("lie", "check", "index", "words"),
    [
        (_rev_gap, "chains", 1, "goes on at revision 2"),
        (_rev_twice, "chains", 1, "goes on at revision 2"),
        (_forked, "chains", 1, "previous"),
        (_other_origin, "entries", 1, "another log"),
        (_other_case, "completeness", 1, "another case"),
        (_stranger_signed, "ledger signatures", 1, "given key"),
        (_order_swapped, "ledger signatures", 2, "given key"),
        (_bad_statement, "entries", 1, "line 2"),
    ],
)
def test_a_contradictory_ledger_is_named(
    lie: Callable[[LedgerBuilder], None], check: str, index: int, words: str
) -> None:
    """Even under the ledger's own checkpoint, entries that contradict each other fail."""
    ledger = LedgerBuilder()
    lie(ledger)
    indexes = list(range(len(ledger.entries)))
    revision = sum(each.stream == OWN for each in ledger.statements)
    fails(judge(ledger.bundle_of(indexes, revision=revision)), check, index, words)


def test_messages_carry_no_control_characters() -> None:
    """A hostile bundle cannot move the reader's cursor: what it makes us quote is neutralised and short."""
    field = '"\\u001b[31mred' + "x" * 900 + '":1,'
    raw = bundle.write(CONTENT).replace(b'{"case":', b'{"case":', 1)
    members = {"bundle.json": ("{" + field + '"case":"c"}').encode()}
    members |= {name: b"" for name in bundle.MEMBERS if name not in members}
    report = verify(bundle.write_members(members), KEYS)
    assert report.failure is not None
    assert report.failure.message.isprintable()
    assert len(report.failure.message) <= 300
    assert verify(raw, KEYS).ok


def test_the_verifier_needs_nothing_else_of_the_system() -> None:
    """Importing it loads domain.errors and domain.ledger alone, and of packages msgspec and cryptography."""
    script = "import sys, domain.ledger.verify; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    packages = {"domain", "application", "projections", "api", "caseledger"}
    ours = {name for name in loaded if name.split(".")[0] in packages}
    assert all(name in {"domain", "domain.errors"} or name.startswith("domain.ledger") for name in ours), ours
    assert not {"psycopg", "litestar", "eventsourcing", "pydicom", "structlog"} & set(loaded)
