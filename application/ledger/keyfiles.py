"""The ledger's secrets, which live in files outside the database.

    <data>/keys/kek          32 bytes, wraps every subject's key
    <data>/keys/entry        Ed25519, signs entries
    <data>/keys/checkpoint   Ed25519, signs checkpoints; never the one that signs entries
    <data>/keys/token        Ed25519, signs the bearer tokens that `caseledger token` issues
    <data>/keys/preparation  32 bytes, authenticates prepared statements between prepare and submit
    <data>/origin            this ledger's name

Each is made once, mode 0600 in a directory of mode 0700; one that others could read is refused. Around a rotation of
`entry` or `checkpoint` (`key_rotation`) these stand beside them, each with the key's id at the end of its name:

    <data>/keys/entry.next.<id>      made for the next key; not in use before the log says so
    <data>/keys/entry.public.<id>    public half of an earlier key, 32 bytes
    <data>/keys/checkpoint.old.<id>  an earlier checkpoint key, which signs what was committed before it stopped

After a restore (`origin_files`) the files of each origin before stay in a directory of their own:

    <data>/origins/<number>-<label>  its origin, pin, public-keys and keys/; nothing is signed with these any more
"""

import fcntl
import os
import re
import secrets
import shutil
from base64 import b32encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger.keylock import MAX_FILE_BYTES, PLAIN, SECRET_BYTES, Locker, Passphrase, is_locked
from domain.errors import Misconfigured
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.statement import Origin
from domain.ledger.verify_trust import TrustedKeys, parse_trusted_keys

_NAMES = ("kek", "entry", "checkpoint", "token", "preparation")
ORIGINS, PUBLIC = "origins", "public-keys"
SWITCHING = "succession.committed"
"""While this directory is there, the files are of two origins."""
SWITCHED = "succession.done"
_EARLIER = re.compile(r"(checkpoint-mldsa|entry|checkpoint)(?:\.(?:next|old)\.[0-9a-f]{32})?")
"""Private halves among the keys of an origin before a restore, by the name that each is locked under."""
_BESIDE = re.compile(r"(entry|checkpoint)\.(next|old|public)\.([0-9a-f]{32})")


class KeyFiles(msgspec.Struct, frozen=True, kw_only=True):
    """This ledger's name and secrets."""

    origin: str
    kek: bytes
    entry: Ed25519PrivateKey
    checkpoint: Ed25519PrivateKey
    token: Ed25519PrivateKey
    preparation: bytes
    place: Path
    """The data directory that they were read from,"""
    locker: Locker = PLAIN
    """and how they lie there."""
    next: Mapping[tuple[str, str], Ed25519PrivateKey] = {}
    """Keys made for a rotation, by purpose and key id."""
    old: Mapping[tuple[str, str], Ed25519PrivateKey] = {}
    """Earlier checkpoint keys, by purpose and key id."""
    earlier: Mapping[tuple[str, str], bytes] = {}
    """Public halves of earlier keys, by purpose and key id."""
    before: tuple[TrustedKeys, ...] = ()
    """Public keys of the origins that this log went by before it was restored."""

    def entry_verifier(self) -> VerifierKey:
        """Public half of the key that signs entries, in the notation of signed notes, named `<origin>/entries`."""
        return VerifierKey.make(f"{self.origin}/entries", ED25519, raw_public(self.entry))

    def checkpoint_verifier(self) -> VerifierKey:
        """Public half of the key that signs checkpoints, named as the origin."""
        return VerifierKey.make(self.origin, ED25519, raw_public(self.checkpoint))

    def trusted(self) -> TrustedKeys:
        """All public halves, those of earlier keys too, as a verifier is given them."""

        def earlier(purpose: str, name: str) -> list[VerifierKey]:
            return [VerifierKey.make(name, ED25519, raw) for (of, _), raw in self.earlier.items() if of == purpose]

        checkpoint, entry = self.checkpoint_verifier(), self.entry_verifier()
        return TrustedKeys(
            self.origin,
            (checkpoint, *earlier("checkpoint", checkpoint.name)),
            (entry, *earlier("entry", entry.name)),
            others=self.before,
        )

    def again(self) -> "KeyFiles":
        """The files as they are by now."""
        return load(self.place, self.locker)


def raw_public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of a key's public half."""
    return key.public_key().public_bytes_raw()


def load(data: Path, locker: Locker = PLAIN) -> KeyFiles:
    """Read the key files of a data directory, and make those of a new one; with a passphrase, lock what is not yet.

    Raises:
        Misconfigured: some of the files are missing, open to others, or not what they should be; or a change of origin
            was cut off.
    """
    keys = data / "keys"
    with only_one(data):
        if (data / SWITCHING).exists():
            raise Misconfigured("a change of origin was begun and did not end: run `caseledger new-origin` again")
        if (data / SWITCHED).exists():
            # Second names of keys that are in place, left by a crash.
            shutil.rmtree(data / SWITCHED)
        if not keys.exists() and not (data / "origin").exists():
            _make(keys, locker)
        # The origin is made with the keys, in one rename, and then takes its place; a crash may lie between.
        if (keys / "origin").exists() and not (data / "origin").exists():
            (keys / "origin").rename(data / "origin")
            flush(data)
        missing = [name for name in _NAMES if not (keys / name).exists()]
        missing += [] if (data / "origin").exists() else ["origin"]
        if missing:
            raise Misconfigured(f"the data directory lacks {', '.join(missing)}; restore it, it cannot be made again")
        _check_private(keys.stat(), "directory of the keys", 0o700)
        secret = {name: _read(keys / name, name, locker) for name in _NAMES}
        beside: dict[str, dict[tuple[str, str], bytes]] = {"next": {}, "old": {}, "public": {}}
        for path in sorted(keys.iterdir()):
            if (named := _BESIDE.fullmatch(path.name)) is not None:
                purpose, what, key = named.groups()
                beside[what][purpose, key] = _read(path, purpose, PLAIN if what == "public" else locker)
        _lock_earlier(data, locker)
    return KeyFiles(
        origin=_read_origin(data / "origin"),
        kek=secret["kek"],
        entry=Ed25519PrivateKey.from_private_bytes(secret["entry"]),
        checkpoint=Ed25519PrivateKey.from_private_bytes(secret["checkpoint"]),
        token=Ed25519PrivateKey.from_private_bytes(secret["token"]),
        preparation=secret["preparation"],
        place=data,
        locker=locker,
        next={each: Ed25519PrivateKey.from_private_bytes(raw) for each, raw in beside["next"].items()},
        old={each: Ed25519PrivateKey.from_private_bytes(raw) for each, raw in beside["old"].items()},
        earlier=beside["public"],
        before=tuple(parse_trusted_keys(path.read_bytes()) for path in sorted(data.glob(f"{ORIGINS}/*/{PUBLIC}"))),
    )


def _make(keys: Path, locker: Locker) -> None:
    """Make everything in a directory beside, which then takes its name: all of it is there, or nothing."""
    new = keys.with_suffix(".new")
    if new.exists():
        # Left by a crash; nothing was ever made with these.
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    for name in _NAMES:
        write_private(new / name, locker.lock(name, secrets.token_bytes(SECRET_BYTES)))
    label = b32encode(secrets.token_bytes(15)).decode().lower()
    write_private(new / "origin", f"caseledger.invalid/{label}\n".encode())
    new.rename(keys)
    flush(keys.parent)


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """One process at a time: two that find a new directory would make two ledgers of it."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _read(path: Path, name: str, locker: Locker) -> bytes:
    with path.open("rb") as file:
        _check_private(os.fstat(file.fileno()), f"key file {path.name}", 0o600)
        stored = file.read(MAX_FILE_BYTES)
    secret = locker.unlock(name, stored)
    if isinstance(locker, Passphrase) and not is_locked(stored):
        _replace(path, locker.lock(name, secret))
    return secret


def _lock_earlier(data: Path, locker: Locker) -> None:
    """Lock what earlier origins left plain, with a passphrase; what is locked already is not opened for that."""
    if not isinstance(locker, Passphrase):
        return
    for path in data.glob(f"{ORIGINS}/*/keys/*"):
        named = _EARLIER.fullmatch(path.name)
        if named is not None and not is_locked(path.read_bytes()):
            _read(path, named[1], locker)


def _replace(path: Path, content: bytes) -> None:
    """Put other content into a private file, whole or not at all."""
    fresh = path.with_name(f"{path.name}.locking")
    fresh.unlink(missing_ok=True)
    write_private(fresh, content)
    fresh.rename(path)
    flush(path.parent)


def _read_origin(path: Path) -> str:
    try:
        return msgspec.convert(path.read_text("ascii").strip(), Origin)
    except (UnicodeDecodeError, msgspec.ValidationError):
        raise Misconfigured("the file origin does not hold a ledger's name") from None


def _check_private(status: os.stat_result, what: str, mode: int) -> None:
    if status.st_mode & 0o077:
        raise Misconfigured(f"the {what} is open to others; its mode has to be {mode:04o}")


def write_private(path: Path, content: bytes) -> None:
    """Create a file of mode 0600, whole and durably, whatever the umask; one that exists already is not touched.

    It gets its name when it is complete, so that nobody reads a part of it, and a crash leaves none.

    Raises:
        FileExistsError: there is one.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink()
    flush(path.parent)


def flush(directory: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
