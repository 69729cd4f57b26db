"""The verifier: what an honest bundle shows, and how each lie is named, even where the ledger itself signed it."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from caseledger import verify_command
from domain.errors import BadPublicKey
from domain.ledger import bundle, verify_signers
from domain.ledger.note import COSIGNATURE_V1, ED25519, VerifierKey
from domain.ledger.report import Report
from domain.ledger.verify import STEPS, verify
from domain.ledger.verify_trust import TrustedKeys, parse_trusted_keys, render_trusted_keys
from domain.signing_key import APPROVERS
from tests.ledger_builder import CASE, LedgerBuilder, Signer, private_key, public_bytes, small_ledger

OWN = bundle.case_stream(CASE)
LEDGER = small_ledger()
KEYS = LEDGER.trusted_keys()
CONTENT = LEDGER.case_bundle()
OFFICER = {"actor": "officer-1", "role": "compliance"}
BY = {"actor": "coordinator-1", "role": "coordinator"}


def judge(content: bundle.Bundle, keys: TrustedKeys | None = KEYS) -> Report:
    """The report on a bundle."""
    return verify(bundle.write(content), keys)


def changed(**fields: object) -> bundle.Bundle:
    """The honest bundle with other parts."""
    return msgspec.structs.replace(CONTENT, **fields)


def fails(report: Report, check: str, index: int | None, words: str) -> None:
    """Holds that a report names this failure first, and judges nothing after it."""
    assert not report.ok
    assert report.failure is not None
    assert (report.failure.check, report.failure.index) == (check, index), report.failure
    assert words in report.failure.message
    names = [name for name, _, _ in STEPS]
    assert [each.ok for each in report.checks][names.index(check) :] == [False] + [None] * (
        len(names) - names.index(check) - 1
    )


def test_an_honest_bundle_is_verified() -> None:
    """Every check passes and counts what it looked at."""
    report = judge(CONTENT)
    assert report.ok
    assert report.failure is None
    assert {check.name: (check.count, check.ok) for check in report.checks} == {
        "structure": (5, True), "checkpoint": (2, True), "entries": (7, True), "ledger signatures": (7, True),
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
    report = judge(ledger.case_bundle())
    assert report.ok
    assert any(each.startswith("1 entries commit to no payload") for each in report.statements)


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


def test_an_undisclosed_key_history_cannot_be_judged() -> None:
    """Without the key's payloads an actor's signature is not accepted."""
    openings = tuple(each for each in CONTENT.openings if each.index != 3)
    fails(judge(changed(openings=openings)), "signing keys", 3, "not disclosed")


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


def enrolled(ledger: LedgerBuilder, actor: str = "surgeon-1", role: str = "specialist") -> Signer:
    """An actor with an approved key."""
    signer = ledger.request_key(actor, role)
    ledger.approve_key(signer)
    return signer


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


def _unapproved(ledger: LedgerBuilder) -> None:
    ledger.sign_opinion(ledger.request_key("surgeon-1", "specialist"))


def _approved_later(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.sign_opinion(surgeon)
    ledger.approve_key(surgeon)


def _approved_by_self(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.approve_key(surgeon, approver="surgeon-1")
    ledger.sign_opinion(surgeon)


def _approved_by_coordinator(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.approve_key(surgeon, approver="coordinator-1", role="coordinator")
    ledger.sign_opinion(surgeon)


def _approved_for_another(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.approve_key(surgeon, owner="surgeon-2")
    ledger.sign_opinion(surgeon)


def _no_possession(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist", possession="0" * 128)
    ledger.approve_key(surgeon)
    ledger.sign_opinion(surgeon)


def _asked_for_by_another(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist", owner="surgeon-2")
    ledger.approve_key(surgeon, owner="surgeon-2")
    ledger.sign_opinion(surgeon)


def _other_public_key(ledger: LedgerBuilder) -> None:
    surgeon = ledger.request_key("surgeon-1", "specialist", public_key=public_bytes(private_key("x")).hex())
    ledger.approve_key(surgeon)
    ledger.sign_opinion(surgeon)


def _low_order_key(ledger: LedgerBuilder) -> None:
    # The identity: with it as public key, R = identity and S = 0 is a signature of every message for a lax verifier.
    from domain.ledger.keys import key_id

    low = (1).to_bytes(32, "little")
    name, stream = key_id(low), bundle.key_stream(key_id(low))
    asked = {"algorithm": "ed25519", "key": name, "owner": "surgeon-1"}
    asked |= {"possession": low.hex() + "0" * 64, "public_key": low.hex()}
    payload = bundle.encoding.encode(asked)
    ledger.append(stream, verify_signers.REQUESTED, payload, actor="surgeon-1", role="specialist")
    ledger.append(
        stream, verify_signers.ENROLLED, bundle.encoding.encode({"key": name, "owner": "surgeon-1"}), **OFFICER
    )
    ledger.sign_opinion(Signer("surgeon-1", "specialist", private_key("x"), name))


def _unknown_history(ledger: LedgerBuilder) -> None:
    surgeon = enrolled(ledger)
    ledger.append(bundle.key_stream(surgeon.key_id), "key.revoked.v1", b"{}", **OFFICER)
    ledger.sign_opinion(surgeon)


@pytest.mark.parametrize(
    ("lie", "check", "index", "words"),
    [
        (_unapproved, "signing keys", 0, "history is not"),
        (_approved_later, "actor signatures", 1, "not enrolled before"),
        (_approved_by_self, "signing keys", 1, "another person"),
        (_approved_by_coordinator, "signing keys", 1, "another person"),
        (_approved_for_another, "signing keys", 1, "another key or owner"),
        (_no_possession, "signing keys", 1, ""),
        (_asked_for_by_another, "signing keys", 1, "by its owner"),
        (_other_public_key, "signing keys", 1, "key id"),
        (_low_order_key, "signing keys", 1, ""),
        (_unknown_history, "signing keys", 2, "nothing else"),
    ],
)
def test_a_key_is_accepted_only_by_its_own_history(
    lie: Callable[[LedgerBuilder], None], check: str, index: int, words: str
) -> None:
    """Proof of possession by the owner, then approval by a second person, before the signed entry."""
    ledger = LedgerBuilder()
    lie(ledger)
    fails(judge(ledger.case_bundle()), check, index, words)


OpinionFields = Callable[[LedgerBuilder, Signer], dict[str, object]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (lambda ledger, by: {"signer": None}, "needs the actor's own"),
        (lambda ledger, by: {"signer": None, "kind": "opinion.signed.v2"}, "needs the actor's own"),
        (lambda ledger, by: {"signatures": lambda raw: (ledger.entry_key.sign(raw),)}, "come together"),
        (
            lambda ledger, by: {
                "signer": None,
                "signatures": lambda raw: (by.key.sign(raw), ledger.entry_key.sign(raw)),
            },
            "come together",
        ),
        (lambda ledger, by: {"role": "coordinator"}, "signed by a specialist"),
        (lambda ledger, by: {"actor": "surgeon-2"}, "not this actor's"),
        (lambda ledger, by: {"key_head": "0" * 64}, "key_head"),
        (lambda ledger, by: {"key_head": ledger.statements[1].prev}, "key_head"),
        (
            lambda ledger, by: {"signatures": lambda raw: (private_key("x").sign(raw), ledger.entry_key.sign(raw))},
            "signature",
        ),
        (
            lambda ledger, by: {"signatures": lambda raw: (by.key.sign(raw[:-1]), ledger.entry_key.sign(raw))},
            "signature",
        ),
    ],
)
def test_an_opinion_without_its_surgeons_signature_is_a_forgery(fields: OpinionFields, words: str) -> None:
    """Whatever the ledger itself signed: without the right key, role, actor and key_head the opinion fails."""
    ledger = LedgerBuilder()
    surgeon = enrolled(ledger)
    ledger.sign_opinion(surgeon, **fields(ledger, surgeon))
    report = judge(ledger.bundle_of([0, 1, 2] if ledger.statements[2].key_id else [2], revision=1))
    fails(report, "actor signatures", 2, words)
    assert report.verdict().startswith("NOT VERIFIED: entry 2 (opinion.signed.v")


def test_a_key_in_another_role_does_not_sign() -> None:
    """A key that was enrolled by its owner as something else signs no opinion."""
    ledger = LedgerBuilder()
    ledger.sign_opinion(enrolled(ledger, role="patient"), role="specialist")
    fails(judge(ledger.case_bundle()), "actor signatures", 2, "in this role")


def test_an_ordinary_entry_may_be_signed_too() -> None:
    """Where no signature is required a good one is accepted, and a bad one is not."""
    for key, ok in (("surgeon-1 key", True), ("x", False)):
        ledger = LedgerBuilder()
        surgeon = enrolled(ledger)
        signer = Signer(surgeon.actor, surgeon.role, private_key(key), surgeon.key_id)
        ledger.append(OWN, "note.made.v1", b"{}", actor="surgeon-1", role="specialist", signer=signer)
        assert judge(ledger.case_bundle()).ok is ok


def test_the_number_of_signing_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking a new public key is slow, so a bundle may name only so many."""
    monkeypatch.setattr("domain.ledger.verify.MAX_SIGNERS", 0)
    fails(judge(CONTENT), "completeness", None, "more than 0 signing keys")


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


def test_the_approving_roles_are_the_domains() -> None:
    """The verifier's own table of who approves keys equals the one that the service decides by."""
    assert verify_signers.APPROVING_ROLES == APPROVERS


def test_the_verifier_needs_nothing_else_of_the_system() -> None:
    """Importing it loads domain.errors and domain.ledger alone, and of packages msgspec and cryptography."""
    script = "import sys, domain.ledger.verify; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    packages = {"domain", "application", "projections", "api", "caseledger"}
    ours = {name for name in loaded if name.split(".")[0] in packages}
    assert all(name in {"domain", "domain.errors"} or name.startswith("domain.ledger") for name in ours), ours
    assert not {"psycopg", "litestar", "eventsourcing", "pydicom", "structlog"} & set(loaded)


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
