"""Rounds of kill -9 under load, on a durable PostgreSQL: `python -m tests.faults.rounds --rounds 200`.

In each round a process appends in eight threads, each write under an Idempotency-Key of its own, and says every one
that was acknowledged. It is killed at a random moment; in some rounds a backend of PostgreSQL, or the whole server, is
killed before it. Then the ledger is opened again and held against what was said. A seed gives the same choices again.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER, SERVICE, SUPERUSER
from domain.errors import CaseLedgerError, DatabaseUnavailable
from migrations import runner
from tests.faults.acknowledged import PATIENCE_S, Held, Written, keyed
from tests.ledger_fixture import in_threads, opened

DATABASE = "caseledger"
THREADS = 8
LOAD_S = (0.02, 0.5)
"""How long a round appends, from its first acknowledged write on."""
VICTIMS = ("writer", "backend", "server")
WEIGHTS = (12, 3, 1)
ROOT = Path(__file__).resolve().parents[2]


class Tally(msgspec.Struct, kw_only=True):
    """What all rounds came to."""

    rounds: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    """Writes that were under way when their process was killed,"""
    committed: int = 0
    """and those among them that turned out to be in the log; each of the others went in when it was repeated."""
    entries: int = 0
    longest_s: float = 0.0
    killed: dict[str, int] = {}

    def line(self, seconds: float) -> str:
        """The closing line."""
        killed = ", ".join(f"{self.killed[each]} {each}s" for each in VICTIMS if each in self.killed)
        return (
            f"{self.rounds} rounds of kill -9 ({killed}): {self.acknowledged} acknowledged writes, all present "
            f"and proven, none twice; {self.unanswered} unanswered, of which {self.committed} were in the log; "
            f"{self.entries} entries; {seconds:.1f} s, longest round {self.longest_s:.1f} s"
        )


def write(url: str, data: Path, name: str) -> None:
    """The process that is killed: appends for ever, and repeats under the same key what was not answered."""
    said = threading.Lock()
    # Standard output is for what was acknowledged alone: the log goes elsewhere.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def fill(number: int) -> None:
        stream, rev, leaf = f"case-{name}-{number}", 1, None
        while True:
            try:
                receipt = one.recorder.append(keyed(one, stream, rev, leaf)).receipts[0]
            except DatabaseUnavailable:
                time.sleep(0.01)
                continue
            line = msgspec.json.encode(Written(stream=stream, rev=rev, receipt=receipt)) + b"\n"
            with said:
                output.write(line)
                output.flush()
            rev, leaf = rev + 1, receipt.leaf

    with opened(url, data) as one:
        for error in in_threads(THREADS, fill):
            raise error


class Rounds:
    """One server, one ledger, and everything that was ever acknowledged of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._server = EmbeddedPostgres(folder)
        self._data = folder / "ledger"
        self._random = random.Random(seed)
        self._held = Held()
        self.tally = Tally()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The server, made anew."""
        self._server.start()
        try:
            self._server.bootstrap(DATABASE)
            runner.upgrade(self._server.url(OWNER, DATABASE))
            yield
        finally:
            self._server.stop()

    def round(self, victim: str | None = None) -> None:
        """Load, a kill, a restart, and the comparison.

        Raises:
            AssertionError: something acknowledged is not there, or is there twice, or is not proven.
        """
        began = time.monotonic()
        victim = victim or self._random.choices(VICTIMS, WEIGHTS)[0]
        said = self._load(f"r{self.tally.rounds}", victim)
        self._restart()
        with opened(self._server.url(SERVICE, DATABASE), self._data) as one:
            self._held.compare(one, said)
            streams = [f"case-r{self.tally.rounds}-{number}" for number in range(THREADS)]
            unanswered, committed = self._held.repeat(one, said, streams)
            self.tally.entries = self._held.read_all(one)
        self.tally.rounds += 1
        self.tally.unanswered += unanswered
        self.tally.committed += committed
        self.tally.acknowledged += len(said)
        self.tally.killed[victim] = self.tally.killed.get(victim, 0) + 1
        self.tally.longest_s = max(self.tally.longest_s, time.monotonic() - began)

    def _load(self, name: str, victim: str) -> list[Written]:
        words = [sys.executable, "-m", "tests.faults.rounds", "--write", self._server.url(SERVICE, DATABASE)]
        writer = subprocess.Popen(
            [*words, "--data", str(self._data), "--name", name],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        assert writer.stdout is not None
        lines: list[bytes] = []
        first = threading.Event()

        def listen(pipe: Any) -> None:
            for line in pipe:
                lines.append(line)
                first.set()
            first.set()

        listener = threading.Thread(target=listen, args=(writer.stdout,))
        listener.start()
        try:
            assert first.wait(PATIENCE_S), "the writer wrote nothing"
            time.sleep(self._random.uniform(*LOAD_S))
            if victim != "writer":
                self._kill_database(victim)
                time.sleep(self._random.uniform(0.0, 0.3))
            assert writer.poll() is None, "the writer ended by itself"
        finally:
            with suppress(ProcessLookupError):
                os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            listener.join()
            writer.stdout.close()
        # A line that was cut off was not said.
        return [msgspec.json.decode(line, type=Written) for line in lines if line.endswith(b"\n")]

    def _kill_database(self, victim: str) -> None:
        if victim == "server":
            pid = int((self._server.cluster / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        else:
            with psycopg.connect(self._server.url(SUPERUSER, DATABASE), autocommit=True) as connection:
                found = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE usename = %s AND backend_type = 'client backend'"
                    " AND query LIKE '%%ledger%%'",
                    (SERVICE,),
                ).fetchall()
            pid = self._random.choice(found)[0]
        os.kill(pid, signal.SIGKILL)

    def _restart(self) -> None:
        """Wait until the database answers; where its server is gone, it is started again and recovers."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with psycopg.connect(self._server.url(SERVICE, DATABASE), connect_timeout=5):
                    return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the database did not come back"
            with suppress(CaseLedgerError):
                # Leaving and coming back starts a server that is gone, and waits for one that recovers.
                if not self._alive():
                    self._server.stop()
                    self._server.start()
            time.sleep(0.05)

    def _alive(self) -> bool:
        try:
            os.kill(int((self._server.cluster / "postmaster.pid").read_text("utf-8").split("\n", 1)[0]), 0)
        except (ProcessLookupError, FileNotFoundError):
            return False
        return True


def say(line: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(rounds: int, seed: int, *, victims: tuple[str, ...] = (), report: bool = False) -> Tally:
    """So many rounds in a directory of their own, which goes afterwards; `victims` are the first rounds' own."""
    folder = Path(tempfile.mkdtemp(prefix="caseledger-faults-"))
    folder.chmod(0o711)
    try:
        work = Rounds(folder, seed)
        with work.running():
            for number in range(rounds):
                work.round(victims[number] if number < len(victims) else None)
                if report and (number + 1) % 10 == 0:
                    say(f"{number + 1} rounds, {work.tally.acknowledged} acknowledged writes")
        return work.tally
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Rounds, or a round's writer."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rounds")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="a run's own line names it")
    for internal in ("--write", "--data", "--name"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.write is not None:
        write(words.write, Path(words.data), words.name)
        return
    seed = random.SystemRandom().randrange(1 << 32) if words.seed is None else words.seed
    say(f"seed {seed}")
    began = time.monotonic()
    tally = run(words.rounds, seed, report=True)
    say(tally.line(time.monotonic() - began))


if __name__ == "__main__":
    main()
