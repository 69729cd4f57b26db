"""The API on a test's own database, with its views followed as in service."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.tokens import Tokens
from api.views import Views
from application.service import Service
from domain.errors import Unavailable
from projections import schema
from projections.follower import Followers
from tests.api.people import Clock, Stage
from tests.conftest import Database
from tests.service_fixture import open_service


@pytest.fixture
def clock() -> Clock:
    """The server's clock, which a test may put forward."""
    return Clock()


@pytest.fixture
def service(database: Database, tmp_path: Path) -> Iterator[Service]:
    """Every use case, on an empty ledger with its views' tables."""
    schema.install(database.owner_url)
    with open_service(database, tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def views(database: Database, service: Service) -> Iterator[Views]:
    """Read models that follow the log."""
    followers = Followers(service.ledger, service.keyring, database.service_url)

    def wait_for(position: int) -> None:
        for state in followers.states():
            if followers.wait_for(state.projection, position, 20.0) < position:
                raise Unavailable

    followers.start()
    try:
        yield Views(pool=service.pool, keyring=service.keyring, wait_for=wait_for)
    finally:
        followers.stop()


@pytest.fixture
def stage(service: Service, views: Views, clock: Clock) -> Iterator[Stage]:
    """The application with a client, and everybody who may ask it."""
    tokens = Tokens(service.keys.token.public_key(), service.keys.origin)
    app = create_app(service, views, tokens, clock=clock, threads=8)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Stage(app=app, client=client, service=service, clock=clock)
