"""What goes to the appender, and what comes back."""

import msgspec

from domain.ledger.dsse import render
from domain.ledger.receipt import Receipt
from domain.ledger.statement import Statement
from domain.ledger.tree import leaf_hash


class SealedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, ready to be appended: nothing about it changes any more, whatever index it gets."""

    statement: Statement
    raw: bytes
    """The statement's canonical bytes."""
    actor_signature: bytes | None
    ledger_signature: bytes
    leaf: bytes
    sealed: bytes | None

    @classmethod
    def make(
        cls,
        statement: Statement,
        raw: bytes,
        actor_signature: bytes | None,
        ledger_signature: bytes,
        sealed: bytes | None,
    ) -> "SealedEntry":
        """An entry with its leaf hash."""
        leaf = leaf_hash(render(raw, signatures(actor_signature, ledger_signature)))
        return cls(
            statement=statement,
            raw=raw,
            actor_signature=actor_signature,
            ledger_signature=ledger_signature,
            leaf=leaf,
            sealed=sealed,
        )

    def size(self) -> int:
        """Bytes that it weighs in the queue."""
        return len(self.raw) + len(self.sealed or b"") + 256


def signatures(actor_signature: bytes | None, ledger_signature: bytes) -> tuple[bytes, ...]:
    """The envelope's signatures in order: the actor's, if any, then the ledger's."""
    return (ledger_signature,) if actor_signature is None else (actor_signature, ledger_signature)


class Guard(msgspec.Struct, frozen=True):
    """A stream that a decision relied on without writing to it: its head must still be this leaf (hex; "" for none)."""

    stream: str
    leaf: str


class IdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key for one request, and the SHA-256 of what was requested under it."""

    actor: str
    key: str
    request_digest: bytes


class Erase(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects whose keys and payloads go in the transaction of an append, whose entries say so of each of them."""

    subjects: tuple[str, ...]
    cases: tuple[str, ...]
    """Cases whose entries are looked through for payloads,"""
    streams: tuple[str, ...]
    """and streams outside of any case."""
    request: str
    """Stream of the privacy request."""


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that are appended together or not at all; with `erase`, what they say is done in the same transaction."""

    entries: tuple[SealedEntry, ...]
    guards: tuple[Guard, ...] = ()
    idempotency: IdempotencyKey | None = None
    erase: Erase | None = None

    def size(self) -> int:
        """Bytes that it weighs in the queue."""
        return sum(entry.size() for entry in self.entries)


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """Where the entries of an append stand, with a receipt each; `replayed` when an earlier request put them there."""

    first_index: int
    receipts: tuple[Receipt, ...]
    replayed: bool = False
