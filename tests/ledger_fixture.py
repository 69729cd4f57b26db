"""An open ledger on a test's own database, wired as the service wires it, and the few things that tests put into it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg_pool import ConnectionPool

from application.ledger import keyfiles
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.entries import Append, Guard, IdempotencyKey
from application.ledger.keks import Keks
from application.ledger.keyfiles import KeyFiles
from application.ledger.keyring import Keyring
from application.ledger.pin import Pin
from application.ledger.recorder import LedgerRecorder
from application.ledger.store import Ledger
from application.ledger.streams import Act, NewEvent, ReceiptedRecording
from domain.case.events import CoordinatorAssigned
from domain.event import Event
from domain.ledger.checkpoint import verifier_keys
from domain.ledger.note import VerifierKey
from tests.conftest import Database

SUBJECT = "case:one"
"""A subject whose key every opened ledger has."""
NOW = 1_700_000_000_000_000
ACT = Act(actor="coordinator-1", role="coordinator", purpose="TREAT", cause="cause-1", recorded_at=NOW)


class OpenLedger(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one process's ledger."""

    ledger: Ledger
    recorder: LedgerRecorder
    appender: Appender
    checkpoints: Checkpoints
    keyring: Keyring
    keys: KeyFiles
    pin: Pin
    pool: ConnectionPool[psycopg.Connection[Any]]

    def verifiers(self) -> tuple[VerifierKey, VerifierKey]:
        """What an outsider verifies this ledger's checkpoints with."""
        return verifier_keys(self.keys.origin, keyfiles.raw_public(self.keys.checkpoint))

    def add(
        self,
        stream: str,
        *events: Event,
        after: tuple[int, str | None] = (0, None),
        guards: Sequence[Guard] = (),
        idempotency: IdempotencyKey | None = None,
    ) -> list[ReceiptedRecording]:
        """Append events (one, by default) to a stream whose revision and leaf are `after`, sealed under SUBJECT."""
        rev, leaf = after
        heads: Mapping[str, str] = {} if leaf is None else {stream: leaf}
        new = [new_event(stream, rev + at, event) for at, event in enumerate(events or (some_event(),), 1)]
        return self.ledger.append(new, ACT, heads=heads, guards=guards, idempotency=idempotency)

    def sealed(self, stream: str, rev: int = 1, prev: str | None = None, *, subject: str = SUBJECT) -> Append:
        """One sealed entry, as the event store hands it to the appender."""
        heads = {} if prev is None else {stream: prev}
        new = [new_event(stream, rev, subject=subject)]
        return Append(entries=tuple(self.ledger.events._sealed(new, ACT, heads, None)))


def some_event(coordinator: str = "coordinator-1") -> Event:
    """A small event."""
    return CoordinatorAssigned(coordinator=coordinator)


def new_event(stream: str, rev: int, event: Event | None = None, *, subject: str = SUBJECT) -> NewEvent:
    """An event at its place, in a case of the stream's name."""
    return NewEvent(
        originator_id=stream, originator_version=rev, event=event or some_event(), case=stream, subject=subject
    )


@contextmanager
def open_ledger(database: Database, data_dir: Path, *, start: bool = True) -> Iterator[OpenLedger]:
    """A ledger on a database, its keys and pin in a data directory; several may share both, as processes do."""
    with opened(database.service_url, data_dir, start=start) as ledger:
        yield ledger


@contextmanager
def opened(url: str, data_dir: Path, *, start: bool = True) -> Iterator[OpenLedger]:
    """The same by the service's URL, for processes that a test starts."""
    data_dir.mkdir(mode=0o700, exist_ok=True)
    keys = keyfiles.load(data_dir)
    pin = Pin(data_dir / "pin", keys.checkpoint_verifier())
    checkpoints = Checkpoints(keys, pin)
    appender = Appender(url, keys.origin, checkpoints)
    with ConnectionPool(url, min_size=1, max_size=8, open=True, kwargs={"autocommit": True}) as pool:
        keyring = Keyring(pool, keys.kek, Keks(data_dir / "keys", keys.locker).read)
        keyring.create(SUBJECT)
        recorder = LedgerRecorder(pool, appender, checkpoints)
        if start:
            appender.start()
        try:
            yield OpenLedger(
                ledger=Ledger(recorder, keys, keyring),
                recorder=recorder,
                appender=appender,
                checkpoints=checkpoints,
                keyring=keyring,
                keys=keys,
                pin=pin,
                pool=pool,
            )
        finally:
            appender.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def one(database: Database, data: Path) -> Iterator[OpenLedger]:
    """An open ledger."""
    with open_ledger(database, data) as ledger:
        yield ledger


@pytest.fixture
def superuser(database: Database) -> Iterator[psycopg.Connection]:
    """A connection that may do anything."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        yield connection


def in_threads(count: int, work: Any) -> list[Any]:
    """`work(number)` in `count` threads at once; what each returned, or the exception that it raised."""
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - the caller looks at it
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def append_many(url: str, data_dir: str, name: str, threads: int, each: int) -> None:
    """One more process: streams of its own, `each` entries in each of `threads` of them (a process's target)."""
    with opened(url, Path(data_dir)) as one:

        def fill(number: int) -> None:
            after: tuple[int, str | None] = (0, None)
            for _ in range(each):
                recording = one.add(f"case-{name}-{number}", after=after)[0]
                after = (recording.domain_event.originator_version, recording.receipt.leaf)

        for result in in_threads(threads, fill):
            if result is not None:
                raise result
