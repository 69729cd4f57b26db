"""The HTTP API of one ledger: Litestar, wired to the use cases and read models that it is handed."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.concurrency import set_asyncio_executor
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware

from api.ask import Asks
from api.auth import Authentication, well_formed_path
from api.bodies import MAX_BODY_BYTES
from api.clock import server_clock
from api.condition import NOTHING_WATCHED, Watched
from api.json_body import StrictJson
from api.observe import Observed
from api.openapi import CONFIG
from api.problems import problem_response
from api.routes import (
    cases,
    consents,
    dicomweb,
    documents,
    imaging,
    ledger,
    log,
    people,
    pictures,
    privacy,
    records,
    review,
    transfers,
)
from api.streaming import Places
from api.tokens import Tokens
from api.views import Views
from application.service import Service

THREADS = 64
"""Handlers at once. They wait for the database most of the time; Litestar's default is a handful a core."""


def create_app(
    service: Service,
    views: Views,
    tokens: Tokens,
    *,
    clock: Callable[[], int] = server_clock,
    threads: int = THREADS,
    watched: Watched = NOTHING_WATCHED,
    places: Places | None = None,
) -> Litestar:
    """The application; `clock` gives microseconds since 1970 UTC. The caller owns and closes what it hands in.

    Serve it without the server's own access log, which has paths in it; the API logs requests itself.

    Warning: handlers run on an executor that is Litestar's, and so the whole process's; call it outside an event loop.
    """
    handlers, uploads = ThreadPoolExecutor(threads, "api"), places or Places()
    set_asyncio_executor(handlers)

    @asynccontextmanager
    async def threads_running(app: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            uploads.close()
            handlers.shutdown(wait=False, cancel_futures=True)

    asks = Asks(service, views, clock)
    app = Litestar(
        route_handlers=[
            *cases.HANDLERS,
            *consents.HANDLERS,
            *records.HANDLERS,
            *imaging.HANDLERS,
            *transfers.HANDLERS,
            *pictures.HANDLERS,
            *documents.HANDLERS,
            *dicomweb.HANDLERS,
            *review.HANDLERS,
            *privacy.HANDLERS,
            *people.HANDLERS,
            *ledger.HANDLERS,
            *log.HANDLERS,
        ],
        dependencies={
            "service": Provide(lambda: service, sync_to_thread=False, use_cache=True),
            "watched": Provide(lambda: watched, sync_to_thread=False, use_cache=True),
            "reading": Provide(asks.reading),
            "following": Provide(asks.following),
            "preparing": Provide(asks.preparing),
            "making": Provide(asks.making),
            "changing": Provide(asks.changing),
        },
        middleware=[DefineMiddleware(Authentication, tokens=tokens, clock=clock)],
        guards=[well_formed_path],
        dto=StrictJson,
        return_dto=None,
        exception_handlers={HTTPException: problem_response, Exception: problem_response},
        lifespan=[threads_running],
        openapi_config=CONFIG,
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        debug=False,
    )
    app.state[transfers.UPLOAD_PLACES] = uploads
    app.asgi_handler = Observed(app.asgi_handler)
    return app
