"""The words of `caseledger witness`: making a witness, the logs that it knows, its keys, its service."""

import argparse
from collections.abc import Callable
from pathlib import Path

Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
"""Adds a command: its name, what runs it, what it does."""


def words(add: Add) -> None:
    """Add the commands of a witness."""
    begun = add("init", _init, "make a witness in a new directory; prints its public keys")
    begun.add_argument("directory", type=Path, metavar="DIR")
    begun.add_argument("--name", required=True, help="its key name, as witness.example/one")
    watched = add("add-log", _add_log, "let a witness know a log, by the log's checkpoint key")
    watched.add_argument("directory", type=Path, metavar="DIR")
    watched.add_argument("vkeys", nargs="+", metavar="VKEY", help="verifier key, named as the log's origin")
    shown = add("keys", _keys, "print a witness's public keys as lines of a policy")
    shown.add_argument("directory", type=Path, metavar="DIR")
    served = add("serve", _serve, "answer logs until SIGTERM or SIGINT")
    served.add_argument("directory", type=Path, metavar="DIR")
    served.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    served.add_argument("--port", type=int, default=8766, help="port to listen on (8766); 0 takes a free one")


def _init(given: argparse.Namespace) -> int:
    from caseledger import witness_command

    return witness_command.init(given.directory, given.name)


def _add_log(given: argparse.Namespace) -> int:
    from caseledger import witness_command

    return witness_command.add(given.directory, given.vkeys)


def _keys(given: argparse.Namespace) -> int:
    from caseledger import witness_command

    return witness_command.keys(given.directory)


def _serve(given: argparse.Namespace) -> int:
    from caseledger import logs, witness_command

    logs.configure("info")
    return witness_command.serve(given.directory, given.host, given.port)
