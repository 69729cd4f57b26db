"""The HTTP API of one ledger."""

from collections.abc import Callable

from litestar import Litestar

from api.tokens import Tokens
from api.views import Views
from application.service import Service


def create_app(
    service: Service, views: Views, tokens: Tokens, *, clock: Callable[[], int] | None = None, threads: int = 64
) -> Litestar:
    """The application; `clock` gives microseconds since 1970 UTC. Sets the process's executor for handlers.

    Warning: call it outside a running event loop; Litestar's executor is the process's.
    """
    raise NotImplementedError
