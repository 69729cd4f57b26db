"""Verifying a case bundle: no database, no service, no clock; only the bytes and the keys that the caller trusts.

Checks run in a fixed order and stop at the first failure. Each takes what the earlier ones established, so nothing is
read from a payload before its commitment held, and no statement counts before its leaf was found under the checkpoint.
"""

from domain.ledger import cosignature_verify
from domain.ledger.cosignature_policy import Policy
from domain.ledger.report import Check, Failure, Report
from domain.ledger.verify_content import (
    actor_signatures,
    chains,
    completeness,
    inclusion,
    openings,
    signing_keys,
)
from domain.ledger.verify_reading import entries, ledger_signatures, origins, read_checkpoint, structure
from domain.ledger.verify_run import Failed, Run, Step
from domain.ledger.verify_trust import TrustedKeys
from domain.ledger.verify_verdict import erased, failure_of, holes, restored, statements

STEPS: tuple[tuple[str, str, Step], ...] = (
    ("structure", "members, bounds, canonical lines, ascending indexes, a proof for each entry", structure),
    ("checkpoint", "the log's signatures of its tree's size and root (0x01, 0x04)", read_checkpoint),
    ("entries", "envelopes and statements re-rendered to the same bytes, all of this log", entries),
    ("origins", "one name of the log throughout, or each change endorsed by the log before it", origins),
    ("ledger signatures", "every entry signed by the log, by its key of that time", ledger_signatures),
    ("inclusion", "every entry's bytes hash to a leaf under the checkpoint's root", inclusion),
    ("chains", "streams: revisions dense from 1, each entry names its predecessor's leaf", chains),
    ("completeness", "the case's entries up to the stated revision, and nothing foreign", completeness),
    ("openings", "disclosed payloads are those that were committed to", openings),
    ("signing keys", "asked for with proof of possession, approved by a second person", signing_keys),
    ("actor signatures", "made where required, by the actor's enrolled key, in the right role", actor_signatures),
)


def verify(
    raw: bytes,
    keys: TrustedKeys | None,
    policy: Policy | None = None,
    stamp_judge: cosignature_verify.Judge | None = None,
) -> Report:
    """Verify a bundle against the keys that the caller trusts; without any, for internal consistency only.

    With a policy the checkpoint needs its quorum of witnesses. A judge of time stamps has to be brought, since that
    takes a library of its own; without one they are reported as present.

    Never raises for anything that the bytes hold; time and memory are bounded by the bundle's limits.
    """
    run = Run(raw=raw, keys=keys, policy=policy, stamp_judge=stamp_judge)
    checks: list[Check] = []
    failure: Failure | None = None
    for name, what, step in STEPS:
        if failure is not None:
            checks.append(Check(name=name, what=what))
            continue
        try:
            count = step(run)
        except Failed as failed:
            checks.append(Check(name=name, what=what, ok=False))
            failure = failure_of(name, failed)
        else:
            checks.append(Check(name=name, what=what, count=count or 0, ok=None if count is None else True))
    manifest = run.read.manifest if run.read is not None else None
    return Report(
        ok=failure is None,
        trust="given keys" if keys is not None else "internal consistency only",
        checks=tuple(checks),
        failure=failure,
        statements=tuple(statements(run)) if failure is None else (),
        suspects=tuple(sorted(run.suspects, key=lambda each: each.index)) if failure is None else (),
        erased=erased(run) if failure is None else (),
        holes=holes(run) if failure is None else (),
        restored=restored(run) if failure is None else (),
        remarks=(*run.read.remarks, *run.support.remarks()) if run.read is not None else (),
        origin=manifest.origin if manifest is not None else None,
        case=manifest.case if manifest is not None else None,
        revision=manifest.revision if manifest is not None else None,
        size=run.size,
        committed_at=run.committed_at,
        entries=len(run.items),
    )
