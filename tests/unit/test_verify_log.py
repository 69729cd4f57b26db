"""Verifying a whole log from tiles: what passes, and the first thing that does not."""

import io
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from caseledger import verify_log_command
from caseledger.log.sources import DirectorySource, HttpSource, tiles_at
from caseledger.verify_log_command import Wanted
from domain.errors import EntryAltered, InvalidInput, MalformedBundle, NotFound
from domain.ledger import verify_log
from domain.ledger.cosignature import extended
from domain.ledger.cosignature_mldsa import ML_DSA_44
from domain.ledger.log_report import LogReport
from domain.ledger.note import Note, NoteSignature, VerifierKey, cosign_mldsa
from domain.ledger.openings import read_openings
from domain.ledger.tile import TileAddress, bundle_addresses, parse_path, read_entries, write_entries
from domain.ledger.verify_log import CHECKS
from domain.ledger.verify_trust import render_trusted_keys
from tests.ledger_builder import CASE, LedgerBuilder, small_ledger
from tests.log_fixture import bundles, key_openings, publish

BY: dict[str, Any] = {"actor": "coordinator-1", "role": "coordinator"}


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of four entries, so that a small log has several."""
    monkeypatch.setattr(verify_log, "SEGMENT", 4)


def wanted(ledger: LedgerBuilder, place: Path, **more: Any) -> Wanted:
    """Verify with a ledger's keys, in this process."""
    keys = place / "keys"
    keys.write_bytes(render_trusted_keys(ledger.trusted_keys()))
    return Wanted(keys=keys, jobs=1, **more)


def report_on(ledger: LedgerBuilder, place: Path, **more: Any) -> LogReport:
    """The report on what lies in a directory."""
    return verify_log_command.verify(DirectorySource(place), wanted(ledger, place, **more))


def fails(report: LogReport, check: str, index: int | None, words: str) -> None:
    """Holds that a report names this failure first, and judges nothing after it in the list."""
    assert not report.ok
    assert report.failure is not None
    assert (report.failure.check, report.failure.index) == (check, index), report.failure
    assert words in report.failure.message
    assert [each.name for each in report.checks if each.ok is False] == [check]
    assert report.verdict().startswith("NOT VERIFIED: ")


def test_an_honest_log_holds(tmp_path: Path) -> None:
    """Every check passes, with how many things passed it."""
    ledger = small_ledger()
    report = report_on(ledger, publish(ledger, tmp_path))
    assert report.failure is None
    assert [(each.name, each.count) for each in report.checks if each.ok] == [
        ("key histories", 1), ("origins", 1), ("checkpoint", 2), ("entries", 11), ("ledger signatures", 11),
        ("actor signatures", 1), ("chains", 3), ("tree", 11), ("key streams", 2),
    ]  # fmt: skip
    assert "complete: every entry up to size 11" in report.verdict()
    assert [each.name for each in report.checks] == [name for name, _ in CHECKS]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8, 12, 16, 23, 256, 300, 512])
def test_the_tree_is_put_together_at_any_size(tmp_path: Path, size: int) -> None:
    """Segments of four join to the root, whatever is left at the end, and to every older root."""
    ledger = LedgerBuilder()
    older = tmp_path / "older"
    for number in range(size):
        ledger.append(f"case-{number % 3}", "case.opened.v1", b"{}", **BY)
        if number == size * 2 // 3:
            older.write_bytes(ledger.checkpoint())
    report = report_on(ledger, publish(ledger, tmp_path / "log"), since=older)
    assert report.failure is None
    assert (report.size, report.streams) == (size, min(size, 3))
    assert next(each.count for each in report.checks if each.name == "older checkpoint") == size * 2 // 3 + 1


def test_without_keys_it_is_consistent_and_not_authenticated(tmp_path: Path) -> None:
    """What needs a key is not judged, and the verdict says so."""
    ledger = small_ledger()
    report = verify_log_command.verify(DirectorySource(publish(ledger, tmp_path)), Wanted(jobs=1))
    assert report.ok
    unjudged = [each.name for each in report.checks if each.ok is None]
    assert unjudged == ["checkpoint", "ledger signatures", "older checkpoint", "post-quantum"]
    assert report.verdict().startswith("CONSISTENT, NOT AUTHENTICATED")


@pytest.mark.parametrize("index", range(11))
def test_a_bit_in_any_entry_is_found_at_its_index(tmp_path: Path, index: int) -> None:
    """The report names that entry; where it is a key's, it is found as its history is read."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    entries = list(ledger.entries)
    at = entries[index].index(b'"sig":"') + 20
    entries[index] = (
        entries[index][:at] + (b"A" if entries[index][at : at + 1] != b"A" else b"B") + entries[index][at + 1 :]
    )
    bundles(tmp_path, entries)
    report = report_on(ledger, tmp_path)
    assert report.failure is not None
    assert (report.failure.check, report.failure.index) == (
        "actor signatures" if index == 7 else "ledger signatures",
        index,
    )


def test_a_missing_entry_is_found(tmp_path: Path) -> None:
    """Whether the last one, one in the middle, or a whole bundle."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    path = tmp_path / "tile" / TileAddress(None, 0, 11).path()
    path.write_bytes(write_entries(ledger.entries[:10]))
    fails(report_on(ledger, tmp_path), "entries", 0, "the bundle ends before its 11 entries")
    path.write_bytes(write_entries([*ledger.entries[:4], *ledger.entries[5:], ledger.entries[10]]))
    fails(report_on(ledger, tmp_path), "chains", 4, "revision 2, not here")
    path.unlink()
    fails(report_on(ledger, tmp_path), "entries", 0, "entries/000.p/11 is missing")


def test_entries_in_another_order_are_found(tmp_path: Path) -> None:
    """Swapped within a stream the chain breaks; swapped across streams the root is another."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    entries = list(ledger.entries)
    entries[4], entries[5] = entries[5], entries[4]
    bundles(tmp_path, entries)
    fails(report_on(ledger, tmp_path), "chains", 4, "revision 2, not here")
    entries = list(ledger.entries)
    entries[5], entries[6] = entries[6], entries[5]
    bundles(tmp_path, entries)
    fails(report_on(ledger, tmp_path), "tree", None, "root")


def test_a_stream_that_begins_twice_is_found(tmp_path: Path) -> None:
    """A dishonest ledger that starts a stream anew, in another segment, under its own signatures."""
    ledger = small_ledger()
    ledger.append("case-other", "case.opened.v1", b"{}", rev=1, prev=None, **BY)
    fails(report_on(ledger, publish(ledger, tmp_path)), "chains", 11, "revision 5, not here")


def test_a_broken_chain_across_segments_is_found(tmp_path: Path) -> None:
    """An entry that names another predecessor, far from it."""
    ledger = small_ledger()
    ledger.append("case-other", "case.closed.v1", b"{}", prev="0" * 64, **BY)
    fails(report_on(ledger, publish(ledger, tmp_path)), "chains", 11, "previous one")


def test_an_opinion_without_its_surgeons_signature_is_found(tmp_path: Path) -> None:
    """The ledger alone cannot say what a surgeon thinks."""
    ledger = small_ledger()
    ledger.append(f"case-{CASE}", "opinion.signed.v1", b"{}", actor="surgeon-1", role="specialist")
    fails(report_on(ledger, publish(ledger, tmp_path)), "actor signatures", 11, "needs the actor's own signature")


def test_a_key_that_is_not_disclosed_is_found(tmp_path: Path) -> None:
    """No openings, or not all: the verifier does not take a signature's word for its own key."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    (tmp_path / "key-openings").unlink()
    fails(report_on(ledger, tmp_path), "actor signatures", 7, "no history of the key")
    asked, approved = key_openings(ledger).splitlines(keepends=True)
    (tmp_path / "key-openings").write_bytes(asked)
    fails(report_on(ledger, tmp_path), "actor signatures", 7, "no history of the key")
    ledger.request_key("surgeon-2", "specialist")
    publish(ledger, tmp_path)
    (tmp_path / "key-openings").write_bytes(asked + approved)
    fails(report_on(ledger, tmp_path), "key streams", 11, "not disclosed")
    (tmp_path / "key-openings").write_bytes(asked + approved.replace(b'"payload":"ey', b'"payload":"eY'))
    fails(report_on(ledger, tmp_path), "key histories", 3, "not the one that the entry commits to")


def test_an_older_checkpoint_of_another_log_is_found(tmp_path: Path) -> None:
    """A fork under the same keys, a log that was longer, another origin, a signature by nobody."""
    ledger, fork, longer = small_ledger(), small_ledger(), small_ledger()
    publish(ledger, tmp_path)
    older = tmp_path / "older"
    fork.entries = [*fork.entries[:5], fork.entries[6]]
    older.write_bytes(fork.checkpoint())
    fails(report_on(ledger, tmp_path, since=older), "older checkpoint", None, "the first 6 entries are others")
    longer.append("case-other", "case.reopened.v1", b"{}", **BY)
    older.write_bytes(longer.checkpoint())
    fails(report_on(ledger, tmp_path, since=older), "older checkpoint", None, "had 12 entries then, and has 11 now")
    older.write_bytes(LedgerBuilder("ledger.example/other").checkpoint())
    fails(report_on(ledger, tmp_path, since=older), "older checkpoint", None, "not of")
    older.write_bytes(ledger.checkpoint().replace(b"\n11\n", b"\n10\n"))
    fails(report_on(ledger, tmp_path, since=older), "older checkpoint", None, "signature")


def test_a_checkpoint_that_is_not_the_logs_is_found(tmp_path: Path) -> None:
    """By another key, of another log, of nothing."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    (tmp_path / "checkpoint").write_bytes(ledger.checkpoint().replace(b"\n11\n", b"\n10\n"))
    fails(report_on(ledger, tmp_path), "checkpoint", None, "signature")
    other = LedgerBuilder("ledger.example/other")
    fails(report_on(other, tmp_path), "checkpoint", None, "not of ledger.example/other")
    publish(LedgerBuilder(), tmp_path)
    fails(report_on(ledger, tmp_path), "checkpoint", None, "the log is empty")
    (tmp_path / "checkpoint").write_bytes(b"hello")
    source = DirectorySource(tmp_path)
    assert verify_log_command.run(source, Wanted(jobs=1), out=io.StringIO(), err=io.StringIO()) == 2


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{}\n", "line 1"),
        (b"\n", "line 1"),
        (b'{"blinding":"EBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBA=","index":0,"payload":""}\n' * 2, "line 2"),
        (b"[" * 100_000, "line 1"),
    ],
)
def test_openings_of_another_shape_are_refused(raw: bytes, words: str) -> None:
    """One error that names the line."""
    with pytest.raises(MalformedBundle, match=words):
        read_openings(raw)


def test_every_core_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two spawned processes give the report that one gives, of a good log and of a bad one."""
    monkeypatch.undo()
    ledger = LedgerBuilder()
    for number in range(4100):
        ledger.append(f"case-{number % 50}", "case.opened.v1", b"{}", **BY)
    publish(ledger, tmp_path)
    source, options = DirectorySource(tmp_path), wanted(ledger, tmp_path)
    one = verify_log_command.verify(source, options)
    two = verify_log_command.verify(source, msgspec.structs.replace(options, jobs=2))
    assert one.ok
    assert one == two
    entries = [*ledger.entries[:-2], ledger.entries[-1], ledger.entries[-2]]
    bundles(tmp_path, entries)
    one = verify_log_command.verify(source, options)
    assert one == verify_log_command.verify(source, msgspec.structs.replace(options, jobs=2))
    fails(one, "tree", None, "root")


class Served(SimpleHTTPRequestHandler):
    """Files of a directory, without a word on standard error."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory and the address that it is served at."""
    place = tmp_path / "web"
    place.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=str(place))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield place, f"http://127.0.0.1:{server.server_port}/log/"
        server.shutdown()
        thread.join()


def test_a_log_is_verified_over_http(tmp_path: Path, web: tuple[Path, str]) -> None:
    """A static file server is log enough; a partial bundle that is gone is read from the full one."""
    place, address = web
    ledger = small_ledger()
    older = ledger.checkpoint()
    for number in range(300):
        ledger.append(f"case-{number}", "case.opened.v1", b"{}", **BY)
    publish(ledger, place / "log")
    source = tiles_at(address, None)
    assert isinstance(source, HttpSource)
    assert verify_log_command.verify(source, wanted(ledger, tmp_path)).ok
    (tmp_path / "older").write_bytes(older)
    assert verify_log_command.verify(source, wanted(ledger, tmp_path, checkpoint=tmp_path / "older")).size == 11
    shutil.rmtree(place / "log" / "tile" / "entries" / "000.p", ignore_errors=True)
    out, err = io.StringIO(), io.StringIO()
    shutil.rmtree(place / "log")
    assert verify_log_command.run(source, wanted(ledger, tmp_path), out=out, err=err) == 2
    assert err.getvalue().startswith("caseledger verify: ")


def test_the_command_prints_what_it_found(tmp_path: Path) -> None:
    """A table and a verdict, or JSON; the exit status tells them apart for programs."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    out = io.StringIO()
    source, options = DirectorySource(tmp_path), wanted(ledger, tmp_path)
    assert verify_log_command.run(source, options, out=out) == 0
    assert out.getvalue().splitlines()[-1].startswith("VERIFIED: log ledger.example/test, complete: every entry up to")
    out = io.StringIO()
    assert verify_log_command.run(source, msgspec.structs.replace(options, as_json=True), out=out) == 0
    said = json.loads(out.getvalue())
    assert (said["ok"], said["size"], said["streams"]) == (True, 11, 3)
    err = io.StringIO()
    assert verify_log_command.run(source, Wanted(keys=tmp_path / "nothing"), out=out, err=err) == 2
    assert "cannot read" in err.getvalue()


def test_a_policy_asks_for_its_quorum_under_a_logs_checkpoint(tmp_path: Path) -> None:
    """With the witness's line the log holds and says so; without it, or with a bad one, the checkpoint does not."""
    ledger = small_ledger()
    publish(ledger, tmp_path)
    witness, name = MLDSA44PrivateKey.from_seed_bytes(b"w" * 32), "witness.example/w"
    key = VerifierKey.make(name, ML_DSA_44, witness.public_key().public_bytes_raw())
    (tmp_path / "policy").write_text(f"witness w {key}\nquorum w\n")
    released = (tmp_path / "checkpoint").read_bytes()
    line = cosign_mldsa(Note.parse(released).text, name, witness, 1_900_000_000)
    bad = NoteSignature(name, line.key_hash, line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    unasked = msgspec.structs.replace(report_on(ledger, tmp_path), remarks=())
    for note in (released, extended(released, [bad])):
        (tmp_path / "checkpoint").write_bytes(note)
        fails(report_on(ledger, tmp_path, witnesses=tmp_path / "policy"), "checkpoint", None, "")
    (tmp_path / "checkpoint").write_bytes(extended(released, [line]))
    report = report_on(ledger, tmp_path, witnesses=tmp_path / "policy")
    assert report.ok
    assert [each for each in report.statements if each not in unasked.statements] == [
        f"the checkpoint is cosigned as the policy of witnesses asks, by {name}"
    ]
    without = report_on(ledger, tmp_path)
    assert msgspec.structs.replace(without, remarks=()) == unasked
    assert any("1 signatures of the checkpoint are of keys that were not given" in each for each in without.remarks)
    (tmp_path / "policy").write_text("nonsense\n")
    err = io.StringIO()
    options = wanted(ledger, tmp_path, witnesses=tmp_path / "policy")
    assert verify_log_command.run(DirectorySource(tmp_path), options, out=io.StringIO(), err=err) == 2


@pytest.mark.parametrize("place", ["http://", "http://user@host/", "https://host/?x", "/nonexistent", "ftp://host"])
def test_a_place_without_tiles_is_refused(place: str) -> None:
    """Neither a directory nor a plain address."""
    with pytest.raises(InvalidInput):
        tiles_at(place, None)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("0/000", TileAddress(0, 0)),
        ("0/067", TileAddress(0, 67)),
        ("3/x001/x234/067", TileAddress(3, 1234067)),
        ("63/x001/000.p/1", TileAddress(63, 1000, 1)),
        ("entries/x999/999.p/255", TileAddress(None, 999_999, 255)),
    ],
)
def test_tiles_have_one_path_each(path: str, address: TileAddress) -> None:
    """C2SP tlog-tiles, with its own example 1234067."""
    assert parse_path(path) == address
    assert address.path() == path


@pytest.mark.parametrize(
    "path",
    [
        "0/0", "0/00", "0/0000", "0/x000/000", "00/000", "64/000", "-1/000", "0/000.p/0", "0/000.p/256", "0/000.p/01",
        "0/000.p/", "0/001/000", "0/x001/x000", "0/x01/000", "0/000/", "/0/000", "0/000\n", "entry/000",
        "0/\u0660\u0660\u0660",
        "0/x999/x999/x999/x999/x999/x999/999", "0/000.p/1/2", "x001/000", "",
    ],
)  # fmt: skip
def test_no_tile_has_another_path(path: str) -> None:
    """Leading zeros, needless elements, other digits, levels and widths that there are not."""
    with pytest.raises(NotFound):
        parse_path(path)


def test_widths_are_those_of_the_specification() -> None:
    """A tree of 70,000: 273 full level-0 tiles and one of 112; level 1: one full, one of 17; level 2: one of 1."""
    size = 70_000
    for address in (
        TileAddress(0, 272), TileAddress(0, 273, 112), TileAddress(1, 0), TileAddress(1, 1, 17), TileAddress(2, 0, 1),
    ):  # fmt: skip
        assert address.exists_in(size)
    for address in (
        TileAddress(0, 273), TileAddress(0, 273, 113), TileAddress(1, 1, 18), TileAddress(2, 0, 2),
    ):  # fmt: skip
        assert not address.exists_in(size)
    assert [(each.index, each.width) for each in bundle_addresses(500, 700, 700)] == [(1, 256), (2, 188)]


def test_an_entry_bundle_is_read_back_exactly() -> None:
    """Lengths of two bytes, big-endian; too few and too many are both refused."""
    entries = [b"", b"a" * 300, b"b"]
    raw = write_entries(entries)
    assert raw[:4] == b"\x00\x00\x01\x2c"
    assert read_entries(raw, 3) == entries
    for broken, count in ((raw[:-1], 3), (raw + b"\0", 3), (raw, 2), (raw, 4), (b"\0", 1)):
        with pytest.raises(EntryAltered):
            read_entries(broken, count)
    with pytest.raises(InvalidInput):
        write_entries([b"x" * 65_536])
