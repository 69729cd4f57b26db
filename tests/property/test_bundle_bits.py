"""No bit of a bundle can be turned without the verifier saying so; no garbage makes it do anything but report."""

import random
import sys
import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger import bundle
from domain.ledger.report import Report
from domain.ledger.verify import verify
from tests.ledger_builder import small_ledger

LEDGER = small_ledger()
KEYS = LEDGER.trusted_keys()
CONTENT = LEDGER.case_bundle()
RAW = bundle.write(CONTENT)
HONEST = verify(RAW, KEYS)
MEMBERS = {
    bundle.MANIFEST: bundle.encoding.encode(CONTENT.manifest),
    bundle.CHECKPOINT: CONTENT.checkpoint,
    bundle.ENTRIES: b"".join(each + b"\n" for each in CONTENT.entries),
    bundle.PROOFS: b"".join(bundle.encoding.encode(each) + b"\n" for each in CONTENT.proofs),
    bundle.OPENINGS: b"".join(bundle.encoding.encode(each) + b"\n" for each in CONTENT.openings),
}
ENDS = [sum(len(each) + 1 for each in CONTENT.entries[: n + 1]) for n in range(len(CONTENT.entries))]
SLOWEST_S = 2.0


def flipped(member: str, bit: int) -> bytes:
    """The bundle, packed properly, with one bit of one member turned."""
    content = bytearray(MEMBERS[member])
    content[bit // 8] ^= 1 << bit % 8
    return bundle.write_members(MEMBERS | {member: bytes(content)})


def entry_of(bit: int) -> int:
    """Index in the log of the entry whose line, newline included, holds this bit of entries.ndjson."""
    return next(proof.index for proof, end in zip(CONTENT.proofs, ENDS, strict=True) if bit // 8 < end)


def _names(report: Report, index: int) -> bool:
    return not report.ok and report.failure is not None and report.failure.index == index


bits = st.integers(0, 8 * len(MEMBERS[bundle.ENTRIES]) - 1)


@given(bits)
def test_any_bit_of_any_entry_is_named(bit: int) -> None:
    """With the log's keys or without, the entry whose line was touched is the one that the report names."""
    raw = flipped(bundle.ENTRIES, bit)
    assert _names(verify(raw, KEYS), entry_of(bit))
    assert _names(verify(raw, None), entry_of(bit))


def test_every_kind_of_byte_of_an_entry_is_covered() -> None:
    """A fixed sweep over all entries: every 41st bit, and every bit of the first and last bytes of each line."""
    edges = [8 * (end + offset) + bit for end in (0, *ENDS) for offset in range(-4, 4) for bit in range(8)]
    sweep = {*range(0, 8 * ENDS[-1], 41), *(bit for bit in edges if 0 <= bit < 8 * ENDS[-1])}
    missed = [bit for bit in sorted(sweep) if not _names(verify(flipped(bundle.ENTRIES, bit), KEYS), entry_of(bit))]
    assert (len(sweep) > 1000, missed) == (True, [])


@pytest.mark.parametrize("member", [bundle.MANIFEST, bundle.CHECKPOINT, bundle.PROOFS, bundle.OPENINGS])
def test_other_members_never_say_something_else(member: str) -> None:
    """A bit elsewhere makes the report fail, or changes nothing that it says."""
    step = 1 if len(MEMBERS[member]) < 500 else 13
    said_so = 0
    for bit in range(0, 8 * len(MEMBERS[member]), step):
        report = verify(flipped(member, bit), KEYS)
        assert report == HONEST or not report.ok, bit
        said_so += not report.ok
    # What may stay green is the exporter's unsigned date in the manifest.
    assert said_so >= (1 if member != bundle.MANIFEST else 0.8) * (8 * len(MEMBERS[member]) // step)


def test_a_bit_of_the_zip_itself_never_says_something_else() -> None:
    """The raw file: every 29th bit, wherever it falls; only remarks may differ in a green report."""
    for bit in range(0, 8 * len(RAW), 29):
        raw = bytearray(RAW)
        raw[bit // 8] ^= 1 << bit % 8
        report = verify(bytes(raw), KEYS)
        assert not report.ok or msgspec.structs.replace(report, remarks=()) == HONEST, bit


def _garbled(raw: bytes, chance: random.Random) -> bytes:
    """Cut, overwritten, repeated or shuffled in places."""
    mangled = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at, length = chance.randrange(len(mangled) + 1), chance.choice((1, 2, 16, 400))
        match chance.randrange(5):
            case 0:
                del mangled[at:]
            case 1:
                del mangled[at : at + length]
            case 2:
                mangled[at : at + length] = chance.randbytes(length)
            case 3:
                mangled[at:at] = mangled[at : at + length] * chance.choice((1, 50))
            case _:
                hostile = (b"\0", b"\n", b'"', b"[" * 3000, b"9" * 400, b"\x1b[2J", b"\xff", b"PK\x05\x06")
                mangled[at:at] = chance.choice(hostile)
    return bytes(mangled)


def test_garbage_is_reported(counted: Callable[[str, int], None]) -> None:
    """2,000 garbled bundles, raw and inside a member: in time, no traceback, never green with another content."""
    chance = random.Random(6962)
    tried = green = 0
    slowest = 0.0
    for _ in range(1000):
        member = chance.choice(bundle.MEMBERS)
        inside = bundle.write_members(MEMBERS | {member: _garbled(MEMBERS[member], chance)})
        for raw in (_garbled(RAW, chance), inside):
            started = time.perf_counter()
            report = verify(raw, chance.choice((KEYS, None)))
            slowest = max(slowest, time.perf_counter() - started)
            tried += 1
            green += report.ok
            assert report.ok == (report.failure is None)
            if report.ok and report.trust == "given keys":
                assert msgspec.structs.replace(report, remarks=()) == HONEST
    counted("garbled bundles verified", tried)
    sys.stdout.write(f"{tried} garbled bundles tried, {green} stayed green, slowest {slowest:.3f} s\n")
    assert (tried, slowest < SLOWEST_S, green < tried // 10) == (2000, True, True)
