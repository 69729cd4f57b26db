"""The pin: the last released checkpoint, in a file outside the database.

Nobody is told of a checkpoint before it is pinned, so a database that does not extend the pin has lost, or changed,
something that somebody was told.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import HeadForked
from domain.ledger.checkpoint import Checkpoint, open_checkpoint
from domain.ledger.note import VerifierKey


class Pin:
    """The pinned checkpoint of one data directory; processes that share the directory share the pin."""

    def __init__(self, path: Path, key: VerifierKey) -> None:
        self._path = path
        self._key = key

    def read(self) -> Checkpoint | None:
        """The pinned checkpoint, its signature verified; None before the first.

        Raises:
            MalformedNote, NoteSignatureInvalid: the file is not a checkpoint of this ledger.
        """
        try:
            note = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return open_checkpoint(note, (self._key,)).checkpoint

    def advance(self, note: bytes) -> None:
        """Pin a newer checkpoint; an older one changes nothing.

        Crash order: the new file is complete and durable before it takes the old one's name.

        Raises:
            HeadForked: the pin has the same size and another root.
        """
        new = open_checkpoint(note, (self._key,)).checkpoint
        with self._locked():
            old = self.read()
            if old is not None and old.size == new.size and old.root != new.root:
                raise HeadForked("two checkpoints of one size have different roots")
            if old is not None and old.size >= new.size:
                return
            temporary = self._path.with_suffix(".new")
            with open(temporary, "wb", opener=_private) as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._path.with_suffix(".lock"), "wb", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
