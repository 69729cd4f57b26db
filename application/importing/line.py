"""One line of an import: a case as another system held it, and what opening it here comes to."""

from collections.abc import Callable

import msgspec

from application.cases import Opening, PatientInput, opening
from application.request import Request
from domain.case import calendar
from domain.case.commands import (
    AssignCoordinator,
    Command,
    ImportedFrom,
    OpenCaseInput,
    RecordOriginalVerdict,
)
from domain.case.events import CaseOpened, OriginalVerdictRecorded
from domain.errors import MalformedBody
from domain.patient import PatientRegistered
from domain.values import Day, Identifier, SourceReference

_BACK_THEN = (PatientRegistered, CaseOpened, OriginalVerdictRecorded)
"""What happened when the case was opened in the other system; the rest happens now."""


class CaseLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One case. Its parts are those that POST /cases and the case's commands take, under the same bounds."""

    reference: SourceReference
    """What the other system calls the case: unique in the file, and the same whenever this case is sent again."""
    opened_on: Day | None = None
    """When it was opened there."""
    coordinator: Identifier | None = None
    """Who is to be the single contact; without, whoever imports."""
    patient: PatientInput
    case: OpenCaseInput
    original_verdict: RecordOriginalVerdict | None = None


ReadLine = Callable[[bytes], CaseLine]
"""Reads one line strictly; raises a CaseLedgerError whose message repeats nothing of what the line says."""


def opening_of(line: CaseLine, number: int, file_sha256: str, request: Request) -> Opening:
    """What a line adds to the log when a coordinator imports it now, by the rules that opening by hand has.

    Raises:
        CaseLedgerError: a rule refuses it, or a day is not one that can be.
    """
    _check_days(line, request.now)
    then: list[Command] = [AssignCoordinator(coordinator=request.id)]
    if line.original_verdict is not None:
        then.append(line.original_verdict)
    if line.coordinator is not None and line.coordinator != request.id:
        then.append(AssignCoordinator(coordinator=line.coordinator))
    source = ImportedFrom(reference=line.reference, file_sha256=file_sha256, line=number)
    made = opening(request, line.case, line.patient, imported=source, then=then)
    if line.opened_on is None:
        return made
    at = _start(line.opened_on)
    events = tuple(
        msgspec.structs.replace(each, occurred_at=at) if isinstance(each.event, _BACK_THEN) else each
        for each in made.events
    )
    return msgspec.structs.replace(made, events=events)


def _check_days(line: CaseLine, now: int) -> None:
    days = {"opened_on": line.opened_on}
    if line.original_verdict is not None:
        days["original_verdict.decided_on"] = line.original_verdict.decided_on
    for field, day in days.items():
        if day is None:
            continue
        try:
            starts = _start(day)
        except MalformedBody:
            raise MalformedBody(f"{field}: there is no such day") from None
        # What stands as `occurred_at` has happened. Of the verdict's day the decision knows.
        if field == "opened_on" and starts > now:
            raise MalformedBody(f"{field}: is in the future")
        if field == "opened_on" and starts < 0:
            raise MalformedBody(f"{field}: is before 1970")


def _start(day: str) -> int:
    return calendar.end_of(day) - calendar.DAY
