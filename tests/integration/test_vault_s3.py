"""The vault on a bucket that speaks S3: moto's server on the loopback."""

import os
import resource
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import obstore
import psycopg
import pytest
from psycopg_pool import ConnectionPool

from application.records.age import new_identity
from application.records.intake import Intake
from application.records.resumable import Resumable
from application.records.staging import StoreStaging
from application.records.stores import bucket
from application.records.vault import Vault
from domain.errors import BlobAltered, Misconfigured, TruncatedUpload, Unavailable
from domain.records import RecordKind
from tests.conftest import Database
from tests.integration.test_intake import SubjectKeys

RECORD = "019ab8f0-0000-7000-8000-000000000001"
LETTER = b"Dear colleague, " * 1000


SERVER = """
import sys

from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that speaks S3, in a process of its own: its copies are not our memory. It ends with its input."""
    pytest.importorskip("moto", reason="moto is not installed")
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        host, port = server.stdout.readline().decode().split()
        yield f"http://{host}:{port}"


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A bucket of this test alone, as the settings name it."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    name = "b" + str(abs(hash(request.node.name)))
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()  # noqa: S310 - our own
    return bucket(f"s3://{name}/a/prefix")


def paths(store: Any) -> list[str]:
    """What the bucket holds."""
    return sorted(str(item["path"]) for batch in obstore.list(store) for item in batch)


@pytest.mark.parametrize("size", [0, 1, 65_537, StoreStaging.SMALL + 1])
def test_what_goes_in_comes_out(store: Any, size: int) -> None:
    """Small objects are put at once, larger ones streamed and copied; either appears whole, and is checked."""
    vault, key, data = Vault(store), new_identity(), os.urandom(size)
    blob = vault.put(RECORD, key, [data[at : at + 65_536] for at in range(0, size, 65_536)])
    assert vault.read_bytes(RECORD, key, blob.sha256, limit=size) == data
    assert paths(store) == [blob.path]
    assert vault.delete_record(RECORD) == 1
    assert paths(store) == []


def test_a_source_that_breaks_leaves_nothing_visible(store: Any) -> None:
    """Be it before or behind the first part of a multipart upload."""
    vault = Vault(store)
    for chunks in (1, 12):

        def broken(chunks: int = chunks) -> Iterator[bytes]:
            for _ in range(chunks):
                yield bytes(1_000_000)
            raise TruncatedUpload

        with pytest.raises(TruncatedUpload):
            vault.put(RECORD, new_identity(), broken())
    assert paths(store) == []


def test_an_altered_or_missing_object_is_found(store: Any) -> None:
    """A changed byte, another object in its place, and none."""
    vault, key = Vault(store), new_identity()
    blob = vault.put(RECORD, key, [LETTER])
    stored = bytearray(obstore.get(store, blob.path).bytes())
    stored[-1] ^= 1
    obstore.put(store, blob.path, bytes(stored))
    with pytest.raises(BlobAltered):
        vault.read_bytes(RECORD, key, blob.sha256, limit=len(LETTER))
    obstore.delete(store, blob.path)
    with pytest.raises(BlobAltered):
        vault.read_bytes(RECORD, key, blob.sha256, limit=len(LETTER))


def test_the_sweep_removes_what_was_never_published(store: Any) -> None:
    """An orphan below staging goes, a young one stays, and objects of records are left alone."""
    vault = Vault(store)
    blob = vault.put(RECORD, new_identity(), [LETTER])
    obstore.put(store, "staging/orphan", b"x")
    assert vault.sweep_staging(3600) == 0
    assert vault.sweep_staging(0) == 1
    assert paths(store) == [blob.path]
    assert vault.records(3600) == set()
    assert vault.records(0) == {RECORD}


def test_memory_stays_flat(store: Any) -> None:
    """200 MB go in and come out while the vault holds a few parts of 8 MiB."""
    vault, key, chunk = Vault(store), new_identity(), os.urandom(1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    blob = vault.put(RECORD, key, (chunk for _ in range(200)))
    assert sum(map(len, vault.stream(RECORD, key, blob.sha256))) == 200_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120_000


def test_a_transfer_breaks_and_goes_on(store: Any, database: Database) -> None:
    """Segments, assembly and the finished record, all in the bucket; nothing else is left there."""
    with ConnectionPool[psycopg.Connection[Any]](database.service_url, min_size=1, max_size=2, open=True) as pool:
        vault, sealer = Vault(store), SubjectKeys()
        intake = Intake(pool, vault, sealer)
        resumable = Resumable(intake, vault, sealer, segment_bytes=5_000)
        upload = intake.open("case-1", "actor-1", RecordKind.BLOODS)
        part = resumable.begin(upload, "file", "a.txt", None, None).part

        def broken() -> Iterator[bytes]:
            yield LETTER[:7_777]
            raise TruncatedUpload

        with pytest.raises(TruncatedUpload):
            resumable.append(upload, part, 0, broken(), complete=True)
        assert len(paths(store)) == 2
        resumable.append(upload, part, 7_777, [LETTER[7_777:]], complete=True)
        (draft,) = intake.finish(upload)
        assert len(paths(store)) == 2
        assert vault.read_bytes(draft.record, draft.identity, draft.manifest.files[0].sha256, limit=10**6) == LETTER


def test_a_store_that_does_not_answer_is_unavailable(store: Any) -> None:
    """A bucket that is not there is no reason to lose the error's meaning."""
    vault = Vault(bucket("s3://no-such-bucket"))
    with pytest.raises(Unavailable):
        vault.put(RECORD, new_identity(), [LETTER])


@pytest.mark.parametrize("url", ["", "x", "s3://", "file:///tmp", "https://host/bucket", "s3://key:secret@bucket/x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Only s3://bucket and s3://bucket/prefix; a secret in it is not repeated."""
    with pytest.raises(Misconfigured) as caught:
        bucket(url)
    assert "secret" not in str(caught.value)
