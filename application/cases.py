"""Acting on a case: load it, decide, save what was decided."""

import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from uuid_utils import uuid7

from application.ledger.entries import Guard
from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from application.ledger.streams import Loaded, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.request import Request
from domain.case.actor import acting_id
from domain.case.calendar import CALENDARS, Calendars
from domain.case.commands import Command, ImportedFrom, OpenCase, OpenCaseInput, completed
from domain.case.decide import decide
from domain.case.evolve import evolve
from domain.case.state import CaseState
from domain.errors import CaseLedgerError, CaseNotFound, UploadNotFound, WrongRole
from domain.event import Event, Meta, register
from domain.patient import PatientRegistered, check_birth
from domain.values import Day, Identifier, Line

S = TypeVar("S")


class PatientInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the patient is; `account` is given by a coordinator who opens the case for them."""

    name: Line
    born_on: Day
    account: Identifier | None = None


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A case and its patient, as they go into the log; `subjects` are what needs keys before."""

    case: str
    events: tuple[NewEvent, ...]
    subjects: tuple[str, ...]
    state: CaseState


class LoadedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case as it stands in the log."""

    case: str
    stream: str
    revision: int
    head: str
    state: CaseState


class Cases:
    """The use cases of a case that need nothing but the log."""

    def __init__(self, ledger: Ledger, keyring: Keyring, calendars: Calendars = CALENDARS) -> None:
        self._ledger = ledger
        self._keyring = keyring
        self._calendars = calendars

    def load(self, case: str, *, version: int | None = None) -> LoadedCase:
        """The case, folded from its events.

        Raises:
            CaseNotFound: no such case.
        """
        loaded: Loaded[CaseState] | None = self._ledger.load(f"case-{case}", evolve, version=version)
        if loaded is None:
            raise CaseNotFound
        return LoadedCase(case=case, stream=loaded.id, revision=loaded.version, head=loaded.head, state=loaded.state)

    def open(self, request: Request, case: OpenCaseInput, patient: PatientInput) -> Outcome:
        """Open a case, register its patient, and make the keys that both are sealed under.

        Raises:
            WrongRole: neither a patient nor a coordinator, or a coordinator who does not say whose case it is.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "case")) is not None:
            return earlier
        made = opening(request, case, patient, self._calendars)
        self._keyring.create(*made.subjects)
        recordings = self._ledger.append(
            made.events, request.act(acting_id(made.state, request.actor())), idempotency=request.idempotency
        )
        return settled_outcome(self._ledger, request.idempotency, f"case-{made.case}", recordings)

    def act(
        self,
        request: Request,
        case: str,
        command: Callable[[CaseState], Command],
        guards: Sequence[Guard] = (),
    ) -> Outcome:
        """Do one thing to a case.

        `command` makes the command from the case as it stands; `guards` are what it relied on elsewhere.

        Raises:
            CaseNotFound, StaleRevision, GuardBroken, and whatever the decision refuses with.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "case")) is not None:
            return earlier
        loaded = self.load(case)
        try:
            events = decide(loaded.state, command(loaded.state), request.actor(), request.now, self._calendars)
        except WrongRole:
            # Who is nothing to this case is told that, and not how far it is.
            raise
        except CaseLedgerError:
            request.require_seen(loaded.revision)
            raise
        request.require_seen(loaded.revision)
        recordings = self._ledger.append(
            new_events(loaded.stream, loaded.revision, case, events),
            request.act(acting_id(loaded.state, request.actor())),
            heads={loaded.stream: loaded.head},
            guards=guards,
            idempotency=request.idempotency,
        )
        return settled_outcome(self._ledger, request.idempotency, loaded.stream, recordings)

    def earlier(self, request: Request) -> Outcome | None:
        """The outcome that an equal request had under the same Idempotency-Key, if there was one."""
        return earlier_outcome(self._ledger, request.idempotency, "case")

    def repeated(self, request: Request) -> Outcome:
        """The outcome that an equal request had under the same Idempotency-Key.

        Raises:
            UploadNotFound: there was none.
        """
        earlier = self.earlier(request)
        if earlier is None:
            raise UploadNotFound
        return earlier


def opening(
    request: Request,
    case: OpenCaseInput,
    patient: PatientInput,
    calendars: Calendars = CALENDARS,
    *,
    imported: ImportedFrom | None = None,
    then: Sequence[Command] = (),
) -> Opening:
    """Decide on opening a case for a patient who is registered with it, and on what is done to it in the same act.

    Raises:
        WrongRole: neither a patient nor a coordinator, or a coordinator who does not say whose case it is.
        MalformedBody: the patient's day of birth is none.
        CaseLedgerError: whatever else a decision refuses with.
    """
    account = request.id if request.role == "patient" else patient.account
    if account is None:
        raise WrongRole("a coordinator who opens a case names the patient's account")
    check_birth(patient.born_on, request.now)
    case_id, patient_id = str(uuid7()), str(uuid7())
    registered = PatientRegistered(
        patient=f"patient-{patient_id}", account=account, name=patient.name, born_on=patient.born_on
    )
    first = completed(
        OpenCase,
        case,
        patient=registered.patient,
        patient_account=account,
        patient_actor=f"p-{secrets.token_hex(10)}",
        imported=imported,
    )
    meta = Meta(actor="", role=request.role, recorded_at=request.now)
    state: CaseState | None = None
    decided: list[Event] = []
    for command in (first, *then):
        for event in decide(state, command, request.actor(), request.now, calendars):
            state = evolve(state, event, meta)
            decided.append(event)
    if state is None:
        raise CaseNotFound
    subject = f"patient:{patient_id}"
    registration = NewEvent(
        originator_id=registered.patient, originator_version=1, event=registered, case=None, subject=subject
    )
    return Opening(
        case=case_id,
        events=(registration, *new_events(f"case-{case_id}", 0, case_id, decided)),
        subjects=(f"case:{case_id}", f"accountability:{case_id}", subject),
        state=state,
    )


def new_events(stream: str, revision: int, case: str, events: Sequence[Event]) -> list[NewEvent]:
    """Decided events at the end of a case's stream, each to be sealed under the subject that its topic names."""
    return [
        NewEvent(
            originator_id=stream,
            originator_version=at,
            event=event,
            case=case,
            subject=subject_of(event, case),
        )
        for at, event in enumerate(events, revision + 1)
    ]


def subject_of(event: Event, case: str) -> str:
    """Whose key seals an event of a case's stream."""
    subject = register.of(event).subject
    if subject == "record":
        return f"record:{event.record}"  # type: ignore[attr-defined]  # every event of a record names it
    return f"{subject}:{case}"
