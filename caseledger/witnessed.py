"""What the settings say of witnesses and time stamps, and the rounds that follow from it."""

from pathlib import Path

from application.service import Service
from application.witness.rounds import Rounds
from application.witness.timestamps import MAX_CERTIFICATES_BYTES, Authorities, read_authorities
from application.witness.witnessing import Stamping, Witnessing
from caseledger.outgoing import sender
from caseledger.settings import Settings
from domain.errors import BadPublicKey, MalformedNote, Misconfigured
from domain.ledger.cosignature_policy import MAX_POLICY_BYTES, Policy, parse_policy
from domain.ledger.note import VerifierKey


def policy(settings: Settings) -> Policy | None:
    """The policy of witnesses; None without one.

    Raises:
        Misconfigured: the file cannot be read, or is none.
    """
    return None if settings.witnesses is None else read_policy(settings.witnesses)


def read_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        Misconfigured: it cannot be read, or is none.
    """
    try:
        return parse_policy(_read(path, MAX_POLICY_BYTES))
    except (MalformedNote, BadPublicKey) as error:
        raise Misconfigured(f"the policy of witnesses is not usable: {error}") from None


def read_certificates(path: Path) -> Authorities:
    """The certificates that time stamps are trusted by.

    Raises:
        Misconfigured: the file cannot be read, or holds none.
    """
    return read_authorities(_read(path, MAX_CERTIFICATES_BYTES))


def rounds(settings: Settings, service: Service) -> Rounds:
    """The rounds over this ledger's checkpoints; without witnesses and authority they add the second key alone."""
    stamping = None
    if settings.tsa_url is not None and settings.tsa_certificates is not None:
        authorities = read_certificates(settings.tsa_certificates)
        send = sender(settings.tsa_timeout_s)
        stamping = Stamping(url=settings.tsa_url, authorities=authorities, period_s=settings.tsa_period_s, send=send)
    witnessing = Witnessing(
        service.pool,
        service.cosignatures,
        service.keys.origin,
        lambda: service.checkpoints.live.files.trusted().checkpoint,
        sender(settings.witness_timeout_s),
        revoked=lambda: _revoked(service),
        stamping=stamping,
        period_s=settings.cosign_period_s,
    )
    return Rounds(witnessing, settings.cosign_period_s)


def _revoked(service: Service) -> list[VerifierKey]:
    """Witnesses' keys that the log has revoked."""
    keys = [each for each in service.service_keys.all() if each.purpose == "witness" and each.status == "revoked"]
    return [VerifierKey.parse(each.vkey) for each in keys]


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Misconfigured(f"the file {path.name} cannot be read: {error.strerror}") from None
