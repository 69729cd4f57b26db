"""`caseledger verify --log`: verifies every entry of a log up to a checkpoint, on all cores."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec

from caseledger.log.scanning import scanned
from caseledger.log.sources import DatabaseSource, DirectorySource, HttpSource, Source, envelopes_at, tiles_at
from caseledger.verify_command import NOT_VERIFIED, UNUSABLE, VERIFIED, human, read_keys, read_limited
from domain.errors import CaseLedgerError, InvalidInput
from domain.ledger.checkpoint import read_unverified
from domain.ledger.cosignature_policy import MAX_POLICY_BYTES, parse_policy
from domain.ledger.log_report import LogReport
from domain.ledger.note import MAX_NOTE_BYTES
from domain.ledger.openings import MAX_OPENINGS_BYTES, read_openings
from domain.ledger.tree import MAX_SIZE
from domain.ledger.verify_log import LogVerification

MAX_TOKEN_BYTES = 4096


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be verified, and by what. Files are read as they are; `jobs` is a number of processes."""

    keys: Path | None = None
    checkpoint: Path | None = None
    """A checkpoint kept elsewhere, instead of the source's newest."""
    since: Path | None = None
    """An older checkpoint, which the log has to extend."""
    openings: Path | None = None
    jobs: int | None = None
    as_json: bool = False
    witnesses: Path | None = None
    """A policy whose quorum the checkpoint has to have (C2SP tlog-policy)."""


def run(
    source: Source,
    wanted: Wanted,
    *,
    openings: Callable[[], bytes] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Verify a log; prints the report and returns the exit status, as `verify_command.run` does.

    `openings` gives those of the key streams where neither a file nor the source has them.
    """
    out, err = out or sys.stdout, err or sys.stderr
    started = time.perf_counter()
    try:
        report = verify(source, wanted, openings)
    except OSError as error:
        print(f"caseledger verify: cannot read {error.filename or 'the log'}: {error.strerror}", file=err)
        return UNUSABLE
    except CaseLedgerError as error:
        print(f"caseledger verify: {error}", file=err)
        return UNUSABLE
    elapsed = time.perf_counter() - started
    print(msgspec.json.encode(report).decode() if wanted.as_json else human(report, elapsed), file=out)
    return VERIFIED if report.ok else NOT_VERIFIED


def verify(source: Source, wanted: Wanted, openings: Callable[[], bytes] | None = None) -> LogReport:
    """The report on a log.

    Raises:
        CaseLedgerError: the source cannot be read, or a file is not what it should be.
        OSError: a file cannot be read.
    """
    keys = read_keys(wanted.keys)
    policy = None if wanted.witnesses is None else parse_policy(read_limited(wanted.witnesses, MAX_POLICY_BYTES + 1))
    older = None if wanted.since is None else read_limited(wanted.since, MAX_NOTE_BYTES + 1)
    note = None if wanted.checkpoint is None else read_limited(wanted.checkpoint, MAX_NOTE_BYTES + 1)
    if keys is not None and keys.others:
        # Of several logs' keys, those of the log that this is by now; the others' are for what was there before it.
        keys = keys.of(read_unverified(source.checkpoint() if note is None else note).origin) or keys
    up_to = MAX_SIZE if note is None else read_unverified(note).size
    # Before the newest one, so that it is not of a larger tree, however the log grows meanwhile.
    quantum = source.post_quantum(keys.post_quantum, up_to) if keys is not None and keys.post_quantum else None
    note = source.checkpoint() if note is None else note
    disclosed = read_openings(_openings(source, wanted.openings, openings))
    key_entries = envelopes_at(source, disclosed, read_unverified(note).size)
    verification = LogVerification(
        note, keys, older=older, openings=disclosed, key_entries=key_entries, policy=policy, post_quantum=quantum
    )
    tasks = verification.tasks()
    with scanned(source, tasks, wanted.jobs or os.cpu_count() or 1) as segments:
        for segment in segments:
            verification.add(segment)
            if verification.failed:
                break
    return verification.report()


def _openings(source: Source, file: Path | None, otherwise: Callable[[], bytes] | None) -> bytes:
    if file is not None:
        return read_limited(file, MAX_OPENINGS_BYTES + 1)
    if isinstance(source, DirectorySource | HttpSource):
        return source.openings()
    return otherwise() if otherwise is not None else b""


def choose(database: str | None, tiles: str | None, token: Path | None, wanted: Wanted) -> int:
    """Verify the log that the command line names; by default the ledger of this data directory.

    Raises:
        InvalidInput: not one place; or a quorum is asked for, and there is no note that could show it.
    """
    if database is not None and tiles is not None:
        raise InvalidInput("a log is in a database or in tiles, not in both")
    if wanted.witnesses is not None and wanted.checkpoint is None and tiles is None:
        raise InvalidInput(
            "--witnesses judges a note with its cosignatures: name one by --checkpoint,"
            " such as GET /checkpoint?witnessed=quorum gives"
        )
    if tiles is not None:
        bearer = None if token is None else read_limited(token, MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
        return run(tiles_at(tiles, bearer), wanted)
    from caseledger.log import own as own_log

    with own_log.place(database) as own:
        return run(DatabaseSource(own.url), wanted, openings=own.openings)
