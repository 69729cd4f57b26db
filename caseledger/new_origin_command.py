"""`caseledger new-origin`: goes on with a database that was restored to a point before what was released.

Such a database is refused at every start, since other entries stand behind its name at the same indexes already. This
holds it against the pin, says what is lost, and, once somebody says yes, goes on under a new origin whose first entry
tells that. Ended at any point and called again, it goes on where it was.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import psycopg
from psycopg_pool import ConnectionPool

from application.ledger import keyfiles, new_origin, origin_files
from application.ledger.keks import Keks
from application.ledger.keyfiles import KeyFiles
from application.ledger.keylock import Locker, locker
from application.ledger.keyring import Keyring, kek_name
from application.ledger.origin_files import Staged
from application.privacy.fence import FenceFile, reapply
from caseledger import composition
from caseledger.clearing import FENCE
from caseledger.composition import Urls
from caseledger.data import PUBLIC_KEYS, data_directory, write_public_keys
from caseledger.settings import Settings
from domain.errors import InvalidInput, Misconfigured, Refused, Unavailable
from domain.origin import Reason

REASONS: tuple[str, ...] = tuple(each.replace("_", "-") for each in get_args(Reason))
_YES = "yes"


def run(settings: Settings, reason: str, *, yes: bool, ask: Callable[[], str] | None = None) -> int:
    """Give the restored database a new origin; prints what is lost, and the keys to publish.

    `ask` reads the answer where `yes` was not said; by default from the terminal.

    Raises:
        InvalidInput: not a reason. Refused: nobody said yes.
        AlreadyDone: the database is not behind its pin. HeadForked, WrongOrigin: it is no older copy of this ledger.
        Misconfigured: there is no ledger yet, or the copy cannot be read any more.
        Unavailable: somebody serves, or another process is at it.
    """
    if reason not in REASONS:
        raise InvalidInput(f"a reason is one of {', '.join(REASONS)}")
    data, lock = data_directory(settings), locker(settings.key_passphrase_file)
    if not (data / "origin").exists():
        raise Misconfigured(f"there is no ledger in {data} yet: `caseledger serve` makes one")
    with _alone(data), composition.database(settings) as urls:
        with psycopg.connect(urls.owner, autocommit=True) as connection:
            new_origin.check_alone(connection)
            if not origin_files.switching(data):
                # What the restored copy still has of erased subjects goes first.
                reapply(urls.owner, FenceFile(data / FENCE))
                _append(connection, urls, keyfiles.load(data, lock), reason, said_yes=yes, ask=ask or _terminal)
                origin_files.committed(data)
            _switch(connection, data, lock)
        with composition.opened(settings, urls) as service:
            # Its first checkpoint gets the post-quantum line at once, so that a verifier may ask for it.
            with service.pool.connection() as pooled:
                service.cosignatures.cosign(pooled, service.cosignatures.latest(pooled)[0])
            write_public_keys(data / PUBLIC_KEYS, service.keys)
            origin = service.keys.origin
    print(f"the log goes on as {origin}: publish {data / PUBLIC_KEYS}, and let its witnesses know the new log")
    print("bearer tokens of the old origin count no more: issue new ones")
    print("what the lost entries had ended holds again, but for erasures: withdraw consents and revoke keys anew")
    return 0


def _append(
    connection: psycopg.Connection[Any],
    urls: Urls,
    files: KeyFiles,
    reason: str,
    *,
    said_yes: bool,
    ask: Callable[[], str],
) -> None:
    """Append the entry that says so, unless a call that was cut off did."""
    begun = origin_files.staged(files.place, files.locker)
    if begun is not None and new_origin.origin_of(connection) == begun.origin:
        return
    keks = Keks(files.place / "keys", files.locker)
    logs = (*origin_files.earlier(files.place, files.locker), origin_files.present(files))
    restored = new_origin.examine(connection, logs, [kek_name(each) for each in keks.read()])
    size, released = restored.head.size, restored.released()
    print(f"the database is an older copy: {size} entries of {restored.old.keys.origin}, which released {released}")
    print(
        f"entries {size} to {released - 1} are LOST; whoever holds a receipt or a bundle of them can still prove them"
    )
    if restored.signed < size:
        print(
            f"entries {restored.signed} to {size - 1} stand under no checkpoint in it, only under their own signatures"
        )
    if not said_yes and ask().strip() != _YES:
        raise Refused("nothing was changed: a newer copy may still be restored instead")
    pool: ConnectionPool[Any] = ConnectionPool(
        urls.service, min_size=1, max_size=2, kwargs={"autocommit": True}, open=False
    )
    with pool:
        keyring = Keyring(pool, files.kek, keks.read)
        new = origin_files.stage(files)
        now = time.time_ns() // 1000
        new_origin.succeed(connection, keyring, restored, new, reason.replace("-", "_"), now)  # type: ignore[arg-type]


def _switch(connection: psycopg.Connection[Any], data: Path, lock: Locker) -> None:
    new: Staged | None = origin_files.staged(data, lock)
    if new is None:
        raise Misconfigured("the directory succession.committed does not hold a new origin; restore it")
    origin_files.switch(data, new, new_origin.first_checkpoint(connection, new))


def _terminal() -> str:
    if not sys.stdin.isatty():
        return ""
    return input(f"Go on from here under a new origin? Type {_YES}: ")


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    file = os.open(data / "succession.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable("another process is at it") from None
        yield
    finally:
        os.close(file)
