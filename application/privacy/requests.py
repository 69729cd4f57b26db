"""Privacy requests: asked for, decided on, told about. Carrying one out is `application.privacy.erasure`."""

import msgspec
from uuid_utils import uuid7

from application.accesses import Accesses
from application.cases import Cases, LoadedCase
from application.ledger.entries import Guard
from application.ledger.store import Ledger
from application.ledger.streams import Loaded, LoggedEvent, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.privacy.holds import LegalHolds
from application.request import Request
from domain import privacy
from domain.access import Basis
from domain.case.actor import acting_id
from domain.errors import ErasureRequestNotFound, WrongRole
from domain.event import Event
from domain.privacy import ErasureRequest, Ground, Reason, Scope
from domain.values import Identifier, Line


class ErasureInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be erased, and why: the whole case, or the one record that is named."""

    scope: Scope
    record: Identifier | None = None
    reason: Reason


class RefusalInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is refused. The explanation outlives the case: nothing about the patient belongs in it."""

    ground: Ground
    explanation: Line


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request: as it stands, and every step. `position` is the tree size it was told at."""

    request: Loaded[ErasureRequest]
    steps: tuple[LoggedEvent, ...]
    position: int


class PrivacyRequests:
    """Requests for erasure, each a stream of its own."""

    def __init__(self, ledger: Ledger, cases: Cases, accesses: Accesses, holds: LegalHolds) -> None:
        self._ledger = ledger
        self._cases = cases
        self._accesses = accesses
        self._holds = holds

    def load(self, request: str) -> Loaded[ErasureRequest]:
        """A request as it stands, by its stream ("privacy-...").

        Raises:
            ErasureRequestNotFound: there is none.
        """
        loaded = self._ledger.load(request, privacy.evolve) if request.startswith("privacy-") else None
        if loaded is None:
            raise ErasureRequestNotFound
        return loaded

    def at(self, request: Request, stream: str) -> tuple[Loaded[ErasureRequest], LoadedCase]:
        """A request at the revision that the caller saw, with its case.

        Raises:
            ErasureRequestNotFound, StaleRevision.
        """
        loaded = self.load(stream)
        # All others are refused for their role by what is decided next, and not told how far it is.
        if request.role in ("compliance", "administrator"):
            request.require_seen(loaded.version, "the erasure request")
        return loaded, self._cases.load(loaded.state.case)

    def request(self, request: Request, case: str, sent: ErasureInput) -> Outcome:
        """Ask for an erasure.

        Raises:
            CaseNotFound, and what `domain.privacy.request_erasure` refuses with.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "privacy")) is not None:
            return earlier
        loaded = self._cases.load(case)
        stream = f"privacy-{uuid7()}"
        event = privacy.request_erasure(
            case, loaded.state, stream, sent.scope, sent.record, sent.reason, request.actor(), request.now
        )
        new = [new_event(stream, 1, event, case)]
        # What was asked for is there, and the caller still is who may ask.
        guards = (Guard(loaded.stream, loaded.head),)
        act = request.act(acting_id(loaded.state, request.actor()))
        recordings = self._ledger.append(new, act, guards=guards, idempotency=request.idempotency)
        return settled_outcome(self._ledger, request.idempotency, stream, recordings)

    def approve(self, request: Request, stream: str) -> Outcome:
        """Approve an erasure.

        Raises:
            ErasureRequestNotFound, StaleRevision, GuardBroken, and what `domain.privacy.approve` refuses with.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "privacy")) is not None:
            return earlier
        loaded, case = self.at(request, stream)
        holds, guard = self._holds.guarded(case.case)
        event = privacy.approve(loaded.state, case.state, holds.stands(), request.actor())
        return self._append(request, loaded, event, (guard,))

    def refuse(self, request: Request, stream: str, sent: RefusalInput) -> Outcome:
        """Refuse an erasure, on a ground.

        Raises:
            ErasureRequestNotFound, StaleRevision, and what `domain.privacy.refuse` refuses with.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "privacy")) is not None:
            return earlier
        loaded, case = self.at(request, stream)
        event = privacy.refuse(loaded.state, case.state, sent.ground, sent.explanation, request.actor())
        return self._append(request, loaded, event, ())

    def story(self, request: Request, stream: str) -> Story:
        """What became of a request, for who made it, decides on it or carries it out; recorded first.

        Raises:
            ErasureRequestNotFound.
            WrongRole: somebody else asks; recorded.
        """
        loaded = self.load(stream)
        state = loaded.state
        basis: Basis | None = None
        match request.role:
            case "compliance":
                basis = "audit"
            case "administrator":
                basis = "administration"
            case "patient" if request.id == state.requester or self._is_of(request, state.case):
                basis = "own_case"
            case "coordinator" if request.id == state.requester or self._is_of(request, state.case):
                basis = "assigned"
        if basis is None:
            refusal = WrongRole("an erasure request is for who made it, decides on it or carries it out")
            self._accesses.refused(request, state.case, "erasure-request", refusal)
            raise refusal
        item = stream.removeprefix("privacy-")
        actor_id = self._requested_as(stream) if (request.role, request.id) == ("patient", state.requester) else None
        index = self._accesses.allowed(request, state.case, "erasure-request", basis, item, loaded.version, actor_id)
        return Story(request=self.load(stream), steps=tuple(self._ledger.stream(stream)), position=index + 1)

    def _requested_as(self, stream: str) -> str | None:
        """The patient's id in the case, which stands on the request's first entry and outlives their account there."""
        statement = next(iter(self._ledger.stream(stream))).statement
        return statement.actor if statement.role == "patient" else None

    def _is_of(self, request: Request, case: str) -> bool:
        state = self._cases.load(case).state
        return request.id == (state.patient_account if request.role == "patient" else state.coordinator)

    def _append(
        self, request: Request, loaded: Loaded[ErasureRequest], event: Event, guards: tuple[Guard, ...]
    ) -> Outcome:
        new = [new_event(loaded.id, loaded.version + 1, event, loaded.state.case)]
        recordings = self._ledger.append(
            new,
            request.act(request.id),
            heads={loaded.id: loaded.head},
            guards=guards,
            idempotency=request.idempotency,
        )
        return settled_outcome(self._ledger, request.idempotency, loaded.id, recordings)


def new_event(stream: str, rev: int, event: Event, case: str, object_: str | None = None) -> NewEvent:
    """An event about a case's privacy, under the key that outlives the case's own."""
    return NewEvent(
        originator_id=stream,
        originator_version=rev,
        event=event,
        case=case,
        subject=f"accountability:{case}",
        object=object_,
    )
