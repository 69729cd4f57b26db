"""Proof files (C2SP tlog-proof): their exact bytes, and what is refused."""

import base64
import re

import pytest

from domain.errors import CaseLedgerError, MalformedNote, NoteSignatureInvalid, ProofInvalid, TooLarge
from domain.ledger import tlog_proof
from domain.ledger.batch_prover import BatchProver
from domain.ledger.note import MAX_NOTE_BYTES
from domain.ledger.tlog_proof import MAX_EXTRA_BYTES, TlogProof, parse, verify
from domain.ledger.tree import Frontier, leaf_hash
from tests.ledger_builder import LedgerBuilder, small_ledger
from tests.unit.test_ledger_docs import DOCUMENT, computed

LEDGER = small_ledger()
LEAVES = [leaf_hash(each) for each in LEDGER.entries]
PROVER = BatchProver(Frontier(), LEAVES)
KEYS = LEDGER.trusted_keys().checkpoint
NOTE = LEDGER.checkpoint()


def proof(index: int, extra: bytes = b"") -> TlogProof:
    """The proof of an entry of the small ledger."""
    return TlogProof(index=index, hashes=tuple(PROVER.proof(index)), checkpoint=NOTE, extra=extra)


HONEST = proof(7).render()


def test_the_file_is_laid_out_as_specified() -> None:
    """First line, extra only where there is some, index, hashes, an empty line, the checkpoint verbatim."""
    hashes = [base64.b64encode(each).decode() for each in PROVER.proof(7)]
    expected = "\n".join(["c2sp.org/tlog-proof@v1", "index 7", *hashes, "", NOTE.decode()]).encode()
    assert expected == HONEST
    assert proof(7, b"\x00\xff").render() == expected.replace(b"\nindex", b"\nextra AP8=\nindex")


@pytest.mark.parametrize("index", range(11))
def test_a_proof_is_read_back_and_verified(index: int) -> None:
    """Every entry of the log, with and without extra data, gives the same bytes again."""
    for extra in (b"", b"anything"):
        made = proof(index, extra)
        assert parse(made.render()) == made
        assert verify(made, LEAVES[index], KEYS).checkpoint.size == 11


def test_a_log_of_one_entry_has_a_proof_without_hashes() -> None:
    """Zero hash lines are a proof."""
    ledger = LedgerBuilder()
    ledger.append("case-1", "case.opened.v1", b"{}", actor="coordinator-1", role="coordinator")
    made = TlogProof(index=0, hashes=(), checkpoint=ledger.checkpoint())
    assert made.render().startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nledger.example/test\n1\n")
    verify(parse(made.render()), leaf_hash(ledger.entries[0]), ledger.trusted_keys().checkpoint)


def test_every_single_bit_is_refused_somewhere() -> None:
    """No flipped bit leaves a file that parses, is canonical and verifies; but in signatures of keys unknown."""
    for at in range(len(HONEST)):
        changed = bytearray(HONEST)
        changed[at] ^= 1 << (at % 8)
        try:
            found = parse(bytes(changed))
            assert found.render() == bytes(changed)
            verify(found, LEAVES[7], KEYS)
        except CaseLedgerError:
            continue
        # The log's timestamped cosignature is of a key that was not given here.
        assert HONEST.rindex("—".encode()) <= at


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        HONEST[:-1],
        b"\n" + HONEST,
        HONEST.replace(b"@v1", b"@v2"),
        HONEST.replace(b"index 7", b"index 07"),
        HONEST.replace(b"index 7", b"index -7"),
        HONEST.replace(b"index 7", b"index 7 "),
        HONEST.replace(b"index 7", b"index 9999999999999999999"),
        HONEST.replace(b"index 7", b"INDEX 7"),
        HONEST.replace(b"index 7\n", b""),
        HONEST.replace(b"\nindex", b"\nextra \nindex"),
        HONEST.replace(b"\nindex", b"\nextra AP9=\nindex"),
        HONEST.replace(b"\nindex", b"\nextra AAAA\nextra AAAA\nindex"),
        HONEST.replace(b"\nindex", b"\nextra " + b"AAAA" * (MAX_EXTRA_BYTES // 3 + 1) + b"\nindex"),
        HONEST.replace(b"\n", b"\r\n"),
        HONEST.replace(b"c2sp", "c2sp—".encode()),
        HONEST.split(b"\n\n")[0],
    ],
)
def test_another_shape_is_refused(raw: bytes) -> None:
    """One typed error, whatever is wrong."""
    with pytest.raises(MalformedNote):
        parse(raw)


def test_wrong_hashes_are_refused() -> None:
    """Not base64, of another length, too many; and a file that is too long is not looked into."""
    head, rest = HONEST.split(b"index 7\n")
    for lines in (b"AAAA\n", b"*\n", base64.b64encode(bytes(32)) + b" \n", (base64.b64encode(bytes(32)) + b"\n") * 70):
        with pytest.raises(ProofInvalid):
            parse(head + b"index 7\n" + lines + rest)
    with pytest.raises(TooLarge):
        parse(HONEST + b"x" * (tlog_proof.MAX_PROOF_BYTES + MAX_NOTE_BYTES))


def test_the_documents_example_is_computed_again() -> None:
    """The proof file in docs/ledger.md is that of the worked example's second entry, and verifies."""
    blocks, _, keys = computed()
    (documented,) = re.findall(r"<!-- proof: 1 -->\n```text\n(.*?)```\n", DOCUMENT.read_text(), re.DOTALL)
    found = parse(documented.encode())
    assert found.checkpoint.decode() == blocks["checkpoint"] + "\n"
    assert found.index == 1
    verify(found, bytes.fromhex(blocks["leaves"].splitlines()[1]), keys.checkpoint)


def test_a_proof_for_something_else_does_not_verify() -> None:
    """Another leaf, another index, hashes in another order or number, another log's key."""
    made = proof(7)
    for changed, leaf in (
        (made, LEAVES[6]),
        (proof(6), LEAVES[7]),
        (TlogProof(index=7, hashes=made.hashes[::-1], checkpoint=NOTE), LEAVES[7]),
        (TlogProof(index=7, hashes=made.hashes[:-1], checkpoint=NOTE), LEAVES[7]),
        (TlogProof(index=7, hashes=(*made.hashes, bytes(32)), checkpoint=NOTE), LEAVES[7]),
    ):
        with pytest.raises(ProofInvalid):
            verify(changed, leaf, KEYS)
    with pytest.raises(NoteSignatureInvalid):
        verify(made, LEAVES[7], LedgerBuilder("ledger.example/other").trusted_keys().checkpoint)
