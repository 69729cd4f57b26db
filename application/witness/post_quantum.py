"""The log's ML-DSA-44 key, and its cosignature of a checkpoint: what still holds when Ed25519 does not.

    <data>/keys/checkpoint-mldsa   the seed of an ML-DSA-44 key (FIPS 204), 32 bytes; mode 0600

Made once, beside the other keys. Signing costs half a millisecond and 3.3 KB, so it is done on a period and for each
bundle, and not at every append.
"""

import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from application.ledger.keyfiles import flush, only_one, write_private
from application.ledger.keylock import MAX_FILE_BYTES, PLAIN, SECRET_BYTES, Locker, Passphrase, is_locked
from domain.errors import Misconfigured
from domain.ledger.cosignature_mldsa import ML_DSA_44
from domain.ledger.note import Note, NoteSignature, VerifierKey, cosign_mldsa

FILE = "checkpoint-mldsa"


class PostQuantum(msgspec.Struct, frozen=True):
    """The log's second checkpoint key, under the same name as its first."""

    origin: str
    key: MLDSA44PrivateKey

    def verifier(self) -> VerifierKey:
        """Public half, in the notation of signed notes (kind 0x06)."""
        return VerifierKey.make(self.origin, ML_DSA_44, self.key.public_key().public_bytes_raw())

    def line(self, note: bytes, time_s: int) -> NoteSignature:
        """Its cosignature of a checkpoint, as of the checkpoint's own commit time in POSIX seconds.

        Warning: sign only a tree that has been committed. The bytes differ each time.
        """
        return cosign_mldsa(Note.parse(note).text, self.origin, self.key, time_s)


def load(data: Path, origin: str, locker: Locker = PLAIN) -> PostQuantum:
    """Read the key of a data directory whose other keys are there, and make it where there is none yet.

    Raises:
        Misconfigured: the file is open to others, or not what it should be.
    """
    path = data / "keys" / FILE
    with only_one(data):
        if not path.exists():
            make_seed(path, locker)
        return PostQuantum(origin, MLDSA44PrivateKey.from_seed_bytes(read_seed(path, locker)))


def existing(data: Path, origin: str, locker: Locker = PLAIN) -> tuple[VerifierKey, ...]:
    """Public half of the key of a data directory that has one; makes nothing."""
    return (load(data, origin, locker).verifier(),) if (data / "keys" / FILE).exists() else ()


def make_seed(path: Path, locker: Locker = PLAIN) -> None:
    """Make a seed in a new file, whole or not at all; one that is there stays, whoever made it."""
    fresh = path.with_name(f"{path.name}.new-{os.urandom(8).hex()}")
    write_private(fresh, locker.lock(path.name, os.urandom(SECRET_BYTES)))
    try:
        # A link, unlike a rename, never replaces a key that somebody may have signed with.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    flush(path.parent)


def read_seed(path: Path, locker: Locker = PLAIN) -> bytes:
    """The 32 bytes of a private file; with a passphrase, one that is not locked yet is locked.

    Raises:
        Misconfigured: it is missing, open to others, or does not hold them.
    """
    try:
        with path.open("rb") as file:
            open_to_others = os.fstat(file.fileno()).st_mode & 0o077
            stored = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise Misconfigured(f"the key file {path.name} cannot be read: {error.strerror}") from None
    if open_to_others:
        raise Misconfigured(f"the key file {path.name} is open to others; its mode has to be 0600")
    secret = locker.unlock(path.name, stored)
    if isinstance(locker, Passphrase) and not is_locked(stored):
        fresh = path.with_name(f"{path.name}.locking")
        fresh.unlink(missing_ok=True)
        write_private(fresh, locker.lock(path.name, secret))
        fresh.replace(path)
        flush(path.parent)
    return secret
