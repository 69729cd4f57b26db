"""`caseledger witness`: a small witness of transparency logs, in a directory of its own; needs no ledger."""

import signal
import socket
from contextlib import closing
from pathlib import Path
from types import FrameType

import uvicorn

from caseledger.witness.app import create_app
from caseledger.witness.keeper import Witness, add_log, make
from domain.errors import Misconfigured


def init(directory: Path, name: str) -> int:
    """Make a witness and print its public keys."""
    _print_keys(make(directory, name))
    return 0


def add(directory: Path, vkeys: list[str]) -> int:
    """Let a witness know logs, by their verifier keys."""
    for vkey in vkeys:
        print(f"the witness knows {add_log(directory, vkey).name}")
    return 0


def keys(directory: Path) -> int:
    """Print a witness's public keys, as lines of a policy."""
    _print_keys(Witness(directory))
    return 0


def serve(directory: Path, host: str, port: int) -> int:
    """Answer requests until SIGTERM or SIGINT."""
    witness = Witness(directory)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address, family=family, backlog=256)
    except OSError as error:
        raise Misconfigured(f"cannot listen on {host} port {port}: {error.strerror}") from None
    with closing(listening):
        config = uvicorn.Config(
            create_app(witness), loop="asyncio", http="httptools", ws="none", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=10,
        )  # fmt: skip
        at, number = listening.getsockname()[:2]
        shown = f"[{at}]" if ":" in at else at
        server = _Server(config, f"caseledger: witness {witness.name} on http://{shown}:{number}")
        for wanted in (signal.SIGINT, signal.SIGTERM):
            # The server takes the signals over while it runs, and passes them on once it has stopped in order.
            signal.signal(wanted, server.stop_before_start)
        server.run(sockets=[listening])
    return 0


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    def stop_before_start(self, number: int, frame: FrameType | None) -> None:
        """End as soon as it has started; after it has stopped, nothing."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            print(self._ready, flush=True)


def _print_keys(witness: Witness) -> None:
    for name, key in zip(("ed25519", "mldsa44"), witness.keys(), strict=True):
        print(f"witness {name} {key}")
