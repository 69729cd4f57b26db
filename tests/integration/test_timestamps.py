"""Time stamps over checkpoints, by a real authority: `openssl ts`, with certificates made for the test."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from application.witness import post_quantum
from application.witness.cosignatures import Cosignatures
from application.witness.timestamps import Authorities, ask, read_authorities
from application.witness.witnessing import Reply, Stamping, Witnessing
from domain.errors import Misconfigured, TimeStampInvalid, Unavailable
from domain.ledger import bundle
from domain.ledger.cosignature import released
from domain.ledger.report import Report
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys, render_trusted_keys
from tests import independent_verifier
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger, open_ledger
from tests.service_fixture import PATIENT, Walk, open_service, request

OPENSSL = shutil.which("openssl")
NOW = datetime.now(UTC)
CONFIGURATION = """
[tsa]
default_tsa = tsa_config
[tsa_config]
serial = serial
crypto_device = builtin
signer_cert = signer.pem
signer_key = signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not on the path")


def certificate(
    name: str,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
    *,
    begins: datetime = NOW - timedelta(days=1),
    usage: bool = True,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A root, or a signer for time-stamping under an issuer; valid for ten days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=10))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None and usage:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    return made.sign(key if issuer is None else issuer[1], hashes.SHA256()), key


class Authority:
    """`openssl ts` as an authority, in a folder; `away` and `spoil` make it a bad one."""

    def __init__(self, folder: Path, **signer: object) -> None:
        folder.mkdir()
        self.folder = folder
        self.root = certificate("Test root")
        self.signer, key = certificate("Test signer", self.root, **signer)  # type: ignore[arg-type]
        (folder / "signer.pem").write_bytes(self.signer.public_bytes(Encoding.PEM))
        (folder / "signer.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "tsa.cnf").write_text(CONFIGURATION)
        (folder / "serial").write_text("01\n")
        self.asked = 0
        self.away = False
        self.spoil = lambda response: response

    def stamp(self, query: bytes) -> bytes:
        """A response to a query."""
        (self.folder / "query.tsq").write_bytes(query)
        command = [str(OPENSSL), "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-out", "reply.tsr"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=30)
        return (self.folder / "reply.tsr").read_bytes()

    def send(self, url: str, body: bytes | None, media_type: str) -> Reply:
        """What `witnessing.Send` is."""
        assert body is not None
        assert media_type == "application/timestamp-query"
        self.asked += 1
        if self.away:
            raise Unavailable("no answer")
        return Reply(200, "application/timestamp-reply", self.spoil(self.stamp(body)))

    def authorities(self) -> Authorities:
        """What trusts it: its root alone."""
        return read_authorities(self.root[0].public_bytes(Encoding.PEM))

    def stamping(self, period_s: float = 3600) -> Stamping:
        """How it is asked."""
        return Stamping(url="http://tsa", send=self.send, authorities=self.authorities(), period_s=period_s)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A good authority."""
    return Authority(tmp_path / "tsa")


def test_a_stamp_over_a_message_holds_for_it_alone(authority: Authority) -> None:
    """Its time is now; another message, nonce or root is refused."""
    query = ask(b"message")
    response = authority.stamp(query.body)
    at = authority.authorities().judge(response, b"message", query.nonce)
    assert abs(at / 1e6 - time.time()) < 60
    for message, nonce in ((b"other", query.nonce), (b"message", query.nonce + 1)):
        with pytest.raises(TimeStampInvalid):
            authority.authorities().judge(response, message, nonce)
    stranger = read_authorities(certificate("Test root")[0].public_bytes(Encoding.PEM))
    with pytest.raises(TimeStampInvalid):
        stranger.judge(response, b"message")


def test_openssl_takes_our_query_and_verifies_what_we_store(authority: Authority, tmp_path: Path) -> None:
    """The stored bytes are a response that `openssl ts -verify` holds against the message, too."""
    response = authority.stamp(ask(b"message").body)
    for name, content in (("reply.tsr", response), ("message", b"message")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "root.pem").write_bytes(authority.root[0].public_bytes(Encoding.PEM))
    command = [str(OPENSSL), "ts", "-verify", "-data", "message", "-in", "reply.tsr", "-CAfile", "root.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert "Verification: OK" in done.stdout + done.stderr


def test_a_signer_that_was_not_valid_then_or_not_for_this_is_refused(tmp_path: Path) -> None:
    """A certificate that had ended, and one without the usage for time-stamping."""
    ended = Authority(tmp_path / "ended", begins=NOW - timedelta(days=30))
    with pytest.raises(TimeStampInvalid):
        ended.authorities().judge(ended.stamp(ask(b"message").body), b"message")
    good = Authority(tmp_path / "good")
    other = Authority(tmp_path / "other", usage=False)
    # openssl itself refuses to stamp with it, so a good response stands beside another's chain.
    with pytest.raises(TimeStampInvalid):
        other.authorities().judge(good.stamp(ask(b"message").body), b"message")


@pytest.mark.parametrize("raw", [b"", b"\x30\x00", b"\x30" * 100, b"x" * 70_000, b"\x30\x84\xff\xff\xff\xff"])
def test_what_is_no_response_is_refused(authority: Authority, raw: bytes) -> None:
    """Empty, cut, nested without end, too large: a typed refusal."""
    with pytest.raises(TimeStampInvalid):
        authority.authorities().judge(raw, b"message")


def test_a_refusal_of_the_authority_is_no_stamp(authority: Authority) -> None:
    """A response with a status that is not `granted` holds nothing."""
    refused = authority.stamp(b"\x30\x03\x02\x01\x01")
    with pytest.raises(TimeStampInvalid):
        authority.authorities().judge(refused, b"message")


@pytest.mark.parametrize(
    "pem", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_certificates_that_are_none_are_refused(pem: bytes) -> None:
    """At the start, and not when the first stamp comes."""
    with pytest.raises(Misconfigured):
        read_authorities(pem)


def test_a_file_without_a_root_or_with_two_signers_is_refused(authority: Authority) -> None:
    """Without a root nothing could hold; of two signers none is the one."""
    signer = authority.signer.public_bytes(Encoding.PEM)
    second = certificate("Second", authority.root)[0].public_bytes(Encoding.PEM)
    for pem in (signer, authority.root[0].public_bytes(Encoding.PEM) + signer + second):
        with pytest.raises(Misconfigured):
            read_authorities(pem)


# -- over a log --


class Stamped:
    """A ledger whose checkpoints are stamped."""

    def __init__(self, one: OpenLedger, data: Path, authority: Authority, period_s: float) -> None:
        self.one = one
        self.store = Cosignatures(one.checkpoints, post_quantum.load(data, one.keys.origin), None)
        self.client = Witnessing(
            one.pool, self.store, one.keys.origin, one.verifiers, authority.send, stamping=authority.stamping(period_s)
        )

    def stamps(self) -> list[tuple[int, bytes]]:
        """Every stored stamp with its size."""
        with self.one.pool.connection() as connection:
            return connection.execute("SELECT size, response FROM ledger.time_stamp ORDER BY size").fetchall()


@pytest.fixture
def one(database: Database, tmp_path: Path) -> Iterator[OpenLedger]:
    """An open ledger with an entry."""
    with open_ledger(database, tmp_path / "data") as ledger:
        ledger.add("case-one")
        yield ledger


def test_a_round_stamps_the_newest_checkpoint_once_a_period(
    one: OpenLedger, authority: Authority, tmp_path: Path
) -> None:
    """The stamp is over the note as it was released; within the period, and of a log that stands, none is asked for."""
    stamped = Stamped(one, tmp_path / "data", authority, 3600)
    stamped.client.round()
    ((size, response),) = stamped.stamps()
    with one.pool.connection() as connection:
        note = stamped.store.latest(connection)[1]
        standing = stamped.store.standing(connection)
    assert size == standing.stamped == 1
    at = authority.authorities().judge(bytes(response), released(note))
    assert standing.stamped_at == at
    one.add("case-two")
    stamped.client.round()
    assert authority.asked == 1
    eager = Stamped(one, tmp_path / "data", authority, 0)
    eager.client.round()
    eager.client.round()
    assert [size for size, _ in eager.stamps()] == [1, 2]
    assert authority.asked == 2


def test_an_authority_that_is_away_or_wrong_stores_nothing_and_is_asked_again_later(
    one: OpenLedger, authority: Authority, tmp_path: Path
) -> None:
    """Appends go on; a response that does not hold is not kept; both are left alone for a while."""
    stamped = Stamped(one, tmp_path / "data", authority, 0)
    authority.away = True
    stamped.client.round()
    stamped.client.round()
    assert (authority.asked, stamped.client.standpoints()[-1].problem) == (1, "away")
    authority.away = False
    bad = Stamped(one, tmp_path / "data", authority, 0)
    authority.spoil = lambda response: response[:-5] + bytes(5)
    bad.client.round()
    assert bad.client.standpoints()[-1].problem == "refused"
    assert bad.stamps() == []
    one.add("case-two")
    authority.spoil = lambda response: response
    Stamped(one, tmp_path / "data", authority, 0).client.round()
    assert [size for size, _ in bad.stamps()] == [2]


def test_a_case_s_bundle_carries_the_stamp_and_the_post_quantum_line(
    database: Database, tmp_path: Path, authority: Authority
) -> None:
    """It verifies with the post-quantum key required; stamps are judged where a judge is brought, else reported."""
    with open_service(database, tmp_path / "data") as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        trusted = msgspec.structs.replace(
            service.checkpoints.live.files.trusted(), post_quantum=service.cosignatures.own_keys()
        )
        plain = service.bundles.export(request(*PATIENT), walk.case)
        assert verify(plain, trusted).ok
        client = Witnessing(
            service.pool, service.cosignatures, service.keys.origin, tuple, authority.send,
            stamping=authority.stamping(),
        )  # fmt: skip
        client.round()
        raw = service.bundles.export(request(*PATIENT), walk.case)
    content = bundle.read(raw)
    assert len(content.time_stamps) == 1
    (tmp_path / "bundle").write_bytes(raw)
    lines = render_trusted_keys(trusted).decode().splitlines()
    assert independent_verifier.verify(str(tmp_path / "bundle"), lines)[0] == len(content.entries)
    _reports(raw, content, trusted, authority)


def _reports(raw: bytes, content: bundle.Bundle, trusted: TrustedKeys, authority: Authority) -> None:
    report = verify(raw, trusted)
    assert report.ok
    assert any("1 time stamps of the checkpoint are present, and not judged" in each for each in report.remarks)
    judge = authority.authorities().judge
    report = verify(raw, trusted, stamp_judge=judge)
    assert report.ok
    assert any("the checkpoint existed by" in each for each in report.statements)
    # One of another checkpoint, and one by another root, are failures of that member.
    other = bundle.TimeStamp(rfc3161=authority.stamp(ask(b"another").body))
    grafted = bundle.write(msgspec.structs.replace(content, time_stamps=(*content.time_stamps, other)))
    stranger = read_authorities(certificate("Test root")[0].public_bytes(Encoding.PEM)).judge
    for failed in (verify(grafted, trusted, stamp_judge=judge), verify(raw, trusted, stamp_judge=stranger)):
        _fails(failed, bundle.TIME_STAMPS)
    # Without the log's post-quantum line the bundle is not what the key file asks for.
    stripped = bundle.write(msgspec.structs.replace(content, checkpoint=released(content.checkpoint)))
    _fails(verify(stripped, trusted), bundle.CHECKPOINT)
    assert verify(stripped, msgspec.structs.replace(trusted, post_quantum=())).ok


def _fails(report: Report, member: str) -> None:
    assert report.failure is not None
    assert (report.failure.check, report.failure.member) == ("checkpoint", member)
