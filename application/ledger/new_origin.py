"""Going on after a restore: a database older than what was released gets another origin, by an entry that says so.

Nothing here decides that this is wanted. It is done while nothing serves, with the owner's rights; the head's row, the
entry and the root change in one transaction, and the files follow (`origin_files`).
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from uuid_utils import uuid7

from application import sql
from application.ledger.entries import SealedEntry, signatures
from application.ledger.keyfiles import raw_public
from application.ledger.keyring import Keyring
from application.ledger.nodes import Nodes, recompute
from application.ledger.origin_files import PURPOSES, Log, Staged
from application.request import PURPOSE
from domain.errors import (
    AlreadyDone,
    CaseLedgerError,
    HeadForked,
    IntegrityFailure,
    Misconfigured,
    Unavailable,
    WrongOrigin,
)
from domain.event import encode
from domain.ledger import dsse, sealing
from domain.ledger.checkpoint import Checkpoint, open_checkpoint, read_unverified, sign, verifier_keys
from domain.ledger.keys import key_id, verify_ed25519
from domain.ledger.origins import STREAM, SUCCEEDED, origin_message
from domain.ledger.sealing import Opening
from domain.ledger.statement import Statement, encode_statement
from domain.ledger.succession import SERVICE_ROLE
from domain.ledger.tree import Frontier, leaf_hash, root_at
from domain.origin import Endorsement, OriginSucceeded, Reason

SUBJECT = "key:origins"
UNSIGNED_S = 3600
"""Seconds behind the newest checkpoint within which entries may be: it is stored right after them."""
_CHUNK = 2048
_SQL = sql.beside(__file__)
Connection = psycopg.Connection[Any]


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A database that was found to be an older copy of what an origin released."""

    old: Log
    head: Frontier
    lost: tuple[bytes, ...]
    """The last released checkpoint of the old origin; then those of the origins after it, which are lost whole."""
    endorsers: tuple[Ed25519PrivateKey, Ed25519PrivateKey]
    """The old origin's private keys of checkpoints and of entries."""
    signed: int
    """Size of the newest checkpoint in it that the old origin signed; entries behind it are signed one by one."""

    def released(self) -> int:
        """Size of the old origin's last released checkpoint."""
        return read_unverified(self.lost[0]).size


def check_alone(connection: Connection) -> None:
    """Let nobody but us be connected.

    Raises:
        Unavailable: somebody serves.
    """
    row = connection.execute(_SQL["other_sessions"]).fetchone()
    if row is not None and row[0]:
        raise Unavailable("the service is running on this database: stop it first")


def origin_of(connection: Connection) -> str | None:
    """The origin that the database says it has."""
    row = connection.execute(_SQL["look"]).fetchone()
    return None if row is None else str(row[0])


def examine(connection: Connection, logs: Sequence[Log], keks: Sequence[str]) -> Restored:
    """Hold the database against what was released: it has to be an older copy of it, as far as that can be told.

    `logs` are this data directory's origins, the present one last; `keks` name the key-encryption keys that there are.
    Every entry is hashed to its leaf and every leaf to the head; the newest checkpoint in there has to be signed by the
    log and be of this tree; what stands behind it has to be signed by the log's key of entries, one by one.

    Raises:
        WrongOrigin: it is another ledger's.
        AlreadyDone: it extends what was released, so nothing is lost, and it keeps its origin.
        HeadForked: it is not an older copy.
        Misconfigured: it is empty, nothing was ever released, or its content is under a key that was destroyed.
    """
    row = connection.execute(_SQL["look"]).fetchone()
    if row is None or row[1] == 0:
        raise Misconfigured("the database holds no entry: there is nothing to go on from")
    at = next((number for number, each in enumerate(logs) if each.keys.origin == row[0]), None)
    if at is None:
        raise WrongOrigin
    old, head = logs[at], Frontier.from_bytes(row[1], bytes(row[2]))
    lost = tuple(each.released for each in logs[at:] if each.released is not None)
    if old.private is None:
        raise Misconfigured(f"the keys of {old.keys.origin} are not in the data directory any more: restore them")
    if old.released is None:
        raise Misconfigured("nothing was ever released of this ledger: its pin is missing")
    released = read_unverified(old.released)
    if head.size >= released.size:
        if root_at(released.size, Nodes(connection, head.size)) != released.root:
            raise HeadForked("the database is another history than the one that was released: restore another copy")
        if at == len(logs) - 1:
            raise AlreadyDone("the database extends the last released checkpoint: nothing is lost, its origin stays")
        raise Misconfigured("this copy is all of what an earlier origin released: restore that origin's files with it")
    if recompute(connection, head.size, 0).head != head:
        raise HeadForked("the head is not the root of the stored entries")
    signed = _check_signed(connection, logs[: at + 1], head)
    dead = connection.execute(_SQL["dead_keys"], (list(keks),)).fetchone()
    if dead is not None and dead[0]:
        raise Misconfigured(
            f"the keys of {dead[0]} subjects in this copy are under a key-encryption key that is not in the data "
            "directory, since it was rotated after the copy was made: restore keys/kek of then, or a newer copy"
        )
    return Restored(old=old, head=head, lost=lost, endorsers=old.private, signed=signed)


def _check_signed(connection: Connection, logs: Sequence[Log], head: Frontier) -> int:
    row = connection.execute(_SQL["last_note"], (head.size,)).fetchone()
    if row is None:
        raise HeadForked("no checkpoint in this database is signed: that it was ever this ledger's is not shown")
    size, note = row[0], row[1].encode()
    try:
        known = [
            both for log in logs for key in log.keys.checkpoint for both in verifier_keys(key.name, key.public_key)
        ]
        opened = open_checkpoint(note, known)
    except CaseLedgerError as error:
        raise HeadForked(f"the newest checkpoint in this database is not signed by this ledger: {error}") from None
    if opened.checkpoint.size != size or opened.checkpoint.root != root_at(size, Nodes(connection, head.size)):
        raise HeadForked("the newest checkpoint in this database is of another tree")
    latest = ((opened.committed_at_s or 0) + UNSIGNED_S) * 1_000_000
    entry_keys = {log.keys.origin: [key.public_key for key in log.keys.entries] for log in logs}
    for index, raw, actor, ledger, leaf in _entries(connection, head.size):
        if leaf_hash(dsse.render(raw, signatures(actor, ledger))) != leaf:
            raise HeadForked(f"entry {index} does not hash to its leaf")
        if index >= size:
            said = dsse.Entry(raw, signatures(actor, ledger)).parsed()
            if not any(_holds(key, ledger, raw) for key in entry_keys.get(said.origin, [])):
                raise HeadForked(f"entry {index}, behind the newest checkpoint, is not signed by this ledger")
            # Signed one by one, any of them could have been taken out from between.
            if said.recorded_at > latest:
                raise HeadForked(f"entry {index} is of long after the newest checkpoint in this database")
    return int(size)


def _entries(connection: Connection, size: int) -> Iterator[tuple[int, bytes, bytes | None, bytes, bytes]]:
    for start in range(0, size, _CHUNK):
        rows = connection.execute(_SQL["entries"], (start, min(start + _CHUNK, size)), binary=True)
        for index, statement, actor, ledger, leaf in rows:
            yield index, statement.encode(), actor, ledger, leaf


def _holds(public_key: bytes, signature: bytes, raw: bytes) -> bool:
    try:
        verify_ed25519(public_key, signature, dsse.pre_authentication_encoding(raw))
    except IntegrityFailure:
        return False
    return True


def succeed(connection: Connection, keyring: Keyring, restored: Restored, new: Staged, reason: Reason, now: int) -> int:
    """Append the entry that says so, and let the head's row follow, in one transaction; returns the entry's index.

    `now` is in microseconds UTC. The keyring makes the key that the entry's payload is sealed under.

    Raises:
        HeadForked: the database is not the one that was examined any more.
        psycopg.Error: nothing was appended; unless the connection was lost, when that is not known.
    """
    keyring.create(SUBJECT)
    payload = encode(_event(restored, new, reason))
    opening = Opening(secrets.token_bytes(sealing.BLINDING_BYTES), payload)
    with connection.transaction():
        row = connection.execute(_SQL["head"]).fetchone()
        old, size = restored.old.keys.origin, restored.head.size
        if row is None or (row[0], row[1], bytes(row[2])) != (old, size, restored.head.to_bytes()):
            raise HeadForked("the database has changed since it was looked at")
        last = connection.execute(_SQL["last_of_stream"], (STREAM,)).fetchone() or (0, None)
        entry = _sealed(new, opening, keyring, last, now)
        head = restored.head.append(entry.leaf)
        values = (size, entry.raw.decode(), entry.ledger_signature, entry.leaf, entry.sealed, row[3])
        connection.execute(_SQL["insert_entry"], values)
        connection.execute(_SQL["insert_root"], (head.size, head.root(), row[3]))
        connection.execute(_SQL["move"], (new.origin, head.size, head.to_bytes(), row[3]))
        connection.execute(_SQL["tell"], (str(head.size),))
    return size


def _event(restored: Restored, new: Staged, reason: Reason) -> OriginSucceeded:
    old, head = restored.old, restored.head
    checkpoint_key, entry_key = new.checkpoint_verifier(), new.entry_verifier()
    message = origin_message(old.keys.origin, head.size, head.root(), restored.lost, checkpoint_key, entry_key)
    return OriginSucceeded(
        reason=reason,
        origin=old.keys.origin,
        size=head.size,
        root=head.root().hex(),
        lost=tuple(note.decode() for note in restored.lost),
        keys=tuple(map(str, (*old.keys.checkpoint, *old.keys.entries))),
        checkpoint_key=str(checkpoint_key),
        entry_key=str(entry_key),
        endorsements=tuple(
            Endorsement(purpose=purpose, key=key_id(raw_public(key)), signature=key.sign(message).hex())
            for purpose, key in zip(PURPOSES, restored.endorsers, strict=True)
        ),
    )


def _sealed(new: Staged, opening: Opening, keyring: Keyring, last: tuple[int, str | None], now: int) -> SealedEntry:
    statement = Statement(
        origin=new.origin,
        stream=STREAM,
        rev=last[0] + 1,
        prev=last[1],
        kind=SUCCEEDED,
        actor=SERVICE_ROLE,
        role=SERVICE_ROLE,
        recorded_at=now,
        cause=str(uuid7()),
        purpose=PURPOSE[SERVICE_ROLE],
        subject=SUBJECT,
        commitment=opening.commitment(),
    )
    raw = encode_statement(statement)
    sealed = sealing.seal(keyring.get(SUBJECT), secrets.token_bytes(sealing.NONCE_BYTES), opening, raw)
    signature = new.entry.sign(dsse.pre_authentication_encoding(raw))
    return SealedEntry.make(statement, raw, None, signature, sealed)


def first_checkpoint(connection: Connection, new: Staged) -> bytes:
    """The new origin's first checkpoint, signed: of the tree that ends in the entry which says so.

    Raises:
        HeadForked: the database does not hold that entry.
    """
    row = connection.execute(_SQL["first_tree"], (new.origin,)).fetchone()
    if row is None:
        raise HeadForked("the database does not hold the entry that its new origin begins with")
    return sign(Checkpoint(new.origin, row[0], bytes(row[1])), new.checkpoint, row[2])
