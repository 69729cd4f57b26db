"""Segments of a log, scanned by several processes."""

import multiprocessing
from pathlib import Path

import msgspec
import pytest

from caseledger.log.scanning import scanned
from caseledger.log.sources import DatabaseSource, DirectorySource
from domain.errors import DatabaseUnavailable, Unavailable
from domain.ledger import verify_log
from domain.ledger.verify_log import LogVerification
from domain.ledger.verify_segment import Task
from tests.ledger_builder import LedgerBuilder
from tests.log_fixture import publish

SIZE = 90


def tasks_of(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """A published log of many small segments."""
    monkeypatch.setattr(verify_log, "SEGMENT", 2)
    ledger = LedgerBuilder()
    for number in range(SIZE):
        ledger.append(f"case-{number % 7}", "case.opened.v1", b"{}", actor="coordinator-1", role="coordinator")
    publish(ledger, place)
    return LogVerification(ledger.checkpoint(), None).tasks()


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_segments_come_in_the_logs_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    """Each task's segment once, in order and whole, however many processes share them."""
    tasks = tasks_of(tmp_path, monkeypatch)
    assert len(tasks) == SIZE // 2
    with scanned(DirectorySource(tmp_path), tasks, jobs) as segments:
        found = list(segments)
    assert [each.task for each in found] == tasks
    assert [(each.count, each.failure) for each in found] == [(2, None)] * len(tasks)


def test_a_failure_is_found_in_whichever_process_meets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that expects another log fails at its first entry, wherever it is scanned; the others do not."""
    tasks = tasks_of(tmp_path, monkeypatch)
    wrong = range(5, 40, 7)
    origins = [msgspec.structs.replace(each, origin="log.example/other") for each in tasks[0].origins]
    for number in wrong:
        tasks[number] = msgspec.structs.replace(tasks[number], origins=tuple(origins))
    with scanned(DirectorySource(tmp_path), tasks, 2) as segments:
        failed = {number: each.failure for number, each in enumerate(segments) if each.failure is not None}
    assert {number: each.index for number, each in failed.items()} == {number: number * 2 for number in wrong}


def test_a_process_that_is_killed_ends_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for what will never come."""
    tasks = tasks_of(tmp_path, monkeypatch)

    def scan_and_kill() -> None:
        with scanned(DirectorySource(tmp_path), tasks, 2) as segments:
            next(segments)
            (other,) = multiprocessing.active_children()
            other.kill()
            list(segments)

    with pytest.raises(Unavailable):
        scan_and_kill()


def test_a_source_that_does_not_answer_ends_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so and does not wait, in one process and in several."""
    tasks = tasks_of(tmp_path, monkeypatch)
    for jobs in (1, 2):
        with (
            scanned(DatabaseSource("postgresql://nobody@127.0.0.1:1/nothing"), tasks, jobs) as segments,
            pytest.raises(DatabaseUnavailable),
        ):
            list(segments)
