"""What all benchmarks stand on: one durable PostgreSQL for both sides, and a place on the disk."""

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from obstore.store import LocalStore
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from application.ledger import keyfiles
from application.ledger.appender import Appender
from application.ledger.checkpoints import Checkpoints
from application.ledger.pin import Pin
from application.records.vault import Vault
from application.service import Service, assemble
from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER, SERVICE, SUPERUSER
from migrations import runner
from projections import schema

_POOL = 72
"""Connections for the largest number of writers, and some."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A new ledger, opened as the service opens it, and where its database is."""

    service: Service
    appender: Appender
    data: Path
    service_url: str
    owner_url: str
    superuser_url: str


def _spread(folder: Path) -> None:
    """Let ext4 give each directory made in here a part of the disk of its own, where nothing was deleted just before.

    For some minutes it looks past the inodes of deleted files, one by one: beside a benchmark that has deleted some
    thousand, creating a file takes half a millisecond of processor instead of a twentieth. Elsewhere this does nothing.
    """
    program = shutil.which("chattr")
    if program is not None:
        subprocess.run([program, "+T", str(folder)], capture_output=True, check=False)


class Ground:
    """A running server and a scratch directory; `tiny` asks for sizes that show that it works, never how fast."""

    def __init__(self, server: EmbeddedPostgres, scratch: Path, *, tiny: bool = False) -> None:
        self.server = server
        self.scratch = scratch
        self.tiny = tiny
        self._numbers = itertools.count(1)

    def size(self, full: int, tiny: int) -> int:
        """How much to do."""
        return tiny if self.tiny else full

    def directory(self) -> Path:
        """A new private directory on the same disk as everything else."""
        path = self.scratch / f"dir-{next(self._numbers)}"
        path.mkdir(mode=0o700)
        return path

    @contextmanager
    def database(self) -> Iterator[str]:
        """Name of an empty database with the roles' rights, dropped afterwards."""
        name = f"bench_{next(self._numbers)}"
        self.server.bootstrap(name)
        try:
            yield name
        finally:
            with psycopg.connect(self.server.url(SUPERUSER, "postgres"), autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def ledger(self) -> Iterator[Opened]:
        """A new ledger of its own."""
        with self.database() as name, self.opened(name, self.directory()) as opened:
            yield opened

    @contextmanager
    def opened(self, name: str, data: Path) -> Iterator[Opened]:
        """A ledger in a database of that name."""
        owner, url = self.server.url(OWNER, name), self.server.url(SERVICE, name)
        runner.upgrade(owner)
        schema.install(owner)
        keys = keyfiles.load(data)
        checkpoints = Checkpoints(keys, Pin(data / "pin", keys.checkpoint_verifier()))
        vault = data / "vault"
        vault.mkdir(mode=0o700, exist_ok=True)
        appender = Appender(url, keys.origin, checkpoints)
        pool: ConnectionPool[Any] = ConnectionPool(
            url, min_size=1, max_size=_POOL, kwargs={"autocommit": True}, open=False
        )
        with pool:
            appender.start()
            try:
                service = assemble(keys, pool, appender, checkpoints, Vault(LocalStore(prefix=vault)))
                yield Opened(
                    service=service,
                    appender=appender,
                    data=data,
                    service_url=url,
                    owner_url=owner,
                    superuser_url=self.server.url(SUPERUSER, name),
                )
            finally:
                appender.close()

    def library_environment(self, name: str) -> dict[str, str]:
        """Settings of the event sourcing library for a database of this server: its POSTGRES module, else defaults."""
        where = conninfo_to_dict(self.server.url(OWNER, name))
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": name,
            "POSTGRES_HOST": str(where["host"]),
            "POSTGRES_PORT": str(where["port"]),
            "POSTGRES_USER": OWNER,
            "POSTGRES_PASSWORD": "unused",
            "POSTGRES_SCHEMA": "library",
        }


@contextmanager
def durable_ground(*, tiny: bool = False) -> Iterator[Ground]:
    """A server of its own that flushes to disk, in a new directory, gone afterwards."""
    data = Path(tempfile.mkdtemp(prefix="caseledger-bench-"))
    data.chmod(0o711)
    try:
        scratch = data / "scratch"
        scratch.mkdir(mode=0o700)
        _spread(scratch)
        with EmbeddedPostgres(data, durable=True, options={"max_connections": "200"}) as server:
            yield Ground(server, scratch, tiny=tiny)
    finally:
        shutil.rmtree(data)
