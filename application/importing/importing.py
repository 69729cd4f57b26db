"""The second reading of an import: what is new goes into the log in full batches, each line whole or not at all.

Every line stands under an idempotency key of its own, in the transaction of its entries. So the same file may be
imported again, after a kill at any moment or by two processes at once: what is in is found, the rest follows.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from time import time_ns

import msgspec

from application.importing.checking import Checked, content_of
from application.importing.known import Known
from application.importing.line import ReadLine, opening_of
from application.importing.source import Source
from application.ledger.bulk import Bulk, Import
from application.ledger.entries import Appended
from application.ledger.keyring import Keyring
from application.request import Request
from domain.errors import CaseLedgerError, DatabaseUnavailable, GuardBroken, InvalidInput

_AT_ONCE = 4000
"""Lines whose receipts are held at a time; several full batches."""
_KEYS_AT_ONCE = 250
"""Lines whose subjects get their keys in one go."""
_ATTEMPTS = 3


class Imported(msgspec.Struct, kw_only=True):
    """What an import has added so far: `already` was in before, or was put in by another at the same time."""

    cases: int = 0
    already: int = 0
    entries: int = 0
    first_index: int | None = None
    last_index: int | None = None

    def count(self, appended: Appended) -> None:
        """Count a line that is in."""
        if appended.replayed:
            self.already += 1
            return
        last = appended.first_index + len(appended.receipts) - 1
        self.cases += 1
        self.entries += len(appended.receipts)
        # Others append meanwhile, and a line that was tried again may come behind one that follows it in the file.
        self.first_index = appended.first_index if self.first_index is None else self.first_index
        self.last_index = max(last, self.last_index or 0)


class Importing:
    """Appends what is new of a checked file. Owns nothing; the bulk is the caller's."""

    def __init__(self, bulk: Bulk, keyring: Keyring, known: Known, read: ReadLine) -> None:
        self._bulk = bulk
        self._keyring = keyring
        self._known = known
        self._read = read

    def run(
        self,
        source: Source,
        checked: Checked,
        there: set[int],
        request: Request,
        tell: Callable[[Imported], None],
    ) -> Imported:
        """Append every line that is not `there`; tells how far it is after every few batches.

        Raises:
            InvalidInput: the file is not what it was when it was checked; earlier lines are in.
            CaseLedgerError: a line could not be appended; others are in.
        """
        imported = Imported(already=len(there))
        fresh = self._fresh(source, checked, there, request, imported)
        # A stretch that turns out to be empty was the last one.
        while self._append(islice(fresh, _AT_ONCE), imported):
            tell(imported)
        return imported

    def _append(self, imports: Iterator[tuple[int, Import]], imported: Imported) -> int:
        """Append a stretch of lines; how many there were. What failed for a passing reason is tried again."""
        waiting: list[tuple[int, Import]] = []
        answers = self._bulk.append(_noted(imports, waiting))
        count = len(waiting)
        for attempt in range(1, _ATTEMPTS + 1):
            again: list[tuple[int, Import]] = []
            failed: tuple[int, CaseLedgerError] | None = None
            for each, answer in zip(waiting, answers, strict=True):
                if isinstance(answer, Appended):
                    imported.count(answer)
                elif isinstance(answer, GuardBroken | DatabaseUnavailable) and attempt < _ATTEMPTS:
                    # The ledger's key was rotated, or the database was away: nobody else writes to these streams.
                    again.append(each)
                else:
                    failed = failed or (each[0], answer)
            if failed is not None:
                raise InvalidInput(f"line {failed[0]} did not go in: {failed[1]}. What went in before it stays")
            if not again:
                break
            waiting = again
            answers = self._bulk.append(each for _, each in waiting)
        return count

    def _fresh(
        self, source: Source, checked: Checked, there: set[int], request: Request, imported: Imported
    ) -> Iterator[tuple[int, Import]]:
        """Lines that are not in the log yet, each with its keys made."""
        some: list[tuple[int, Import, tuple[str, ...]]] = []
        number = 0
        for number, raw in source.lines():
            if number in there:
                continue
            if not isinstance(raw, bytes) or number > checked.lines:
                raise InvalidInput("the file was changed while it was imported")
            line = self._read(raw)
            content = content_of(line)
            if content != checked.contents[number - 1]:
                raise InvalidInput("the file was changed while it was imported")
            now = msgspec.structs.replace(request, now=time_ns() // 1000)
            made = opening_of(line, number, checked.sha256, now)
            key = self._known.key(line.reference, content)
            some.append((number, Import(events=made.events, act=now.act(request.id), idempotency=key), made.subjects))
            if len(some) == _KEYS_AT_ONCE:
                yield from self._with_keys(some, imported)
                some = []
        if some:
            yield from self._with_keys(some, imported)
        if number < checked.lines:
            raise InvalidInput("the file was changed while it was imported")

    def _with_keys(
        self, some: Sequence[tuple[int, Import, tuple[str, ...]]], imported: Imported
    ) -> Iterator[tuple[int, Import]]:
        # Who imports the same file at the same time may be ahead of us: nothing is sealed for what is in by now.
        keys = [each.idempotency for _, each, _ in some if each.idempotency is not None]
        since = self._known.imported_since(keys)
        fresh = [each for each in some if each[1].idempotency is None or each[1].idempotency.key not in since]
        imported.already += len(some) - len(fresh)
        if fresh:
            self._keyring.create(*(subject for _, _, subjects in fresh for subject in subjects))
        for number, each, _ in fresh:
            yield number, each


def _noted(imports: Iterator[tuple[int, Import]], into: list[tuple[int, Import]]) -> Iterator[Import]:
    for each in imports:
        into.append(each)
        yield each[1]
