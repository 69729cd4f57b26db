"""A read that goes on, while nobody can say whether it still may."""

from typing import Any

import pytest

from application import standing
from application.standing import AWAY_S, Standing
from domain.errors import DatabaseUnavailable, MissingConsent
from tests.service_fixture import PATIENT, request


class Asked:
    """What is asked whether a read still stands; raises what it is told to."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None

    def require_still(self, *_: Any) -> None:
        """As `Accesses.require_still`."""
        if self.refusal is not None:
            raise self.refusal


def test_a_database_that_starts_anew_ends_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """For some seconds the last answer holds; then nothing more goes out, and a refusal counts at once."""
    now, asked = [0.0], Asked()
    monkeypatch.setattr(standing.time, "monotonic", lambda: now[0])
    read = Standing(asked, request(*PATIENT), "case", "record")  # type: ignore[arg-type]
    asked.refusal = DatabaseUnavailable()
    for now[0] in (2.0, 5.0, AWAY_S):
        read()
    asked.refusal = None
    now[0] = AWAY_S + 2
    read()
    asked.refusal = DatabaseUnavailable()
    now[0] += AWAY_S
    read()
    now[0] += 2
    with pytest.raises(DatabaseUnavailable):
        read()
    asked.refusal = MissingConsent()
    now[0] += 2
    with pytest.raises(MissingConsent):
        read()
