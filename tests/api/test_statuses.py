"""Every error has a status, and every problem document the same shape."""

import msgspec
import pytest
from litestar import Litestar, get
from litestar.exceptions import HTTPException
from litestar.testing import TestClient

from api.observe import Observed
from api.problems import Problem, problem_response
from api.statuses import HTTP_CODES, STATUSES, URN, status_of
from domain.errors import CaseLedgerError


def tree(root: type[CaseLedgerError]) -> list[type[CaseLedgerError]]:
    """A class with everything below it."""
    return [
        root,
        *(each for below in root.__subclasses__() if below.__module__ == "domain.errors" for each in tree(below)),
    ]


ERRORS = tree(CaseLedgerError)


def test_every_error_has_a_row_and_every_row_an_error() -> None:
    """The table names the whole tree and nothing else."""
    assert set(STATUSES) == set(ERRORS)


def test_codes_are_one_each() -> None:
    """No two errors share a problem type."""
    codes = [each.code for each in ERRORS]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", ERRORS, ids=lambda each: each.__name__)
def test_every_error_reaches_the_caller_as_its_problem(error: type[CaseLedgerError]) -> None:
    """Raised in a handler, it answers with its status and type; its message is the detail, unless the fault is ours."""

    @get("/", sync_to_thread=False)
    def fails() -> None:
        raise error("what is wrong")

    app = Litestar([fails], exception_handlers={Exception: problem_response}, openapi_config=None)
    app.asgi_handler = Observed(app.asgi_handler)
    with TestClient(app) as client:
        answer = client.get("/")
    said = msgspec.json.decode(answer.content, type=Problem)
    status, title = status_of(error())
    assert (answer.status_code, said.status, said.type, said.title) == (status, status, URN + error.code, title)
    assert answer.headers["content-type"] == "application/problem+json"
    if status != 500:
        assert said.detail == "what is wrong"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("status", [400, 404, 405, 413, 415, 418])
def test_what_http_refuses_is_a_problem_too(status: int) -> None:
    """Litestar's own exceptions answer without their detail, which quotes the request."""

    @get("/", sync_to_thread=False)
    def fails() -> None:
        raise HTTPException(status_code=status, detail="/path?name=Markerwoman")

    app = Litestar([fails], exception_handlers={HTTPException: problem_response}, openapi_config=None)
    with TestClient(app) as client:
        answer = client.get("/")
    expected = status if status in HTTP_CODES else 500
    assert (answer.status_code, answer.json()["type"]) == (expected, URN + HTTP_CODES[expected])
    assert "Markerwoman" not in answer.text
