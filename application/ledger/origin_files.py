"""The files of a change of origin: new keys made before anybody hears of them, put in place after the log says so.

    <data>/succession/              the new origin and its two keys, whole or not there; not in use
    <data>/succession.committed/    the same, from the commit of the entry that says so until the files have followed
    <data>/origins/<number>-<label> what the old origin leaves: origin, pin, public-keys and keys/

Crash order: staged, committed in the database, renamed, the old files linked into their own directory, the new ones
renamed over them, the origin last. Every step may be repeated. While `succession.committed` is there nothing starts.
"""

import os
import secrets
import shutil
from base64 import b32encode
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger.keyfiles import ORIGINS, PUBLIC, SWITCHED, SWITCHING, KeyFiles, flush, raw_public, write_private
from application.ledger.keylock import MAX_FILE_BYTES, SECRET_BYTES, Locker
from application.ledger.pin import Pin
from application.witness import post_quantum
from domain.errors import Misconfigured
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.statement import Origin
from domain.ledger.verify_trust import ENTRIES_SUFFIX, TrustedKeys, parse_trusted_keys, render_trusted_keys

STAGED = "succession"
PURPOSES: tuple[Literal["checkpoint", "entry"], ...] = ("checkpoint", "entry")


class Staged(msgspec.Struct, frozen=True):
    """A new origin and its keys, and where they lie."""

    origin: str
    checkpoint: Ed25519PrivateKey
    entry: Ed25519PrivateKey
    place: Path

    def checkpoint_verifier(self) -> VerifierKey:
        """Public half of its checkpoint key, named as the origin."""
        return VerifierKey.make(self.origin, ED25519, raw_public(self.checkpoint))

    def entry_verifier(self) -> VerifierKey:
        """Public half of its key of entries."""
        return VerifierKey.make(self.origin + ENTRIES_SUFFIX, ED25519, raw_public(self.entry))


class Log(msgspec.Struct, frozen=True):
    """An origin that this data directory has, or had: its public keys, its private ones, and what it released last."""

    keys: TrustedKeys
    private: tuple[Ed25519PrivateKey, Ed25519PrivateKey] | None
    """Those of checkpoints and of entries; None where the files of an earlier origin were deleted."""
    released: bytes | None


def present(files: KeyFiles) -> Log:
    """The origin that is in use.

    Raises:
        NoteSignatureInvalid: the pin is not a checkpoint of it.
    """
    keys = msgspec.structs.replace(files.trusted(), others=())
    return Log(keys, (files.checkpoint, files.entry), Pin(files.place / "pin", *keys.checkpoint).read_note())


def earlier(data: Path, locker: Locker) -> tuple[Log, ...]:
    """The origins before it, oldest first. Their private keys endorse again when an even older copy is restored.

    Raises:
        Misconfigured: a key file is open to others, or does not hold a key.
    """
    found = []
    for place in sorted((data / ORIGINS).glob("*/")):
        keys = parse_trusted_keys((place / PUBLIC).read_bytes())
        paths = [place / "keys" / purpose for purpose in PURPOSES]
        private = None
        if all(path.exists() for path in paths):
            checkpoint, entry = (_private(path, path.name, locker) for path in paths)
            private = (checkpoint, entry)
        found.append(Log(keys, private, Pin(place / "pin", *keys.checkpoint).read_note()))
    return tuple(found)


def stage(files: KeyFiles) -> Staged:
    """Make a new origin and its keys; those that were made before and are not in use yet are taken again."""
    place = files.place / STAGED
    if not place.exists():
        new = files.place / f"{STAGED}.new"
        if new.exists():
            # Left by a crash; nothing was ever made with these.
            shutil.rmtree(new)
        new.mkdir(mode=0o700)
        for purpose in PURPOSES:
            write_private(new / purpose, files.locker.lock(purpose, secrets.token_bytes(SECRET_BYTES)))
        label = b32encode(secrets.token_bytes(15)).decode().lower()
        write_private(new / "origin", f"caseledger.invalid/{label}\n".encode())
        quantum = post_quantum.existing(files.place, files.origin, files.locker)
        own = msgspec.structs.replace(files.trusted(), post_quantum=quantum, others=())
        write_private(new / PUBLIC, render_trusted_keys(own))
        new.rename(place)
        flush(files.place)
    return _staged(place, files.locker)


def staged(data: Path, locker: Locker) -> Staged | None:
    """What was staged and is not in use yet, whether committed or not."""
    for name in (SWITCHING, STAGED):
        if (data / name / "origin").exists():
            return _staged(data / name, locker)
    return None


def switching(data: Path) -> bool:
    """Whether a change of origin is committed, and the files have not followed yet."""
    return (data / SWITCHING).exists()


def committed(data: Path) -> None:
    """Note that the log says so: from here on the data directory is the new origin's, as soon as it is in order."""
    if (data / STAGED).exists():
        (data / STAGED).rename(data / SWITCHING)
        flush(data)


def switch(data: Path, new: Staged, note: bytes) -> None:
    """Put the new origin's files in place of the old one's, which stay beside them; `note` is its first checkpoint.

    May be ended at any point and called again.
    """
    keys, old = data / "keys", (data / "origin").read_text("ascii").strip()
    if old != new.origin:
        _keep(data, old)
        Pin(new.place / "pin", new.checkpoint_verifier()).advance(note)
        # Of the old origin, and linked by now. The post-quantum key is made anew at the next start.
        for path in (*keys.glob("entry.*"), *keys.glob("checkpoint.*"), keys / post_quantum.FILE):
            path.unlink(missing_ok=True)
        for purpose in PURPOSES:
            _place(new.place / purpose, keys / purpose)
        flush(keys)
        _place(new.place / "pin", data / "pin")
        flush(data)
        _place(new.place / "origin", data / "origin")
        flush(data)
    done = data / SWITCHED
    shutil.rmtree(done, ignore_errors=True)
    new.place.rename(done)
    flush(data)
    shutil.rmtree(done)


def _keep(data: Path, origin: str) -> None:
    """Link what the old origin leaves into a directory of its own."""
    label = origin.rpartition("/")[2]
    origins = data / ORIGINS
    origins.mkdir(mode=0o700, exist_ok=True)
    place = next(origins.glob(f"*-{label}"), origins / f"{len(list(origins.iterdir())) + 1:04}-{label}")
    (place / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = data / "keys"
    linked = [(data / each, place / each) for each in ("origin", "pin")]
    linked.append((data / SWITCHING / PUBLIC, place / PUBLIC))
    own = (*map(keys.joinpath, PURPOSES), *keys.glob("entry.*"), *keys.glob("checkpoint*"))
    linked += [(path, place / "keys" / path.name) for path in own]
    for path, target in linked:
        if path.exists() and not target.exists():
            os.link(path, target)
    for directory in (place / "keys", place, origins, data):
        flush(directory)


def _place(path: Path, target: Path) -> None:
    """Let another file have a name, whole, and keep its own."""
    fresh = target.with_name(f".{target.name}.new")
    fresh.unlink(missing_ok=True)
    os.link(path, fresh)
    fresh.replace(target)
    # Where the target was this very file, replacing did nothing.
    fresh.unlink(missing_ok=True)


def _staged(place: Path, locker: Locker) -> Staged:
    try:
        origin = msgspec.convert((place / "origin").read_text("ascii").strip(), Origin)
    except (UnicodeDecodeError, msgspec.ValidationError):
        raise Misconfigured("the file origin does not hold a ledger's name") from None
    checkpoint, entry = (_private(place / purpose, purpose, locker) for purpose in PURPOSES)
    return Staged(origin, checkpoint, entry, place)


def _private(path: Path, purpose: str, locker: Locker) -> Ed25519PrivateKey:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise Misconfigured(f"the key file {path} is open to others; its mode has to be 0600")
        return Ed25519PrivateKey.from_private_bytes(locker.unlock(purpose, file.read(MAX_FILE_BYTES)))
