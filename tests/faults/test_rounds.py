"""The short form of `make faults`: one round for each thing that is killed."""

import hashlib

import pytest

from tests.faults import rounds
from tests.faults.acknowledged import naive_root


def test_acknowledged_writes_survive_a_kill() -> None:
    """The writer, a backend of PostgreSQL, the whole server: what was acknowledged is there, proven, and once."""
    tally = rounds.run(3, seed=7, victims=rounds.VICTIMS)
    assert tally.killed == dict.fromkeys(rounds.VICTIMS, 1)
    assert tally.acknowledged >= 3
    assert tally.unanswered == 3 * rounds.THREADS
    assert tally.entries == tally.acknowledged + tally.unanswered


@pytest.mark.parametrize("size", range(6))
def test_the_naive_root_is_that_of_the_definition(size: int) -> None:
    """RFC 6962 2.1 by its recursion."""
    leaves = [bytes([each]) * 32 for each in range(size)]

    def root(part: list[bytes]) -> bytes:
        if len(part) < 2:
            return part[0] if part else hashlib.sha256(b"").digest()
        half = 1 << (len(part) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + root(part[:half]) + root(part[half:])).digest()

    assert naive_root(leaves) == root(leaves)
