"""verify-full, verify-fast: a whole log, by its signatures on all cores, or by hashes alone in one process."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger.entries import signatures
from benchmarks.events import populate
from benchmarks.ground import Ground, Opened
from benchmarks.model import Benchmark, Pair
from caseledger.data import trusted_keys
from caseledger.log.sources import DatabaseSource
from domain.ledger.chains import ChainsAndTree
from domain.ledger.checkpoint import read_unverified
from domain.ledger.dsse import render
from domain.ledger.log_report import LogReport
from domain.ledger.verify_trust import render_trusted_keys

_VERIFICATIONS = 5_000


def _raw_verifications(count: int) -> float:
    """Ed25519 verifications a second, of one process: nothing but the signature."""
    key = Ed25519PrivateKey.generate()
    public, message = key.public_key(), bytes(700)
    signature = key.sign(message)
    began = time.perf_counter()
    for _ in range(count):
        public.verify(signature, message)
    return count / (time.perf_counter() - began)


@contextmanager
def _prepare_full(ground: Ground) -> Iterator[Pair]:
    entries, cores = ground.size(98_304, 40), os.cpu_count() or 1
    with (
        ground.ledger() as opened,
        multiprocessing.get_context("spawn").Pool(cores) as pool,
    ):
        populate(opened, entries)
        keys = str(_published(ground, opened))
        command = [sys.executable, "-m", "caseledger.cli", "verify", "--log", "--json", "--keys", keys]

        def ours() -> float:
            began = time.perf_counter()
            done = subprocess.run([*command, "--database", opened.service_url], capture_output=True, check=True)
            elapsed = time.perf_counter() - began
            report = msgspec.json.decode(done.stdout, type=LogReport)
            assert report.ok, report.failure
            assert (report.entries, report.trust) == (entries, "given keys")
            return entries / elapsed

        def peer() -> float:
            # All cores at once, as ours: what one core does alone it does not do beside the others.
            return sum(pool.map(_raw_verifications, [ground.size(_VERIFICATIONS, 5)] * cores))

        yield Pair(ours=ours, peer=peer)


@contextmanager
def _prepare_fast(ground: Ground) -> Iterator[Pair]:
    entries = ground.size(16_384, 40)
    with ground.ledger() as opened:
        populate(opened, entries)
        rows = opened.service.ledger.recorder.range(0, entries)
        stored = [(row.raw, signatures(row.actor_signature, row.ledger_signature)) for row in rows]
        envelopes = [render(*each) for each in stored]
        checkpoint = read_unverified(DatabaseSource(opened.service_url).checkpoint())

        def ours() -> float:
            began = time.perf_counter()
            seen = ChainsAndTree()
            seen.add(stored)
            seen.check(checkpoint)
            return entries / (time.perf_counter() - began)

        def peer() -> float:
            began = time.perf_counter()
            for envelope in envelopes:
                sha256(envelope).digest()
            return entries / (time.perf_counter() - began)

        yield Pair(ours=ours, peer=peer)


def _published(ground: Ground, opened: Opened) -> Path:
    """What `caseledger keys` prints, as a file; but for the post-quantum key, which signs on a period, and not here."""
    path = ground.directory() / "keys"
    keys = msgspec.structs.replace(trusted_keys(opened.service.keys), post_quantum=())
    path.write_bytes(render_trusted_keys(keys))
    return path


BENCHMARKS = (
    Benchmark(
        name="verify-full",
        unit="entries/s",
        goal=0.85,
        beyond=0.95,
        better="more",
        ours="`verify --log` of 98,304 entries: signatures, chains, tree, from start to end, all cores",
        peer="raw Ed25519 verifications a second, all cores",
        prepare=_prepare_full,
    ),
    Benchmark(
        name="verify-fast",
        unit="entries/s",
        goal=0.2,
        beyond=0.3,
        better="more",
        ours="chains and tree from statements and signatures, one process",
        peer="SHA-256 of the same bytes in Python",
        prepare=_prepare_fast,
    ),
)
