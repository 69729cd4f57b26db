"""The ledger's secrets, which live in files outside the database.

    <data>/keys/kek          32 bytes, wraps every subject's key
    <data>/keys/entry        Ed25519, signs entries
    <data>/keys/checkpoint   Ed25519, signs checkpoints; never the one that signs entries
    <data>/keys/token        Ed25519, signs the bearer tokens that `caseledger token` issues
    <data>/keys/preparation  32 bytes, authenticates prepared statements between prepare and submit
    <data>/origin            this ledger's name

Each is made once, mode 0600 in a directory of mode 0700; one that others could read is refused.
"""

import os
import secrets
from base64 import b32encode
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.errors import Misconfigured
from domain.ledger.note import ED25519, VerifierKey

_SECRET_BYTES = 32
_NAMES = ("kek", "entry", "checkpoint", "token", "preparation")


class KeyFiles(msgspec.Struct, frozen=True, kw_only=True):
    """This ledger's name and secrets."""

    origin: str
    kek: bytes
    entry: Ed25519PrivateKey
    checkpoint: Ed25519PrivateKey
    token: Ed25519PrivateKey
    preparation: bytes

    def entry_verifier(self) -> VerifierKey:
        """Public half of the key that signs entries, in the notation of signed notes, named `<origin>/entries`."""
        return VerifierKey.make(f"{self.origin}/entries", ED25519, raw_public(self.entry))

    def checkpoint_verifier(self) -> VerifierKey:
        """Public half of the key that signs checkpoints, named as the origin."""
        return VerifierKey.make(self.origin, ED25519, raw_public(self.checkpoint))


def raw_public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of a key's public half."""
    return key.public_key().public_bytes_raw()


def load(data: Path) -> KeyFiles:
    """Read the key files of a data directory, and make those of a new one.

    Raises:
        Misconfigured: some of the files are missing, readable by others, or not what they should be.
    """
    keys = data / "keys"
    present = [name for name in _NAMES if (keys / name).exists()]
    if not present and not (data / "origin").exists():
        _make(data)
    elif len(present) < len(_NAMES) or not (data / "origin").exists():
        missing = [name for name in _NAMES if name not in present] or ["origin"]
        raise Misconfigured(f"the data directory lacks {', '.join(missing)}; restore it, it cannot be made again")
    secret = {name: _read(keys / name) for name in _NAMES}
    return KeyFiles(
        origin=(data / "origin").read_text("ascii").strip(),
        kek=secret["kek"],
        entry=Ed25519PrivateKey.from_private_bytes(secret["entry"]),
        checkpoint=Ed25519PrivateKey.from_private_bytes(secret["checkpoint"]),
        token=Ed25519PrivateKey.from_private_bytes(secret["token"]),
        preparation=secret["preparation"],
    )


def _make(data: Path) -> None:
    keys = data / "keys"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _NAMES:
        write_private(keys / name, secrets.token_bytes(_SECRET_BYTES))
    label = b32encode(secrets.token_bytes(15)).decode().lower()
    write_private(data / "origin", f"caseledger.invalid/{label}\n".encode())


def _read(path: Path) -> bytes:
    status = path.stat()
    if status.st_mode & 0o077:
        raise Misconfigured(f"the key file {path.name} is readable by others; its mode has to be 0600")
    raw = path.read_bytes()
    if len(raw) != _SECRET_BYTES:
        raise Misconfigured(f"the key file {path.name} does not hold {_SECRET_BYTES} bytes")
    return raw


def write_private(path: Path, content: bytes) -> None:
    """Create a file of mode 0600, durably; one that exists already is not touched.

    Raises:
        FileExistsError: there is one.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
