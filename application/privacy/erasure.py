"""Erasure: the act, which is one transaction, and the clearing away, which goes on until it is done.

The act fences the subjects, destroys their wrapped keys, nulls their payloads, and appends the entries that say so.
From its commit on, nothing of them can be opened by who has to ask the database for a key. What then remains is
ciphertext without a key, and names of views' rows; `Clearing` removes it, in steps each of which may be done again:

1. the subjects are added to the fence outside the database;
2. keys in memory are dropped (other processes hear of the commit and do the same);
3. the records' objects are deleted;
4. the views' rows are folded anew;
5. once nobody can hold a key in memory any more (`CACHE_S` after the commit): 3 and 4 again, dead rows are vacuumed
   away, and the key-encryption key is rotated, which makes every older copy of the wrapped keys worthless;
6. PersonalDataErased is appended.

Whatever ends in between, the next call begins at 1. What there is left to do stands in the log and in `ledger.fence`.
"""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog
from psycopg_pool import ConnectionPool

from application import sql
from application.cases import Cases, LoadedCase
from application.ledger.entries import Erase, Guard
from application.ledger.keks import Keks
from application.ledger.keyring import CACHE_S, Keyring
from application.ledger.recorder import EntryRow
from application.ledger.store import Ledger
from application.ledger.streams import Act, Loaded
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.privacy.fence import FenceFile, of_request
from application.privacy.holds import LegalHolds
from application.privacy.requests import PrivacyRequests, new_event
from application.records.vault import Vault
from application.request import PURPOSE, Request
from domain import privacy
from domain.case.actor import SERVICE
from domain.case.events import CaseOpened
from domain.errors import StaleRevision
from domain.privacy import ErasureRequest, PersonalDataErased

_SQL = sql.beside(__file__)
_LOCK = "caseledger/erasing"

log = structlog.get_logger(__name__)


class Erasures:
    """Carries out what was approved."""

    def __init__(
        self,
        pool: ConnectionPool[Any],
        ledger: Ledger,
        keyring: Keyring,
        cases: Cases,
        requests: PrivacyRequests,
        holds: LegalHolds,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._keyring = keyring
        self._cases = cases
        self._requests = requests
        self._holds = holds

    def execute(self, request: Request, stream: str) -> Outcome:
        """Erase what a request is about. When this returns, no key and no payload of it is in the database.

        Raises:
            ErasureRequestNotFound, and what `domain.privacy.execute` refuses with.
            StaleRevision, GuardBroken: the request, the case or its holds have moved; nothing was erased.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "privacy")) is not None:
            return earlier
        loaded, case = self._requests.at(request, stream)
        holds, guard = self._holds.guarded(case.case)
        guards, streams = [guard], []
        subjects = [f"record:{loaded.state.record}"]
        if loaded.state.scope == "case":
            subjects = [f"case:{case.case}", *self._records(case.case)]
            patient = self._patient_of(case)
            if patient is not None:
                subjects.append(patient.id.replace("-", ":", 1))
                streams.append(patient.id)
                # Whoever opens another case for the patient writes there.
                guards.append(Guard(patient.id, patient.head))
        executed, erased = privacy.execute(loaded.state, case.state, holds.stands(), tuple(subjects), request.actor())
        recordings = self._ledger.append(
            [
                new_event(stream, loaded.version + 1, executed, case.case),
                *(
                    new_event(case.stream, rev, each, case.case, each.subject)
                    for rev, each in enumerate(erased, case.revision + 1)
                ),
            ],
            request.act(request.id),
            # Written to, so guarded: a record that has come in meanwhile is not overlooked.
            heads={stream: loaded.head, case.stream: case.head},
            guards=guards,
            idempotency=request.idempotency,
            erase=Erase(subjects=tuple(subjects), cases=(case.case,), streams=tuple(streams), request=stream),
        )
        self._keyring.clear()
        log.info("erasure.executed", request=stream, subjects=len(subjects))
        return settled_outcome(self._ledger, request.idempotency, stream, recordings)

    def _records(self, case: str) -> list[str]:
        with sql.borrowed(self._pool) as connection:
            return [subject for (subject,) in connection.execute(_SQL["records"], (case,))]

    def _patient_of(self, case: LoadedCase) -> Loaded[None] | None:
        """The patient's stream, if no other case of theirs can still be read."""
        first = self._ledger.stream(case.stream)[0].event
        if not isinstance(first, CaseOpened):
            return None
        with sql.borrowed(self._pool) as connection:
            rows = connection.execute(_SQL["openings"], (case.case,), binary=True).fetchall()
        found = [EntryRow(row[0], row[1].encode(), *row[2:]) for row in rows]
        for other in self._ledger.events.reader.logged(found):
            if isinstance(other.event, CaseOpened) and other.event.patient == first.patient:
                return None
        last = self._ledger.recorder.rows(first.patient, None, None, desc=True, limit=1)
        if not last or last[0].sealed is None:
            return None
        return Loaded(id=first.patient, version=last[0].statement().rev, head=last[0].leaf.hex(), state=None)


class Clearing:
    """Clears away what executed erasures left, and says so; any number of processes may try.

    `refold` folds a subject's rows of the read models anew, `vacuum` frees dead rows with the owner's rights;
    `settle_s` is how long a key may live in some process's memory.
    """

    def __init__(
        self,
        pool: ConnectionPool[Any],
        ledger: Ledger,
        keyring: Keyring,
        requests: PrivacyRequests,
        vault: Vault,
        fence: FenceFile,
        keks: Keks,
        refold: Callable[[str], object],
        vacuum: Callable[[], None],
        *,
        settle_s: float = CACHE_S,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._keyring = keyring
        self._requests = requests
        self._vault = vault
        self._fence = fence
        self._keks = keks
        self._refold = refold
        self._vacuum = vacuum
        self._settle_s = settle_s
        self._cleared_once: set[str] = set()
        self._idle_at: int | None = None

    def pending(self) -> list[str]:
        """Requests that were executed and are not completed, by their streams."""
        with sql.borrowed(self._pool) as connection:
            return [request for (request,) in connection.execute(_SQL["pending"])]

    def run(self) -> list[str]:
        """Do what can be done now; the requests that are completed by it. What is left waits for `settle_s`.

        Raises:
            Unavailable: vault or database do not answer, or another process rotates the key-encryption key.
        """
        with sql.borrowed(self._pool) as connection:
            (fenced,) = connection.execute("SELECT count(*) FROM ledger.fence").fetchone() or (0,)
        if fenced == self._idle_at:
            # What is completed stays so: nothing to look for before the fence grows.
            return []
        pending = self.pending()
        if not pending:
            self._idle_at = fenced
            return []
        with sql.borrowed(self._pool) as connection:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended('caseledger/erasing', 0))"
            ).fetchone()
            if row != (True,):
                return []
            try:
                return self._run(pending)
            finally:
                connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_LOCK,))

    def _run(self, pending: list[str]) -> list[str]:
        settled: list[tuple[Loaded[ErasureRequest], int]] = []
        for request in pending:
            loaded = self._requests.load(request)
            old = self._age_s(request) >= self._settle_s
            # Once at once, and once when it is settled; in between there is nothing new to clear.
            if old or request not in self._cleared_once:
                blobs = self._clear(loaded)
                self._cleared_once.add(request)
                if old:
                    settled.append((loaded, blobs))
        if not settled:
            return []
        self._vacuum()
        kek = self._keks.rotate(self._keyring)
        for loaded, blobs in settled:
            self._complete(loaded, blobs, kek)
        return [loaded.id for loaded, _ in settled]

    def _clear(self, loaded: Loaded[ErasureRequest]) -> int:
        """Steps 1 to 4; how many objects were deleted."""
        subjects = of_request(self._pool, loaded.id)
        self._fence.add(subjects)
        self._keyring.clear()
        records = [each.removeprefix("record:") for each in subjects if each.startswith("record:")]
        blobs = sum(self._vault.delete_record(record) for record in records)
        self._refold(f"case:{loaded.state.case}" if loaded.state.scope == "case" else f"record:{loaded.state.record}")
        log.info("erasure.cleared", request=loaded.id, blobs=blobs)
        return blobs

    def _age_s(self, request: str) -> float:
        executed = next(
            each for each in self._ledger.stream(request) if each.statement.kind == "privacy.erasure_executed.v1"
        )
        with sql.borrowed(self._pool) as connection:
            row = connection.execute(_SQL["age"], (executed.committed_at,)).fetchone()
        return 0.0 if row is None else float(row[0])

    def _complete(self, loaded: Loaded[ErasureRequest], blobs: int, kek: str) -> None:
        event = PersonalDataErased(request=loaded.id, blobs=blobs, kek=kek)
        act = Act(
            actor=SERVICE.id,
            role=SERVICE.role,
            purpose=PURPOSE[SERVICE.role],
            cause=str(uuid4()),
            recorded_at=time.time_ns() // 1000,
        )
        new = new_event(loaded.id, loaded.version + 1, event, loaded.state.case)
        try:
            self._ledger.append([new], act, heads={loaded.id: loaded.head})
        except StaleRevision:
            # Said already: by this very process, whose answer was lost, or by another that lost the lock meanwhile.
            log.info("erasure.completed_elsewhere", request=loaded.id)
            return
        log.info("erasure.completed", request=loaded.id)
