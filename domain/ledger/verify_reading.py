"""The first checks of a bundle: its shape, its checkpoint, its entries' bytes, and the log's signatures of them."""

from domain.errors import CaseLedgerError, MalformedBundle, TimeStampInvalid
from domain.ledger import bundle, checkpoint, cosignature_verify, dsse, sealing
from domain.ledger.encoding import MAX_INTEGER
from domain.ledger.origins import STREAM, Origins, read_origins
from domain.ledger.report import Suspect
from domain.ledger.succession import HistoryBroken, is_service_stream
from domain.ledger.tree import leaf_hash
from domain.ledger.verify_ledger import bundled_ledger_keys, verify_ledger_signature
from domain.ledger.verify_run import Failed, Run, hold
from domain.ledger.verify_signers import LogEntry
from domain.ledger.verify_trust import TrustedKeys


def structure(run: Run) -> int:
    """Members, bounds, lines; and the entries, as far as they can be read."""
    try:
        run.read = bundle.read(run.raw)
    except MalformedBundle as error:
        raise Failed(str(error), index=error.index, member=error.member) from None
    if not run.read.entries:
        raise Failed("there is no entry in it", member=bundle.ENTRIES)
    _parse(run)
    _read_origins(run)
    return len(bundle.MEMBERS)


def _parse(run: Run) -> None:
    """Reads the entries up to the first that cannot be read; `entries` says which."""
    for number, (raw, proof) in enumerate(zip(run.content.entries, run.content.proofs, strict=True), 1):
        try:
            entry = dsse.parse(raw)
            statement = entry.parsed()
        except CaseLedgerError as error:
            message = f"line {number} of {bundle.ENTRIES}: {error}"
            run.unread = Failed(message, index=proof.index, member=bundle.ENTRIES)
            return
        run.items.append(LogEntry(index=proof.index, entry=entry, statement=statement, leaf=leaf_hash(raw)))


def _read_origins(run: Run) -> None:
    """Which origin each entry has to carry; the entries end where one carries another, as `entries` then says."""
    streams: dict[str, list[LogEntry]] = {}
    for item in run.items:
        streams.setdefault(item.statement.stream, []).append(item)
    wanted = {
        item.index: item
        for name, stream in streams.items()
        if name == STREAM or is_service_stream(stream)
        for item in stream
    }
    run.key_payloads = {
        opening.index: opening.payload
        for opening in run.content.openings
        if opening.index in wanted
        and sealing.commit(opening.blinding, opening.payload) == wanted[opening.index].statement.commitment
    }
    run.origins = Origins(run.content.manifest.origin)
    try:
        run.origins = read_origins(run.content.manifest.origin, streams.get(STREAM, ()), run.key_payloads)
    except HistoryBroken as broken:
        run.no_origins = Failed(str(broken), item=broken.item)
        return
    for at, item in enumerate(run.items):
        if item.statement.origin != run.origins.at(item.index):
            run.unread = Failed("the entry is of another log", item=item)
            del run.items[at:]
            return


def read_checkpoint(run: Run) -> int | None:
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
            keys = _keys_of(run, origin, run.keys)
            run.ledger = bundled_ledger_keys(run.items, run.key_payloads, keys, run.origins)
            size = checkpoint.read_unverified(note).size
            public = [key.public_key for key in run.ledger.checkpoint if key.signs_tree(size)]
            known = [each for key in public for each in checkpoint.verifier_keys(origin, key)]
            signed = checkpoint.open_checkpoint(note, [*known, *keys.post_quantum])
            claimed, verified = signed.checkpoint, len(signed.verified)
            if signed.committed_at_s is not None:
                run.committed_at = signed.committed_at_s * 1_000_000
                if run.committed_at >= MAX_INTEGER:
                    raise Failed("the checkpoint's time is out of range", member=bundle.CHECKPOINT)
    except CaseLedgerError as error:
        # The key that signed it may be one that only the history, where it is whole, leads to.
        raise _broken_history(run) or Failed(str(error), member=bundle.CHECKPOINT) from None
    if claimed.origin != origin:
        raise Failed("the checkpoint is of another log than the bundle says", member=bundle.CHECKPOINT)
    run.size, run.root = claimed.size, claimed.root
    stamps = [each.rfc3161 for each in run.content.time_stamps]
    try:
        run.support = cosignature_verify.support(note, verified, run.policy, stamps, run.stamp_judge)
    except TimeStampInvalid as error:
        raise Failed(str(error), member=bundle.TIME_STAMPS) from None
    except CaseLedgerError as error:
        raise Failed(str(error), member=bundle.CHECKPOINT) from None
    return None if run.keys is None else verified


def _keys_of(run: Run, origin: str, keys: TrustedKeys) -> TrustedKeys:
    """Those of the log that the bundle is of. Its word that it took another's place is none that makes it trusted."""
    own = keys.of(origin)
    if own is not None:
        return own
    message = f"this is a bundle of the log {origin}, not of {keys.origin}"
    if any(keys.of(each.old) is not None for each in run.origins.successions):
        message += "; it says that it took the place of that one after a restore: its own keys are needed, too"
    raise Failed(message, member=bundle.MANIFEST)


def entries(run: Run) -> int:
    """Every entry's bytes were read, and carry the origin of their place."""
    if run.unread is not None:
        raise run.unread
    return len(run.items)


def origins(run: Run) -> int:
    """One origin throughout; or at each change an entry that says so, and which the log before it endorsed."""
    if run.no_origins is not None:
        raise run.no_origins
    broken = _broken_history(run)
    if broken is not None and broken.item is not None and broken.item.statement.stream == STREAM:
        raise broken
    return len(run.origins.stretches())


def _broken_history(run: Run) -> Failed | None:
    if run.ledger.problem is None:
        return None
    return run.unread or Failed(run.ledger.problem, item=run.ledger.item)


def ledger_signatures(run: Run) -> int | None:
    """Each entry's last signature, by the log's key of its index."""
    if run.keys is None:
        return None
    broken = _broken_history(run)
    for item in run.items:
        if broken is not None and broken.index is not None and broken.index <= item.index:
            raise broken
        key = hold(item, verify_ledger_signature, item, run.ledger.entries)
        if key.compromised_since is not None and item.statement.recorded_at >= key.compromised_since:
            run.suspects.append(Suspect(index=item.index, signature="ledger", since=key.compromised_since))
    return len(run.items)
