"""Content-addressed, encrypted objects: `records/<record id>/<SHA-256 of the plaintext>.age`.

Segments of files that are still arriving stand apart, under random names: `segments/<record id>/<uuid>.age`.

Each record has its own age key (https://age-encryption.org/v1, X25519), so destroying one key erases one
record and the public `age` tool opens any object with the exported key. An address names the content inside
its record only: two records never share a key, hence never an object.
"""

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import msgspec
import obstore
import pyrage
from obstore.exceptions import BaseError

from application.records.pipe import Pipe
from application.records.staging import staging_of
from domain.errors import BlobAltered, CaseLedgerError, MalformedBody, TooLarge, Unavailable
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


def new_identity() -> str:
    """A fresh key for one record, in age's own notation (AGE-SECRET-KEY-1...). It is a secret: seal it."""
    return str(pyrage.x25519.Identity.generate())


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
        recipient = _identity(identity).to_public()
        source = _Source(chunks, limit)
        try:
            staged = self._staging.open()
        except (OSError, BaseError) as error:
            raise Unavailable("The vault cannot store anything now.") from error
        sink = _Sink(staged.write)
        try:
            try:
                pyrage.encrypt_io(source, sink, [recipient])  # type: ignore[arg-type]  # needs read and write only
            except Exception as error:
                # pyrage turns what its callbacks raise into a text; the original stands below.
                if source.failure is None and sink.failure is None:
                    raise Unavailable("The vault could not encrypt.") from error
            if source.failure is not None:
                raise source.failure
            if sink.failure is not None:
                raise sink.failure
            digest = source.digest.hexdigest()
            blob = Blob(sha256=digest, bytes=source.bytes, path=place(digest))
            accept(blob)
            staged.publish(blob.path)
        except (OSError, BaseError) as error:
            if error is source.failure:
                raise  # the sender's trouble, not the store's
            raise Unavailable("The vault cannot store anything now.") from error
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
        key = _identity(identity)
        try:
            found = obstore.get(self._store, path)
        except FileNotFoundError as error:
            raise BlobAltered("A stored blob is missing.") from error
        except (OSError, BaseError) as error:
            raise Unavailable("The vault cannot be read now.") from error

        def decrypt(sink: Callable[[bytes], int]) -> None:
            source = _Source(map(bytes, found.stream(min_chunk_size=_READ_BYTES)), None)
            target = _Sink(sink)
            try:
                pyrage.decrypt_io(source, target, [key])  # type: ignore[arg-type]  # likewise
            except Exception as error:
                if source.failure is None and target.failure is None:
                    raise BlobAltered("A stored blob does not decrypt.") from error
            for failure in (target.failure, source.failure):
                if isinstance(failure, OSError | BaseError):
                    raise Unavailable("The vault cannot be read now.") from failure
                if failure is not None:
                    raise failure

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


class _Source:
    """What age reads from: hashes and counts each chunk once, and keeps what the chunks raised."""

    def __init__(self, chunks: Iterable[bytes], limit: int | None) -> None:
        self._chunks = iter(chunks)
        self._limit = limit
        self._current = BytesIO()
        self.digest = hashlib.sha256()
        self.bytes = 0
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        data = self._current.read(size)
        if data:
            return data
        try:
            for chunk in self._chunks:
                if not chunk:
                    continue
                self.bytes += len(chunk)
                if self._limit is not None:
                    if self.bytes > self._limit:
                        raise TooLarge(f"A file has at most {self._limit} bytes.")
                    self.digest.update(chunk)
                self._current = BytesIO(chunk)
                return self._current.read(size)
        except BaseException as error:
            self.failure = error
            raise
        return b""


class _Sink:
    """What age writes to. pyrage drops an error of its last write, so the first one is kept here."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Pass the bytes on."""
        if self.failure is not None:
            raise self.failure
        try:
            return self._write(data)
        except BaseException as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """Nothing to do: bytes are made durable at publication."""


def _identity(text: str) -> pyrage.x25519.Identity:
    try:
        return pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError as error:
        raise CaseLedgerError("A record's key is not an age identity.") from error


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
