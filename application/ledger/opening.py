"""Entries on their way out of the log: leaf recomputed, payload opened against its commitment, chain followed."""

from collections.abc import Iterable, Iterator, Sequence

from application.ledger.keyring import Keyring
from application.ledger.recorder import EntryRow
from application.ledger.streams import LoggedEvent
from domain.errors import ChainBroken, EntryAltered, PayloadAltered
from domain.event import Erased, register
from domain.ledger.sealing import Opener, Opening, open_all
from domain.ledger.statement import Statement, peek_statements
from domain.ledger.tree import leaf_hash

_HOLE = "the payload, or its key, is gone, and its subject was not erased"


class EntryReader:
    """Makes events of stored rows; none comes out whose bytes contradict each other."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def logged(self, rows: Sequence[EntryRow]) -> list[LoggedEvent]:
        """Rows in order as events, opened and checked; those whose payload or its key was erased as `Erased`.

        Raises:
            EntryAltered, PayloadAltered: stored bytes contradict each other, or a payload is gone that was not erased;
                the error says where.
        """
        for row in rows:
            if leaf_hash(row.envelope()) != row.leaf:
                raise EntryAltered(f"entry {row.index} does not hash to its leaf")
        statements = peek_statements([row.raw for row in rows])
        payloads = self._payloads(rows, statements)
        decode = register.decode
        return [
            _erased(row)
            if payload is None
            else LoggedEvent(
                statement.stream,
                statement.rev,
                decode(statement.kind, payload),
                statement,
                row.index,
                row.leaf.hex(),
                row.committed_at,
            )
            for row, statement, payload in zip(rows, statements, payloads, strict=True)
        ]

    def opening_at(self, row: EntryRow) -> Opening | None:
        """What an entry's commitment opens to; None once it was erased.

        Raises:
            PayloadAltered: it does not open; the error says where.
        """
        statement = row.statement()
        if row.sealed is None or statement.subject is None or statement.commitment is None:
            return None
        opener = self._openers((statement.subject,)).get(statement.subject)
        return None if opener is None else _open(opener, row, statement)

    def _check_erased(self, rows: Sequence[EntryRow]) -> None:
        """Hold rows whose payload cannot be read against the fence; one that commits to none has none to miss.

        Asked after the rows and the keys were read: who erases fences and destroys in one transaction.
        """
        statements = [row.statement() for row in rows]
        fenced = self._keyring.fenced(tuple({each.subject for each in statements if each.subject is not None}))
        for row, statement in zip(rows, statements, strict=True):
            if statement.commitment is not None and statement.subject not in fenced:
                raise PayloadAltered(_HOLE).at(row.index, statement.rev)

    def _payloads(self, rows: Sequence[EntryRow], statements: Sequence[Statement]) -> list[bytes | None]:
        """Each row's payload; None where it or its key is gone."""
        openers = self._openers(tuple({each.subject for each in statements if each.subject is not None}))
        there = [
            (opener, row.sealed, row.raw, statement.commitment)
            if row.sealed is not None
            and statement.commitment is not None
            and (opener := openers.get(statement.subject)) is not None
            else None
            for row, statement in zip(rows, statements, strict=True)
        ]
        present = [each for each in there if each is not None]
        if len(present) < len(there):
            self._check_erased([row for row, each in zip(rows, there, strict=True) if each is None])
        opened = open_all(present)
        if opened is not None:
            found = iter(opened)
            return [None if each is None else next(found) for each in there]
        # One does not open: one by one, to say which.
        for row, statement, each in zip(rows, statements, there, strict=True):
            if each is not None:
                _open(each[0], row, statement)
        raise PayloadAltered

    def _openers(self, subjects: tuple[str, ...]) -> dict[str | None, Opener]:
        """For those among the subjects that still have a key."""
        keys = self._keyring.find_many(subjects) if subjects else {}
        return {subject: Opener(key) for subject, key in keys.items()}


def _open(opener: Opener, row: EntryRow, statement: Statement) -> Opening:
    try:
        return opener.open(row.sealed or b"", row.raw, statement.commitment or "")
    except PayloadAltered as error:
        raise error.at(row.index, statement.rev) from None


def _erased(row: EntryRow) -> LoggedEvent:
    """No payload authenticates these bytes, so they are read as strictly as when they came."""
    statement = row.statement()
    event = Erased(statement.kind, statement.subject or "")
    return LoggedEvent(statement.stream, statement.rev, event, statement, row.index, row.leaf.hex(), row.committed_at)


def chained(logged: Iterable[LoggedEvent], stream: str, after: int) -> Iterator[LoggedEvent]:
    """The events of one stream behind a revision, each held against the one before it.

    Raises:
        ChainBroken: one is missing, of another stream, or does not name its predecessor's leaf.
    """
    rev, leaf = after, None
    for each in logged:
        rev += 1
        # Of a stream that is read from its middle, nothing is known before its first entry here.
        follows = each.statement.prev == leaf or (leaf is None and rev > 1)
        if not follows or each.originator_version != rev or each.originator_id != stream:
            raise ChainBroken(f"entry {each.index} does not follow revision {rev - 1} of its stream")
        leaf = each.leaf
        yield each
