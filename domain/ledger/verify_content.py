"""The later checks of a bundle: entries stand in the log, form whole streams, and were signed by the right people."""

from domain.ledger import bundle, sealing
from domain.ledger.origins import STREAM, check_root, root_before
from domain.ledger.report import Suspect
from domain.ledger.succession import HistoryBroken, is_service_stream, service_histories
from domain.ledger.tree import verify_inclusion
from domain.ledger.verify_ledger import streams_of
from domain.ledger.verify_run import Failed, Run, hold
from domain.ledger.verify_signers import in_doubt, judge, read_history, signers

MAX_SIGNERS = 1_000
"""Distinct signing keys in one bundle; checking a new public key takes milliseconds."""


def inclusion(run: Run) -> int:
    """Every entry's leaf leads to the checkpoint's root; and where the log was restored, so do those before that."""
    size = run.size or 0
    for item, proof in zip(run.items, run.content.proofs, strict=True):
        hold(item, verify_inclusion, item.leaf, item.index, size, proof.hashes, run.root)
    places = {item.index: (item, proof) for item, proof in zip(run.items, run.content.proofs, strict=True)}
    for succession in run.origins.successions:
        item, proof = places[succession.index]
        root = hold(item, root_before, item.index, size, proof.hashes)
        try:
            check_root(succession, root)
        except HistoryBroken as broken:
            raise Failed(str(broken), item=broken.item) from None
    return len(run.items)


def chains(run: Run) -> int:
    """In each stream revisions are dense from 1, and each entry names the one before."""
    for item in run.items:
        stream = run.streams.setdefault(item.statement.stream, [])
        revision, before = len(stream) + 1, stream[-1].leaf.hex() if stream else None
        if item.statement.rev != revision:
            raise Failed(f"the stream goes on at revision {revision}, not here", item=item)
        if item.statement.prev != before:
            raise Failed("the entry does not follow its stream's previous one", item=item)
        stream.append(item)
    return len(run.streams)


def completeness(run: Run) -> int:
    """The case is all here up to the stated revision, and nothing that does not belong to it."""
    case, revision = run.content.manifest.case, run.content.manifest.revision
    entries = run.streams.get(bundle.case_stream(case), [])
    if len(entries) != revision:
        message = f"the case has {len(entries)} entries in here; the bundle says that its revision is {revision}"
        raise Failed(message, item=entries[-1] if entries else None, member=bundle.MANIFEST)
    for item in entries:
        if item.statement.case != case:
            raise Failed("the entry names another case than its stream", item=item)
    used = signers(run.items)
    own = {name for name, stream in run.streams.items() if name == STREAM or is_service_stream(stream)}
    if len(used) + len(own) > MAX_SIGNERS:
        raise Failed(f"the entries name more than {MAX_SIGNERS} signing keys", member=bundle.ENTRIES)
    belongs = {bundle.case_stream(case), *map(bundle.key_stream, used), *own}
    for item in run.items:
        if item.statement.stream not in belongs:
            raise Failed("the entry belongs neither to the case nor to a key that signed in it", item=item)
    return len(entries)


def openings(run: Run) -> int:
    """Each disclosed payload is the one that was committed to."""
    by_index = {item.index: item for item in run.items}
    for opening in run.content.openings:
        item = by_index[opening.index]
        if item.statement.commitment is None:
            raise Failed("the entry commits to no payload, yet one is here", item=item, member=bundle.OPENINGS)
        commitment = sealing.commit(opening.blinding, opening.payload)
        if commitment != item.statement.commitment:
            message = "the payload is not the one that the entry commits to"
            raise Failed(message, item=item, member=bundle.OPENINGS)
        run.payloads[item.index] = opening.payload
    return len(run.payloads)


def signing_keys(run: Run) -> int:
    """Every key that signed was asked for, approved and ended by the right people."""
    for key_id, user in signers(run.items).items():
        stream = run.streams.get(bundle.key_stream(key_id))
        if stream is None:
            raise Failed("the history of the key that signed this entry is not in the bundle", item=user)
        origin = run.origins.at(stream[0].index)
        run.histories[key_id] = hold(stream[-1], read_history, origin, key_id, stream, run.payloads)
    own = 0
    try:
        for each in run.origins.stretches():
            own += len(service_histories(each.origin, streams_of(each.origin, run.streams), run.payloads))
    except HistoryBroken as broken:
        raise Failed(str(broken), item=broken.item) from None
    return len(run.histories) + own


def actor_signatures(run: Run) -> int:
    """Actors' signatures, where they are required and where they are made."""
    run.signed.extend(item for item in run.items if hold(item, judge, item, run.histories))
    for item in run.signed:
        if (since := in_doubt(item, run.histories)) is not None:
            run.suspects.append(Suspect(index=item.index, signature="actor", since=since))
    return len(run.signed)
