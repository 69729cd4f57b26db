"""What the verification of a bundle says in the end: its failure, or what the result means."""

from domain.ledger import bundle, erasure, origins
from domain.ledger.report import Failure, Restored
from domain.ledger.verify_run import Failed, Run
from domain.ledger.verify_signers import LogEntry

_MAX_MESSAGE = 300
_LISTED = 20


def failure_of(check: str, failed: Failed) -> Failure:
    """What a report says of a failure."""
    # A decoder's message may quote the bundle: nothing of it may reach a terminal as a control sequence.
    message = "".join(char if char.isprintable() else "?" for char in str(failed))[:_MAX_MESSAGE]
    statement = failed.item.statement if failed.item is not None else None
    return Failure(
        check=check,
        message=message,
        index=failed.index,
        member=failed.member,
        kind=statement.kind if statement is not None else None,
        revision=statement.rev if statement is not None else None,
    )


def statements(run: Run) -> list[str]:
    """What the result of a verification that ended well means, and what it does not say."""
    manifest = run.content.manifest
    said = [f"complete to revision {manifest.revision} of the case; later entries are not excluded"]
    if run.keys is None:
        said.append(
            "no keys were given, so the signatures of the log were not judged: whoever made this bundle can have made "
            "all that is in it"
        )
    said.extend(origins.statements(restored(run)))
    if not run.origins.successions:
        said.append("that the log was never restored is not shown by a bundle: verify the whole log for that")
    sealed = sum(item.statement.commitment is not None for item in run.items)
    said.extend(run.support.statements())
    shown = len(run.payloads)
    said.append(f"{shown} of {sealed} payloads are disclosed and match; {sealed - shown} are not disclosed")
    if before := len(run.items) - sealed:
        said.append(f"{before} entries commit to no payload, since their subject had been erased before")
    if gone := erased(run):
        said.append(f"{len(gone)} payloads were erased, as entries of the case say; everything else holds as before")
    if unexplained := holes(run):
        listed = ", ".join(map(str, unexplained[:_LISTED])) + (", ..." if len(unexplained) > _LISTED else "")
        said.append(f"{len(unexplained)} payloads are missing and no erasure accounts for them: entries {listed}")
    if run.signed:
        said.append("a key's history counts up to each entry that it signed; a later revocation is not excluded")
        late = sum(not _in_time(run, item.statement.expires_at) for item in run.signed)
        said.append(
            f"{len(run.signed) - late} of {len(run.signed)} actor-signed entries were committed before they expired, "
            "by the checkpoint's time; for the others the bundle does not say when they were committed"
        )
    if run.suspects:
        places = ", ".join(str(each) for each in sorted({each.index for each in run.suspects})[:20])
        said.append(
            f"{len(run.suspects)} signatures are SUSPECT, made when their key may have been in other hands: "
            f"entries {places}"
        )
    said.append("exported_at is the exporter's word; no signature covers it")
    return said


def restored(run: Run) -> tuple[Restored, ...]:
    """The changes of origin that the bundle tells of."""
    return tuple(
        each.restored(judged=run.keys is not None and run.keys.of(each.old) is not None)
        for each in run.origins.successions
    )


def _own(run: Run) -> list[LogEntry]:
    return run.streams.get(bundle.case_stream(run.content.manifest.case), [])


def _missing(run: Run) -> list[int]:
    """Entries of the case that commit to a payload which is not disclosed."""
    return [
        each.index for each in _own(run) if each.statement.commitment is not None and each.index not in run.payloads
    ]


def erased(run: Run) -> tuple[int, ...]:
    """Entries whose payloads are gone, as entries of the case account for."""
    missing = _missing(run)
    unexplained = set(erasure.holes(((each.index, each.statement) for each in _own(run)), missing))
    return tuple(index for index in missing if index not in unexplained)


def holes(run: Run) -> tuple[int, ...]:
    """Where content of the case is disclosed at all, all of it has to be; else its exporter may not have seen any."""
    own = _own(run)
    if not any(each.index in run.payloads for each in own):
        return ()
    return erasure.holes(((each.index, each.statement) for each in own), _missing(run))


def _in_time(run: Run, expires_at: int | None) -> bool:
    """The checkpoint's time is rounded down to seconds, and no entry under it was committed later."""
    return run.committed_at is not None and expires_at is not None and run.committed_at + 1_000_000 <= expires_at
