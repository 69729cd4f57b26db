"""Where the embedded PostgreSQL lives: its user, directories, socket and programs.

Everything sits in one *base* directory. It belongs to whoever runs Case Ledger, so that nothing which the
server's user controls is ever written through by root:

    <base>/cluster      PGDATA, 0700, the server's user
    <base>/run          the socket, 0700, the server's user
    <base>/conf         postgresql.conf, pg_hba.conf, pg_ident.conf: read by the server, written by us
    <base>/dist         a copy of the programs, where the server's user cannot read the installed ones
    <base>/server.log   opened by us and inherited by the server

The base is `<data>/pg`. PostgreSQL refuses to run as root, so root runs it as the system user `caseledger`;
where that user cannot reach the data directory, because it or a parent is private, the base is
`/var/lib/caseledger/<hash of the data path>` and `<data>/pg.location` names it. Warning: such a base survives
the removal of its data directory. Modes of directories that are not ours are never changed.
"""

import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
from pathlib import Path

import msgspec
import structlog

from domain.errors import Misconfigured

SYSTEM_USER = "caseledger"
FALLBACK_USER = "postgres"
STATE = Path("/var/lib/caseledger")
SOCKET_NAME = ".s.PGSQL.5432"
# sun_path holds 108 bytes on Linux and 104 on macOS, the final zero byte included (unix(7)); one bound fits
# both.
SOCKET_PATH_MAX = 103

log = structlog.get_logger(__name__)


class ServerUser(msgspec.Struct, frozen=True):
    """The operating system's user that the server runs as."""

    name: str
    uid: int
    gid: int


class Place(msgspec.Struct, frozen=True):
    """The directories of one embedded server, and the user that it runs as."""

    base: Path
    user: ServerUser

    @property
    def cluster(self) -> Path:
        """PGDATA."""
        return self.base / "cluster"

    @property
    def conf(self) -> Path:
        """The directory of the server's three configuration files."""
        return self.base / "conf"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.base / "server.log"


def find_place(data: Path) -> Place:
    """The place of a data directory's server; makes it on first use. Call it under the directory's lock.

    Raises:
        Misconfigured: the data directory or the place belongs to somebody else, is open to others, or cannot
        be reached.
    """
    pointer = data / "pg.location"
    if pointer.exists():
        base = _located(pointer, data)
    elif os.geteuid() != 0 or (data / "pg").exists() or reachable(data, server_user()):
        base = data / "pg"
    else:
        base = _new_location(pointer, data)
    user = _owner(base / "cluster") or server_user()
    if not reachable(base.parent, user):
        raise Misconfigured(f"{base.parent}, or a directory above it, cannot be entered by the user {user.name}")
    ensure_directory(base, ServerUser("", os.geteuid(), user.gid), 0o750 if os.geteuid() == 0 else 0o700)
    if pointer.exists():
        write_file(base / "data", f"{data}\n", user)
    return Place(base, user)


def server_user() -> ServerUser:
    """Ourselves, or for root an unprivileged system user, which is created when it is missing.

    Raises:
        Misconfigured: there is no such user and none can be created, or our own user id has no name.
    """
    uid = os.geteuid()
    if uid != 0:
        try:
            return _entry(pwd.getpwuid(uid))
        except KeyError:
            raise Misconfigured(f"user id {uid} has no name, which PostgreSQL requires") from None
    try:
        return _unprivileged(SYSTEM_USER)
    except KeyError:
        pass
    command = (
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        SYSTEM_USER,
    )
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        user = _unprivileged(SYSTEM_USER)
    except (OSError, subprocess.SubprocessError, KeyError):
        try:
            user = _unprivileged(FALLBACK_USER)
        except KeyError:
            raise Misconfigured(
                f"PostgreSQL does not run as root, and the system user {SYSTEM_USER!r} is missing and cannot"
                " be created: create it, run Case Ledger as another user, or set CASELEDGER_DATABASE_URL"
            ) from None
        log.warning("embedded.user_fallback", user=user.name)
        return user
    log.warning("embedded.user_created", user=user.name, uid=user.uid)
    return user


def reachable(directory: Path, user: ServerUser) -> bool:
    """Whether a user can enter a directory, asked as that user: access lists count, not only modes."""
    if user.uid == os.geteuid():
        return os.access(directory, os.X_OK)
    return succeeds(("/bin/sh", "-c", 'test -d "$1" && test -x "$1"', "sh", str(directory)), user)


def succeeds(command: tuple[str, ...], user: ServerUser) -> bool:
    """Whether a program, run as a user from `/` with an empty environment, ends with status 0."""
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, check=False, user=user.uid, group=user.gid, extra_groups=[], cwd="/",
            env={"PATH": os.defpath}, stdin=quiet, stdout=quiet, stderr=quiet, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def ensure_directory(path: Path, owner: ServerUser, mode: int = 0o700) -> None:
    """A directory of exactly this owner and mode: made where nothing stands, refused where it differs.

    Raises:
        Misconfigured: something else stands there: a link, another's directory, or one that is open to
        others.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.uid, owner.gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
    check_directory(path, owner, mode)


def check_directory(path: Path, owner: ServerUser, mode: int = 0o700) -> None:
    """Passes when a real directory, no link, of exactly this owner and mode stands there.

    Raises:
        Misconfigured: it is something else.
    """
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise Misconfigured(f"{path} is not a directory")
    if found.st_uid != owner.uid:
        raise Misconfigured(f"{path} belongs to user id {found.st_uid}, not to {owner.uid}")
    if stat.S_IMODE(found.st_mode) != mode:
        raise Misconfigured(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, not {mode:04o}")


def write_file(path: Path, text: str, reader: ServerUser) -> None:
    """A file of ours that the server's user can read and nobody else; never written through a link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, reader.gid)
            os.fchmod(descriptor, 0o640)
        file.write(text)


def socket_directory(place: Place) -> Path:
    """The directory of the socket: `<base>/run`, or a short name in the system's temporary directory."""
    path = place.base / "run"
    if not _nameable(path):
        name = hashlib.sha256(os.fsencode(place.base)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"caseledger-{name}"
    if not _nameable(path):
        raise Misconfigured(f"{path.parent} cannot hold a socket, its name is too long: set a shorter TMPDIR")
    ensure_directory(path, place.user)
    return path


def _nameable(sockets: Path) -> bool:
    """Whether a socket there has a name that the system, and libpq (which splits hosts at commas), can take."""
    name = os.fsencode(sockets / SOCKET_NAME)
    return len(name) <= SOCKET_PATH_MAX and b"," not in name


def check_data_directory(data: Path) -> None:
    """Passes when a data directory is ours and closed to others' writing; checked before any write."""
    found = data.stat()
    if found.st_uid != os.geteuid():
        raise Misconfigured(
            f"{data} belongs to user id {found.st_uid}: run Case Ledger as that user, not as {os.geteuid()}"
        )
    if found.st_mode & stat.S_IWOTH:
        raise Misconfigured(f"{data} is writable by everybody")


def _located(pointer: Path, data: Path) -> Path:
    """The place that pg.location names; a copy of the data directory must not share the original's."""
    base = Path(pointer.read_text("utf-8").strip())
    if base.parent != STATE or not base.is_dir():
        raise Misconfigured(f"{pointer} names {base}, which is not a directory directly below {STATE}")
    note = base / "data"
    former = Path(note.read_text("utf-8").strip()) if note.exists() else data
    if former != data and (former / "pg.location").exists():
        raise Misconfigured(
            f"{base} is the database of {former}; {data} is a copy of that directory and cannot share it"
        )
    return base


def _new_location(pointer: Path, data: Path) -> Path:
    """A fresh place below /var/lib; what an earlier directory of this path left there is never adopted."""
    try:
        STATE.mkdir(mode=0o755)
        STATE.chmod(0o755)
    except FileExistsError:
        pass
    check_directory(STATE, ServerUser("root", 0, 0), 0o755)
    base = STATE / hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    if base.exists():
        raise Misconfigured(
            f"{base} holds the database of an earlier {data}: write its path into {pointer} to use it again,"
            " or remove it"
        )
    # The directory comes first: a crash in between leaves an empty one, which the message above explains; the
    # other order would leave a pointer to nothing.
    ensure_directory(base, ServerUser("root", 0, server_user().gid), 0o750)
    pointer.write_text(f"{base}\n", "utf-8")
    log.warning("embedded.location", data=str(data), base=str(base))
    return base


def _owner(cluster: Path) -> ServerUser | None:
    """Who runs an existing cluster; it keeps its user, whatever other users appear later."""
    try:
        uid = cluster.stat().st_uid
    except FileNotFoundError:
        return None
    if os.geteuid() not in (0, uid) or uid == 0:
        raise Misconfigured(f"{cluster} belongs to user id {uid}")
    try:
        return _entry(pwd.getpwuid(uid))
    except KeyError:
        raise Misconfigured(f"{cluster} belongs to user id {uid}, which has no name") from None


def _unprivileged(name: str) -> ServerUser:
    user = _entry(pwd.getpwnam(name))
    if user.uid == 0:
        raise Misconfigured(f"the user {name!r} is root")
    return user


def _entry(found: pwd.struct_passwd) -> ServerUser:
    return ServerUser(found.pw_name, found.pw_uid, found.pw_gid)
