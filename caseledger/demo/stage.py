"""Where the demo plays: a data directory, the service as a child process, and commands as others would run them."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from caseledger.embedded.place import STATE
from domain.errors import CaseLedgerError

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
COMMAND_TIMEOUT_S = 120
PROGRAM = (sys.executable, "-P", "-m", "caseledger.cli")


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A running service: its data directory, and the address that it printed."""

    data: Path
    url: str

    def command(self, *words: str) -> Ran:
        """Run a command where the service runs, with its settings."""
        return ran(words, _environment(self.data), self.data)


def ran(words: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Ran:
    """Run a command of ours as a process of its own."""
    done = subprocess.run(
        (*PROGRAM, *words), check=False, capture_output=True, text=True, env=dict(environment), cwd=folder,
        stdin=subprocess.DEVNULL, timeout=COMMAND_TIMEOUT_S,
    )  # fmt: skip
    return Ran(status=done.returncode, out=done.stdout, err=done.stderr)


def elsewhere() -> dict[str, str]:
    """The environment of somebody who has nothing of ours: no setting, no data directory."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CASELEDGER_")}


@contextmanager
def scratch(prefix: str, *, keep: bool = False) -> Iterator[Path]:
    """A new directory that is removed at the end, with the database that root may have put elsewhere for it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    # Root's PostgreSQL runs as another user, who has to pass through; nobody else may list it.
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    try:
        yield folder
    finally:
        if not keep:
            _remove(folder)


@contextmanager
def served(data: Path) -> Iterator[Stage]:
    """`caseledger serve` on a data directory and a free port of this machine.

    Raises:
        CaseLedgerError: it does not start, or does not stop in order.
    """
    log = data / "serve.log"
    with log.open("ab") as errors:
        child = subprocess.Popen(
            (*PROGRAM, "serve"), stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True,
            env={**_environment(data), "CASELEDGER_HOST": "127.0.0.1", "CASELEDGER_PORT": "0"}, start_new_session=True,
        )  # fmt: skip
    try:
        yield Stage(data=data, url=_address(child, log))
    except BaseException:
        _stop(child)
        raise
    if (status := _stop(child)) != 0:
        raise CaseLedgerError(f"the service ended with status {status}; {_last_line(log)}")


def _environment(data: Path) -> dict[str, str]:
    return {**elsewhere(), "CASELEDGER_DATA": str(data)}


def _address(child: "subprocess.Popen[str]", log: Path) -> str:
    """The address in the one line that `serve` prints when it is ready."""
    assert child.stdout is not None  # noqa: S101 - it was asked for
    ready, _, _ = select.select([child.stdout], [], [], START_TIMEOUT_S)
    line = child.stdout.readline() if ready else ""
    for word in line.split():
        if word.startswith("http://"):
            return word.rstrip(",")
    raise CaseLedgerError(f"the service did not start; {_last_line(log)}")


def _stop(child: "subprocess.Popen[str]") -> int:
    """Ask the service to stop, and wait; what does not stop is killed, and its database stops with its next user."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    until = time.monotonic() + STOP_TIMEOUT_S
    try:
        return child.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
    finally:
        if child.stdout is not None:
            child.stdout.close()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return f"its last word: {lines[-1]}" if lines else "it said nothing"


def _remove(folder: Path) -> None:
    """The directory, and the base below /var/lib that `pg.location` names, which would outlive it."""
    pointer = folder / "pg.location"
    if pointer.exists():
        base = Path(pointer.read_text("utf-8").strip())
        if base.parent == STATE:
            shutil.rmtree(base, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
