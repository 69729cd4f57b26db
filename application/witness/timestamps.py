"""Time-stamp tokens over checkpoints (RFC 3161): asking a time-stamping authority, and judging what it answered.

What is stamped is the note exactly as the log released it, so a token says: this tree, signed by this log, existed by
then. Nothing of the database is needed to judge one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import rfc3161_client
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from domain.errors import Misconfigured, TimeStampInvalid

MAX_RESPONSE_BYTES = 64 * 1024
MAX_CERTIFICATES_BYTES = 1024 * 1024
REQUEST_TYPE, RESPONSE_TYPE = "application/timestamp-query", "application/timestamp-reply"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Authorities(msgspec.Struct, frozen=True):
    """The certificates by which tokens are trusted: roots, what stands between, and at most one signer.

    The signer is for authorities that embed no certificate in a token; one that is embedded has to lead to a root.
    """

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()
    signer: x509.Certificate | None = None

    def judge(self, response: bytes, message: bytes, nonce: int | None = None) -> int:
        """When a response says that the message existed, in microseconds UTC.

        The certificates have to be valid at that time, not now. Revocation is not looked up.

        Raises:
            TimeStampInvalid: not a response, not granted, not of this message or nonce, or not signed by a certificate
                for time-stamping that leads to one of the roots.
        """
        if len(response) > MAX_RESPONSE_BYTES:
            raise TimeStampInvalid(f"a time-stamp response has at most {MAX_RESPONSE_BYTES} bytes")
        try:
            decoded = rfc3161_client.decode_timestamp_response(response)
            embedded = decoded.signed_data.certificates
            # Constructed whole: the library's builder changes the builder that it is chained from.
            verifier = rfc3161_client.VerifierBuilder(
                roots=list(self.roots),
                intermediates=list(self.intermediates),
                tsa_certificate=None if embedded else self.signer,
                nonce=nonce,
            ).build()
            if decoded.as_bytes() != response:
                raise TimeStampInvalid("a time-stamp response has one encoding")
            verifier.verify_message(decoded, message)
            at = decoded.tst_info.gen_time
        except rfc3161_client.VerificationError as error:
            # What OpenSSL adds names its own files and lines.
            raise TimeStampInvalid(str(error).partition(": ErrorStack")[0]) from None
        except (ValueError, TypeError) as error:
            raise TimeStampInvalid(f"not a time-stamp response: {type(error).__name__}") from None
        return (at - _EPOCH) // _MICROSECOND


class Query(msgspec.Struct, frozen=True):
    """A request in DER for a token over a message, and the nonce that the answer has to repeat."""

    body: bytes
    nonce: int


def ask(message: bytes) -> Query:
    """A request for a token over a message's SHA-256, with a nonce, asking for the signer's certificate."""
    request = rfc3161_client.TimestampRequestBuilder(
        data=message, hash_algorithm=rfc3161_client.HashAlgorithm.SHA256, nonce=True, cert_req=True
    ).build()
    if request.nonce is None:
        raise TimeStampInvalid("the request has no nonce")
    return Query(request.as_bytes(), request.nonce)


def read_authorities(pem: bytes) -> Authorities:
    """Sorts the certificates of a PEM file: self-issued ones are roots, one that stamps is the signer, others between.

    Raises:
        Misconfigured: not such a file, no root in it, or more than one signer.
    """
    try:
        if len(pem) > MAX_CERTIFICATES_BYTES:
            raise ValueError
        certificates = x509.load_pem_x509_certificates(pem)
        signers = [each for each in certificates if not _self_issued(each) and _stamps(each)]
    except ValueError:
        raise Misconfigured("the certificates for time stamps are not certificates in PEM") from None
    roots = [each for each in certificates if _self_issued(each)]
    if not roots or len(signers) > 1:
        raise Misconfigured("the certificates for time stamps hold at least one root, and at most one signer")
    between = [each for each in certificates if each not in roots and each not in signers]
    return Authorities(tuple(roots), tuple(between), signers[0] if signers else None)


def _self_issued(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def _stamps(certificate: x509.Certificate) -> bool:
    found: Sequence[x509.Extension[x509.ExtensionType]] = list(certificate.extensions)
    usages = [each.value for each in found if isinstance(each.value, x509.ExtendedKeyUsage)]
    # An intermediate may carry the usage too, to bound what it issues.
    authority = any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in found)
    return not authority and any(ExtendedKeyUsageOID.TIME_STAMPING in usage for usage in usages)
