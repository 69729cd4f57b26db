"""Streams through age (https://age-encryption.org/v1, X25519): what goes in and out are chunks.

The library asks for a file to read and a file to write. It makes a text of what those raise, and drops an error of its
last write: both are kept here, and come out as they were.
"""

from collections.abc import Callable, Iterable
from io import BytesIO

import pyrage

from domain.errors import BlobAltered, CaseLedgerError, Unavailable


def new_identity() -> str:
    """A fresh key for one record, in age's own notation (AGE-SECRET-KEY-1...). It is a secret: seal it."""
    return str(pyrage.x25519.Identity.generate())


def identity_of(text: str) -> pyrage.x25519.Identity:
    """The key that a text stands for.

    Raises:
        CaseLedgerError: it is none.
    """
    try:
        return pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError as error:
        raise CaseLedgerError("A record's key is not an age identity.") from error


def encrypt(chunks: Iterable[bytes], write: Callable[[bytes], object], identity: str) -> None:
    """Write the chunks as one age file that this identity opens.

    Raises:
        Unavailable: the library could not; and whatever `chunks` and `write` raise.
    """
    recipient = identity_of(identity).to_public()
    source, sink = _Source(chunks), _Sink(write)
    try:
        pyrage.encrypt_io(source, sink, [recipient])  # type: ignore[arg-type]  # needs read and write only
    except Exception as error:
        if source.failure is None and sink.failure is None:
            raise Unavailable("The vault could not encrypt.") from error
    _raise_first(source.failure, sink.failure)


def decrypt(chunks: Iterable[bytes], write: Callable[[bytes], object], identity: pyrage.x25519.Identity) -> None:
    """Write what an age file holds, each 64 KiB once they are authenticated.

    Raises:
        BlobAltered: it does not decrypt; and whatever `chunks` and `write` raise.
    """
    source, sink = _Source(chunks), _Sink(write)
    try:
        pyrage.decrypt_io(source, sink, [identity])  # type: ignore[arg-type]  # needs read and write only
    except Exception as error:
        if source.failure is None and sink.failure is None:
            raise BlobAltered("A stored blob does not decrypt.") from error
    _raise_first(sink.failure, source.failure)


def _raise_first(*failures: BaseException | None) -> None:
    for failure in failures:
        if failure is not None:
            raise failure


class _Source:
    """What age reads from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._current = BytesIO()
        self.failure: BaseException | None = None

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        data = self._current.read(size)
        if data:
            return data
        try:
            for chunk in self._chunks:
                if chunk:
                    self._current = BytesIO(chunk)
                    return self._current.read(size)
        except BaseException as error:
            self.failure = error
            raise
        return b""


class _Sink:
    """What age writes to; nothing more after its first failure."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Pass the bytes on."""
        if self.failure is not None:
            raise self.failure
        try:
            self._write(data)
        except BaseException as error:
            self.failure = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing to do: bytes are made durable at publication."""
