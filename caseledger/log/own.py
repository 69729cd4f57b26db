"""This data directory's ledger, or another database, as whoever verifies or watches it from outside needs it."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from psycopg_pool import ConnectionPool

from application.keys.key_openings import key_openings
from application.ledger import keyfiles
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.keks import Keks
from application.ledger.keyfiles import KeyFiles
from application.ledger.keylock import locker
from application.ledger.keyring import Keyring
from application.ledger.pin import Pin
from application.ledger.recorder import LedgerRecorder
from application.ledger.store import Ledger
from caseledger.settings import Settings, read


class Place(msgspec.Struct, frozen=True):
    """Address of a database as a role that may read the ledger, and the key files, where they are here."""

    url: str
    keys: KeyFiles | None

    def openings(self) -> bytes:
        """Openings of the streams of keys; none without the key files, which alone open payloads."""
        keys = self.keys
        if keys is None:
            return b""
        with ConnectionPool(self.url, min_size=1, max_size=2, kwargs={"autocommit": True}, open=True) as pool:
            # Nothing is appended here: the appender is never started.
            checkpoints = Checkpoints(keys, Pin(keys.place / "pin", *keys.trusted().checkpoint))
            recorder = LedgerRecorder(pool, Appender(self.url, keys.origin, checkpoints), checkpoints)
            keyring = Keyring(pool, keys.kek, Keks(keys.place / "keys", keys.locker).read)
            return key_openings(pool, Ledger(recorder, keys, keyring))


@contextmanager
def place(database: str | None) -> Iterator[Place]:
    """A database by its address, or else the one of the settings, which is started where it is embedded."""
    settings = read()
    if database is not None:
        yield Place(database, _keys(settings))
        return
    from caseledger import composition

    with composition.database(settings) as urls:
        yield Place(urls.service, _keys(settings))


def _keys(settings: Settings) -> KeyFiles | None:
    data = settings.data.expanduser().resolve()
    if not (data / "origin").exists():
        return None
    return keyfiles.load(data, locker(settings.key_passphrase_file))
