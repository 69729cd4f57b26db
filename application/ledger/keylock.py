"""How a secret lies in its file: as it is, or locked with a passphrase. What holds the files asks for nothing more.

A locked file is

    "caseledger key file v1\\n" || log2 N (1 byte) || r (1) || p (1) || salt (16) || nonce (12) || AES-256-GCM(secret)

under scrypt(passphrase, salt, N, r, p) (RFC 7914), with all that stands before the nonce, and the secret's name, as
additional data: one key's file does not pass for another's.
"""

import os
import secrets
from pathlib import Path
from threading import Lock
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from domain.errors import Misconfigured

SECRET_BYTES = 32
MAX_FILE_BYTES = 4096
_MAGIC = b"caseledger key file v1\n"
_LOG_N, _R, _P = 15, 8, 1
"""32 MiB and some 0.1 s."""
_MAX_LOG_N, _MAX_R, _MAX_P = 20, 16, 4
_SALT_BYTES, _NONCE_BYTES = 16, 12
_HEADER_BYTES = len(_MAGIC) + 3 + _SALT_BYTES
_MAX_PASSPHRASE_BYTES = 1024


class Locker(Protocol):
    """Turns a secret into what its file holds, and back."""

    def lock(self, name: str, secret: bytes) -> bytes:
        """The bytes of the file of the secret of this name."""
        ...

    def unlock(self, name: str, stored: bytes) -> bytes:
        """The secret.

        Raises:
            Misconfigured: these bytes do not hold it, or not for this locker.
        """
        ...


class Plain:
    """Secrets as they are: the file's mode protects them."""

    def lock(self, name: str, secret: bytes) -> bytes:
        """The secret itself."""
        return secret

    def unlock(self, name: str, stored: bytes) -> bytes:
        """The secret, of 32 bytes."""
        if stored.startswith(_MAGIC):
            raise Misconfigured(f"the key file {name} is locked: CASELEDGER_KEY_PASSPHRASE_FILE names its passphrase")
        return _checked(name, stored)


class Passphrase:
    """Secrets locked with a passphrase. A plain file is still read, so that it can be locked from then on."""

    def __init__(self, passphrase: bytes) -> None:
        self._passphrase = passphrase
        self._keys: dict[bytes, bytes] = {}
        self._fresh = _MAGIC + bytes((_LOG_N, _R, _P)) + secrets.token_bytes(_SALT_BYTES)
        self._guard = Lock()

    def lock(self, name: str, secret: bytes) -> bytes:
        """The locked file; all that one process writes share a salt, and none a nonce."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key(self._fresh)).encrypt(nonce, secret, self._fresh + name.encode())
        return self._fresh + nonce + sealed

    def unlock(self, name: str, stored: bytes) -> bytes:
        """The secret, of 32 bytes."""
        if not stored.startswith(_MAGIC):
            return _checked(name, stored)
        header, nonce = stored[:_HEADER_BYTES], stored[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
        log_n, r, p = header[len(_MAGIC) : len(_MAGIC) + 3].ljust(3, b"\0")
        if not (1 <= log_n <= _MAX_LOG_N and 1 <= r <= _MAX_R and 1 <= p <= _MAX_P) or len(nonce) != _NONCE_BYTES:
            raise Misconfigured(f"the key file {name} is not one")
        try:
            secret = AESGCM(self._key(header)).decrypt(
                nonce, stored[_HEADER_BYTES + _NONCE_BYTES :], header + name.encode()
            )
        except InvalidTag:
            raise Misconfigured(f"the key file {name} does not open with this passphrase") from None
        return _checked(name, secret)

    def _key(self, header: bytes) -> bytes:
        with self._guard:
            if header not in self._keys:
                log_n, r, p = header[len(_MAGIC) : len(_MAGIC) + 3]
                self._keys[header] = Scrypt(header[len(_MAGIC) + 3 :], 32, 2**log_n, r, p).derive(self._passphrase)
            return self._keys[header]


PLAIN: Locker = Plain()


def is_locked(stored: bytes) -> bool:
    """Whether a file holds a locked secret."""
    return stored.startswith(_MAGIC)


def locker(passphrase_file: Path | None) -> Locker:
    """The locker that a passphrase's file stands for, or none; the file's last line feed is not part of it.

    Raises:
        Misconfigured: it cannot be read, is open to others, or holds no passphrase.
    """
    if passphrase_file is None:
        return PLAIN
    try:
        with passphrase_file.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise Misconfigured("the passphrase's file is open to others; its mode has to be 0600")
            passphrase = file.read(_MAX_PASSPHRASE_BYTES + 1).removesuffix(b"\n")
    except OSError as error:
        raise Misconfigured(f"the passphrase's file cannot be read: {error.strerror}") from None
    if not 8 <= len(passphrase) <= _MAX_PASSPHRASE_BYTES:
        raise Misconfigured("a passphrase has 8 to 1,024 bytes")
    return Passphrase(passphrase)


def _checked(name: str, secret: bytes) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise Misconfigured(f"the key file {name} does not hold {SECRET_BYTES} bytes")
    return secret
