"""`caseledger verify BUNDLE`: verifies a case bundle offline, and says what was checked and what fails first."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import msgspec

from domain.errors import BadPublicKey
from domain.ledger.bundle import MAX_BUNDLE_BYTES
from domain.ledger.report import Check, Report
from domain.ledger.verify import verify
from domain.ledger.verify_trust import MAX_KEYS_BYTES, TrustedKeys, parse_trusted_keys

VERIFIED, NOT_VERIFIED, UNUSABLE = 0, 1, 2
_MARKS = {True: "ok", False: "FAILED", None: "not judged"}


def run(
    bundle: Path,
    keys: Path | None = None,
    *,
    as_json: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Verify a bundle file against a key file; prints the report and returns the exit status.

    0: all that was checked holds. 1: something does not. 2: a file cannot be read, or the key file is not one.
    Without a key file the result speaks of internal consistency only.
    """
    out, err = out or sys.stdout, err or sys.stderr
    try:
        # A byte more than allowed is enough for the verifier to refuse it.
        raw = _read(bundle, MAX_BUNDLE_BYTES + 1)
        trusted = _trusted(keys)
    except OSError as error:
        print(f"caseledger verify: cannot read {error.filename or bundle}: {error.strerror}", file=err)
        return UNUSABLE
    except BadPublicKey as error:
        print(f"caseledger verify: the key file is not usable: {error}", file=err)
        return UNUSABLE
    started = time.perf_counter()
    report = verify(raw, trusted)
    elapsed = time.perf_counter() - started
    print(msgspec.json.encode(report).decode() if as_json else human(report, elapsed), file=out)
    return VERIFIED if report.ok else NOT_VERIFIED


def human(report: Report, elapsed: float) -> str:
    """The report as lines of text; `elapsed` is in seconds."""
    width = max(len(check.name) for check in report.checks)
    lines = [f"{'check':{width}}  {'count':>7}  result", *(_row(check, width) for check in report.checks), ""]
    if report.committed_at is not None:
        at = datetime.fromtimestamp(report.committed_at // 1_000_000, UTC)
        lines.append(f"checkpoint of {report.size} entries, committed {at:%Y-%m-%dT%H:%M:%SZ}")
    lines += [f"- {each}" for each in (*report.statements, *report.remarks)]
    if report.entries:
        rate = report.entries / elapsed if elapsed > 0 else 0.0
        lines.append(f"- {report.entries} entries in {elapsed:.3f} s, {rate:,.0f} entries/s")
    lines.append(f"trust: {report.trust}")
    return "\n".join([*lines, report.verdict()])


def _row(check: Check, width: int) -> str:
    count = check.count if check.ok else ""
    return f"{check.name:{width}}  {count:>7}  {_MARKS[check.ok]:10}  {check.what}"


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit)


def _trusted(keys: Path | None) -> TrustedKeys | None:
    return None if keys is None else parse_trusted_keys(_read(keys, MAX_KEYS_BYTES + 1))
