"""Published time-stamp responses, good and bad: what our judge makes of each."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from application.witness.timestamps import Authorities, read_authorities
from domain.errors import TimeStampInvalid
from tests.shared import shared

HELLO = b"hello"


def fixtures(*parts: str) -> Path:
    """A published file."""
    return shared("vectors/rfc3161-client/test/fixtures", *parts)


def authorities(folder: str) -> Authorities:
    """The folder's own chain."""
    return read_authorities(fixtures(folder, "ts_chain.pem").read_bytes())


def judge(folder: str, name: str, message: bytes = HELLO, by: str = "") -> datetime:
    """When a response says that the message existed, by the folder's chain or another's."""
    at = authorities(by or folder).judge(fixtures(folder, name).read_bytes(), message)
    return datetime.fromtimestamp(at / 1e6, UTC)


@pytest.mark.parametrize(
    ("folder", "name", "at"),
    [
        ("sigstage", "response-sha256.tsr", datetime(2025, 5, 9, 11, 58, 55, tzinfo=UTC)),
        ("sigstage", "response-sha384.tsr", datetime(2025, 5, 9, 11, 58, 55, tzinfo=UTC)),
        ("sigstage", "response-sha512.tsr", datetime(2025, 5, 9, 11, 58, 56, tzinfo=UTC)),
        ("test_tsa", "response.tsr", datetime(2024, 10, 8, 15, 40, 32, tzinfo=UTC)),
        # The token embeds no certificate: the chain's own signer stands in for it.
        ("sigstage", "response-no-embedded-cert.tsr", datetime(2025, 6, 18, 8, 13, 2, tzinfo=UTC)),
        # Certificates that were put in later are outside of what is signed; the signer is who the signature names.
        ("test_tsa", "response-injected-certs.tsr", datetime(2024, 10, 8, 15, 40, 32, tzinfo=UTC)),
    ],
)
def test_a_good_response_gives_its_time(folder: str, name: str, at: datetime) -> None:
    """Three hashes, an intermediate, a missing and superfluous certificates: all of them hold for their message."""
    assert judge(folder, name) == at


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("sigstage", "response-invalid-signature.tsr"),
        # Its chain is not the folder's.
        ("test_tsa", "other_response.tsr"),
    ],
)
def test_a_bad_response_is_refused(folder: str, name: str) -> None:
    """A signature that does not hold, and a signer that no root of ours leads to."""
    with pytest.raises(TimeStampInvalid):
        judge(folder, name)


def test_every_published_response_is_judged_here(counted: Callable[[str, int], None]) -> None:
    """No file of the collection is left out."""
    published = sorted(path.name for path in fixtures().rglob("*.tsr"))
    source = Path(__file__).read_text("utf-8")
    assert [name for name in published if f'"{name}"' not in source] == []
    counted("published vectors, rfc3161-client responses", len(published))


def test_a_signer_that_has_expired_since_still_holds() -> None:
    """What counts is that the certificates were valid at the time in the token: else no evidence would last."""
    payload = fixtures("sigstore.mock", "payload").read_bytes()
    assert judge("sigstore.mock", "response-expired.tsr", payload) == datetime(2023, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", ["response.tsr", "response-injected-certs.tsr"])
def test_certificates_in_a_token_are_no_roots(name: str) -> None:
    """By another authority's roots the same tokens are refused, whatever certificates they bring along."""
    with pytest.raises(TimeStampInvalid, match="certificate"):
        judge("test_tsa", name, by="sigstage")


def test_without_a_signer_of_ours_a_token_has_to_bring_its_own() -> None:
    """No certificate in the token and none configured leaves nobody whose signature it could be."""
    chain = authorities("sigstage")
    without = Authorities(chain.roots, chain.intermediates)
    with pytest.raises(TimeStampInvalid):
        without.judge(fixtures("sigstage", "response-no-embedded-cert.tsr").read_bytes(), HELLO)


def test_a_response_is_of_one_message_and_one_nonce() -> None:
    """Another message is refused, as is a response to another request."""
    with pytest.raises(TimeStampInvalid, match="message"):
        judge("sigstage", "response-sha256.tsr", b"hallo")
    raw = fixtures("sigstage", "response-sha256.tsr").read_bytes()
    nonce = 29058628326804424575740794515242105174416608320
    authorities("sigstage").judge(raw, HELLO, nonce)
    with pytest.raises(TimeStampInvalid, match="Nonce"):
        authorities("sigstage").judge(raw, HELLO, nonce + 1)


def test_every_truncation_and_most_bits_of_a_response_are_refused(counted: Callable[[str, int], None]) -> None:
    """A response that is cut anywhere, or has a bit turned, is a typed refusal, or says what the good one says."""
    raw = fixtures("sigstage", "response-sha256.tsr").read_bytes()
    chain = authorities("sigstage")
    honest, tried, held = chain.judge(raw, HELLO), 0, 0
    changed = [raw[:end] for end in range(0, len(raw), 7)]
    changed += [raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :] for at in range(len(raw))]
    for each in changed:
        tried += 1
        try:
            assert chain.judge(each, HELLO) == honest
            held += 1
        except TimeStampInvalid:
            continue
    assert tried == len(changed) > 1400
    # What no signature covers may change: names of the status, unsigned attributes, certificates that are not used.
    assert held < tried // 20, held
    counted("altered time stamps judged", tried)


def test_a_real_commercial_response_without_our_root_is_refused() -> None:
    """A response of an authority whose chain was not given does not hold, and reading it raises nothing else."""
    raw = fixtures("identrust", "issue-104.tsr").read_bytes()
    with pytest.raises(TimeStampInvalid):
        authorities("sigstage").judge(raw, HELLO)


def test_the_chain_is_sorted_by_what_its_certificates_are() -> None:
    """Self-issued ones are roots, the one for time-stamping is the signer, the rest stands between."""
    chain = authorities("test_tsa")
    names = [[each.subject.rfc4514_string() for each in part] for part in (chain.roots, chain.intermediates)]
    assert names == [["CN=Test TSA Root,O=local"], ["CN=Test TSA Intermediate,O=local"]]
    assert isinstance(chain.signer, x509.Certificate)
    assert "Timestamping" in chain.signer.subject.rfc4514_string()
