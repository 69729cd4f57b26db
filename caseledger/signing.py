"""The signer's side: makes a key, proves that it is held, checks a prepared statement and signs it.

Nothing here talks to the service or needs its data: a surgeon's own machine runs this, and the private key stays there.
"""

import os
import time
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from application.opinions import Submission
from domain.case.commands import SignOpinionInput
from domain.case.events import NotApplicable, OpinionSigned, Stated
from domain.errors import Misconfigured, PreparationExpired, WrongStatement
from domain.event import register
from domain.ledger.dsse import pre_authentication_encoding
from domain.ledger.keys import key_id, proof_of_possession_message
from domain.ledger.sealing import Opening
from domain.ledger.statement import decode_statement

_MAX_KEY_FILE_BYTES = 16 * 1024


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a signer needs of a prepared statement; when it expires is read from the statement itself."""

    statement: bytes
    blinding: bytes
    payload: bytes
    preparation: bytes


def new_key(path: Path) -> tuple[str, str]:
    """Make an Ed25519 key in a file (PKCS#8 PEM, mode 0600) that must not exist yet; its id and public half, hex.

    Raises:
        Misconfigured: there is a file of that name, or it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Misconfigured(f"the key file cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    raw = key.public_key().public_bytes_raw()
    return key_id(raw), raw.hex()


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read a key file.

    Raises:
        Misconfigured: it cannot be read, or is no unencrypted Ed25519 key.
    """
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(_MAX_KEY_FILE_BYTES), password=None)
    except OSError as error:
        raise Misconfigured(f"the key file cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise Misconfigured("the key file is not an unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured("the key file does not hold an Ed25519 key")
    return key


def prove_possession(key: Ed25519PrivateKey, origin: str, owner: str) -> dict[str, str]:
    """The body that proposes a key for its owner at a ledger: public key and proof of possession, both hex."""
    raw = key.public_key().public_bytes_raw()
    message = proof_of_possession_message(origin, owner, key_id(raw), raw)
    return {"public_key": raw.hex(), "possession": key.sign(message).hex()}


def shown(prepared: Prepared) -> OpinionSigned:
    """What a prepared statement commits to: this, and nothing else, is what a signature will stand for.

    Raises:
        WrongStatement: the commitment does not open to the payload, or that is no opinion.
        MalformedStatement: the statement is not canonical.
    """
    statement = decode_statement(prepared.statement)
    if Opening(prepared.blinding, prepared.payload).commitment() != statement.commitment:
        raise WrongStatement("the statement does not commit to the opinion that came with it")
    event = register.decode(statement.kind, prepared.payload)
    if not isinstance(event, OpinionSigned):
        raise WrongStatement("the statement is not about an opinion")
    return event


def sign(
    prepared: Prepared, key: Ed25519PrivateKey, expected: SignOpinionInput | None = None, *, now: int | None = None
) -> Submission:
    """Check a prepared statement and sign it; `now` is in microseconds UTC.

    Raises:
        WrongStatement: it does not commit to what came with it, is for another key, or says something else.
        PreparationExpired: it cannot be submitted any more.
    """
    event = shown(prepared)
    statement = decode_statement(prepared.statement)
    if expected is not None:
        for name in SignOpinionInput.__struct_fields__:
            if getattr(event, name) != getattr(expected, name):
                raise WrongStatement(f"the prepared opinion is not the expected one: its {name} differs")
    if statement.key_id != key_id(key.public_key().public_bytes_raw()):
        raise WrongStatement("the statement was prepared for another key")
    at = time.time_ns() // 1000 if now is None else now
    if statement.expires_at is None or statement.expires_at <= at:
        raise PreparationExpired
    return Submission(
        statement=prepared.statement,
        blinding=prepared.blinding,
        payload=prepared.payload,
        preparation=prepared.preparation,
        signature=key.sign(pre_authentication_encoding(prepared.statement)),
    )


def described(prepared: Prepared) -> str:
    """What is about to be signed, as text for the signer: the whole opinion, and for which case and ledger.

    Raises:
        As `shown`.
    """
    event, statement = shown(prepared), decode_statement(prepared.statement)
    lines = [
        f"ledger    {statement.origin}",
        f"case      {statement.case}, revision {statement.rev}",
        f"as        {event.signer_name} ({statement.actor}, {statement.role})",
        f"key       {statement.key_id}",
        f"opinion   {event.opinion}, version {event.version}",
    ]
    for name in event.content.__struct_fields__:
        value = getattr(event.content, name)
        match value:
            case Stated():
                text = value.text
            case NotApplicable():
                text = f"not applicable: {value.why}"
            case bool():
                text = "yes" if value else "no"
            case _:
                text = str(value)
        lines.append(f"{name.replace('_', ' ')}:")
        lines += [f"    {line}" for line in text.splitlines() or [""]]
    lines += [f"relies on record {pin.record}, manifest {pin.manifest_sha256}" for pin in event.relied_on]
    lines += [f"accepted limit: {limit}" for limit in event.accepted_limits]
    return "\n".join(lines)
