"""Verifying a case bundle: no database, no service, no clock; only the bytes and the keys that the caller trusts.

Checks run in a fixed order and stop at the first failure. Each takes what the earlier ones established, so nothing is
read from a payload before its commitment held, and no statement counts before its leaf was found under the checkpoint.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeAlias, TypeVar

import msgspec

from domain.errors import CaseLedgerError, MalformedBundle, TimeStampInvalid
from domain.ledger import bundle, checkpoint, cosignature_verify, dsse, erasure, sealing
from domain.ledger.cosignature_policy import Policy
from domain.ledger.encoding import MAX_INTEGER
from domain.ledger.report import Check, Failure, Report, Suspect
from domain.ledger.succession import HistoryBroken, is_service_stream, service_histories
from domain.ledger.tree import leaf_hash, verify_inclusion
from domain.ledger.verify_ledger import (
    LedgerKeys,
    ledger_keys,
    verify_ledger_signature,
)
from domain.ledger.verify_signers import KeyHistory, LogEntry, in_doubt, judge, read_history, signers
from domain.ledger.verify_trust import TrustedKeys

MAX_SIGNERS = 1_000
"""Distinct signing keys in one bundle; checking a new public key takes milliseconds."""
_MAX_MESSAGE = 300
_LISTED = 20


P = ParamSpec("P")
R = TypeVar("R")


class _Run(msgspec.Struct, kw_only=True):
    """What has been established so far."""

    raw: bytes
    keys: TrustedKeys | None
    policy: Policy | None = None
    stamp_judge: cosignature_verify.Judge | None = None
    support: cosignature_verify.Support = cosignature_verify.Support()
    read: bundle.Bundle | None = None
    size: int | None = None
    root: bytes = b""
    committed_at: int | None = None
    items: list[LogEntry] = []
    unread: "_Failed | None" = None
    ledger: LedgerKeys = LedgerKeys(checkpoint=(), entries=())
    streams: dict[str, list[LogEntry]] = {}
    histories: dict[str, KeyHistory] = {}
    payloads: dict[int, bytes] = {}
    signed: list[LogEntry] = []
    suspects: list[Suspect] = []

    @property
    def content(self) -> bundle.Bundle:
        """The bundle, which the first check has read."""
        assert self.read is not None  # noqa: S101 - later checks do not run before
        return self.read


class _Failed(Exception):
    """A check's failure on its way to the report; never leaves this module."""

    def __init__(
        self, message: str, *, index: int | None = None, member: str | None = None, item: LogEntry | None = None
    ) -> None:
        super().__init__(message)
        self.index = item.index if item is not None else index
        self.member = member
        self.item = item


Step: TypeAlias = Callable[[_Run], int | None]
"""Returns how many things passed, or None where it had no key to judge by. Raises: _Failed."""


def _structure(run: _Run) -> int:
    try:
        run.read = bundle.read(run.raw)
    except MalformedBundle as error:
        raise _Failed(str(error), index=error.index, member=error.member) from None
    if not run.read.entries:
        raise _Failed("there is no entry in it", member=bundle.ENTRIES)
    _parse(run)
    return len(bundle.MEMBERS)


def _checkpoint(run: _Run) -> int | None:
    """With keys, both of the log's signatures are required: it makes both, and stripping one would hide the time.

    So is its post-quantum one where that key is given; and a quorum of witnesses, and every time stamp, where the
    caller brought what to judge them by.
    """
    note, origin = run.content.checkpoint, run.content.manifest.origin
    verified = 0
    try:
        if run.keys is None:
            claimed = checkpoint.read_unverified(note)
        else:
            if origin != run.keys.origin:
                raise _Failed(f"this is a bundle of the log {origin}, not of {run.keys.origin}", member=bundle.MANIFEST)
            run.ledger = ledger_keys(run.items, run.content.openings, run.keys)
            size = checkpoint.read_unverified(note).size
            public = [key.public_key for key in run.ledger.checkpoint if key.signs_tree(size)]
            known = [each for key in public for each in checkpoint.verifier_keys(origin, key)]
            signed = checkpoint.open_checkpoint(note, [*known, *run.keys.post_quantum])
            claimed, verified = signed.checkpoint, len(signed.verified)
            if signed.committed_at_s is not None:
                run.committed_at = signed.committed_at_s * 1_000_000
                if run.committed_at >= MAX_INTEGER:
                    raise _Failed("the checkpoint's time is out of range", member=bundle.CHECKPOINT)
    except CaseLedgerError as error:
        # The key that signed it may be one that only the history, where it is whole, leads to.
        raise _broken_history(run) or _Failed(str(error), member=bundle.CHECKPOINT) from None
    if claimed.origin != origin:
        raise _Failed("the checkpoint is of another log than the bundle says", member=bundle.CHECKPOINT)
    run.size, run.root = claimed.size, claimed.root
    stamps = [each.rfc3161 for each in run.content.time_stamps]
    try:
        run.support = cosignature_verify.support(note, verified, run.policy, stamps, run.stamp_judge)
    except TimeStampInvalid as error:
        raise _Failed(str(error), member=bundle.TIME_STAMPS) from None
    except CaseLedgerError as error:
        raise _Failed(str(error), member=bundle.CHECKPOINT) from None
    return None if run.keys is None else verified


def _parse(run: _Run) -> None:
    """Reads the entries up to the first that cannot be read; `_entries` says which."""
    for number, (raw, proof) in enumerate(zip(run.content.entries, run.content.proofs, strict=True), 1):
        try:
            entry = dsse.parse(raw)
            statement = entry.parsed()
        except CaseLedgerError as error:
            message = f"line {number} of {bundle.ENTRIES}: {error}"
            run.unread = _Failed(message, index=proof.index, member=bundle.ENTRIES)
            return
        item = LogEntry(index=proof.index, entry=entry, statement=statement, leaf=leaf_hash(raw))
        if statement.origin != run.content.manifest.origin:
            run.unread = _Failed("the entry is of another log", item=item)
            return
        run.items.append(item)


def _entries(run: _Run) -> int:
    if run.unread is not None:
        raise run.unread
    return len(run.items)


def _broken_history(run: _Run) -> "_Failed | None":
    if run.ledger.problem is None:
        return None
    return run.unread or _Failed(run.ledger.problem, item=run.ledger.item)


def _ledger_signatures(run: _Run) -> int | None:
    if run.keys is None:
        return None
    broken = _broken_history(run)
    for item in run.items:
        if broken is not None and broken.index is not None and broken.index <= item.index:
            raise broken
        key = _hold(item, verify_ledger_signature, item, run.ledger.entries)
        if key.compromised_since is not None and item.statement.recorded_at >= key.compromised_since:
            run.suspects.append(Suspect(index=item.index, signature="ledger", since=key.compromised_since))
    return len(run.items)


def _inclusion(run: _Run) -> int:
    size = run.size or 0
    for item, proof in zip(run.items, run.content.proofs, strict=True):
        _hold(item, verify_inclusion, item.leaf, item.index, size, proof.hashes, run.root)
    return len(run.items)


def _chains(run: _Run) -> int:
    for item in run.items:
        stream = run.streams.setdefault(item.statement.stream, [])
        revision, before = len(stream) + 1, stream[-1].leaf.hex() if stream else None
        if item.statement.rev != revision:
            raise _Failed(f"the stream goes on at revision {revision}, not here", item=item)
        if item.statement.prev != before:
            raise _Failed("the entry does not follow its stream's previous one", item=item)
        stream.append(item)
    return len(run.streams)


def _completeness(run: _Run) -> int:
    case, revision = run.content.manifest.case, run.content.manifest.revision
    entries = run.streams.get(bundle.case_stream(case), [])
    if len(entries) != revision:
        message = f"the case has {len(entries)} entries in here; the bundle says that its revision is {revision}"
        raise _Failed(message, item=entries[-1] if entries else None, member=bundle.MANIFEST)
    for item in entries:
        if item.statement.case != case:
            raise _Failed("the entry names another case than its stream", item=item)
    used = signers(run.items)
    own = {name for name, stream in run.streams.items() if is_service_stream(stream)}
    if len(used) + len(own) > MAX_SIGNERS:
        raise _Failed(f"the entries name more than {MAX_SIGNERS} signing keys", member=bundle.ENTRIES)
    belongs = {bundle.case_stream(case), *map(bundle.key_stream, used), *own}
    for item in run.items:
        if item.statement.stream not in belongs:
            raise _Failed("the entry belongs neither to the case nor to a key that signed in it", item=item)
    return len(entries)


def _openings(run: _Run) -> int:
    by_index = {item.index: item for item in run.items}
    for opening in run.content.openings:
        item = by_index[opening.index]
        if item.statement.commitment is None:
            raise _Failed("the entry commits to no payload, yet one is here", item=item, member=bundle.OPENINGS)
        commitment = sealing.commit(opening.blinding, opening.payload)
        if commitment != item.statement.commitment:
            message = "the payload is not the one that the entry commits to"
            raise _Failed(message, item=item, member=bundle.OPENINGS)
        run.payloads[item.index] = opening.payload
    return len(run.payloads)


def _keys(run: _Run) -> int:
    for key_id, user in signers(run.items).items():
        stream = run.streams.get(bundle.key_stream(key_id))
        if stream is None:
            raise _Failed("the history of the key that signed this entry is not in the bundle", item=user)
        origin = run.content.manifest.origin
        run.histories[key_id] = _hold(stream[-1], read_history, origin, key_id, stream, run.payloads)
    try:
        own = service_histories(run.content.manifest.origin, run.streams, run.payloads)
    except HistoryBroken as broken:
        raise _Failed(str(broken), item=broken.item) from None
    return len(run.histories) + len(own)


def _actor_signatures(run: _Run) -> int:
    run.signed.extend(item for item in run.items if _hold(item, judge, item, run.histories))
    for item in run.signed:
        if (since := in_doubt(item, run.histories)) is not None:
            run.suspects.append(Suspect(index=item.index, signature="actor", since=since))
    return len(run.signed)


def _hold(item: LogEntry, check: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a check about one entry; what it raises is that entry's failure."""
    try:
        return check(*args, **kwargs)
    except CaseLedgerError as error:
        raise _Failed(str(error), item=item) from None


STEPS: tuple[tuple[str, str, Step], ...] = (
    ("structure", "members, bounds, canonical lines, ascending indexes, a proof for each entry", _structure),
    ("checkpoint", "the log's signatures of its tree's size and root (0x01, 0x04)", _checkpoint),
    ("entries", "envelopes and statements re-rendered to the same bytes, all of this log", _entries),
    ("ledger signatures", "every entry signed by the log, by its key of that time", _ledger_signatures),
    ("inclusion", "every entry's bytes hash to a leaf under the checkpoint's root", _inclusion),
    ("chains", "streams: revisions dense from 1, each entry names its predecessor's leaf", _chains),
    ("completeness", "the case's entries up to the stated revision, and nothing foreign", _completeness),
    ("openings", "disclosed payloads are those that were committed to", _openings),
    ("signing keys", "asked for with proof of possession, approved by a second person", _keys),
    ("actor signatures", "made where required, by the actor's enrolled key, in the right role", _actor_signatures),
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
    run = _Run(raw=raw, keys=keys, policy=policy, stamp_judge=stamp_judge)
    checks: list[Check] = []
    failure: Failure | None = None
    for name, what, step in STEPS:
        if failure is not None:
            checks.append(Check(name=name, what=what))
            continue
        try:
            count = step(run)
        except _Failed as failed:
            checks.append(Check(name=name, what=what, ok=False))
            failure = _failure(name, failed)
        else:
            checks.append(Check(name=name, what=what, count=count or 0, ok=None if count is None else True))
    manifest = run.read.manifest if run.read is not None else None
    return Report(
        ok=failure is None,
        trust="given keys" if keys is not None else "internal consistency only",
        checks=tuple(checks),
        failure=failure,
        statements=tuple(_statements(run)) if failure is None else (),
        suspects=tuple(sorted(run.suspects, key=lambda each: each.index)) if failure is None else (),
        erased=_erased(run) if failure is None else (),
        holes=_holes(run) if failure is None else (),
        remarks=(*run.read.remarks, *run.support.remarks()) if run.read is not None else (),
        origin=manifest.origin if manifest is not None else None,
        case=manifest.case if manifest is not None else None,
        revision=manifest.revision if manifest is not None else None,
        size=run.size,
        committed_at=run.committed_at,
        entries=len(run.items),
    )


def _failure(check: str, failed: _Failed) -> Failure:
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


def _statements(run: _Run) -> list[str]:
    manifest = run.content.manifest
    said = [f"complete to revision {manifest.revision} of the case; later entries are not excluded"]
    if run.keys is None:
        said.append(
            "no keys were given, so the signatures of the log were not judged: whoever made this bundle can have made "
            "all that is in it"
        )
    sealed = sum(item.statement.commitment is not None for item in run.items)
    said.extend(run.support.statements())
    shown = len(run.payloads)
    said.append(f"{shown} of {sealed} payloads are disclosed and match; {sealed - shown} are not disclosed")
    if erased := len(run.items) - sealed:
        said.append(f"{erased} entries commit to no payload, since their subject had been erased before")
    if gone := _erased(run):
        said.append(f"{len(gone)} payloads were erased, as entries of the case say; everything else holds as before")
    if holes := _holes(run):
        listed = ", ".join(map(str, holes[:_LISTED])) + (", ..." if len(holes) > _LISTED else "")
        said.append(f"{len(holes)} payloads are missing and no erasure accounts for them: entries {listed}")
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


def _own(run: _Run) -> list[LogEntry]:
    return run.streams.get(bundle.case_stream(run.content.manifest.case), [])


def _missing(run: _Run) -> list[int]:
    """Entries of the case that commit to a payload which is not disclosed."""
    return [
        each.index for each in _own(run) if each.statement.commitment is not None and each.index not in run.payloads
    ]


def _erased(run: _Run) -> tuple[int, ...]:
    missing = _missing(run)
    unexplained = set(erasure.holes(((each.index, each.statement) for each in _own(run)), missing))
    return tuple(index for index in missing if index not in unexplained)


def _holes(run: _Run) -> tuple[int, ...]:
    """Where content of the case is disclosed at all, all of it has to be; else its exporter may not have seen any."""
    own = _own(run)
    if not any(each.index in run.payloads for each in own):
        return ()
    return erasure.holes(((each.index, each.statement) for each in own), _missing(run))


def _in_time(run: _Run, expires_at: int | None) -> bool:
    """The checkpoint's time is rounded down to seconds, and no entry under it was committed later."""
    return run.committed_at is not None and expires_at is not None and run.committed_at + 1_000_000 <= expires_at
