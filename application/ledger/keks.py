"""The key-encryption key's files, and its rotation: what makes old copies of wrapped keys worthless.

    <data>/keys/kek        the one in use, or, until a rotation that has begun is over, the one before
    <data>/keys/kek.new    during a rotation: the one that is to take its place
    <data>/keys/kek.old    at the end of one: the one that is overwritten, then gone

A rotation can end anywhere and is taken up again by the next: at every instant the directory holds a file for whatever
the database's keys are wrapped under.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from application.ledger.keyfiles import flush, write_private
from application.ledger.keylock import PLAIN, SECRET_BYTES, Locker
from application.ledger.keyring import Keyring, kek_name
from domain.errors import Unavailable

_NAME = "kek"


class Keks:
    """The key-encryption keys of one directory of key files, which lie there as `locker` has it."""

    def __init__(self, keys: Path, locker: Locker = PLAIN) -> None:
        self._keys = keys
        self._locker = locker
        self._kek, self._new, self._old = keys / "kek", keys / "kek.new", keys / "kek.old"
        self._making = keys / "kek.making"

    def read(self) -> Sequence[bytes]:
        """Those that there are at this moment: one, or during a rotation two.

        Raises:
            Misconfigured: one of them does not open.
        """
        # In this order: what is renamed meanwhile is read under its new name.
        found: list[bytes] = []
        for path in (self._new, self._kek):
            with suppress(FileNotFoundError):
                found.append(self._locker.unlock(_NAME, path.read_bytes()))
        return found

    def rotate(self, keyring: Keyring) -> str:
        """Put all living subjects under a new key-encryption key and destroy the old; the name of the new one.

        Raises:
            Unavailable: another process is at it.
            Misconfigured: the key that a rotation has begun with does not open.
        """
        with self._alone():
            self._shred_old()
            if not self._new.exists():
                # Whole or not there: what has this name may have keys wrapped under it, and is never made again.
                self._making.unlink(missing_ok=True)
                write_private(self._making, self._locker.lock(_NAME, secrets.token_bytes(SECRET_BYTES)))
                self._making.rename(self._new)
                flush(self._keys)
            kek = self._locker.unlock(_NAME, self._new.read_bytes())
            keyring.rewrap(kek)
            if not self._old.exists():
                os.link(self._kek, self._old)
            self._new.rename(self._kek)
            flush(self._keys)
            self._shred_old()
            return kek_name(kek)

    def _shred_old(self) -> None:
        """Overwrite the old key in place and remove it; not while it is still the one in use."""
        if not self._old.exists() or self._old.samefile(self._kek):
            return
        with self._old.open("r+b") as file:
            file.write(secrets.token_bytes(self._old.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        self._old.unlink()
        flush(self._keys)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        directory = os.open(self._keys, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable("the key-encryption key is being rotated already") from None
            yield
        finally:
            os.close(directory)
