"""The keys that this process signs with, held in step with the log.

The log says which of its keys is in use: a key's stream ends in the entry that puts another in its place. A process
learns of that in one of two ways, and in both before it signs with a key that is not in use any more: its appends stand
under the heads of both keys' streams as guards, so that none goes in, under the head lock, that was sealed before; and
whoever signs a tree that another process committed reads the streams first.
"""

from collections.abc import Sequence
from threading import Lock

import msgspec
import psycopg
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application import sql
from application.ledger.entries import Guard
from application.ledger.key_rotation import put_in_place
from application.ledger.keyfiles import KeyFiles, raw_public
from application.ledger.pin import Pin
from domain.errors import Misconfigured
from domain.ledger.bundle import key_stream
from domain.ledger.keys import key_id
from domain.ledger.succession import FOREVER, ROTATED

PURPOSES = ("entry", "checkpoint")
_SQL = sql.beside(__file__)

log = structlog.get_logger(__name__)


class Seal(msgspec.Struct, frozen=True, eq=False):
    """The key that signs entries, and the heads of streams under which what it signs may go in."""

    key: Ed25519PrivateKey
    guards: tuple[Guard, ...] = ()


class _Stopped(msgspec.Struct, frozen=True):
    """An earlier checkpoint key: index of its last entry, and its private half, if that is kept."""

    last: int
    key: Ed25519PrivateKey | None


class LiveKeys:
    """The present keys of entries and checkpoints; thread-safe. Before the first `refresh`, those of the files."""

    def __init__(self, files: KeyFiles, pin: Pin) -> None:
        self._files = files
        self._pin = pin
        self._seal = Seal(files.entry)
        self._stopped: tuple[_Stopped, ...] = ()
        self._lock = Lock()
        pin.reread = lambda: files.again().trusted().checkpoint

    @property
    def files(self) -> KeyFiles:
        """The key files, as last read."""
        return self._files

    def seal(self) -> Seal:
        """What to seal entries with now."""
        return self._seal

    def enrolled(self) -> bool:
        """Whether the log knows keys of its own, as of the last `refresh`."""
        return bool(self._seal.guards)

    def private(self, purpose: str) -> Ed25519PrivateKey:
        """The present key of a purpose: "entry" or "checkpoint"."""
        return self._files.checkpoint if purpose == "checkpoint" else self._files.entry

    def holds(self, purpose: str, key: str) -> bool:
        """Whether the private half of a key that is to come is among the files."""
        with self._lock:
            self._files = self._files.again()
        return (purpose, key) in self._files.next

    def checkpoint_keys(self, size: int) -> tuple[Ed25519PrivateKey, ...]:
        """The keys that sign the tree of this size: one; at a handover the new one and the old one."""
        chain = (*self._stopped, _Stopped(FOREVER, self._files.checkpoint))
        at = next(number for number, each in enumerate(chain) if size <= each.last)
        signing = [chain[at].key]
        if at and size == chain[at - 1].last + 1:
            # Whoever trusts only the old key follows it up to here, and finds in this tree what took its place.
            signing.append(chain[at - 1].key)
        return tuple(key for key in signing if key is not None) or (self._files.checkpoint,)

    def refresh(self, connection: psycopg.Connection) -> None:
        """Read from the log which keys are in use, and put their files in place.

        Raises:
            Misconfigured: the present key is not among the files; nothing is to be signed with an earlier one.
        """
        with self._lock:
            before = self._seal
            files = self._files.again()
            guards: list[Guard] = []
            for purpose in PURPOSES:
                files, head = _followed(connection, files, purpose)
                if head is not None:
                    guards.append(Guard(key_stream(key_id(raw_public(_present(files, purpose)))), head))
            if len(guards) == 1:
                raise Misconfigured("the log knows one of its two keys, and not the other")
            self._pin.trust(*files.trusted().checkpoint)
            self._stopped = _stopped(connection, files)
            self._files = files
            self._seal = Seal(files.entry, tuple(guards))
        if before.guards and self._seal.guards != before.guards:
            log.warning("keys.rotated", entry=guards[0].stream, checkpoint=guards[1].stream)


def _followed(connection: psycopg.Connection, files: KeyFiles, purpose: str) -> tuple[KeyFiles, str | None]:
    """The files with the present key in place, and its stream's head; None where the log knows no key of its own."""
    while True:
        key = key_id(raw_public(_present(files, purpose)))
        rows = _stream(connection, key)
        if not rows:
            if any(of == purpose for of, _ in files.earlier):
                raise Misconfigured(f"the log does not know the {purpose} key {key}, which took an earlier one's place")
            return files, None
        successor = next((successor for kind, _, successor, _ in rows if kind == ROTATED), None)
        if successor is None:
            return files, rows[-1][3]
        files = put_in_place(files, purpose, successor)


def _stopped(connection: psycopg.Connection, files: KeyFiles) -> tuple[_Stopped, ...]:
    found: list[_Stopped] = []
    for purpose, key in files.earlier:
        if purpose == "checkpoint":
            rows = _stream(connection, key)
            found += [_Stopped(index, files.old.get((purpose, key))) for kind, index, _, _ in rows if kind == ROTATED]
    return tuple(sorted(found, key=lambda each: each.last))


def _present(files: KeyFiles, purpose: str) -> Ed25519PrivateKey:
    return files.checkpoint if purpose == "checkpoint" else files.entry


def _stream(connection: psycopg.Connection, key: str) -> Sequence[tuple[str, int, str | None, str]]:
    """Kind, index, successor and leaf (hex) of a key's entries, in order."""
    return connection.execute(_SQL["key_stream"], (key_stream(key),)).fetchall()
