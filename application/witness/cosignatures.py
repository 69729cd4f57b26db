"""Checkpoints with what others say of them: stored cosignatures and time stamps, and the note that carries them."""

from collections.abc import Iterable
from typing import Any

import msgspec
import psycopg

from application import sql
from application.ledger.checkpoints import Checkpoints
from application.witness.post_quantum import PostQuantum
from domain.errors import EntryNotFound, Misconfigured
from domain.ledger.cosignature import Cosignature, extended
from domain.ledger.cosignature_policy import Policy
from domain.ledger.note import Note, NoteSignature, VerifierKey, cosignature_time_s

MAX_TIME_STAMPS = 16
"""Of one checkpoint in a bundle."""
_LOOKED_AT = 500
_SQL = sql.beside(__file__)
Connection = psycopg.Connection[Any]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far others have followed. Sizes are 0, and times None, where they have not at all."""

    size: int
    """Entries in the log."""
    cosigned: int = 0
    """Largest size with a quorum of witnesses."""
    cosigned_at_s: int | None = None
    """POSIX seconds of the latest cosignature of that size."""
    stamped: int = 0
    """Largest size with a time stamp."""
    stamped_at: int | None = None
    """Time of that stamp, microseconds UTC."""


class Evidence(msgspec.Struct, frozen=True):
    """A checkpoint to prove entries against: its size, its note with cosignatures, its time stamps."""

    size: int
    note: bytes
    time_stamps: tuple[bytes, ...]


class Cosignatures:
    """Cosignatures of this log's checkpoints: its own post-quantum ones, and its witnesses'."""

    def __init__(self, checkpoints: Checkpoints, post_quantum: PostQuantum | None, policy: Policy | None) -> None:
        self.checkpoints = checkpoints
        self.policy = policy
        self.revoked: frozenset[VerifierKey] = frozenset()
        """Witnesses' keys that the log revoked: they count no more, whatever the policy says."""
        self._post_quantum = post_quantum

    def check(self, connection: Connection) -> None:
        """Hold the post-quantum key against what was signed before: a key that was lost is not made again in silence.

        Raises:
            Misconfigured: another key of this name has cosigned this log.
        """
        if self._post_quantum is None:
            return
        own = self._post_quantum.verifier()
        names = "SELECT DISTINCT key_hash FROM ledger.cosignature WHERE name = %s"
        known = {bytes(row[0]) for row in connection.execute(names, (own.name,)).fetchall()}
        if known and own.key_hash not in known:
            raise Misconfigured("the key file checkpoint-mldsa is not the one that signed before; restore it")

    def own_keys(self) -> tuple[VerifierKey, ...]:
        """Public half of the post-quantum key, where there is one."""
        return () if self._post_quantum is None else (self._post_quantum.verifier(),)

    def add(self, connection: Connection, size: int, found: Iterable[Cosignature]) -> None:
        """Store cosignatures that hold."""
        for each in found:
            values = (size, each.key.name, each.key.key_hash, each.time_s, each.line.line())
            connection.execute(_SQL["insert_cosignature"], values)

    def note(self, connection: Connection, size: int) -> bytes:
        """The signed note of a committed size, with the newest cosignature of each of its cosigners."""
        return self._with_lines(self.checkpoints.signed(connection, size), self._lines(connection, size))

    def latest(self, connection: Connection) -> tuple[int, bytes]:
        """Size and note of the newest committed tree, with such cosignatures as it has by now.

        Raises:
            EntryNotFound: the log is empty.
        """
        size, note = self.checkpoints.latest(connection)
        return size, self._with_lines(note, self._lines(connection, size))

    def quorate(self, connection: Connection, at_least: int = 0) -> tuple[int, int] | None:
        """The newest size that a quorum has cosigned, and the time of its last cosignature; None if there is none.

        Looks at the newest 500 cosigned sizes.
        """
        if self.policy is None:
            return None
        keys = [key for key in self.policy.cosigners() if key not in self.revoked]
        names = sorted({key.name for key in keys})
        at_least = max(at_least, self._first(connection))
        rows = connection.execute(_SQL["cosigned_sizes"], (at_least, names, _LOOKED_AT), binary=True).fetchall()
        for size, found, hashes, time_s in rows:
            if self.policy.satisfied({key for key in keys if key.name in found and key.key_hash in hashes}):
                return size, time_s
        return None

    def quorate_note(self, connection: Connection) -> bytes:
        """The newest checkpoint that a quorum of witnesses has cosigned.

        Raises:
            EntryNotFound: there is none.
        """
        found = self.quorate(connection)
        if found is None:
            raise EntryNotFound("no checkpoint has a quorum of cosignatures")
        return self.note(connection, found[0])

    def cosign(self, connection: Connection, size: int) -> None:
        """Add the log's post-quantum cosignature to a checkpoint that lacks it; as of the checkpoint's commit time."""
        if self._post_quantum is None:
            return
        own = self._post_quantum.verifier()
        if any(line.key_hash == own.key_hash and line.name == own.name for line in self._lines(connection, size)):
            return
        note = self.checkpoints.signed(connection, size)
        time_s = cosignature_time_s(Note.parse(note).signatures[1])
        self.add(connection, size, [Cosignature(own, time_s, self._post_quantum.line(note, time_s))])

    def evidence(self, connection: Connection, needed: int) -> Evidence:
        """What to prove entries against that stand below index `needed`: the checkpoint with the most said of it.

        The newest of those that a quorum cosigned, else the newest that is stamped, else the newest; always with the
        post-quantum cosignature.

        Raises:
            EntryNotFound: the log does not reach that far.
        """
        size, _ = self.checkpoints.latest(connection)
        if size < needed:
            raise EntryNotFound
        stamped = connection.execute(_SQL["last_stamped"], (max(needed, self._first(connection)),)).fetchone()
        if (found := self.quorate(connection, needed)) is not None:
            size = found[0]
        elif stamped is not None:
            size = stamped[0]
        self.cosign(connection, size)
        return Evidence(size, self.note(connection, size), self.time_stamps(connection, size))

    def add_time_stamp(self, connection: Connection, size: int, at: int, response: bytes) -> None:
        """Store a time stamp that was judged good; `at` is its time in microseconds UTC."""
        connection.execute(_SQL["insert_time_stamp"], (size, at, response))

    def time_stamps(self, connection: Connection, size: int) -> tuple[bytes, ...]:
        """The responses over the checkpoint of a size, oldest first, at most 16."""
        rows = connection.execute(_SQL["time_stamps"], (size, MAX_TIME_STAMPS), binary=True).fetchall()
        return tuple(bytes(row[0]) for row in rows)

    def last_by(self, connection: Connection, keys: Iterable[VerifierKey]) -> tuple[int, int] | None:
        """The largest size that one of these keys, all of one name, has cosigned, and when in POSIX seconds."""
        given = list(keys)
        values = (given[0].name, [key.key_hash for key in given], self._first(connection))
        row = connection.execute(_SQL["last_by"], values).fetchone()
        return None if row is None else (row[0], row[1])

    def standing(self, connection: Connection) -> Standing:
        """How far witnesses and time stamps have followed the log."""
        row = connection.execute("SELECT max(size) FROM ledger.root").fetchone()
        stamped = connection.execute(_SQL["last_stamped"], (self._first(connection),)).fetchone() or (0, None)
        cosigned = self.quorate(connection) or (0, None)
        return Standing(
            size=(row[0] if row is not None else None) or 0,
            cosigned=cosigned[0],
            cosigned_at_s=cosigned[1],
            stamped=stamped[0],
            stamped_at=stamped[1],
        )

    def _first(self, connection: Connection) -> int:
        """The first size that is this origin's; what was said of smaller trees is evidence of the one before."""
        return self.checkpoints.floor(connection) + 1

    def _lines(self, connection: Connection, size: int) -> list[NoteSignature]:
        rows = connection.execute(_SQL["lines"], (size,)).fetchall()
        return [NoteSignature.parse(line.removesuffix("\n")) for _, _, line in rows]

    def _with_lines(self, note: bytes, lines: list[NoteSignature]) -> bytes:
        own = {(key.name, key.key_hash) for key in self.own_keys()}
        # The log's own line before those of others.
        return extended(note, sorted(lines, key=lambda line: (line.name, line.key_hash) not in own))
