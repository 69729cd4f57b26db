"""The command line. Each command's work is in a module of its own; here are the words, and what a failure says."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec

from caseledger import verify_words, witness_words
from caseledger.settings import Settings, read
from domain.errors import CaseLedgerError, InvalidInput

FAILED = 1
INTERRUPTED = 130

DESCRIPTION = "The system of record of a remote surgical second-opinion service."
EPILOG = "Settings are CASELEDGER_* variables: see docs/settings.md. Errors go to standard error, with exit status 1."

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Every failure is one line on standard error, never a traceback."""
    given = parser().parse_args(arguments)
    try:
        status = int(given.run(given))
        sys.stdout.flush()
    except CaseLedgerError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed: this needs the service, pip install 'caseledger[service]'")
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more while it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}")
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last resort: what it is and where, since a message may quote data
        frames = traceback.extract_tb(error.__traceback__)
        where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return _fail(f"this should not have happened: {type(error).__name__}{where}")
    return status


def _fail(message: str, status: int = FAILED) -> int:
    print(f"caseledger: {message}", file=sys.stderr)
    return status


class _Version(argparse.Action):
    """Prints the version. It is asked for then only: finding it costs every other command a tenth of its start."""

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> None:
        from importlib.metadata import version

        print(f"caseledger {version('caseledger')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The words of the command line."""
    shape: Any = partial(argparse.HelpFormatter, width=100, max_help_position=30)
    root = argparse.ArgumentParser("caseledger", description=DESCRIPTION, epilog=EPILOG, formatter_class=shape)
    root.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(group: Any, name: str, run: Command, what: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = group.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", formatter_class=shape
        )
        added.set_defaults(run=run)
        return added

    add(commands, "serve", _serve, "run the service until SIGTERM or SIGINT")

    add(commands, "work", _work, "do jobs, such as imaging checks, and nothing else, until SIGTERM or SIGINT")

    token = add(commands, "token", _token, "print a bearer token; needs no database")
    token.add_argument("--role", required=True, choices=_roles(), metavar="ROLE", help=", ".join(_roles()))
    token.add_argument("--subject", required=True, help="the id that whoever holds the token acts under")
    token.add_argument("--ttl-s", type=int, default=3600, metavar="S", help="seconds that it is good for (3600)")

    key = commands.add_parser(
        "key", help="make or replace a signing key, or prove that one is held", formatter_class=shape
    ).add_subparsers(title="commands", metavar="COMMAND", required=True)
    made = add(key, "new", _key_new, "make an Ed25519 key in a new file; prints key id and public key")
    made.add_argument("file", type=Path, metavar="FILE")
    proof = add(key, "prove", _key_prove, "print the JSON body for POST /keys")
    proof.add_argument("file", type=Path, metavar="FILE")
    proof.add_argument("--origin", required=True, help="the ledger's name, as GET /checkpoint and `keys` show it")
    proof.add_argument("--owner", required=True, metavar="ID", help="the id that the key's owner acts under")

    rotate = add(key, "rotate", _key_rotate, "make the log's next key; or put subjects' keys under a new one")
    rotate.add_argument(
        "purpose", choices=("entry", "checkpoint", "kek"), metavar="entry|checkpoint|kek",
        help="the key of entries or of checkpoints: prints the JSON body that proposes the next one."
        " The key-encryption key: puts every living subject under a new one at once, and destroys the old",
    )  # fmt: skip

    sign = add(commands, "sign", _sign, "check a prepared opinion, show it, sign it; prints the JSON body to submit")
    sign.add_argument("prepared", type=Path, metavar="PREPARED.json")
    sign.add_argument("--key", type=Path, required=True, metavar="FILE")
    sign.add_argument("--expect", type=Path, metavar="OPINION.json", help="refuse to sign anything but this opinion")

    add(commands, "keys", _keys, "print the public keys that `verify --keys` trusts; needs no database")

    verify = add(commands, "verify", verify_words.run, "verify a case's bundle offline, or every entry of a log")
    verify_words.words(verify)

    monitor = add(commands, "monitor", _monitor, "watch a log: re-hash what is stored, hold checkpoints together")
    monitor.add_argument("--database", metavar="URL", help="the ledger in this PostgreSQL (this ledger's own)")
    monitor.add_argument("--keys", type=Path, metavar="FILE", help="public keys to trust (this ledger's own)")
    monitor.add_argument("--state", type=Path, metavar="FILE", help="where the last good checkpoint is kept")
    monitor.add_argument("--once", action="store_true", help="one pass; status 1 where something does not hold")

    imaging = add(commands, "imaging-check", _imaging_check, "check a folder or zip of images; needs no database")
    imaging.add_argument("place", type=Path, metavar="FOLDER_OR_ZIP")
    imaging.add_argument("--site", required=True, help="requirement set, as liver-ct or rectum-mr; `any` asks least")
    imaging.add_argument("--on", metavar="DAY", help="reference date, as 2026-11-01 (today, UTC)")
    imaging.add_argument("--json", action="store_true", help="print the report as JSON")

    replay = add(commands, "replay", _replay, "rebuild the views from the log")
    replay.add_argument("--check", action="store_true", help="change nothing; status 1 where a view differs")

    origin = add(commands, "new-origin", _new_origin, "go on with a restored database, under another origin")
    origin.add_argument("--reason", default="disaster-recovery", help=f"{', '.join(_reasons())} (the first)")
    origin.add_argument("--yes", action="store_true", help="do not ask: what is lost is lost")

    add(commands, "migrate", _migrate, "bring the database to this version's schema, and end")

    witness = commands.add_parser(
        "witness", help="run a witness of transparency logs; needs no database", formatter_class=shape
    ).add_subparsers(title="commands", metavar="COMMAND", required=True)
    witness_words.words(partial(add, witness))

    brought = add(commands, "import", _import, "bring open cases from another system, by a file of JSON lines")
    brought.add_argument("file", type=Path, metavar="FILE.jsonl", help="one case a line; docs/import.md has the fields")
    brought.add_argument("--actor", required=True, metavar="ID", help="the coordinator who imports, by sign-in id")
    brought.add_argument(
        "--allow-likely-duplicates", action="store_true", help="import patients too who are likely to be there already"
    )

    invented = add(commands, "demo-data", _demo_data, "print invented cases as `import` takes them; needs no database")
    invented.add_argument("--cases", type=int, required=True, metavar="N", help="how many")
    invented.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed gives the same cases (1)")

    demo = add(commands, "demo", _demo, "walk one invented case through a real service, and check every step")
    demo.add_argument("--data", type=Path, metavar="DIR", help="data directory to use (a temporary one)")
    demo.add_argument("--keep", action="store_true", help="keep the temporary data directory")
    return root


def _roles() -> tuple[str, ...]:
    from api.roles import HumanRole

    return get_args(HumanRole)


def _configured(level: str | None = None) -> Settings:
    """Settings and logs; a command that ends by itself logs from warnings on."""
    from caseledger import logs

    settings = read()
    logs.configure(level or settings.log_level)
    return settings


def _serve(given: argparse.Namespace) -> int:
    from caseledger import serve_command

    return serve_command.run(_configured())


def _work(given: argparse.Namespace) -> int:
    from caseledger import work_command

    return work_command.run(_configured())


def _token(given: argparse.Namespace) -> int:
    import time

    from api.tokens import issue
    from caseledger.data import existing_keys
    from domain.values import Identifier

    try:
        msgspec.convert(given.subject, Identifier)
    except msgspec.ValidationError:
        raise InvalidInput("a subject is 1 to 64 characters a-z 0-9 . _ -, the first a letter or digit") from None
    keys = existing_keys(_configured("warning"))
    print(issue(keys.token, keys.origin, given.subject, given.role, given.ttl_s, int(time.time())))
    return 0


def _key_new(given: argparse.Namespace) -> int:
    from caseledger import signing_commands

    return signing_commands.new(given.file)


def _key_prove(given: argparse.Namespace) -> int:
    from caseledger import signing_commands

    return signing_commands.prove(given.file, given.origin, given.owner)


def _key_rotate(given: argparse.Namespace) -> int:
    from caseledger import kek_command, signing_commands

    settings = _configured("warning")
    return kek_command.run(settings) if given.purpose == "kek" else signing_commands.rotate(settings, given.purpose)


def _sign(given: argparse.Namespace) -> int:
    from caseledger import signing_commands

    return signing_commands.sign(given.prepared, given.key, given.expect)


def _keys(given: argparse.Namespace) -> int:
    from caseledger.data import existing_keys, trusted_keys
    from domain.ledger.verify_trust import render_trusted_keys

    print(render_trusted_keys(trusted_keys(existing_keys(_configured("warning")))).decode(), end="")
    return 0


def _monitor(given: argparse.Namespace) -> int:
    from caseledger import monitor_command

    return monitor_command.run(_configured("warning"), given.database, given.keys, given.state, once=given.once)


def _imaging_check(given: argparse.Namespace) -> int:
    from caseledger import imaging_check_command

    return imaging_check_command.run(given.place, given.site, given.on, as_json=given.json)


def _replay(given: argparse.Namespace) -> int:
    from caseledger import replay_command

    return replay_command.run(_configured("warning"), check_only=given.check)


def _reasons() -> tuple[str, ...]:
    from domain.origin import Reason

    return tuple(each.replace("_", "-") for each in get_args(Reason))


def _new_origin(given: argparse.Namespace) -> int:
    from caseledger import new_origin_command

    return new_origin_command.run(_configured("warning"), given.reason, yes=given.yes)


def _migrate(given: argparse.Namespace) -> int:
    from caseledger import composition
    from migrations import runner

    with composition.database(_configured("warning")) as urls:
        print(f"schema revision {runner.current(urls.owner)}")
    return 0


def _import(given: argparse.Namespace) -> int:
    from caseledger import import_command

    return import_command.run(
        _configured("warning"), given.file, given.actor, allow_likely=given.allow_likely_duplicates
    )


def _demo_data(given: argparse.Namespace) -> int:
    from caseledger import demo_data_command

    return demo_data_command.run(given.cases, given.seed)


def _demo(given: argparse.Namespace) -> int:
    from caseledger.demo import demo

    return demo.run(given.data, keep=given.keep)


if __name__ == "__main__":
    sys.exit(main())
