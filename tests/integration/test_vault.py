import asyncio
import base64
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import obstore
import pyrage
import pytest
from obstore.store import LocalStore, MemoryStore

from application.records import staging
from application.records.age import new_identity
from application.records.pipe import from_event_loop
from application.records.vault import Vault
from domain.errors import BlobAltered, CaseLedgerError, MalformedBody, TooLarge, Unavailable

RECORD = "019ab8f0-0000-7000-8000-000000000001"
OTHER = "019ab8f0-0000-7000-8000-000000000002"
LETTER = b"Dear colleague, " * 10_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the vault stands."""
    return tmp_path / "vault"


@pytest.fixture
def vault(root: Path) -> Vault:
    """A vault on the file system."""
    return Vault(LocalStore(root, mkdir=True))


@pytest.fixture(params=["local", "memory"])
def either(request: pytest.FixtureRequest, root: Path) -> Vault:
    """A vault on each kind of staging."""
    return Vault(LocalStore(root, mkdir=True) if request.param == "local" else MemoryStore())


def objects(root: Path) -> list[Path]:
    """All files below a vault."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def pieces(data: bytes, size: int = 65_536) -> Iterator[bytes]:
    """The data in chunks."""
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
def test_what_goes_in_comes_out(either: Vault, size: int) -> None:
    """Bytes of any length come back, under the digest of their plaintext."""
    data, key = os.urandom(size), new_identity()
    blob = either.put(RECORD, key, pieces(data, 10_007))
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert blob.bytes == size
    assert blob.path == f"records/{RECORD}/{blob.sha256}.age"
    assert b"".join(either.stream(RECORD, key, blob.sha256)) == data
    assert either.read_bytes(RECORD, key, blob.sha256, limit=size) == data


def test_a_large_object_is_streamed_to_a_remote_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound an object goes through staging, and staging is empty afterwards."""
    monkeypatch.setattr(staging.StoreStaging, "SMALL", 100_000)
    store = MemoryStore()
    vault, key = Vault(store), new_identity()
    blob = vault.put(RECORD, key, pieces(LETTER * 10))
    assert b"".join(vault.stream(RECORD, key, blob.sha256)) == LETTER * 10
    assert [item["path"] for batch in obstore.list(store) for item in batch] == [blob.path]

    def broken() -> Iterator[bytes]:
        yield LETTER * 10
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        vault.put(RECORD, key, broken())
    assert [item["path"] for batch in obstore.list(store) for item in batch] == [blob.path]


def test_the_object_is_an_age_file_for_one_recipient(vault: Vault, root: Path) -> None:
    """The stored header is that of age-encryption.org/v1 with one X25519 stanza, and the body is its STREAM."""
    key = new_identity()
    blob = vault.put(RECORD, key, [LETTER])
    stored = (root / blob.path).read_bytes()
    header, _, _ = stored.partition(b"\n---")
    version, *lines = header.split(b"\n")
    assert version == b"age-encryption.org/v1"
    # age writers may add stanzas of made-up types ("grease"), so that readers keep skipping what they do not know.
    stanzas = [number for number, line in enumerate(lines) if line.startswith(b"->") and b"-grease" not in line]
    assert len(stanzas) == 1
    arrow, kind, share = lines[stanzas[0]].split(b" ")
    assert (arrow, kind) == (b"->", b"X25519")
    assert len(base64.b64decode(share + b"=")) == 32
    assert len(base64.b64decode(lines[stanzas[0] + 1] + b"=")) == 32
    mac, _, body = stored[len(header) + 1 :].partition(b"\n")
    assert mac.startswith(b"--- ")
    assert len(base64.b64decode(mac[4:] + b"=")) == 32
    chunks = -(-len(LETTER) // 65_536)
    assert len(body) == 16 + len(LETTER) + 16 * chunks
    assert pyrage.decrypt(stored, [pyrage.x25519.Identity.from_str(key)]) == LETTER


@pytest.mark.skipif(shutil.which("age") is None, reason="the public age tool is not installed")
def test_the_public_age_tool_opens_an_object(vault: Vault, root: Path, tmp_path: Path) -> None:
    """`age -d` with the exported key gives the plaintext."""
    key = new_identity()
    blob = vault.put(RECORD, key, [LETTER])
    (tmp_path / "key.txt").write_text(key)
    command = ["age", "-d", "-i", str(tmp_path / "key.txt"), str(root / blob.path)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == LETTER


def test_nothing_of_the_plaintext_is_on_the_disk(vault: Vault, root: Path) -> None:
    """Neither object nor staging holds the text, and only the owner may read them."""
    blob = vault.put(RECORD, new_identity(), [LETTER])
    assert all(b"Dear colleague" not in path.read_bytes() for path in objects(root))
    assert (root / blob.path).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("where", [0, 30, 200, 300, 70_000, -1])
def test_a_flipped_bit_is_found(vault: Vault, root: Path, where: int) -> None:
    """Header, nonce, every chunk and the last tag: a changed byte anywhere is BlobAltered."""
    key = new_identity()
    blob = vault.put(RECORD, key, [LETTER])
    stored = bytearray((root / blob.path).read_bytes())
    stored[where] ^= 1
    (root / blob.path).write_bytes(stored)
    with pytest.raises(BlobAltered):
        vault.read_bytes(RECORD, key, blob.sha256, limit=len(LETTER))


def test_missing_cut_swapped_and_foreign_objects_are_found(vault: Vault, root: Path) -> None:
    """An object that is gone, cut at a chunk, exchanged for a sibling, or opened with another key is BlobAltered."""
    key = new_identity()
    blob, sibling = vault.put(RECORD, key, [LETTER]), vault.put(RECORD, key, [b"sibling"])
    path = root / blob.path
    whole = path.read_bytes()
    with pytest.raises(BlobAltered):
        vault.read_bytes(RECORD, new_identity(), blob.sha256, limit=10**6)
    for damaged in (whole[: -(len(LETTER) % 65_536) - 16], b"", (root / sibling.path).read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(BlobAltered):
            list(vault.stream(RECORD, key, blob.sha256))
    path.unlink()
    with pytest.raises(BlobAltered):
        list(vault.stream(RECORD, key, blob.sha256))


def test_a_source_that_breaks_leaves_nothing(vault: Vault, root: Path) -> None:
    """What the sender's stream raises comes out as it is, and neither object nor staging remains."""

    class Gone(Exception):
        pass

    def broken() -> Iterator[bytes]:
        yield LETTER
        raise Gone

    with pytest.raises(Gone):
        vault.put(RECORD, new_identity(), broken())
    assert objects(root) == []


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_full_disk_leaves_nothing(vault: Vault, root: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A write that fails, be it the very last, is Unavailable: no short object ever appears."""
    real, calls = os.write, iter(range(100))

    def full(descriptor: int, data: bytes) -> int:
        if next(calls) >= after:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(staging.os, "write", full)
    with pytest.raises(Unavailable):
        vault.put(RECORD, new_identity(), [LETTER])
    monkeypatch.undo()
    assert objects(root) == []


def test_refusal_and_bound_leave_nothing(either: Vault) -> None:
    """A refusing check and one byte above the bound both end without an object."""

    def refuse(blob: object) -> None:
        raise MalformedBody

    key, digest = new_identity(), hashlib.sha256(b"12345").hexdigest()
    with pytest.raises(MalformedBody):
        either.put(RECORD, key, [b"12345"], accept=refuse)
    with pytest.raises(TooLarge):
        either.put(RECORD, key, [b"123", b"45"], limit=4)
    with pytest.raises(BlobAltered):
        either.read_bytes(RECORD, key, digest, limit=5)
    either.put(RECORD, key, [b"123", b"45"], limit=5)
    with pytest.raises(TooLarge):
        either.read_bytes(RECORD, key, digest, limit=4)


def test_the_same_bytes_are_one_object_in_a_record_and_two_in_two(vault: Vault, root: Path) -> None:
    """Content is addressed inside its record; records share nothing, since they share no key."""
    keys = {RECORD: new_identity(), OTHER: new_identity()}
    for record in (RECORD, RECORD, OTHER):
        blob = vault.put(record, keys[record], [LETTER])
    assert len(objects(root)) == 2
    assert vault.delete_record(RECORD) == 1
    assert vault.delete_record(RECORD) == 0
    with pytest.raises(BlobAltered):
        vault.read_bytes(RECORD, keys[RECORD], blob.sha256, limit=10**6)
    assert vault.read_bytes(OTHER, keys[OTHER], blob.sha256, limit=10**6) == LETTER


@pytest.mark.parametrize("record", ["..", "", "019AB8F0-0000-7000-8000-000000000001", RECORD + "/x", RECORD + "\n"])
def test_nothing_but_a_uuid_becomes_a_path(either: Vault, record: str) -> None:
    """Record ids and digests are patterns, never paths."""
    with pytest.raises(MalformedBody):
        either.put(record, new_identity(), [b"x"])
    with pytest.raises(MalformedBody):
        either.delete_record(record)
    with pytest.raises(MalformedBody):
        list(either.stream(RECORD, new_identity(), "../" + "a" * 61))
    with pytest.raises(CaseLedgerError):
        either.put(RECORD, "no key", [b"x"])


def test_a_reader_that_stops_early_leaves_no_thread(vault: Vault) -> None:
    """Closing the plaintext before its end ends the decrypting thread."""
    key = new_identity()
    blob = vault.put(RECORD, key, [LETTER * 20])
    stream = vault.stream(RECORD, key, blob.sha256)
    assert next(iter(stream))
    assert any(thread.name == "records-pipe" for thread in threading.enumerate())
    stream.close()
    assert not any(thread.name == "records-pipe" for thread in threading.enumerate())


def test_a_stream_of_an_event_loop_is_stored_from_a_worker_thread(vault: Vault) -> None:
    """Chunks of an asynchronous stream arrive in order, and what it raises arrives too."""

    async def body(fails: bool) -> AsyncIterator[bytes]:
        for part in (b"one", b"", b"two"):
            yield part
        if fails:
            raise ConnectionResetError

    async def store(fails: bool) -> str:
        chunks = from_event_loop(body(fails), asyncio.get_running_loop())
        return (await asyncio.to_thread(vault.put, RECORD, new_identity(), chunks)).sha256

    assert asyncio.run(store(False)) == hashlib.sha256(b"onetwo").hexdigest()
    with pytest.raises(ConnectionResetError):
        asyncio.run(store(True))


def test_memory_stays_flat(vault: Vault) -> None:
    """300 MB go in and come out while the process grows by less than 40 MB."""
    key, chunk = new_identity(), os.urandom(1_000_000)
    vault.put(RECORD, key, [chunk])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    blob = vault.put(RECORD, key, (chunk for _ in range(300)))
    assert sum(map(len, vault.stream(RECORD, key, blob.sha256))) == 300_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


WRITER = """
import sys, time
from obstore.store import LocalStore
from application.records.age import new_identity
from application.records.vault import Vault

def chunks():
    yield b"x" * 1_000_000
    print("half", flush=True)
    time.sleep(60)

Vault(LocalStore(sys.argv[1])).put(sys.argv[2], new_identity(), chunks())
"""


def test_a_killed_writer_leaves_only_what_the_sweep_removes(vault: Vault, root: Path) -> None:
    """While it lives its file is spared, however old; once killed nothing is visible and the orphan goes."""
    command = [sys.executable, "-c", WRITER, str(root), RECORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"half\n"
            (orphan,) = objects(root)
            assert orphan.parent.name == "staging"
            os.utime(orphan, (0, 0))
            assert vault.sweep_staging(60) == 0
        finally:
            writer.send_signal(signal.SIGKILL)
    assert objects(root) == [orphan]
    os.utime(orphan, (time.time(), time.time()))
    assert vault.sweep_staging(60) == 0
    assert vault.sweep_staging(0) == 1
    assert objects(root) == []


def test_file_and_directory_are_synced_before_and_after_the_rename(
    vault: Vault, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are durable before the name exists, and the name is durable before anybody is told."""
    calls: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        kind = "directory" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file"
        calls.append(kind)
        real_sync(descriptor)

    def replace(source: str, target: str) -> None:
        calls.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(staging.os, "fsync", sync)
    monkeypatch.setattr(staging.os, "replace", replace)
    vault.put(RECORD, new_identity(), [LETTER])
    assert calls == ["file", "directory", "directory", "rename", "directory"]
