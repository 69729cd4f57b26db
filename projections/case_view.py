"""The current case: one row each, folded from the case's own stream.

What the queue needs stands in clear: ids of staff, phase, verdict of the imaging check, due dates. What is about the
patient stands sealed under the case's key. When that key is gone, nothing is left but that there was a case, and when.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace
from psycopg import sql
from psycopg_pool import ConnectionPool

from application.ledger.keyring import Keyring
from application.ledger.streams import LoggedEvent
from domain.case.events import (
    CaseOpened,
    ImagingChecked,
    ImagingVerdictOverruled,
    OpinionSigned,
    OriginalVerdictRecorded,
    Phase,
    RepeatAdvice,
    RepeatImagingAdvised,
)
from domain.case.evolve import evolve
from domain.case.state import CaseState, Clock
from domain.ledger.bundle import case_stream
from domain.values import Resectability
from projections.model import Projection, Seals, Stored

ClockState = Literal["running", "paused", "stopped"]


class OpinionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an opinion comes to; its text is read from the log. `signed_at` in microseconds UTC."""

    opinion: str
    version: int
    resectability: Resectability
    surgery_recommended: bool
    signer: str
    signer_name: str
    signed_at: int


class ImagingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The newest imaging check beside what the state keeps of it; `overruled_by` did, and said why."""

    findings: tuple[str, ...]
    requirement: str
    checked_on: str
    was: str | None = None
    overruled_by: str | None = None
    overruled_because: str | None = None
    advice: tuple[RepeatAdvice, ...] = ()


class CaseContent(msgspec.Struct, frozen=True, kw_only=True):
    """What is sealed in a row: the case's folded state, and what a reader wants to know beside it."""

    state: CaseState | None = None
    opened: CaseOpened | None = None
    """None where the opening was erased."""
    original: OriginalVerdictRecorded | None = None
    imaging: ImagingFacts | None = None
    opinions: dict[str, OpinionFacts] = {}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case. `content` is None for good once the case's key was gone. Times in microseconds UTC."""

    case: str
    revision: int
    last_index: int
    opened_at: int
    changed_at: int
    content: CaseContent | None


class CaseView(msgspec.Struct, frozen=True, kw_only=True):
    """A case as it stands after the entry at `last_index`. Times in microseconds UTC, days in UTC.

    Of an erased case there is no content, its phase is `erased`, and whatever was folded from its events is None.
    """

    case: str
    revision: int
    last_index: int
    opened_at: int
    changed_at: int
    phase: Phase
    coordinator: str | None = None
    assignee: str | None = None
    imaging_verdict: str | None = None
    due_from: str | None = None
    due_by: str | None = None
    clock: ClockState | None = None
    content: CaseContent | None = None


def get(pool: ConnectionPool, keyring: Keyring, case_id: str) -> CaseView | None:
    """The case as the view has it; None where the view has none of that id (yet).

    Raises:
        PayloadAltered: the row does not open, so somebody else wrote it.
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, PROJECTION.column_names()))
    query = sql.SQL("SELECT {} FROM views.case_view WHERE case_id = %s").format(columns)
    with pool.connection() as connection:
        stored = connection.execute(query, (case_id,), binary=True).fetchone()
    return None if stored is None else _view(_restore(stored, Seals(keyring)))


def _key(event: LoggedEvent) -> str | None:
    """The case, if the entry is of the case's own stream; accesses name a case too, and change none."""
    case = event.statement.case
    return case if case is not None and event.statement.stream == case_stream(case) else None


def _fold(row: Row | None, event: LoggedEvent) -> Row:
    content = CaseContent() if row is None else row.content
    statement = event.statement
    return Row(
        case=statement.case or "",
        revision=statement.rev,
        last_index=event.index,
        opened_at=statement.recorded_at if row is None else row.opened_at,
        changed_at=statement.recorded_at,
        content=None if content is None else _folded(content, event),
    )


def _folded(content: CaseContent, logged: LoggedEvent) -> CaseContent:
    content = replace(content, state=evolve(content.state, logged.event, logged.meta()))
    match logged.event:
        case CaseOpened() as event:
            return replace(content, opened=event)
        case OriginalVerdictRecorded() as event:
            return replace(content, original=event)
        case ImagingChecked() as event:
            checked = ImagingFacts(findings=event.findings, requirement=event.requirement, checked_on=event.checked_on)
            return replace(content, imaging=checked)
        case ImagingVerdictOverruled() as event if content.imaging is not None:
            actor = logged.statement.actor
            overruled = replace(content.imaging, was=event.was, overruled_by=actor, overruled_because=event.reason)
            return replace(content, imaging=overruled)
        case RepeatImagingAdvised() as event if content.imaging is not None:
            return replace(content, imaging=replace(content.imaging, advice=content.imaging.advice + event.advice))
        case OpinionSigned() as event:
            facts = OpinionFacts(
                opinion=event.opinion,
                version=event.version,
                resectability=event.content.resectability,
                surgery_recommended=event.content.surgery_recommended,
                signer=logged.statement.actor,
                signer_name=event.signer_name,
                signed_at=logged.statement.recorded_at,
            )
            return replace(content, opinions={**content.opinions, event.opinion: facts})
    return content


def _view(row: Row) -> CaseView:
    known = {name: getattr(row, name) for name in ("case", "revision", "last_index", "opened_at", "changed_at")}
    if row.content is None:
        return CaseView(**known, phase="erased")
    state = row.content.state or CaseState()
    return CaseView(
        **known,
        phase=state.phase,
        coordinator=state.coordinator,
        assignee=state.assignment.actor if state.assignment else None,
        imaging_verdict=state.imaging.verdict if state.imaging else None,
        due_from=state.clock.due_from if state.clock else None,
        due_by=state.clock.due_by if state.clock else None,
        clock=_clock(state.clock),
        content=row.content,
    )


def _clock(clock: Clock | None) -> ClockState | None:
    if clock is None:
        return None
    if clock.stopped_at is not None:
        return "stopped"
    return "paused" if clock.running_since is None else "running"


def _store(row: Row, seals: Seals) -> Stored:
    sealed = None
    if row.content is not None:
        # Not sorted: the state's mappings are in order of arrival, which is the log's, so equal bytes come out anyway.
        sealed = seals.seal(f"case:{row.case}", _context(row.case), msgspec.json.encode(row.content))
    view = _view(row if sealed is not None else replace(row, content=None))
    return (
        view.case,
        view.revision,
        view.last_index,
        view.opened_at,
        view.changed_at,
        view.phase,
        view.coordinator,
        view.assignee,
        view.imaging_verdict,
        view.due_from,
        view.due_by,
        view.clock,
        sealed,
    )


def _restore(stored: Stored, seals: Seals) -> Row:
    case, revision, last_index, opened_at, changed_at = stored[:5]
    opened = seals.open(f"case:{case}", _context(case), stored[-1])
    return Row(
        case=case,
        revision=revision,
        last_index=last_index,
        opened_at=opened_at,
        changed_at=changed_at,
        content=None if opened is None else msgspec.json.decode(opened, type=CaseContent),
    )


def _context(case: str) -> str:
    return f"views.case_view/{case}"


PROJECTION = Projection[Row](
    name="case_view",
    version=1,
    columns=(
        ("case_id", "text"),
        ("revision", "int8"),
        ("last_index", "int8"),
        ("opened_at", "int8"),
        ("changed_at", "int8"),
        ("phase", "text"),
        ("coordinator", "text"),
        ("assignee", "text"),
        ("imaging_verdict", "text"),
        ("due_from", "text"),
        ("due_by", "text"),
        ("clock", "text"),
        ("sealed", "bytea"),
    ),
    content=CaseContent,
    key=_key,
    fold=_fold,
    store=_store,
    restore=_restore,
)
