"""The ledger that the tamper matrix alters copies of: a whole case, a full tile, views; at two moments."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
from psycopg import sql

from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER, SERVICE, SUPERUSER
from caseledger.log.sources import DatabaseSource
from domain.ledger.verify_trust import render_trusted_keys
from projections import schema
from projections.follower import Followers
from projections.registry import PROJECTIONS
from tests.cases_fixture import add_cases
from tests.conftest import Database
from tests.ledger_fixture import OpenLedger, open_ledger
from tests.service_fixture import CT, Walk, open_service

PATIENCE_S = 30.0


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger at two moments, each a database and a data directory: `older`, and `newest`, which is copied."""

    server: EmbeddedPostgres
    folder: Path
    walk: Walk
    size: int
    older_size: int
    plain: int
    """Index of an entry in the middle of a stream, below a full tile."""
    opinion: int
    """Index of the signed opinion."""
    approval: int
    """Index of the entry that approved the surgeon's key."""
    early: int
    """Index of the second entry of the case with the opinion."""


def urls(server: EmbeddedPostgres, name: str) -> Database:
    """A database as each of the three roles."""
    return Database(
        owner_url=server.url(OWNER, name),
        service_url=server.url(SERVICE, name),
        superuser_url=server.url(SUPERUSER, name),
        name=name,
    )


def copy_database(server: EmbeddedPostgres, source: str, name: str) -> None:
    """A copy, rights and all."""
    names = {"name": sql.Identifier(name), "source": sql.Identifier(source)}
    names |= {"owner": sql.Identifier(OWNER), "service": sql.Identifier(SERVICE)}
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        for statement in (
            "CREATE DATABASE {name} TEMPLATE {source} OWNER {owner}",
            "GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {service}",
        ):
            connection.execute(sql.SQL(statement).format(**names))


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Whoever is still connected."""
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _follow(one_url: str, one: OpenLedger) -> None:
    followers = Followers(one.ledger, one.keyring, one_url)
    followers.start()
    try:
        size = one.recorder.max_notification_id() or 0
        assert all(followers.wait_for(each.name, size, PATIENCE_S) for each in PROJECTIONS)
    finally:
        followers.stop()


@contextmanager
def scene(server: EmbeddedPostgres, template: str, folder: Path) -> Iterator[Scene]:
    """A case up to its signed opinion, and others around it: some 300 entries, one full tile, and its views."""
    copy_database(server, template, "tamper_newest")
    at = urls(server, "tamper_newest")
    data = folder / "newest"
    schema.install(at.owner_url)
    with open_service(at, data) as service:
        walk = Walk(service)
        walk.open()
        walk.prepare()
        walk.upload(CT)
        walk.enrol()
        walk.route()
        opinion = walk.sign().receipts[0].index
        walk.share()
    with open_ledger(at, data) as one:
        older_size = add_cases(one, [f"f{number:02}" for number in range(10)])
    shutil.copytree(data, folder / "older")
    copy_database(server, "tamper_newest", "tamper_older")
    with open_ledger(at, data) as one:
        size = add_cases(one, [f"f{number:02}" for number in range(10, 24)])
        plain = next(row.index for row in one.recorder.rows("case-f03", 4, 5, desc=False, limit=None))
        early = one.recorder.rows(f"case-{walk.case}", 1, 2, desc=False, limit=None)[0].index
        approval = one.recorder.rows(f"key-{walk.key_id}", 1, 2, desc=False, limit=None)[0].index
        _follow(at.service_url, one)
        (folder / "keys").write_bytes(render_trusted_keys(one.keys.trusted()))
    (folder / "kept").write_bytes(DatabaseSource(at.service_url).checkpoint())
    try:
        yield Scene(
            server=server, folder=folder, walk=walk, size=size, older_size=older_size, plain=plain, opinion=opinion,
            approval=approval, early=early,
        )  # fmt: skip
    finally:
        for name in ("tamper_newest", "tamper_older"):
            drop_database(server, name)
