"""The fast look at a log: chains and tree."""

import msgspec
import pytest

from domain.errors import ChainBroken, IntegrityFailure, MalformedStatement
from domain.ledger.chains import ChainsAndTree
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.dsse import render
from domain.ledger.tree import Frontier, leaf_hash

Log = list[tuple[bytes, tuple[bytes, ...]]]


def log(*streams: str) -> Log:
    """One entry a name, chained within each stream, with one signature or, every third, two."""
    heads: dict[str, tuple[int, str]] = {}
    made: Log = []
    for number, stream in enumerate(streams):
        rev, prev = heads.get(stream, (0, ""))
        more = {"prev": prev} if prev else {}
        statement = msgspec.json.encode({"stream": stream, "rev": rev + 1, "kind": "a.b.v1", **more}, order="sorted")
        signatures = (bytes([number]) * 64,) * (2 if number % 3 == 0 else 1)
        made.append((statement, signatures))
        heads[stream] = (rev + 1, leaf_hash(render(statement, signatures)).hex())
    return made


def checkpoint(entries: Log) -> Checkpoint:
    """The checkpoint over these."""
    tree = Frontier().extend([leaf_hash(render(*each)) for each in entries])
    return Checkpoint("log.example/a", tree.size, tree.root())


WHOLE = log("case-a", "case-b", "case-a", "case-a", "case-c", "case-b", "case-a")


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_a_whole_log_in_parts(cut: int) -> None:
    """Entries may come in any parts; together they are held against the checkpoint."""
    seen = ChainsAndTree()
    seen.add(WHOLE[:cut])
    seen.add(WHOLE[cut:])
    seen.check(checkpoint(WHOLE))
    assert seen.size == len(WHOLE)


def test_an_altered_entry_breaks_its_chain() -> None:
    """A bit in any byte of an entry that another follows is noticed at that other."""
    altered = [*WHOLE]
    altered[0] = (WHOLE[0][0].replace(b"a.b.v1", b"a.c.v1"), WHOLE[0][1])
    with pytest.raises(ChainBroken, match="entry 2 "):
        ChainsAndTree().add(altered)


def test_an_altered_signature_at_the_tail_is_seen_in_the_root() -> None:
    """What nothing follows in its stream is still in the tree."""
    altered = [*WHOLE]
    altered[-1] = (WHOLE[-1][0], (b"x" * 64,))
    seen = ChainsAndTree()
    seen.add(altered)
    with pytest.raises(IntegrityFailure):
        seen.check(checkpoint(WHOLE))


@pytest.mark.parametrize("gone", range(len(WHOLE)))
def test_a_missing_entry_is_noticed(gone: int) -> None:
    """Wherever an entry is left out, a chain or the root says so."""
    with pytest.raises(IntegrityFailure):
        looked([*WHOLE[:gone], *WHOLE[gone + 1 :]])


def looked(entries: Log) -> None:
    """The whole look, against the checkpoint over the whole log."""
    seen = ChainsAndTree()
    seen.add(entries)
    seen.check(checkpoint(WHOLE))


@pytest.mark.parametrize("statement", [b"", b"{}", b"\xff", b'{"stream":1,"rev":1}', b"[" * 100_000])
def test_what_is_no_statement(statement: bytes) -> None:
    """Bytes that are no statement are a typed error."""
    with pytest.raises(MalformedStatement):
        ChainsAndTree().add([(statement, (bytes(64),))])
