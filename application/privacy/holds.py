"""Legal holds: placed and released by compliance, and what erasures are guarded by."""

import msgspec
from uuid_utils import uuid7

from application.accesses import Accesses
from application.cases import Cases
from application.ledger.entries import Guard
from application.ledger.store import Ledger
from application.ledger.streams import Loaded, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.request import Request
from domain import hold
from domain.errors import GuardBroken, HoldNotFound, StaleRevision, WrongRole
from domain.event import Event
from domain.hold import Hold, Holds, hold_stream
from domain.values import Line

_TRIES = 5


class HoldInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why nothing may be erased, and whose order, claim or duty that rests on."""

    reason: Line
    authority: Line


class ReleaseInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the hold ends."""

    reason: Line


class LegalHolds:
    """Holds of cases; all those of one case are one stream."""

    def __init__(self, ledger: Ledger, cases: Cases, accesses: Accesses) -> None:
        self._ledger = ledger
        self._cases = cases
        self._accesses = accesses

    def guarded(self, case: str) -> tuple[Holds, Guard]:
        """A case's holds, and the guard that refuses whatever was decided by them once another has come in."""
        loaded = self._load(case)
        if loaded is None:
            return Holds(), Guard(hold_stream(case), "")
        return loaded.state, Guard(loaded.id, loaded.head)

    def of_case(self, request: Request, case: str) -> tuple[int, tuple[Hold, ...], int]:
        """Revision of a case's holds (0 for none), the holds, and the tree size they were told at; recorded first.

        Raises:
            CaseNotFound.
            WrongRole: not compliance; recorded.
        """
        loaded = self._load(case)
        revision = 0 if loaded is None else loaded.version
        if request.role != "compliance":
            refusal = WrongRole("holds are for compliance")
            self._accesses.refused(request, case, "holds", refusal)
            raise refusal
        index = self._accesses.allowed(request, case, "holds", "audit", case, revision)
        return revision, () if loaded is None else tuple(loaded.state.holds.values()), index + 1

    def place(self, request: Request, case: str, sent: HoldInput) -> Outcome:
        """Keep a case from being erased. It does not wait: whatever else happens to the case, it gets in.

        Raises:
            CaseNotFound, WrongRole, SubjectErased.
        """
        for last in (*[False] * (_TRIES - 1), True):
            if (earlier := earlier_outcome(self._ledger, request.idempotency, "hold")) is not None:
                return earlier
            # Guarded by the case, so that no hold is acknowledged on what was erased a moment ago.
            state = self._cases.load(case)
            made = f"hold-{uuid7()}"
            event = hold.place(state.state, made, sent.reason, sent.authority, request.actor())
            try:
                return self._append(request, case, self._load(case), event, (Guard(state.stream, state.head),))
            except (GuardBroken, StaleRevision):
                if last:
                    raise
        raise AssertionError

    def release(self, request: Request, case: str, name: str, sent: ReleaseInput) -> Outcome:
        """End a hold.

        Raises:
            CaseNotFound, WrongRole, HoldNotFound, AlreadyDone, StaleRevision.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "hold")) is not None:
            return earlier
        self._cases.load(case)
        loaded = self._load(case)
        state = Holds() if loaded is None else loaded.state
        event = hold.release(state, name, sent.reason, request.actor())
        if loaded is None:
            raise HoldNotFound
        request.require_seen(loaded.version, "the holds")
        return self._append(request, case, loaded, event, ())

    def _load(self, case: str) -> Loaded[Holds] | None:
        return self._ledger.load(hold_stream(case), hold.evolve)

    def _append(
        self, request: Request, case: str, loaded: Loaded[Holds] | None, event: Event, guards: tuple[Guard, ...]
    ) -> Outcome:
        stream = hold_stream(case)
        new = NewEvent(
            originator_id=stream,
            originator_version=1 if loaded is None else loaded.version + 1,
            event=event,
            case=case,
            subject=f"accountability:{case}",
        )
        recordings = self._ledger.append(
            [new],
            request.act(request.id),
            heads={} if loaded is None else {stream: loaded.head},
            guards=guards,
            idempotency=request.idempotency,
        )
        return settled_outcome(self._ledger, request.idempotency, stream, recordings)
