"""What a witness keeps of each log: the latest checkpoint that it cosigned, on disk before anybody is told.

    <directory>/latest/<sha256 of the origin>.note    the note, with the log's lines and the witness's own
    <directory>/latest/<sha256 of the origin>.lock    held while a checkpoint is compared and recorded

Crash order: the new note is written and flushed beside, renamed, and the directory flushed; only then is a cosignature
handed out. Killed before the rename, nothing was said; killed after it, the caller asks again and is told the new size.
Comparing and recording are one step under the lock, in every process that shares the directory.

Warning: a directory put back from an older copy has forgotten what it cosigned since. Make a new witness instead.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from domain.ledger.checkpoint import Checkpoint
from domain.ledger.note import MAX_NOTE_BYTES, Note, VerifierKey, verify

MAX_FORKS = 16
"""Contradicting notes that are kept of one log, as evidence; two are enough to convict."""


def origin_hash(origin: str) -> str:
    """The name of a log in paths: SHA-256 of its origin, in lowercase hex (C2SP tlog-witness, monitor retrieval)."""
    return sha256(origin.encode()).hexdigest()


class Latest:
    """The latest cosigned checkpoint of each log, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "latest"
        self._forks = directory / "forks"

    @contextmanager
    def locked(self, origin: str) -> Iterator[None]:
        """Hold a log's place; nobody else compares or records for it meanwhile."""
        path = self._directory / f"{origin_hash(origin)}.lock"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def note(self, name: str) -> bytes | None:
        """The note of the log with this origin hash; None if none of it was ever cosigned."""
        try:
            with (self._directory / f"{name}.note").open("rb") as file:
                return file.read(MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None

    def read(self, origin: str, own: Sequence[VerifierKey]) -> tuple[Checkpoint, bytes] | None:
        """The latest checkpoint of a log, with its note; call it under the lock.

        Raises:
            MalformedNote, NoteSignatureInvalid: the file is not one that this witness wrote.
        """
        raw = self.note(origin_hash(origin))
        if raw is None:
            return None
        note = Note.parse(raw)
        verify(note, own)
        return Checkpoint.parse(note.text), raw

    def write(self, origin: str, note: bytes) -> None:
        """Record a note durably; call it under the lock."""
        path = self._directory / f"{origin_hash(origin)}.note"
        fresh = path.with_suffix(".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(note)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(fresh, path)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def keep_fork(self, origin: str, *notes: bytes) -> None:
        """Keep notes that contradict each other, a few for each log; call it under the lock."""
        directory = self._forks / origin_hash(origin)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for note in notes:
            path = directory / f"{sha256(note).hexdigest()}.note"
            if not path.exists() and len(list(directory.iterdir())) < MAX_FORKS:
                path.write_bytes(note)
