"""The words of `caseledger verify`: of a bundle, or of a whole log; what belongs to one is refused beside the other."""

import argparse
from pathlib import Path

from domain.errors import InvalidInput

_OF_LOGS = ("database", "tiles", "token", "checkpoint", "since", "openings", "jobs")
"""Options of `verify` that say something of a whole log only: beside a bundle they are refused, never ignored."""


def words(verify: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    verify.set_defaults(wrong_usage=verify.error)
    verify.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE")
    verify.add_argument("--keys", type=Path, metavar="FILE", help="public keys to trust; without: consistency only")
    verify.add_argument("--witnesses", type=Path, metavar="FILE", help="ask for the quorum of this policy (C2SP)")
    verify.add_argument("--tsa", type=Path, metavar="FILE", help="judge time stamps by these certificates (PEM)")
    verify.add_argument("--json", action="store_true", help="print the report as JSON")

    log = verify.add_argument_group("a whole log, instead of a bundle")
    log.add_argument("--log", action="store_true", help="every entry up to a checkpoint; by default of this ledger")
    log.add_argument("--database", metavar="URL", help="the ledger in this PostgreSQL")
    log.add_argument("--tiles", metavar="PLACE", help="C2SP tiles with entry bundles: a directory or an address")
    log.add_argument("--token", type=Path, metavar="FILE", help="bearer token for that address")
    log.add_argument("--checkpoint", type=Path, metavar="FILE", help="up to this checkpoint, not to the newest")
    log.add_argument("--since", type=Path, metavar="FILE", help="older checkpoint, which the log has to extend")
    log.add_argument("--openings", type=Path, metavar="FILE", help="what the streams of keys hold (GET /key-openings)")
    log.add_argument("--jobs", type=int, metavar="N", help="processes (one a core)")


def run(given: argparse.Namespace) -> int:
    """Verify what was named; the exit status."""
    from caseledger import verify_command

    if not given.log:
        if given.bundle is None:
            given.wrong_usage("name a bundle, or --log")
        if ignored := [name for name in _OF_LOGS if getattr(given, name) is not None]:
            raise InvalidInput(f"--{ignored[0]} is for a whole log: it needs --log, and no bundle")
        return verify_command.run(
            given.bundle, given.keys, witnesses=given.witnesses, tsa=given.tsa, as_json=given.json
        )
    if given.bundle is not None or (given.jobs is not None and given.jobs < 1):
        raise InvalidInput("--log takes no bundle, and at least one process")
    if given.tsa is not None:
        raise InvalidInput("time stamps are in bundles: --tsa judges those of a bundle, and --log has none to judge")
    if given.token is not None and given.tiles is None:
        raise InvalidInput("--token is for the address that --tiles names")
    from caseledger import verify_log_command

    wanted = verify_log_command.Wanted(
        keys=given.keys, checkpoint=given.checkpoint, since=given.since, openings=given.openings,
        jobs=given.jobs, as_json=given.json, witnesses=given.witnesses,
    )  # fmt: skip
    return verify_log_command.choose(given.database, given.tiles, given.token, wanted)
