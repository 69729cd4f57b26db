"""Every row that can be measured, in the order of the table."""

from benchmarks import append, bulk, check, get_case, ingest, ingest_orthanc, proof, rebuild_all, storage, verification
from benchmarks.model import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (
    *append.BENCHMARKS,
    *bulk.BENCHMARKS,
    *get_case.BENCHMARKS,
    *rebuild_all.BENCHMARKS,
    *verification.BENCHMARKS,
    *proof.BENCHMARKS,
    *storage.BENCHMARKS,
    *ingest.BENCHMARKS,
    *ingest_orthanc.BENCHMARKS,
    *check.BENCHMARKS,
)
