"""Content-addressed, encrypted objects: `records/<record id>/<SHA-256 of the plaintext>.age`.

Segments of files that are still arriving stand apart, under random names: `segments/<record id>/<uuid>.age`.

Each record has its own age key (https://age-encryption.org/v1, X25519), so destroying one key erases one
record and the public `age` tool opens any object with the exported key. An address names the content inside
its record only: two records never share a key, hence never an object.
"""

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import msgspec
import obstore
from obstore.exceptions import BaseError

from application.records import age
from application.records.pipe import Pipe
from application.records.staging import staging_of
from domain.errors import BlobAltered, MalformedBody, TooLarge, Unavailable
from domain.records import FILE_BYTES

_RECORD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_READ_BYTES = 256 * 1024
RECORDS, SEGMENTS = "records", "segments"


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """One stored object: SHA-256 (hex) and length in bytes of its plaintext, and where it stands."""

    sha256: str
    bytes: int
    path: str


class Vault:
    """Encrypted objects in any obstore store; safe to use from many threads and processes at once."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._staging = staging_of(store)

    def put(
        self,
        record: str,
        identity: str,
        chunks: Iterable[bytes],
        *,
        limit: int = FILE_BYTES,
        accept: Callable[[Blob], None] = lambda blob: None,
    ) -> Blob:
        """Encrypt these chunks as they come, and let the object appear once all of them are durable.

        `accept` sees the finished digest and length before anything appears and refuses by raising. Memory
        stays flat: one chunk and 64 KiB of ciphertext. The same bytes again replace the object by an equal
        one.

        Raises: TooLarge above `limit` bytes, Unavailable when the store fails, and whatever `chunks` or
        `accept` raise.
        """
        return self._put(identity, chunks, lambda digest: _path(record, digest), limit, accept)

    def put_segment(self, record: str, segment: str, identity: str, chunks: Iterable[bytes]) -> Blob:
        """Encrypt a segment of a file that is still arriving; durable when this returns.

        Raises: Unavailable, and whatever `chunks` raises.
        """
        path = _segment_path(record, segment)
        return self._put(identity, chunks, lambda digest: path, FILE_BYTES, lambda blob: None)

    def _put(
        self,
        identity: str,
        chunks: Iterable[bytes],
        place: Callable[[str], str],
        limit: int,
        accept: Callable[[Blob], None],
    ) -> Blob:
        digest, size = hashlib.sha256(), 0

        def measured() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"A file has at most {limit} bytes.")
                digest.update(chunk)
                yield chunk

        with _storing():
            staged = self._staging.open()

        def write(data: bytes) -> None:
            with _storing():
                staged.write(data)

        try:
            age.encrypt(measured(), write, identity)
            sha256 = digest.hexdigest()
            blob = Blob(sha256=sha256, bytes=size, path=place(sha256))
            accept(blob)
            with _storing():
                staged.publish(blob.path)
        finally:
            staged.discard()
        return blob

    def stream(self, record: str, identity: str, sha256: str) -> Generator[bytes, None, None]:
        """Plaintext of an object, in chunks.

        Warning: age authenticates each 64 KiB before it is given out, but whether the whole is the content
        that the address names is known only at the end. Trust nothing before the iterator has ended without
        BlobAltered.

        Raises: BlobAltered when the object is missing, does not decrypt, or hashes to something else;
        Unavailable when the store fails.
        """
        return self._stream(_path(record, sha256), identity, sha256)

    def read_segment(self, record: str, segment: str, identity: str, sha256: str) -> bytes:
        """The plaintext of a segment, verified.

        Raises: BlobAltered, Unavailable.
        """
        return b"".join(self._stream(_segment_path(record, segment), identity, sha256))

    def _stream(self, path: str, identity: str, sha256: str) -> Generator[bytes, None, None]:
        key = age.identity_of(identity)
        try:
            found = obstore.get(self._store, path)
        except FileNotFoundError as error:
            raise BlobAltered("A stored blob is missing.") from error
        except (OSError, BaseError) as error:
            raise Unavailable("The vault cannot be read now.") from error

        def decrypt(sink: Callable[[bytes], object]) -> None:
            try:
                age.decrypt(map(bytes, found.stream(min_chunk_size=_READ_BYTES)), sink, key)
            except (OSError, BaseError) as error:
                raise Unavailable("The vault cannot be read now.") from error

        digest = hashlib.sha256()
        with closing(Pipe.running(decrypt)) as plaintext:
            for chunk in plaintext:
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != sha256:
            raise BlobAltered("A stored blob is not the content that its address names.")

    def read_bytes(self, record: str, identity: str, sha256: str, *, limit: int) -> bytes:
        """The whole plaintext of a small object, verified.

        Raises: TooLarge above `limit` bytes, BlobAltered, Unavailable.
        """
        whole = BytesIO()
        with closing(self.stream(record, identity, sha256)) as chunks:
            for chunk in chunks:
                whole.write(chunk)
                if whole.tell() > limit:
                    raise TooLarge(f"The blob is larger than {limit} bytes.")
        return whole.getvalue()

    def delete(self, record: str, sha256: str) -> None:
        """Remove one object; no error when it is not there."""
        self._remove([_path(record, sha256)])

    def delete_record(self, record: str) -> int:
        """Remove every object of a record, and what was still arriving of it; how many there were."""
        paths = [str(item["path"]) for folder in (_folder(record), _segments(record)) for item in self._list(folder)]
        self._remove(paths)
        return len(paths)

    def objects(self, record: str) -> set[str]:
        """SHA-256 (hex) of every object of a record."""
        paths = [str(item["path"]) for item in self._list(_folder(record))]
        return {path.rpartition("/")[2].removesuffix(".age") for path in paths}

    def delete_segments(self, record: str, segments: Iterable[str] | None = None) -> None:
        """Remove these segments of a record's arriving files, or all of them."""
        if segments is None:
            self._remove([str(item["path"]) for item in self._list(_segments(record))])
        else:
            self._remove([_segment_path(record, segment) for segment in segments])

    def records(self, older_than_s: float) -> set[str]:
        """Ids of records that have objects here, all of them older than so many seconds."""
        oldest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        seen: dict[str, bool] = {}
        for top in (RECORDS, SEGMENTS):
            for item in self._list(top):
                record = str(item["path"]).split("/")[1]
                seen[record] = seen.get(record, True) and item["last_modified"] <= oldest
        return {record for record, old in seen.items() if old and _RECORD.fullmatch(record)}

    def sweep_staging(self, older_than_s: float) -> int:
        """Remove what dead writers left, untouched for that many seconds; a living writer's file stays."""
        try:
            return self._staging.sweep(older_than_s)
        except (OSError, BaseError) as error:
            raise Unavailable("The vault cannot be swept now.") from error

    def _list(self, prefix: str) -> Iterator[Any]:
        try:
            for batch in obstore.list(self._store, prefix=prefix):
                yield from batch
        except (OSError, BaseError) as error:
            raise Unavailable("The vault cannot be read now.") from error

    def _remove(self, paths: list[str]) -> None:
        for path in paths:
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                continue
            except (OSError, BaseError) as error:
                raise Unavailable("The vault cannot delete now.") from error


@contextmanager
def _storing() -> Iterator[None]:
    """What the store raises is the store's trouble, never the sender's."""
    try:
        yield
    except (OSError, BaseError) as error:
        raise Unavailable("The vault cannot store anything now.") from error


def _folder(record: str) -> str:
    # Nothing but a UUID ever becomes part of a path.
    if not _RECORD.fullmatch(record):
        raise MalformedBody("A record id is a UUID.")
    return f"{RECORDS}/{record}"


def _segments(record: str) -> str:
    return _folder(record).replace(RECORDS, SEGMENTS, 1)


def _segment_path(record: str, segment: str) -> str:
    if not _RECORD.fullmatch(segment):
        raise MalformedBody("A segment id is a UUID.")
    return f"{_segments(record)}/{segment}.age"


def _path(record: str, sha256: str) -> str:
    if not _DIGEST.fullmatch(sha256):
        raise MalformedBody("A SHA-256 is 64 lower-case hexadecimal digits.")
    return f"{_folder(record)}/{sha256}.age"
