"""Where a whole log's entries are read from: a database, or tiles in a directory or behind an address.

A source is a value that is sent to other processes; what it opens it opens where it is used. Nothing that it gives is
believed. The database's driver is imported by the database's source alone, so tiles are verified without it.
"""

import gzip
import http.client
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from domain.errors import DatabaseUnavailable, EntryAltered, EntryNotFound, InvalidInput, NotFound, Unavailable
from domain.ledger.dsse import render
from domain.ledger.note import MAX_NOTE_BYTES, VerifierKey
from domain.ledger.openings import MAX_OPENINGS_BYTES
from domain.ledger.tile import TileAddress, bundle_addresses, read_entries
from domain.ledger.tree import TILE_WIDTH

if TYPE_CHECKING:
    import psycopg

CHECKPOINT, OPENINGS = "checkpoint", "key-openings"
MAX_ENTRY_BUNDLE_BYTES = TILE_WIDTH * (2 + 0xFFFF)
TIMEOUT_S = 30
_READ = 512

Reader: TypeAlias = Callable[[TileAddress], bytes]
Envelopes: TypeAlias = Callable[[int, int, int], Iterator[bytes]]
"""Envelopes with start <= index < stop of a log of some size."""


class DatabaseSource(msgspec.Struct, frozen=True):
    """The ledger's tables, as any role that may read them."""

    url: str

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint.

        Raises:
            EntryNotFound: there is none. DatabaseUnavailable.
        """
        for (note,) in self._rows("SELECT note FROM ledger.checkpoint ORDER BY size DESC LIMIT 1", ()):
            return bytes(note.encode())
        raise EntryNotFound("the database holds no signed checkpoint")

    def post_quantum(self, keys: Sequence[VerifierKey], up_to: int) -> bytes | None:
        """The newest checkpoint of at most a size that one of the log's post-quantum keys has cosigned.

        Raises: DatabaseUnavailable.
        """
        query = (
            "SELECT note, line FROM ledger.checkpoint JOIN ledger.cosignature USING (size)"
            " WHERE key_hash = ANY(%s) AND size <= %s ORDER BY size DESC, time_s DESC LIMIT 1"
        )
        for note, line in self._rows(query, ([key.key_hash for key in keys], up_to)):
            return bytes(f"{note}{line}".encode())
        return None

    def envelopes(self, start: int, stop: int, size: int) -> Iterator[bytes]:
        """Envelopes with start <= index < stop, up to the first that is missing. Raises: DatabaseUnavailable."""
        with self.kept_open() as envelopes:
            yield from envelopes(start, stop, size)

    @contextmanager
    def kept_open(self) -> Iterator["Envelopes"]:
        """`envelopes` many times over, through one connection. Raises: DatabaseUnavailable."""
        import psycopg
        from psycopg.types.string import ByteaBinaryLoader

        query = (
            b"SELECT index, statement, actor_signature, ledger_signature FROM ledger.entry"
            b" WHERE index >= %s AND index < %s ORDER BY index"
        )
        with ExitStack() as stack:
            connection: psycopg.Connection | None = None

            def envelopes(start: int, stop: int, size: int) -> Iterator[bytes]:
                nonlocal connection
                with _refusing():
                    if connection is None:
                        connection = stack.enter_context(self._connect())
                        # The statement's text as it stands there; the driver would parse it.
                        connection.adapters.register_loader("json", ByteaBinaryLoader)
                    rows = connection.execute(query, (start, stop), binary=True).fetchall()
                for expected, (index, statement, actor, ledger) in enumerate(rows, start):
                    if index != expected:
                        return
                    yield render(statement, (ledger,) if actor is None else (actor, ledger))

            yield envelopes

    def _rows(self, query: str, values: tuple[Any, ...]) -> Iterator[Any]:
        with _refusing(), self._connect() as connection:
            yield from connection.execute(query.encode(), values, binary=True)

    def _connect(self) -> "psycopg.Connection":
        import psycopg

        return psycopg.connect(self.url, autocommit=True, connect_timeout=TIMEOUT_S)


class DirectorySource(msgspec.Struct, frozen=True):
    """A directory laid out as C2SP tlog-tiles: `checkpoint`, `tile/entries/...`, and `key-openings`.

    `checkpoint-post-quantum` may be beside them: the newest one that the log's post-quantum key has signed.
    """

    place: Path

    def checkpoint(self) -> bytes:
        """The file `checkpoint`. Raises: OSError."""
        return _file(self.place / CHECKPOINT, MAX_NOTE_BYTES + 1)

    def post_quantum(self, keys: Sequence[VerifierKey], up_to: int) -> bytes | None:
        """The file `checkpoint-post-quantum`; None where there is none. Raises: OSError."""
        try:
            return _file(self.place / f"{CHECKPOINT}-post-quantum", MAX_NOTE_BYTES + 1)
        except FileNotFoundError:
            return None

    def openings(self) -> bytes:
        """The file `key-openings`; empty where there is none."""
        try:
            return _file(self.place / OPENINGS, MAX_OPENINGS_BYTES + 1)
        except FileNotFoundError:
            return b""

    def envelopes(self, start: int, stop: int, size: int) -> Iterator[bytes]:
        """Envelopes with start <= index < stop. Raises: EntryAltered: a bundle is missing, or not one."""
        yield from _from_bundles(self._bundle, start, stop, size)

    def _bundle(self, address: TileAddress) -> bytes:
        try:
            return _file(self.place / "tile" / address.path(), MAX_ENTRY_BUNDLE_BYTES + 1)
        except FileNotFoundError:
            raise NotFound from None


class HttpSource(msgspec.Struct, frozen=True):
    """A log's prefix over HTTP; `token` is a bearer token of the role compliance or witness."""

    prefix: str
    token: str | None = None

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint. Raises: Unavailable, NotFound."""
        with closing(self._connection()) as connection:
            return self._get(connection, CHECKPOINT, MAX_NOTE_BYTES)

    def post_quantum(self, keys: Sequence[VerifierKey], up_to: int) -> bytes | None:
        """The newest checkpoint that the log's post-quantum key has signed, as our own service gives it.

        None where there is none; of a log of plain files it is the same file as `checkpoint`. Raises: Unavailable.
        """
        with closing(self._connection()) as connection, suppress(NotFound):
            return self._get(connection, f"{CHECKPOINT}?witnessed=post-quantum", MAX_NOTE_BYTES)
        return None

    def openings(self) -> bytes:
        """Openings of the key streams. Raises: Unavailable, NotFound."""
        with closing(self._connection()) as connection:
            return self._get(connection, OPENINGS, MAX_OPENINGS_BYTES)

    def envelopes(self, start: int, stop: int, size: int) -> Iterator[bytes]:
        """Envelopes with start <= index < stop. Raises: EntryAltered, Unavailable."""
        with closing(self._connection()) as connection:
            yield from _from_bundles(
                lambda address: self._get(connection, f"tile/{address.path()}", MAX_ENTRY_BUNDLE_BYTES),
                start,
                stop,
                size,
            )

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.prefix)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)

    def _get(self, connection: http.client.HTTPConnection, path: str, limit: int) -> bytes:
        headers = {"Accept-Encoding": "gzip, identity"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request("GET", f"{urlsplit(self.prefix).path.rstrip('/')}/{path}", headers=headers)
            answer = connection.getresponse()
            body = answer.read(limit + 1)
            answer.close()
            if answer.status == 404:
                raise NotFound
            if answer.status != 200:
                raise Unavailable(f"the log answers {answer.status} for {path}")
            if answer.headers.get("Content-Encoding") == "gzip":
                with gzip.GzipFile(fileobj=io.BytesIO(body)) as unpacked:
                    body = unpacked.read(limit + 1)
        except (OSError, EOFError, http.client.HTTPException) as error:
            raise Unavailable(f"the log does not answer: {type(error).__name__}") from None
        if len(body) > limit:
            raise EntryAltered(f"{path} has more than {limit} bytes")
        return body


Source: TypeAlias = DatabaseSource | DirectorySource | HttpSource


@contextmanager
def kept_open(source: Source) -> Iterator[Envelopes]:
    """`source.envelopes` many times over; what that opens stays open until the end of the block."""
    if isinstance(source, DatabaseSource):
        with source.kept_open() as envelopes:
            yield envelopes
    else:
        yield source.envelopes


def tiles_at(place: str, token: str | None) -> DirectorySource | HttpSource:
    """The tiles at an http(s) address, or in a directory.

    Raises:
        InvalidInput: neither.
    """
    if place.startswith(("http://", "https://")):
        try:
            parts = urlsplit(place)
            usable = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment or parts.username)
        except ValueError:
            usable = False
        if not usable:
            raise InvalidInput("tiles are at http(s)://host[:port]/path, without a user and a query")
        return HttpSource(place, token)
    if not Path(place).is_dir():
        raise InvalidInput("tiles are in a directory, or at an address that begins with http:// or https://")
    return DirectorySource(Path(place))


def envelopes_at(source: Source, indexes: Mapping[int, object], size: int) -> dict[int, bytes]:
    """The envelopes at some indexes below `size`; those that the source does not have are left out.

    Read in runs, since the indexes of a log's keys lie close together.
    """
    found: dict[int, bytes] = {}
    wanted = sorted(index for index in indexes if index < size)
    while wanted:
        stop = next((at for at, index in enumerate(wanted) if index - wanted[0] >= _READ), len(wanted))
        run, wanted = wanted[:stop], wanted[stop:]
        try:
            entries = source.envelopes(run[0], run[-1] + 1, size)
            found |= {index: raw for index, raw in enumerate(entries, run[0]) if index in indexes}
        except EntryAltered:
            # The scan comes past here too, and says what is wrong.
            continue
    return found


def _from_bundles(read: Reader, start: int, stop: int, size: int) -> Iterator[bytes]:
    for address in bundle_addresses(start, stop, size):
        try:
            entries = read_entries(read(address), address.width)
        except NotFound:
            entries = _from_full(read, address)
        yield from entries[max(start - address.start, 0) : stop - address.start]


def _from_full(read: Reader, address: TileAddress) -> list[bytes]:
    """A partial bundle may be gone once the full one is there (C2SP tlog-tiles, Partial Tiles)."""
    try:
        if address.width < TILE_WIDTH:
            full = TileAddress(address.level, address.index)
            return read_entries(read(full), full.width)[: address.width]
    except NotFound:
        pass
    raise EntryAltered(f"the entry bundle {address.path()} is missing")


@contextmanager
def _refusing() -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error:
        # The driver's message may quote the address, and a password with it.
        raise DatabaseUnavailable("the database did not answer, or holds no ledger that may be read") from None


def _file(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit)
