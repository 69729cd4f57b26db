"""The signer's side: what it shows, what it refuses to sign, and what becomes of a key file."""

import stat
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.opinions import Submission
from caseledger import cli, signing
from caseledger.signing import Prepared, described, load_key, new_key, prove_possession, shown, sign
from domain.case.commands import SignOpinionInput
from domain.case.events import CoordinatorAssigned, NotApplicable, Opinion, OpinionSigned, RecordPin, Stated
from domain.errors import MalformedStatement, Misconfigured, PreparationExpired, WrongStatement
from domain.event import Event, encode, register
from domain.ledger.dsse import pre_authentication_encoding
from domain.ledger.keys import key_id, proof_of_possession_message, verify_ed25519
from domain.ledger.sealing import Opening
from domain.ledger.statement import Statement, encode_statement

NOW = 1_790_000_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ORIGIN = "caseledger.invalid/test"
NOTHING = NotApplicable(why="no operation on this organ")
CONTENT = Opinion(
    resectability="resectable",
    surgery_recommended=True,
    surgical_approach=Stated(text="Right hepatectomy.\nSecond line."),
    conversion_strategy=NOTHING,
    additional_investigations=NOTHING,
    trial_eligibility=NOTHING,
    vascular_involvement=NOTHING,
    future_liver_remnant=Stated(text="Enough."),
    circumferential_resection_margin=NOTHING,
    rationale="Two lesions, one side.",
)
OPINION = SignOpinionInput(content=CONTENT, relied_on=(RecordPin(record="r-1", manifest_sha256="a" * 64),))


def prepared(event: Event | None = None, *, key: Ed25519PrivateKey = KEY, expires_at: int | None = NOW + 1) -> Prepared:
    """A prepared statement as the service makes one."""
    said = event or OpinionSigned(
        opinion="opinion-1",
        version=1,
        signer_name="Dr. Example",
        meaning="authorship",
        **msgspec.structs.asdict(OPINION),
    )
    opening = Opening(b"b" * 32, encode(said))
    signed = expires_at is not None
    statement = Statement(
        origin=ORIGIN,
        stream="case-c-1",
        rev=9,
        prev="0" * 64,
        case="c-1",
        kind=register.of(said).topic,
        actor="surgeon-1",
        role="specialist",
        key_id=key_id(key.public_key().public_bytes_raw()) if signed else None,
        key_head="1" * 64 if signed else None,
        recorded_at=NOW - 1,
        cause="018f0000-0000-7000-8000-000000000000",
        purpose="TREAT",
        subject="case:c-1",
        commitment=opening.commitment(),
        expires_at=expires_at,
    )
    return Prepared(
        statement=encode_statement(statement), blinding=opening.blinding, payload=opening.payload, preparation=b"p"
    )


def test_a_signature_is_over_the_very_statement_that_was_prepared() -> None:
    """The submission gives everything back unchanged, with a signature over its DSSE PAE."""
    given = prepared()
    sent = sign(given, KEY, OPINION, now=NOW)
    verify_ed25519(KEY.public_key().public_bytes_raw(), sent.signature, pre_authentication_encoding(given.statement))
    assert (sent.statement, sent.blinding, sent.payload, sent.preparation) == msgspec.structs.astuple(given)


def test_the_signer_is_shown_the_whole_opinion() -> None:
    """Every part is in the text, also those that do not apply, with case, ledger and records."""
    text = described(prepared())
    for each in (ORIGIN, "c-1", "Second line.", "no operation on this organ", "Two lesions, one side.", "r-1", "yes"):
        assert each in text


@pytest.mark.parametrize("member", ["blinding", "payload"])
def test_a_commitment_that_does_not_open_is_refused(member: str) -> None:
    """What is shown has to be what the statement commits to."""
    given = prepared()
    altered = msgspec.structs.replace(given, **{member: getattr(given, member)[:-1] + b"!"})
    with pytest.raises(WrongStatement, match="does not commit"):
        sign(altered, KEY, now=NOW)


def test_another_opinion_than_the_expected_is_refused() -> None:
    """The difference is named by its field, not by its content."""
    expected = msgspec.structs.replace(OPINION, content=msgspec.structs.replace(CONTENT, resectability="unresectable"))
    with pytest.raises(WrongStatement, match="its content differs"):
        sign(prepared(), KEY, expected, now=NOW)


def test_other_records_than_the_expected_are_refused() -> None:
    """An opinion that rests on other records is another opinion."""
    expected = msgspec.structs.replace(OPINION, relied_on=(RecordPin(record="r-2", manifest_sha256="a" * 64),))
    with pytest.raises(WrongStatement, match="its relied_on differs"):
        sign(prepared(), KEY, expected, now=NOW)


def test_a_statement_for_another_key_is_refused() -> None:
    """Signed with this key it would only be refused later."""
    with pytest.raises(WrongStatement, match="another key"):
        sign(prepared(), Ed25519PrivateKey.generate(), now=NOW)


@pytest.mark.parametrize("late", [1, 2])
def test_an_expired_statement_is_refused(late: int) -> None:
    """From the very instant at which it expires."""
    with pytest.raises(PreparationExpired):
        sign(prepared(), KEY, now=NOW + late)


def test_what_is_no_opinion_is_not_shown_as_one() -> None:
    """Nobody is brought to sign another kind of event."""
    with pytest.raises(WrongStatement, match="not about an opinion"):
        shown(prepared(CoordinatorAssigned(coordinator="coordinator-1")))


def test_bytes_that_are_no_statement_are_refused() -> None:
    """Not canonical, not signed."""
    with pytest.raises(MalformedStatement):
        shown(msgspec.structs.replace(prepared(), statement=b'{"v": 1}'))


def test_a_new_key_is_private_to_its_owner_and_never_replaces_one(tmp_path: Path) -> None:
    """Mode 0600, and a second key under the same name is refused."""
    path = tmp_path / "key.pem"
    key, public = new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key == key_id(bytes.fromhex(public))
    before = path.read_bytes()
    with pytest.raises(Misconfigured, match="exists"):
        new_key(path)
    assert path.read_bytes() == before


def test_possession_is_proven_for_one_ledger_and_one_owner(tmp_path: Path) -> None:
    """The proof is a signature over origin, owner and key."""
    new_key(tmp_path / "key.pem")
    proof = prove_possession(load_key(tmp_path / "key.pem"), ORIGIN, "surgeon-1")
    raw = bytes.fromhex(proof["public_key"])
    message = proof_of_possession_message(ORIGIN, "surgeon-1", key_id(raw), raw)
    verify_ed25519(raw, bytes.fromhex(proof["possession"]), message)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_is_no_key_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    """The message says what is wrong and repeats nothing of the file."""
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(Misconfigured, match="not an unencrypted private key in PEM"):
        load_key(tmp_path / "key.pem")


def test_the_command_prints_a_submission_and_shows_the_opinion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is the body to submit, standard error what the signer reads."""
    monkeypatch.setattr(signing.time, "time_ns", lambda: NOW * 1000)
    new_key(tmp_path / "key.pem")
    given = prepared(key=load_key(tmp_path / "key.pem"))
    (tmp_path / "prepared.json").write_bytes(
        msgspec.json.encode({**msgspec.structs.asdict(given), "expires_at": "2026-11-22T10:00:00Z"})
    )
    (tmp_path / "opinion.json").write_bytes(msgspec.json.encode(OPINION))
    words = ["sign", str(tmp_path / "prepared.json"), "--key", str(tmp_path / "key.pem")]
    assert cli.main([*words, "--expect", str(tmp_path / "opinion.json")]) == 0
    out, err = capsys.readouterr()
    assert msgspec.json.decode(out, type=Submission).statement == given.statement
    assert "Two lesions, one side." in err


@pytest.mark.parametrize("which", ["prepared.json", "opinion.json"])
def test_the_command_names_the_file_that_is_not_what_it_should_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    """One line on standard error, status 1, nothing on standard output."""
    new_key(tmp_path / "key.pem")
    (tmp_path / "prepared.json").write_bytes(msgspec.json.encode(prepared()))
    (tmp_path / "opinion.json").write_bytes(msgspec.json.encode(OPINION))
    (tmp_path / which).write_text('{"statement": 7}')
    words = ["sign", str(tmp_path / "prepared.json"), "--key", str(tmp_path / "key.pem")]
    assert cli.main([*words, "--expect", str(tmp_path / "opinion.json")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert which in err
