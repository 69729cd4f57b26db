"""Erasure in the service as it is wired: completed by a thread of its own, and done again after a restore."""

import time
from functools import partial
from pathlib import Path

import psycopg
import pytest

from application.privacy.fence import FenceFile
from caseledger import composition
from caseledger.clearing import FENCE, ClearingLoop, clearing
from caseledger.composition import Urls, opened, serving
from caseledger.settings import Settings
from domain.errors import SubjectErased, Unavailable
from projections import schema
from tests.conftest import Database
from tests.erasure_fixture import Marked

PATIENCE_S = 20.0


def wired(database: Database, data: Path) -> tuple[Settings, Urls]:
    """Settings for a test's database."""
    schema.install(database.owner_url)
    settings = Settings(data=data, database_url=database.service_url, owner_database_url=database.owner_url)
    return settings, Urls(service=database.service_url, owner=database.owner_url)


def small(service: object) -> Marked:
    """A case that is opened and closed."""
    made = Marked(service=service)  # type: ignore[arg-type]
    made.open()
    made.prepare()
    made.close()
    return made


def test_the_service_completes_what_was_executed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks for it: it is found, cleared away, and said to be done; keys are held while the service hears."""
    monkeypatch.setattr(composition, "clearing", partial(clearing, settle_s=0.1))
    monkeypatch.setattr(composition, "ClearingLoop", partial(ClearingLoop, poll_s=0.05))
    settings, urls = wired(database, tmp_path / "data")
    with opened(settings, urls) as service, serving(settings, urls, service):
        case = small(service)
        assert service.keyring._caching
        stream = case.approved()
        case.execute(stream)
        deadline = time.monotonic() + PATIENCE_S
        while service.privacy.load(stream).state.status != "completed" and time.monotonic() < deadline:
            time.sleep(0.02)
        state = service.privacy.load(stream).state
        assert state.status == "completed"
        assert set(state.subjects) == FenceFile(tmp_path / "data" / FENCE).read()
        # The thread goes on.
        other = small(service)
        second = other.approved()
        other.execute(second)
        while service.privacy.load(second).state.status != "completed" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert service.privacy.load(second).state.status == "completed"


def test_a_restored_database_is_erased_again_before_it_is_opened(database: Database, tmp_path: Path) -> None:
    """Opening the ledger is enough, whatever it is opened for."""
    settings, urls = wired(database, tmp_path / "data")
    with opened(settings, urls) as service:
        case = small(service)
    FenceFile(tmp_path / "data" / FENCE).add([f"case:{case.case}"])
    with opened(settings, urls) as service:
        with pytest.raises(SubjectErased):
            service.keyring.get(f"case:{case.case}")
        with psycopg.connect(database.superuser_url) as connection:
            query = "SELECT count(*) FROM ledger.entry WHERE sealed IS NOT NULL AND statement ->> 'subject' = %s"
            assert connection.execute(query, (f"case:{case.case}",)).fetchone() == (0,)


def test_what_fails_is_tried_again(database: Database, tmp_path: Path) -> None:
    """A vault that is away for a while costs time, and nothing else; the log names the kind of error only."""

    class Failing:
        calls = 0

        def run(self) -> list[str]:
            self.calls += 1
            if self.calls < 3:
                raise Unavailable
            return []

    work = Failing()
    loop = ClearingLoop(work, poll_s=0.01)  # type: ignore[arg-type]
    loop.start()
    deadline = time.monotonic() + PATIENCE_S
    while work.calls < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    loop.stop()
    assert work.calls >= 5
