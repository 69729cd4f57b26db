"""`caseledger monitor`: watches a log from beside it, with the last good checkpoint in a file of its own."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from application.ledger.keyfiles import KeyFiles
from application.ledger.pin import Pin
from application.monitor.monitor import Watch
from application.monitor.restorations import Restoration
from application.monitor.state import MonitorState
from caseledger.log import own as own_log
from caseledger.settings import Settings
from caseledger.verify_command import read_keys
from domain.errors import DatabaseUnavailable, Misconfigured
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.note import VerifierKey
from domain.ledger.verify_trust import TrustedKeys

GOOD, BAD = 0, 1
STATE = "monitor-pin"
POLL_S = 1.0
_SAY_EVERY_S = 60.0


def run(settings: Settings, database: str | None, keys: Path | None, state: Path | None, *, once: bool) -> int:
    """Watch until something does not hold, or for one pass; prints what is known, and returns the exit status.

    A log of this data directory's own is held against its pin, too: that of the settings' database, or whatever has to
    be signed by this ledger's keys, since no others are given.
    A pass that finds that entries which were seen before are lost by a restore ends in status 1, once; that the log was
    restored is said in every pass from then on.

    Raises:
        Misconfigured: no keys are given, and the data directory has none.
        DatabaseUnavailable: the database does not answer; only where one pass was asked for.
    """
    with own_log.place(database) as place:
        given = read_keys(keys)
        if given is None and place.keys is None:
            raise Misconfigured("name the public keys to trust: --keys FILE")
        file = state or settings.data.expanduser().resolve() / STATE
        own = place.keys if database is None or given is None else None
        trusted = _trusted(() if given is None else _checkpoints(given), place)
        return watch(place.url, trusted, file, _released(own), once=once)


def _trusted(given: Sequence[VerifierKey], place: own_log.Place) -> Callable[[], Sequence[VerifierKey]]:
    """Keys that are given stay; the ledger's own are read anew, since the log may have replaced one."""
    own = place.keys
    if given or own is None:
        return lambda: given
    return lambda: _checkpoints(own.again().trusted())


def _released(own: KeyFiles | None) -> Callable[[], Checkpoint | None]:
    """The pin of a data directory; verified by its present keys, since this is of no other origin."""
    if own is None:
        return lambda: None
    pin = Pin(own.place / "pin", *own.trusted().checkpoint)
    # Another process may have replaced a key, or given the restored log another origin.
    pin.reread = lambda: own.again().trusted().checkpoint
    return pin.read


def _checkpoints(keys: TrustedKeys) -> tuple[VerifierKey, ...]:
    """Checkpoint keys of all logs that are given: of this one, and of what it was called before a restore."""
    return tuple(key for log in (keys, *keys.others) for key in log.checkpoint)


def watch(
    url: str,
    keys: Callable[[], Sequence[VerifierKey]],
    file: Path,
    released: Callable[[], Checkpoint | None] = lambda: None,
    *,
    once: bool,
) -> int:
    """As `run`, of the database at an address; `file` holds the newest checkpoint that was found good."""

    def pin() -> Pin:
        return Pin(file, *keys())

    def aside(held: Checkpoint) -> None:
        # What the old origin released stays as evidence.
        file.rename(file.with_name(f"{file.name}.{held.origin.rpartition('/')[2]}"))

    work = Watch(
        lambda: pin().read(), keys, accepted=lambda note: pin().advance(note), succeeded=aside, released=released
    )
    said = float("-inf")
    while True:
        try:
            with closing(psycopg.connect(url, autocommit=True, connect_timeout=15)) as connection:
                while True:
                    ended = work.step(connection)
                    now = time.monotonic()
                    if work.state.finding is not None or (ended and (once or now - said >= _SAY_EVERY_S)):
                        print(told(work.state), flush=True)
                        said = now
                    if work.state.finding is not None:
                        return BAD
                    if ended and once:
                        return BAD if any(each.held for each in work.state.restored) else GOOD
                    if ended:
                        time.sleep(POLL_S)
        except psycopg.OperationalError as error:
            # The driver's message may quote the address, and a password with it.
            if once:
                raise DatabaseUnavailable from None
            print(f"monitor: the database does not answer ({type(error).__name__}); trying again", flush=True)
            time.sleep(POLL_S)


def told(state: MonitorState) -> str:
    """One line: the verdict, how far it got, and how old that is."""
    if state.finding is not None:
        found = state.finding
        return f"BAD: from entry {found.index} on: {found.what}: {found.message} (seen {_time(found.found_at)})"
    told_before = "".join(f"; {_restored(each)}" for each in state.restored)
    return (
        f"good: {state.passed_size} entries re-hashed to every root, checkpoints consistent up to size "
        f"{state.checkpoint}, as of {_time(state.began_at)}, pass {state.passes}{told_before}"
    )


def _restored(each: Restoration) -> str:
    said = f"RESTORED: entries before {each.index} were first published as {each.old}, the log is {each.new} since"
    return f"{said}, and LOST are entries {each.index} to {each.held - 1} that were seen here" if each.held else said


def _time(at: int | None) -> str:
    return "never" if at is None else f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
