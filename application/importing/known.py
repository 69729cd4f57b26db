"""What the ledger has already of a file: cases that it brought before, and patients that are likely to be the same.

Whether a case was brought before is told by its reference, blinded as an Idempotency-Key is. Patients are compared by
opening every registration that can still be opened: an index of them would outlive their erasure.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterator, Sequence

from psycopg_pool import ConnectionPool

from application import sql
from application.importing.checking import Checked, Likely
from application.ledger.entries import IdempotencyKey
from application.ledger.recorder import EntryRow
from application.ledger.store import Ledger
from application.request import idempotency_key
from domain.patient import PatientRegistered, likenesses

_SQL = sql.beside(__file__)
_ASKED_AT_ONCE = 1000
_STRETCH = 10_000
"""Entries that are looked through for patients in one query."""


class Known:
    """Looks a checked file up in the ledger."""

    def __init__(self, pool: ConnectionPool, ledger: Ledger, preparation: bytes) -> None:
        self._pool = pool
        self._ledger = ledger
        self._secret = hmac.digest(preparation, b"caseledger/import/v1", hashlib.sha256)

    def key(self, reference: str, content: bytes) -> IdempotencyKey:
        """The key under which a line goes in once, whoever imports it."""
        return idempotency_key(self._secret, "import", reference, content)

    def imported(self, checked: Checked) -> tuple[set[int], list[int]]:
        """Numbers of the lines that were imported before; and of those whose references were, for something else."""
        there: set[int] = set()
        changed: list[int] = []
        references = list(checked.references)
        for at in range(0, len(references), _ASKED_AT_ONCE):
            keys = {
                (key.actor, key.key): (number, key.request_digest)
                for number, reference in enumerate(references[at : at + _ASKED_AT_ONCE], at + 1)
                for key in (self.key(reference, checked.contents[number - 1]),)
            }
            for name, digest in self._digests(keys).items():
                number, own = keys[name]
                if digest == own:
                    there.add(number)
                else:
                    changed.append(number)
        return there, sorted(changed)

    def imported_since(self, keys: Sequence[IdempotencyKey]) -> set[str]:
        """Which of these keys another import has used by now, for the same content."""
        found = self._digests([(each.actor, each.key) for each in keys])
        return {each.key for each in keys if found.get((each.actor, each.key)) == each.request_digest}

    def likely(self, checked: Checked, there: set[int]) -> list[Likely]:
        """New lines whose patients are likely to be known, from this file or from the ledger; one each, in order."""
        # Of two lines that are alike, either may be the one that is new.
        found = {each.line: each for each in checked.likely if each.line not in there or (each.other or 0) not in there}
        if len(there) < checked.lines:
            for patient in self._patients():
                for likeness in likenesses(patient.account, patient.name, patient.born_on):
                    line = checked.likenesses.get(checked.blinded(likeness), 0)
                    if line and line not in there:
                        found.setdefault(line, Likely(line, patient.patient))
        return [found[line] for line in sorted(found)]

    def _digests(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        wanted = [actor for actor, _ in keys], [key for _, key in keys]
        with sql.borrowed(self._pool) as connection:
            rows = connection.execute(_SQL["imported"], wanted, binary=True).fetchall()
        return {(actor, key): digest for actor, key, digest in rows}

    def _patients(self) -> Iterator[PatientRegistered]:
        size = self._ledger.recorder.max_notification_id() or 0
        for start in range(0, size, _STRETCH):
            with sql.borrowed(self._pool) as connection:
                rows = connection.execute(_SQL["patients"], (start, start + _STRETCH), binary=True).fetchall()
            entries = [EntryRow(row[0], row[1].encode(), *row[2:]) for row in rows]
            for each in self._ledger.events.reader.logged(entries):
                if isinstance(each.event, PatientRegistered):
                    yield each.event
