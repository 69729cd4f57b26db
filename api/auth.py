"""Who is asking: a bearer token on every request but the public ones."""

from collections.abc import Callable

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from api.paths import check_path
from api.tokens import Tokens
from domain.errors import BadToken

SCHEMA = "/schema"
"""Where the API's description is; everybody may read it."""
PUBLIC = "public"
"""Key of a handler's `opt` that lets everybody in."""


class Authentication(AbstractAuthenticationMiddleware):
    """Puts the token's principal on the request."""

    def __init__(self, app: ASGIApp, tokens: Tokens, clock: Callable[[], int]) -> None:
        super().__init__(app, exclude=f"^{SCHEMA}(/|$)", exclude_from_auth_key=PUBLIC, exclude_http_methods=[])
        self._tokens = tokens
        self._clock = clock

    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:  # type: ignore[type-arg]
        """The principal.

        Raises:
            BadToken: no bearer token, more than one, or not a good one.
        """
        given = connection.headers.getall("authorization", [])
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            raise BadToken("one bearer token is needed")
        return AuthenticationResult(user=self._tokens.verify(token.strip(), self._clock() / 1_000_000), auth=None)


def well_formed_path(connection: ASGIConnection, handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """Guard: no id in the path that could not be one of ours reaches a use case."""
    check_path(connection.path_params)
