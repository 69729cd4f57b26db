"""The composition root: opens a ledger with everything that it stands on, and closes it in reverse order."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from obstore.store import LocalStore
from psycopg_pool import ConnectionPool

from application.ledger import keyfiles
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.pin import Pin
from application.records.vault import Vault
from application.service import Service, assemble
from caseledger.embedded import EmbeddedPostgres
from caseledger.embedded_roles import OWNER, SERVICE
from caseledger.settings import Settings
from domain.errors import DatabaseUnavailable, Misconfigured
from migrations import runner
from projections import schema

DATABASE = "caseledger"
OLDEST_SERVER = 150_000


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's database, as the service and as its owner."""

    service: str
    owner: str


@contextmanager
def database(settings: Settings) -> Iterator[Urls]:
    """The database that the settings name, running, migrated and with its views' tables.

    Raises:
        Misconfigured: it is too old, or cannot be used as it is.
        DatabaseUnavailable: it does not answer.
    """
    with ExitStack() as stack:
        if settings.database_url is None or settings.owner_database_url is None:
            embedded = stack.enter_context(EmbeddedPostgres(data_directory(settings)))
            embedded.bootstrap(DATABASE)
            urls = Urls(service=embedded.url(SERVICE, DATABASE), owner=embedded.url(OWNER, DATABASE))
        else:
            urls = Urls(service=settings.database_url, owner=settings.owner_database_url)
        _check_server(urls.owner)
        runner.upgrade(urls.owner)
        schema.install(urls.owner)
        yield urls


@contextmanager
def opened(settings: Settings, urls: Urls) -> Iterator[Service]:
    """The ledger of a data directory on a running database: keys read, head held against the pin, appender started.

    Raises:
        Misconfigured, WrongOrigin, HeadBehindPin, HeadForked: this database and this data directory do not belong
            together, or something was lost or changed.
    """
    data = data_directory(settings)
    keys = keyfiles.load(data)
    checkpoints = Checkpoints(keys, Pin(data / "pin", keys.checkpoint_verifier()))
    vault = data / "vault"
    vault.mkdir(mode=0o700, exist_ok=True)
    pool: ConnectionPool[Any] = ConnectionPool(
        urls.service, min_size=1, max_size=settings.pool_connections, kwargs={"autocommit": True}, open=False
    )
    appender = Appender(urls.service, keys.origin, checkpoints)
    with pool:
        appender.start()
        try:
            yield assemble(keys, pool, appender, checkpoints, Vault(LocalStore(prefix=vault)))
        finally:
            appender.close()


def data_directory(settings: Settings) -> Path:
    """The data directory, made if it is new; modes of what was there are left as they are.

    Raises:
        Misconfigured: it cannot be made or used.
    """
    data = settings.data.expanduser().resolve()
    try:
        data.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"the data directory cannot be made: {error.strerror}") from None
    return data


def _check_server(url: str) -> None:
    try:
        with psycopg.connect(url) as connection:
            version = connection.info.server_version
    except psycopg.OperationalError:
        raise DatabaseUnavailable("the database does not answer under its owner's address") from None
    if version < OLDEST_SERVER:
        raise Misconfigured(f"PostgreSQL 15 or later is needed, this server is {version // 10_000}")
