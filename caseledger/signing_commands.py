"""`caseledger key` and `caseledger sign`: what a signer runs on their own machine, without settings or database.

`key rotate` alone is the operator's, and runs beside the data directory.
"""

import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from application.ledger.key_rotation import make_next
from caseledger import signing
from caseledger.data import existing_keys
from caseledger.settings import Settings
from domain.case.commands import SignOpinionInput
from domain.errors import Misconfigured
from domain.ledger.keys import key_id
from domain.ledger.note import VerifierKey

T = TypeVar("T")

_MAX_BYTES = 4 * 1024 * 1024


def new(path: Path) -> int:
    """Make a key file; prints its id and public key."""
    key, public = signing.new_key(path)
    print(msgspec.json.encode({"key": key, "public_key": public}).decode())
    return 0


def prove(path: Path, origin: str, owner: str) -> int:
    """Print the body that proposes a key to a ledger."""
    key = signing.load_key(path)
    print(msgspec.json.encode(signing.prove_possession(key, origin, owner)).decode())
    print(f"caseledger: proves key {key_id(key.public_key().public_bytes_raw())}", file=sys.stderr)
    return 0


def rotate(settings: Settings, purpose: str) -> int:
    """Make the file of the log's next key of a purpose; prints the body that proposes it.

    Raises:
        Misconfigured: there is no ledger yet, or its key files are unusable.
    """
    proposal = make_next(existing_keys(settings), purpose)
    print(msgspec.json.encode(proposal).decode())
    key = key_id(VerifierKey.parse(proposal.vkey).public_key)
    print(
        f"caseledger: key {key} is made, and not in use: an administrator posts this to /service-keys/proposals,"
        f" then somebody else approves it by POST /keys/{key}/approval",
        file=sys.stderr,
    )
    return 0


def sign(prepared: Path, key: Path, expect: Path | None) -> int:
    """Show what was prepared on standard error, check it, and print the submission."""
    given = _read(prepared, signing.Prepared, "a prepared statement")
    expected = None if expect is None else _read(expect, SignOpinionInput, "an opinion as it is sent to be prepared")
    private = signing.load_key(key)
    print(signing.described(given), file=sys.stderr)
    print(msgspec.json.encode(signing.sign(given, private, expected)).decode())
    return 0


def _read(path: Path, shape: type[T], what: str) -> T:
    """A JSON file of a shape.

    Raises:
        Misconfigured: it cannot be read, or is not of that shape.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_BYTES:
        raise Misconfigured(f"{path} is too large for {what}")
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not {what}: {error}") from None
