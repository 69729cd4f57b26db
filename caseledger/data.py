"""The data directory: found or made, its keys, and the public halves that others verify with. Light to import."""

import os
from pathlib import Path

import msgspec

from application.ledger import keyfiles
from application.ledger.keyfiles import KeyFiles
from application.ledger.keylock import locker
from application.witness import post_quantum
from caseledger.settings import Settings
from domain.errors import Misconfigured
from domain.ledger.verify_trust import TrustedKeys, render_trusted_keys

PUBLIC_KEYS = "public-keys.txt"
"""File in the data directory with what `caseledger verify` trusts; holds no secret."""


def data_directory(settings: Settings) -> Path:
    """The data directory, made if it is new; modes of what was there are left as they are.

    Raises:
        Misconfigured: it cannot be made or used.
    """
    data = settings.data.expanduser().resolve()
    try:
        # Root's server runs as another user, who has to pass through; nobody may list.
        data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"the data directory {data} cannot be made: {error.strerror}") from None
    return data


def existing_keys(settings: Settings) -> KeyFiles:
    """The key files of a data directory that has some; needs no database, and makes nothing.

    Raises:
        Misconfigured: there is no ledger yet, or its key files are unusable.
    """
    data = settings.data.expanduser().resolve()
    if not (data / "origin").exists():
        raise Misconfigured(f"there is no ledger in {data} yet: `caseledger serve` makes one")
    return keyfiles.load(data, locker(settings.key_passphrase_file))


def trusted_keys(keys: KeyFiles) -> TrustedKeys:
    """The public keys of a ledger, as a verifier is given them."""
    own = post_quantum.existing(keys.place, keys.origin, keys.locker)
    return msgspec.structs.replace(keys.trusted(), post_quantum=own)


def write_public_keys(path: Path, keys: KeyFiles) -> None:
    """Put the public keys into a file, whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(render_trusted_keys(trusted_keys(keys)))
    fresh.replace(path)
