"""Where a blob waits until it is whole: two ways to make an object appear at its address all at once.

Nothing below `staging/` is ever read as a record. The order is always: write everything, make it durable, and
only then give it its address; whoever dies in between leaves an orphan that the sweep removes.
"""

import fcntl
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import obstore
from obstore.store import LocalStore

STAGING = "staging"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Staged(Protocol):
    """An object being written; invisible until `publish`."""

    def write(self, data: bytes | memoryview) -> None:
        """Take these bytes, all of them."""

    def publish(self, path: str) -> None:
        """Make it durable, then let it appear at `path`, replacing what stood there."""

    def discard(self) -> None:
        """Forget it; harmless after `publish`, and twice."""


class Staging(Protocol):
    """Makes staged objects, and removes those that nobody will finish."""

    def open(self) -> Staged:
        """A new, empty, invisible object."""

    def sweep(self, older_than_s: float) -> int:
        """Remove orphans untouched for that many seconds; how many went."""


class LocalStaging:
    """Staging on a file system: fsync the file, rename, fsync the directory.

    obstore's LocalStore writes and renames atomically but never calls fsync, so a power cut could leave an
    empty file at a blob's address; the writing is done here and only reading is left to obstore. A writer
    holds flock on its file for as long as it lives: so the sweep can tell a slow upload from a dead one.
    """

    def __init__(self, store: LocalStore) -> None:
        if store.prefix is None:
            raise ValueError("a vault needs a LocalStore with a prefix")
        self._root = Path(store.prefix)
        _durable_directory(self._root / STAGING)

    def open(self) -> "LocalStaged":
        """A new file below `staging/`."""
        return LocalStaged(self._root)

    def sweep(self, older_than_s: float) -> int:
        """Remove the files of dead writers; how many."""
        removed = 0
        oldest = time.time() - older_than_s
        for path in (self._root / STAGING).iterdir():
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue  # published or discarded since the directory was read
            try:
                if os.fstat(descriptor).st_mtime <= oldest:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                    removed += 1
            except BlockingIOError:
                pass  # its writer lives
            finally:
                os.close(descriptor)
        return removed


class LocalStaged:
    """A file below `staging/`, owned and locked by the one thread that writes it."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._path = f"{self._root}/{STAGING}/{uuid4().hex}"
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def write(self, data: bytes | memoryview) -> None:
        """Take these bytes, all of them."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def publish(self, path: str) -> None:
        """Fsync, rename, fsync the directory."""
        target = f"{self._root}/{path}"
        folder = target.rpartition("/")[0]
        os.fsync(self._descriptor)
        try:
            descriptor = os.open(folder, _DIRECTORY)
        except FileNotFoundError:
            _durable_directory(Path(folder))
            descriptor = os.open(folder, _DIRECTORY)
        try:
            os.replace(self._path, target)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._close()

    def discard(self) -> None:
        """Remove the file, unless it is published."""
        if self._descriptor >= 0:
            Path(self._path).unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1


class StoreStaging:
    """Staging in any other object store: a small object is put at once, a large one streamed, then copied.

    Warning: a writer that dies inside a multipart upload leaves parts that only the bucket's own lifecycle
    rule for incomplete multipart uploads can remove.
    """

    SMALL = 8 * 1024**2
    """Up to this many bytes are kept in memory and put in one request."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def open(self) -> "StoreStaged":
        """A new object, in memory at first."""
        return StoreStaged(self._store)

    def sweep(self, older_than_s: float) -> int:
        """Remove what was streamed but never copied to an address; how many."""
        oldest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        removed = 0
        for batch in obstore.list(self._store, prefix=STAGING):
            paths = [str(item["path"]) for item in batch if item["last_modified"] <= oldest]
            if paths:
                obstore.delete(self._store, paths)
            removed += len(paths)
        return removed


class StoreStaged:
    """An object that is in memory while it is small, and below `staging/` from then on."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._small = bytearray()
        self._path = f"{STAGING}/{uuid4().hex}"
        self._writer: Any = None

    def write(self, data: bytes | memoryview) -> None:
        """Take these bytes, all of them."""
        if self._writer is not None:
            self._writer.write(bytes(data))
            return
        self._small += data
        if len(self._small) > StoreStaging.SMALL:
            self._writer = obstore.open_writer(
                self._store, self._path, buffer_size=StoreStaging.SMALL, max_concurrency=2
            )
            self._writer.write(bytes(self._small))
            self._small.clear()

    def publish(self, path: str) -> None:
        """Put at once, or complete the upload and copy it."""
        if self._writer is None:
            obstore.put(self._store, path, bytes(self._small), use_multipart=False)
            return
        writer, self._writer = self._writer, None
        writer.close()
        obstore.copy(self._store, self._path, path)
        obstore.delete(self._store, self._path)

    def discard(self) -> None:
        """Drop the writer: a multipart upload that is not closed never becomes an object."""
        self._small.clear()
        self._writer = None


def staging_of(store: Any) -> Staging:
    """The staging that fits this obstore store."""
    return LocalStaging(store) if isinstance(store, LocalStore) else StoreStaging(store)


def _durable_directory(path: Path) -> None:
    """Make a directory with its missing parents, each entered durably into the one above it."""
    if path.is_dir():
        return
    _durable_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, _DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
