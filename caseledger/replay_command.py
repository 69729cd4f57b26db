"""`caseledger replay`: folds the log anew, to compare the live views with it or to put new ones in their place."""

from collections.abc import Sequence

from caseledger.composition import database, opened
from caseledger.settings import Settings
from projections import rebuild
from projections.comparing import Comparison

EQUAL, DIFFERENT = 0, 1


def run(settings: Settings, *, check_only: bool) -> int:
    """Compare, digest by digest; works while `serve` runs. After a rebuild the views are right whatever they were."""
    with database(settings) as urls, opened(settings, urls) as service:
        if check_only:
            found = rebuild.check(service.ledger, service.pool, service.keyring)
        else:
            found = rebuild.rebuild(urls.owner, service.ledger, service.keyring)
    print(report(found))
    if check_only:
        return EQUAL if all(each.equal for each in found) else DIFFERENT
    print(f"rebuilt {len(found)} views from the log")
    return EQUAL


def report(found: Sequence[Comparison]) -> str:
    """A table of the views: how they stood, and the first row that differed."""
    lines = [f"{'view':10} {'position':>8} {'rows':>6}  {'live':16} {'replayed':16} result"]
    for each in found:
        live, replayed = (digest[:16] if digest else "-" for digest in (each.live_digest, each.replayed_digest))
        row = f"{each.projection:10} {each.position:>8} {each.rows:>6}  {live:16} {replayed:16} "
        difference = each.difference
        if each.equal:
            row += "equal"
        elif difference is None or difference.what == "outdated":
            row += "OUTDATED: rebuild it with `caseledger replay`"
        else:
            row += f"DIFFERENT: row {difference.key} is {difference.what}"
        lines.append(row)
    return "\n".join(lines)
