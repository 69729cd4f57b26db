"""`caseledger serve`: the service in the foreground, until SIGTERM or SIGINT."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from types import FrameType

import structlog
import uvicorn

from caseledger.composition import database, opened, serving
from caseledger.data import PUBLIC_KEYS, data_directory, write_public_keys
from caseledger.settings import Settings
from domain.errors import Misconfigured

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Serve until told to stop: no new connections, requests under way end, views and database stop after them."""
    asked = _Stop()
    with ExitStack() as stack:
        # Before anything is started: a port that is taken shows at once.
        listening = stack.enter_context(closing(_listen(settings.host, settings.port)))
        asked.install()
        urls = stack.enter_context(database(settings))
        service = stack.enter_context(opened(settings, urls))
        public = data_directory(settings) / PUBLIC_KEYS
        write_public_keys(public, service.keys)
        app = stack.enter_context(serving(settings, urls, service))
        config = uvicorn.Config(
            app, loop="asyncio", http="httptools", ws="none", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=settings.drain_s,
        )  # fmt: skip
        server = _Server(config, f"caseledger: serving {_address(listening)}, public keys in {public}")
        if not asked.yet:
            with asked.patient():
                server.run(sockets=[listening])
            log.info("serve.stopping")
            if not server.started:
                raise Misconfigured("the application did not start; see the log above")
    log.info("serve.stopped")
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            print(self._ready, flush=True)
            log.info("serve.ready")


class _Stop:
    """Notes a signal to stop that comes before uvicorn listens to them, or that it passes on when it is done.

    What is being started then is started, and stopped in order. A second signal during start or stop gives up.
    """

    def __init__(self) -> None:
        self.yet = False
        self._patient = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """While uvicorn has the signals: it passes on every one that came, and any number of them means one stop."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.yet and not self._patient:
            raise SystemExit(1)
        self.yet = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        raise Misconfigured(f"cannot listen on {host} port {port}: {error.strerror}") from None


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
