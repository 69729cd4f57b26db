"""The embedded PostgreSQL: one supervisor, a unix socket only, shared by the processes of a data directory.

Whoever uses the server holds a shared lock on `<data>/pg.users`; starting and stopping are decided under an
exclusive lock on `<data>/pg.lock`. The last to leave stops the server. The kernel drops the locks of a killed
process, so the next to leave is then the last. PostgreSQL itself recognises a stale postmaster.pid.

Of the wheel only the programs are used, never its own server class (superuser without authentication, open
sockets, changed modes of foreign directories). Who may connect is decided by the kernel's word on the peer:
the server's user and root map to the three roles.
"""

import atexit
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Self
from urllib.parse import quote

import psycopg
import structlog
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from caseledger.embedded.conf import check_options, write_configuration
from caseledger.embedded.place import (
    Place,
    check_data_directory,
    check_directory,
    ensure_directory,
    find_place,
    socket_directory,
)
from caseledger.embedded.programs import MAJOR, programs
from caseledger.embedded.roles import SUPERUSER, bootstrap
from domain.errors import DatabaseUnavailable, Misconfigured

START_TIMEOUT_S = 300
"""Crash recovery replays at most max_wal_size and ends well below this."""
STOP_TIMEOUT_S = 60
DEAD_AFTER_S = 3
"""A process that postmaster.pid names and that is silent so long is another one, or a killed server's remains."""
LOG_KEPT_BYTES = 1 << 20

_PASSING = ("starting", "stopping")
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})

log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """The PostgreSQL server of one data directory, started on first use and shared with other processes.

    `options` are server settings; they count only for the process that starts the server. `durable=False`
    switches every flush to disk off. Warning: that is for tests, a crash then loses the ledger; a durable
    supervisor refuses to attach to such a server.
    """

    def __init__(self, data: Path, *, options: Mapping[str, str] = NO_OPTIONS, durable: bool = True) -> None:
        self._data = Path(data)
        self._options = options
        self._durable = durable
        self._users: int | None = None
        self._place: Place | None = None
        self._socket: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def log_path(self) -> Path:
        """The server's log; no statement, parameter or message of a failed statement is in it."""
        return self._started().log

    @property
    def cluster(self) -> Path:
        """PGDATA; below the data directory, or where `pg.location` in it says."""
        return self._started().cluster

    def start(self) -> None:
        """Attaches to the running server or starts it, on first use after creating its cluster; idempotent.

        Raises:
            Misconfigured: a directory, user, setting or version of the cluster is unusable.
            DatabaseUnavailable: the server did not come up; the message names its log.
        """
        if self._users is not None:
            return
        check_options(self._options)
        try:
            with suppress(FileExistsError):
                # For root others may pass through, never list: the server's user has its own directory below.
                self._data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True)
            self._data = self._data.resolve()
            check_data_directory(self._data)
            with _locked(self._data / "pg.lock"):
                self._place = find_place(self._data)
                users = _open_private(self._data / "pg.users")
                try:
                    fcntl.flock(users, fcntl.LOCK_SH)
                    self._attach_or_launch(self._place)
                except BaseException:
                    os.close(users)
                    raise
        except OSError as error:
            raise Misconfigured(f"the data directory {self._data} is unusable: {error}") from None
        self._users = users
        self._process = os.getpid()
        atexit.register(self._stop_at_exit)

    def stop(self) -> None:
        """Leaves the server; the last user stops it (fast: open transactions are rolled back).

        Raises:
            DatabaseUnavailable: the server did not stop in time.
        """
        users, self._users = self._users, None
        if users is None or self._place is None:
            return
        atexit.unregister(self._stop_at_exit)
        try:
            # A forked child shares its parent's lock: it must neither release it nor stop the server.
            if os.getpid() != self._process:
                return
            with _locked(self._data / "pg.lock"):
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                self._shut_down(self._place)
        except OSError as error:
            raise DatabaseUnavailable(f"the embedded PostgreSQL could not be stopped: {error}") from None
        finally:
            os.close(users)

    def url(self, user: str, database: str) -> str:
        """Connection URI over the socket, for libpq and SQLAlchemy; it holds no secret."""
        if self._users is None or self._socket is None:
            raise DatabaseUnavailable("the embedded PostgreSQL is not started")
        # The port is part of the socket's name; without it PGPORT of the environment would count.
        return f"postgresql://{quote(user)}@/{quote(database)}?host={quote(str(self._socket))}&port=5432"

    def bootstrap(self, database: str = "caseledger") -> None:
        """Makes the two roles and the database, or brings their rights back to what they should be."""
        try:
            bootstrap(self.url(SUPERUSER, "postgres"), self.url(SUPERUSER, database), database)
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"roles and database not made: {type(error).__name__}") from None

    def _started(self) -> Place:
        if self._place is None:
            raise DatabaseUnavailable("the embedded PostgreSQL is not started")
        return self._place

    def _attach_or_launch(self, place: Place) -> None:
        version = place.cluster / "PG_VERSION"
        if version.exists() and (found := version.read_text("ascii").strip()) != str(MAJOR):
            raise Misconfigured(f"{place.cluster} is of PostgreSQL {found}, not {MAJOR}: dump and restore it")
        if not self._attach(place):
            self._launch(place)

    def _attach(self, place: Place) -> bool:
        """Whether a server of this cluster runs; waits while it comes up or goes down."""
        since = time.monotonic()
        while (state := _postmaster(place.cluster)) is not None:
            folder, status = state
            target = make_conninfo(host=str(folder), port=5432, user=SUPERUSER, dbname="postgres")
            if (answer := PGconn.ping(target.encode())) == Ping.OK:
                check_directory(folder, place.user)
                self._socket = folder
                self._refuse_volatile(target)
                return True
            waited_s = time.monotonic() - since
            if answer != Ping.REJECT and status not in _PASSING and waited_s > DEAD_AFTER_S:
                return False
            if waited_s > START_TIMEOUT_S:
                raise DatabaseUnavailable(f"the embedded PostgreSQL is {status} all the time; see {place.log}")
            time.sleep(0.02)
        return False

    def _refuse_volatile(self, target: str) -> None:
        if not self._durable:
            return
        try:
            with psycopg.connect(target) as connection:
                row = connection.execute("SELECT current_setting('fsync')").fetchone()
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"the embedded PostgreSQL runs and refuses us: {type(error).__name__}") from None
        if row != ("on",):
            raise Misconfigured("the running embedded PostgreSQL does not flush to disk: stop the test that started it")

    def _launch(self, place: Place) -> None:
        folder = socket_directory(place)
        if place.log.exists() and place.log.stat().st_size > LOG_KEPT_BYTES:
            place.log.replace(place.log.with_suffix(".log.1"))
        with open(_open_private(place.log, os.O_APPEND), "ab") as output:
            if not place.cluster.exists():
                self._create(place, output)
            write_configuration(place, folder, self._options, durable=self._durable)
            command = ("pg_ctl", "start", "-s", "-w", "-t", str(START_TIMEOUT_S), "-D", "cluster",
                       "-o", "-c config_file=conf/postgresql.conf")  # fmt: skip
            self._run(place, command, output, START_TIMEOUT_S + 30)
        self._socket = folder

    def _create(self, place: Place, output: IO[bytes]) -> None:
        """A new cluster, made aside and renamed, so that an interrupted one is never taken for whole."""
        fresh = place.base / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        ensure_directory(fresh, place.user)
        # Authentication stands in conf/; a server that somebody starts without it accepts nobody.
        command = ("initdb", "-D", fresh.name, "-U", SUPERUSER, "--auth-local=reject", "--auth-host=reject",
                   "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
                   "--data-checksums", *(() if self._durable else ("--no-sync",)))  # fmt: skip
        self._run(place, command, output, START_TIMEOUT_S)
        fresh.rename(place.cluster)

    def _shut_down(self, place: Place) -> None:
        if _postmaster(place.cluster) is None:
            return
        with open(_open_private(place.log, os.O_APPEND), "ab") as output:
            command = ("pg_ctl", "stop", "-s", "-w", "-m", "fast", "-t", str(STOP_TIMEOUT_S), "-D", "cluster")
            try:
                self._run(place, command, output, STOP_TIMEOUT_S + 30)
            except DatabaseUnavailable:
                if _postmaster(place.cluster) is not None:  # otherwise it died by itself meanwhile
                    raise
        if self._socket is not None and self._socket.parent != place.base:
            with suppress(OSError):
                self._socket.rmdir()

    def _stop_at_exit(self) -> None:
        try:
            self.stop()
        except (DatabaseUnavailable, Misconfigured) as error:
            log.error("embedded.stop_failed", error=str(error))

    def _run(self, place: Place, command: tuple[str, ...], output: IO[bytes], timeout_s: float) -> None:
        """Runs a program as the server's user, in the base directory, away from the terminal's signals.

        Names of files are relative: pg_ctl puts them into a shell's command line, where a quote or dollar
        sign would count.
        """
        quiet = subprocess.DEVNULL
        user = place.user if place.user.uid != os.geteuid() else None
        kept = {name: value for name, value in os.environ.items() if name in ("LD_LIBRARY_PATH", "TMPDIR")}
        try:
            done = subprocess.run(
                (str(programs(place) / command[0]), *command[1:]),
                check=False, cwd=place.base, env={"PATH": os.defpath, "LC_ALL": "C", **kept}, umask=0o077,
                user=user.uid if user else None, group=user.gid if user else None,
                extra_groups=[] if user else None, start_new_session=True, timeout=timeout_s,
                stdin=quiet, stdout=quiet if command[0] == "initdb" else output, stderr=output,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DatabaseUnavailable(f"{command[0]} did not end in {timeout_s:.0f} s; see {place.log}") from None
        if done.returncode != 0:
            raise DatabaseUnavailable(f"{command[0]} failed (status {done.returncode}); see the end of {place.log}")


def _postmaster(cluster: Path) -> tuple[Path, str] | None:
    """Socket directory and status of the server that postmaster.pid names; None where it does not live."""
    try:
        lines = (cluster / "postmaster.pid").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))  # it is written in steps, and a crash of the machine may leave it empty
    pid = abs(int(lines[0] or os.getpid()))
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # as process 1 of a container we inherit the server, and must reap it when it died
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return Path(lines[4] or cluster), lines[7].strip()


def _open_private(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the exclusive lock that serialises starting and stopping among processes."""
    descriptor = _open_private(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
