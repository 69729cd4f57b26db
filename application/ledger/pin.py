"""The pin: the last released checkpoint, in a file outside the database.

Nobody is told of a checkpoint before it is pinned, so a database that does not extend the pin has lost, or changed,
something that somebody was told.

The file has two slots of 4 KiB, each with a signed note, padded with line feeds. They are written in turn, in place: a
crash can spoil only the one that is being written, and one flush to disk does (a rename takes three).
"""

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from domain.errors import HeadForked, MalformedNote, NoteSignatureInvalid
from domain.ledger.checkpoint import Checkpoint, open_checkpoint
from domain.ledger.note import VerifierKey

_SLOT_BYTES = 4096
_SLOTS = 2
# Without the times of the file, where the system can; what is flushed is of a fixed size and place.
_flush = getattr(os, "fdatasync", os.fsync)


class Pin:
    """The pinned checkpoint of one data directory; processes that share the directory share the pin."""

    def __init__(self, path: Path, *keys: VerifierKey) -> None:
        self._path = path
        self._keys = keys
        self.reread: Callable[[], Sequence[VerifierKey]] | None = None
        """Gives this ledger's checkpoint keys as they are by now: another process may have replaced one and pinned."""
        # The newest notes that were verified, so that what this process wrote is not verified anew at each advance.
        self._verified: dict[bytes, Checkpoint] = {}
        # The file, as long as it is the one of that name: to open and close it takes half as long as to flush it.
        self._file: int | None = None
        self._writing = Lock()

    def trust(self, *keys: VerifierKey) -> None:
        """Take checkpoints by any of these keys from now on: this ledger's present one and those before it."""
        self._keys = keys
        self._verified = {}

    def read(self) -> Checkpoint | None:
        """The pinned checkpoint, its signature verified; None before the first.

        Raises:
            NoteSignatureInvalid: the file is not a pin of this ledger.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            return self._newest(os.pread(file, _SLOT_BYTES * _SLOTS, 0))[1]
        finally:
            os.close(file)

    def read_note(self) -> bytes | None:
        """The signed note of what `read` gives."""
        newest = self.read()
        return next((note for note, known in self._verified.items() if known == newest), None)

    def advance(self, note: bytes, signed: Checkpoint | None = None) -> None:
        """Pin a newer checkpoint, durably; an older one changes nothing.

        `signed` is what the note says, where the caller has just signed it itself: it is then not verified.

        Raises:
            HeadForked: the pin has the same size and another root.
            NoteSignatureInvalid, MalformedNote: the note is not a checkpoint of this ledger.
        """
        new = self._opened(note) if signed is None else self._remembered(note, signed)
        if len(note) > _SLOT_BYTES:
            raise MalformedNote("a checkpoint that is pinned has at most 4,096 bytes")
        with self._locked() as file:
            slot, old = self._newest(os.pread(file, _SLOT_BYTES * _SLOTS, 0))
            if old is not None and old.size == new.size and old.root != new.root:
                raise HeadForked("two checkpoints of one size have different roots")
            if old is not None and old.size >= new.size:
                return
            os.pwrite(file, note.ljust(_SLOT_BYTES, b"\n"), (slot + 1) % _SLOTS * _SLOT_BYTES)
            _flush(file)

    def _newest(self, content: bytes) -> tuple[int, Checkpoint | None]:
        """The slot with the largest checkpoint. One bad slot is a write that a crash cut off; two are no pin."""
        newest: tuple[int, Checkpoint | None] = (_SLOTS - 1, None)
        for slot in range(_SLOTS):
            note = content[slot * _SLOT_BYTES : (slot + 1) * _SLOT_BYTES].rstrip(b"\n")
            if not note:
                continue
            try:
                found = self._known(note + b"\n")
            except (MalformedNote, NoteSignatureInvalid):
                continue
            if newest[1] is None or found.size > newest[1].size:
                newest = (slot, found)
        if newest[1] is None and content.strip(b"\0\n"):
            raise NoteSignatureInvalid("the pin is not a checkpoint of this ledger")
        return newest

    def _known(self, note: bytes) -> Checkpoint:
        try:
            return self._opened(note)
        except NoteSignatureInvalid:
            if self.reread is None:
                raise
            self.trust(*self.reread())
            return self._opened(note)

    def _opened(self, note: bytes) -> Checkpoint:
        known = self._verified.get(note)
        return self._remembered(note, open_checkpoint(note, self._keys).checkpoint) if known is None else known

    def _remembered(self, note: bytes, checkpoint: Checkpoint) -> Checkpoint:
        # By their very bytes: whatever else stands in the file is verified.
        self._verified[note] = checkpoint
        for older in tuple(self._verified)[: -_SLOTS - 1]:
            self._verified.pop(older, None)
        return checkpoint

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, made durably if it is new, under the lock of whoever writes it."""
        # The system's lock tells processes apart, not the threads of one that share an open file.
        with self._writing:
            file, size = self._open_locked()
            try:
                if size < _SLOT_BYTES * _SLOTS:
                    os.ftruncate(file, _SLOT_BYTES * _SLOTS)
                    directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
                    try:
                        os.fsync(directory)
                    finally:
                        os.close(directory)
                yield file
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def _open_locked(self) -> tuple[int, int]:
        """The file of that name, locked, and its size: opened anew where it was put in place of the one before."""
        while True:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._close = weakref.finalize(self, os.close, self._file)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            found = os.fstat(self._file)
            # One that was moved away is still a file; who starts next looks at the one of this name.
            with suppress(FileNotFoundError):
                if os.path.samestat(found, self._path.stat()):
                    return self._file, found.st_size
            self._file = None
            self._close()
