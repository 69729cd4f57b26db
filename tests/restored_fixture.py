"""A service on a test's database that is backed up, gone on with, and restored; and how tests go on from there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from application.service import Service
from caseledger import cli, composition
from caseledger.settings import Settings, read
from domain.ledger.report import Report
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys
from projections.follower import Followers
from projections.registry import PROJECTIONS
from tests.conftest import Database
from tests.restoring import back_up, put_back
from tests.service_fixture import CT, PATIENT, Walk, request


@pytest.fixture
def settings(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a service on the test's database, in the environment, too."""
    monkeypatch.setenv("CASELEDGER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CASELEDGER_DATABASE_URL", database.service_url)
    monkeypatch.setenv("CASELEDGER_OWNER_DATABASE_URL", database.owner_url)
    return read()


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """The service, opened as `serve` opens it; what it appended is in the views when it ends."""
    with composition.database(settings) as urls, composition.opened(settings, urls) as service:
        yield service
        followers = Followers(service.ledger, service.keyring, urls.service)
        followers.start()
        try:
            assert all(
                followers.wait_for(each.name, size_of(service), 20.0) >= size_of(service) for each in PROJECTIONS
            )
        finally:
            followers.stop()


def opened_case(service: Service) -> Walk:
    """A case that was opened, by a patient of their own."""
    walk = Walk(service)
    walk.open()
    return walk


def signed_case(service: Service) -> Walk:
    """A case up to its signed opinion."""
    walk = opened_case(service)
    walk.prepare()
    walk.upload(CT)
    walk.enrol()
    walk.route()
    walk.sign()
    return walk


def size_of(service: Service) -> int:
    """Entries in the log."""
    return service.ledger.recorder.max_notification_id() or 0


def go_on(settings: Settings, *words: str) -> int:
    """The command, said yes to."""
    return cli.main(["new-origin", "--yes", *words])


def report(service: Service, case: str, keys: TrustedKeys | None) -> Report:
    """The verifier's report on a case's bundle, openings included."""
    return verify(service.bundles.export(request(*PATIENT), case), keys)


class Scene(msgspec.Struct):
    """A ledger with a signed case, backed up, and then gone on with."""

    settings: Settings
    database: Database
    copy: str
    walk: Walk
    size: int
    """Entries in the copy."""
    released: int
    """Entries that were released in the end."""
    keys: TrustedKeys
    """The keys that were published then."""
    lost: bytes
    """A bundle with entries that the copy does not have."""


@pytest.fixture
def scene(settings: Settings, database: Database) -> Scene:
    """Served, backed up, served again, and the backup put back."""
    with running(settings) as service:
        walk, size, keys = signed_case(service), size_of(service), service.keys.trusted()
    copy = back_up(database, "night")
    with running(settings) as service:
        walk.service = service
        walk.share()
        opened_case(service)
        lost, released = service.bundles.export(request(*PATIENT), walk.case), size_of(service)
    put_back(database, copy)
    return Scene(settings, database, copy, walk, size, released, keys, lost)
