"""The files of a folder or of a zip archive, each read once: hash and header in one pass, memory flat.

Nothing is ever extracted or followed out of what was named, and no file stops the others: what cannot be read comes
back with its reason.
"""

import contextlib
import hashlib
import multiprocessing
import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from application.records.dicom import read_header
from caseledger.imaging_archive import Member, members_of
from domain.errors import CaseLedgerError, MalformedBody, NotDicom, NotFound
from domain.imaging.model import Instance

CHUNK: Final = 1024 * 1024
WORTH_A_POOL: Final = 400
"""Files from which a second process pays for its start: some 40 ms by fork, against 0.5 ms a file."""
_BATCH: Final = 64

LINK: Final = "a link that leads out of the folder"
SPECIAL: Final = "a device, pipe or socket"
UNREADABLE: Final = "unreadable-dicom"
FOREIGN: Final = "not-dicom"


class _Hashed:
    """A file that is hashed and counted as it is read; `drained` is where what nobody looks at goes.

    It keeps what reading raised, since a decoder would take that for trouble of its own.
    """

    def __init__(self, source: IO[bytes], drained: memoryview) -> None:
        self._source = source
        self._drained = drained
        self.digest = hashlib.sha256()
        self.size = 0
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        try:
            data = self._source.read(size)
        except Exception as error:
            self.failure = error
            raise
        self.digest.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        """Read what is left."""
        while count := self._source.readinto(self._drained):  # type: ignore[attr-defined]  # both kinds have it
            self.digest.update(self._drained[:count])
            self.size += count


def instances_of(place: Path) -> list[Instance]:
    """Every file below a folder, or in a zip archive, as the imaging check takes it; order tells nothing.

    Raises:
        NotFound: there is nothing of that name. MalformedBody: a file that is no zip archive. OSError.
    """
    if place.is_dir():
        found, left_out = _walk(place)
        return [*left_out, *_read_many(_Folder(root=str(place)), found)]
    if not place.exists():
        raise NotFound(f"there is no folder or file {place}")
    if not place.is_file() or not zipfile.is_zipfile(place):
        raise MalformedBody(f"{place} is neither a folder nor a zip archive")
    members, refused = members_of(place)
    left_out = [_without(each.name, UNREADABLE, each.refused, each.size) for each in refused]
    return [*left_out, *_read_many(_Archive(path=str(place)), members)]


class _Folder(msgspec.Struct, frozen=True, tag="folder"):
    root: str

    @contextlib.contextmanager
    def opening(self) -> Iterator[Any]:
        """A function that opens a file by its name."""
        yield lambda name: _regular(Path(self.root) / name)


class _Archive(msgspec.Struct, frozen=True, tag="archive"):
    path: str

    @contextlib.contextmanager
    def opening(self) -> Iterator[Any]:
        """A function that opens a member; the directory of the archive is read once a process and batch."""
        with zipfile.ZipFile(self.path) as archive:
            listed = archive.infolist()
            yield lambda member: archive.open(listed[member.number])


def _walk(root: Path) -> tuple[list[str], list[Instance]]:
    """Names of the regular files below a folder, sorted; and what was left out. No link is followed.

    A link to something inside is left out without a word: the walk comes upon its target anyway.
    """
    found: list[str] = []
    left_out: list[Instance] = []
    inside = root.resolve()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda each: each.name)
        except OSError as error:
            name = str(folder.relative_to(root))
            left_out.append(_without(name, UNREADABLE, f"the folder cannot be listed: {error.strerror}"))
            continue
        for entry in entries:
            name = str(Path(entry.path).relative_to(root))
            if entry.is_symlink():
                if not _leads_inside(Path(entry.path), inside):
                    left_out.append(_without(name, FOREIGN, LINK))
            elif entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                found.append(name)
            else:
                left_out.append(_without(name, FOREIGN, SPECIAL))
    return sorted(found), left_out


def _leads_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _regular(path: Path) -> IO[bytes]:
    """A regular file, opened; never waits for the other end of a pipe that took its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, SPECIAL)
    return os.fdopen(descriptor, "rb", buffering=0)


def _read_many(source: _Folder | _Archive, items: Sequence[Any]) -> list[Instance]:
    """Read all, with both cores where it pays. A file that kills its reader is read alone, and then reported."""
    if len(items) < WORTH_A_POOL or (os.cpu_count() or 1) < 2:
        return _read_batch(source, list(items))
    batches = [list(items[at : at + _BATCH]) for at in range(0, len(items), _BATCH)]
    done: dict[int, list[Instance]] = {}
    with _pool() as pool:
        futures = [pool.submit(_read_packed, source, batch) for batch in batches]
        for number, future in enumerate(futures):
            with contextlib.suppress(BrokenProcessPool):
                done[number] = msgspec.msgpack.decode(future.result(), type=list[Instance])
    for number, batch in enumerate(batches):
        if number not in done:
            done[number] = [_read_alone(source, item) for item in batch]
    return [one for number in sorted(done) for one in done[number]]


def _read_alone(source: _Folder | _Archive, item: str | Member) -> Instance:
    with _pool(1) as pool:
        try:
            read = msgspec.msgpack.decode(pool.submit(_read_packed, source, [item]).result(), type=list[Instance])
        except BrokenProcessPool:
            return _without(_name(item), UNREADABLE, "reading it ended the reader")
    return read[0]


def _pool(workers: int | None = None) -> ProcessPoolExecutor:
    # This process has one thread, so a fork is safe, and starts in milliseconds what a fresh interpreter imports anew.
    method = "fork" if sys.platform == "linux" else "spawn"
    count = workers or min(os.cpu_count() or 1, 8)
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context(method))


def _read_packed(source: _Folder | _Archive, batch: list[Any]) -> bytes:
    return msgspec.msgpack.encode(_read_batch(source, batch))


def _read_batch(source: _Folder | _Archive, batch: list[Any]) -> list[Instance]:
    drained = memoryview(bytearray(CHUNK))
    with source.opening() as opened:
        return [_read_one(item, opened, drained) for item in batch]


def _read_one(item: str | Member, opened: Any, drained: memoryview) -> Instance:
    """One file; whatever its bytes make a decoder raise is its own reason, and nobody else's trouble."""
    name, size = _name(item), 0
    try:
        with opened(item) as stream:
            source = _Hashed(stream, drained)
            header, problem, reason = None, "", ""
            try:
                header = read_header(source)  # type: ignore[arg-type]  # it reads, and does nothing else
            except CaseLedgerError as error:
                if source.failure is not None:
                    raise source.failure from None
                problem, reason = (FOREIGN if isinstance(error, NotDicom) else UNREADABLE), str(error)
            source.drain()
            size = source.size
    except OSError as error:
        return _without(name, UNREADABLE, f"it cannot be read: {error.strerror or type(error).__name__}")
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return _without(name, UNREADABLE, "the archive is damaged here")
    except (RuntimeError, NotImplementedError):
        return _without(name, UNREADABLE, "the archive keeps it in a way that cannot be read")
    return Instance(
        name=name, sha256=source.digest.hexdigest(), size=size, header=header, problem=problem, reason=reason
    )


def _name(item: str | Member) -> str:
    name = item if isinstance(item, str) else item.name
    # A name that is no text in the file system's encoding still has to be written somewhere.
    return name.encode("utf-8", "replace").decode("utf-8")


def _without(name: str, problem: str, reason: str, size: int = 0) -> Instance:
    """A file that was not read; its digest stands for its name, since its content is unknown."""
    written = _name(name)
    digest = hashlib.sha256(b"unread\0" + written.encode()).hexdigest()
    return Instance(name=written, sha256=digest, size=size, problem=problem, reason=reason)
