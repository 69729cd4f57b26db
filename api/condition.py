"""How the service fares: what readiness and metrics are told, and the text that metrics are (Prometheus 0.0.4)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from psycopg_pool import ConnectionPool

from api.clock import Instant, instant_or_none, micros
from api.shown import Shown
from application.ledger.checkpoints import Checkpoints
from application.ledger.tiles import committed
from application.monitor.state import MonitorState
from application.witness.witnessing import Condition
from application.work.jobs import queued
from domain.errors import CaseLedgerError
from projections.follower import FollowerState

PATIENCE_S = 2.0


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What the composition root lets be looked at; nothing, where nothing follows and nothing watches."""

    followers: Callable[[], Sequence[FollowerState]] = tuple
    monitor: Callable[[], MonitorState | None] = lambda: None
    witnesses: Callable[[], Condition | None] = lambda: None


NOTHING_WATCHED = Watched()


class ViewCondition(Shown, frozen=True, kw_only=True):
    """A view: how far it is, and how many entries that is behind the log."""

    view: str
    status: str
    position: int
    behind: int
    error: str | None


class MonitorCondition(Shown, frozen=True, kw_only=True):
    """The monitor: its verdict, how far it got, and how old its knowledge is."""

    verdict: str
    checkpoint: int
    """Size of the newest checkpoint that was found consistent with all before it."""
    position: int
    """Entries re-hashed in the pass that is under way."""
    passes: int
    passed_size: int
    """Size of the log that the last whole pass went through."""
    looked_at: Instant | None
    passed_at: Instant | None
    known_since: Instant | None
    """When the last whole pass began: what was altered after that is not seen yet."""
    bad_at: int | None
    """Index of the first entry that something is wrong with."""
    bad: str | None
    error: str | None


class WitnessCondition(Shown, frozen=True, kw_only=True):
    """A witness, or the time-stamping authority: the largest size that it answered for, and what is wrong with it."""

    name: str
    size: int
    problem: str | None
    failures: int


class CosignatureCondition(Shown, frozen=True, kw_only=True):
    """How far others have followed the log; sizes are 0 where they have not at all."""

    size: int
    """Largest size that a quorum of witnesses cosigned."""
    cosigned_at: Instant | None
    """Time of its latest cosignature."""
    stamped: int
    stamped_at: Instant | None
    witnesses: tuple[WitnessCondition, ...]


class QueueCondition(Shown, frozen=True, kw_only=True):
    """Jobs of a queue: how many wait or are under way, and how many were given up after many tries."""

    queue: str
    waiting: int
    failed: int


class Readiness(Shown, frozen=True, kw_only=True):
    """Whether to send requests here, and why not. Sizes are numbers of entries."""

    ready: bool
    problems: tuple[str, ...]
    head: int | None
    pin: int | None
    views: tuple[ViewCondition, ...]
    monitor: MonitorCondition | None
    cosignatures: CosignatureCondition | None
    jobs: tuple[QueueCondition, ...] | None


def readiness(pool: ConnectionPool[Any], checkpoints: Checkpoints, watched: Watched) -> Readiness:
    """Look at everything once; a database that does not answer within two seconds is one of the problems."""
    problems: list[str] = []
    # The pin is read before the head: others append and pin meanwhile.
    pin, (head, jobs) = _pin(checkpoints, problems), _database(pool, problems)
    if head is not None and pin is not None and head < pin:
        problems.append("the database is behind the last released checkpoint")
    views = tuple(_view(each, head or 0) for each in watched.followers())
    problems += [f"the view {each.view} is not followed" for each in views if each.status in ("failing", "stopped")]
    state = watched.monitor()
    if state is not None and state.finding is not None:
        problems.append(f"the monitor found the log altered, from entry {state.finding.index} on")
    condition = watched.witnesses()
    if condition is not None:
        split = [each.name for each in condition.standpoints if each.problem == "split"]
        problems += [f"the witness {name} holds another history of this log" for name in split]
    return Readiness(
        ready=not problems,
        problems=tuple(problems),
        head=head,
        pin=pin,
        views=views,
        monitor=None if state is None else _monitor(state),
        cosignatures=None if condition is None else _cosignatures(condition),
        jobs=jobs,
    )


def _database(pool: ConnectionPool[Any], problems: list[str]) -> tuple[int | None, tuple[QueueCondition, ...] | None]:
    """Head of the log and state of the queues."""
    try:
        with pool.connection(timeout=PATIENCE_S) as connection:
            head = committed(connection)
            jobs = queued(connection)
    except Exception:  # noqa: BLE001 - whatever it is, the database is not there for requests; the driver logs nothing
        problems.append("the database does not answer")
        return None, None
    shown = tuple(QueueCondition(queue=each.queue, waiting=each.waiting, failed=each.failed) for each in jobs)
    return head, shown


def _pin(checkpoints: Checkpoints, problems: list[str]) -> int | None:
    try:
        pinned = checkpoints.pinned()
    except (CaseLedgerError, OSError):
        problems.append("the pinned checkpoint cannot be read")
        return None
    return 0 if pinned is None else pinned.size


def _view(state: FollowerState, head: int) -> ViewCondition:
    behind = max(0, head - state.position)
    return ViewCondition(
        view=state.projection, status=state.status, position=state.position, behind=behind, error=state.error
    )


def _monitor(state: MonitorState) -> MonitorCondition:
    finding = state.finding
    return MonitorCondition(
        verdict=state.verdict,
        checkpoint=state.checkpoint,
        position=state.position,
        passes=state.passes,
        passed_size=state.passed_size,
        looked_at=instant_or_none(state.looked_at),
        passed_at=instant_or_none(state.passed_at),
        known_since=instant_or_none(state.began_at),
        bad_at=None if finding is None else finding.index,
        bad=None if finding is None else f"{finding.what}: {finding.message}",
        error=state.error,
    )


def _cosignatures(condition: Condition) -> CosignatureCondition:
    standing, at_s = condition.standing, condition.standing.cosigned_at_s
    return CosignatureCondition(
        size=standing.cosigned,
        cosigned_at=instant_or_none(None if at_s is None else at_s * 1_000_000),
        stamped=standing.stamped,
        stamped_at=instant_or_none(standing.stamped_at),
        witnesses=tuple(
            WitnessCondition(name=each.name, size=each.size, problem=each.problem, failures=each.failures)
            for each in condition.standpoints
        ),
    )


def metrics(found: Readiness, state: MonitorState | None, now: int) -> str:
    """The same as numbers for a machine; `now` in microseconds UTC. Labels name views and queues, nothing else."""
    lines: list[str] = []

    def add(name: str, kind: str, what: str, values: Iterable[tuple[str, float | int | None]]) -> None:
        known = [(labels, value) for labels, value in values if value is not None]
        if known:
            lines.extend((f"# HELP caseledger_{name} {what}", f"# TYPE caseledger_{name} {kind}"))
            lines.extend(f"caseledger_{name}{labels} {value}" for labels, value in known)

    add("ready", "gauge", "1 when requests may be sent here.", [("", int(found.ready))])
    add("database_up", "gauge", "1 when the database answered.", [("", int(found.head is not None))])
    add("head_entries", "gauge", "Entries in the log.", [("", found.head)])
    add("pin_entries", "gauge", "Entries under the last released checkpoint.", [("", found.pin)])
    views = [(f'{{view="{each.view}"}}', each) for each in found.views]
    add("view_position_entries", "gauge", "Entries folded into a view.", [(at, each.position) for at, each in views])
    add("view_behind_entries", "gauge", "Entries that a view lacks.", [(at, each.behind) for at, each in views])
    up = [(at, int(each.status in ("following", "standby"))) for at, each in views]
    add("view_up", "gauge", "1 when a view is followed.", up)
    queues = [(f'{{queue="{each.queue}"}}', each) for each in found.jobs or ()]
    add("jobs_waiting", "gauge", "Jobs that wait or are under way.", [(at, each.waiting) for at, each in queues])
    add("jobs_failed", "gauge", "Jobs given up: a person has to look.", [(at, each.failed) for at, each in queues])
    if (others := found.cosignatures) is not None:
        cosigned = None if others.cosigned_at is None else micros(others.cosigned_at)
        add("cosigned_entries", "gauge", "Newest checkpoint with a quorum of witnesses.", [("", others.size)])
        add("cosignature_age_seconds", "gauge", "Since its last cosignature.", [("", _age(cosigned, now))])
        add("stamped_entries", "gauge", "Newest checkpoint with a time stamp.", [("", others.stamped)])
    if state is not None:
        bad = state.finding
        add("monitor_good", "gauge", "0 when the log was found altered.", [("", int(bad is None))])
        add("monitor_bad_index", "gauge", "First entry that is wrong.", [("", None if bad is None else bad.index)])
        restored = [each.index for each in state.restored[-1:]]
        add("monitor_restored_index", "gauge", "Where the log goes on from a backup.", [("", at) for at in restored])
        add("monitor_checkpoint_entries", "gauge", "Newest consistent checkpoint.", [("", state.checkpoint)])
        add("monitor_position_entries", "gauge", "Entries re-hashed in this pass.", [("", state.position)])
        add("monitor_passes_total", "counter", "Passes through the whole log.", [("", state.passes)])
        add("monitor_look_age_seconds", "gauge", "Since it looked last.", [("", _age(state.looked_at, now))])
        add("monitor_pass_age_seconds", "gauge", "Since the last pass began.", [("", _age(state.began_at, now))])
    return "\n".join(lines) + "\n"


def _age(then: int | None, now: int) -> float | None:
    return None if then is None else round(max(0, now - then) / 1_000_000, 3)
