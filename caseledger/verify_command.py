"""`caseledger verify BUNDLE`: verifies a case bundle offline, and says what was checked and what fails first."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import msgspec

from domain.errors import BadPublicKey, MalformedNote, Misconfigured
from domain.ledger.bundle import MAX_BUNDLE_BYTES
from domain.ledger.cosignature_policy import MAX_POLICY_BYTES, parse_policy
from domain.ledger.cosignature_verify import Judge
from domain.ledger.log_report import LogReport
from domain.ledger.report import Check, Report
from domain.ledger.verify import verify
from domain.ledger.verify_trust import MAX_KEYS_BYTES, TrustedKeys, parse_trusted_keys

VERIFIED, NOT_VERIFIED, UNUSABLE = 0, 1, 2
_MARKS = {True: "ok", False: "FAILED", None: "not judged"}


def run(
    bundle: Path,
    keys: Path | None = None,
    *,
    witnesses: Path | None = None,
    tsa: Path | None = None,
    as_json: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Verify a bundle file against a key file; prints the report and returns the exit status.

    0: all that was checked holds. 1: something does not. 2: a file cannot be read, or is not what it should be.
    Without a key file the result speaks of internal consistency only. A policy of witnesses asks for its quorum under
    the checkpoint; certificates of time-stamping authorities have every time stamp judged.
    """
    out, err = out or sys.stdout, err or sys.stderr
    try:
        # A byte more than allowed is enough for the verifier to refuse it.
        raw = read_limited(bundle, MAX_BUNDLE_BYTES + 1)
        trusted = read_keys(keys)
        policy = None if witnesses is None else parse_policy(read_limited(witnesses, MAX_POLICY_BYTES + 1))
        stamp_judge = None if tsa is None else _stamp_judge(tsa)
    except OSError as error:
        print(f"caseledger verify: cannot read {error.filename or bundle}: {error.strerror}", file=err)
        return UNUSABLE
    except BadPublicKey as error:
        print(f"caseledger verify: the key file is not usable: {error}", file=err)
        return UNUSABLE
    except (MalformedNote, Misconfigured) as error:
        print(f"caseledger verify: {error}", file=err)
        return UNUSABLE
    started = time.perf_counter()
    report = verify(raw, trusted, policy, stamp_judge)
    elapsed = time.perf_counter() - started
    print(msgspec.json.encode(report).decode() if as_json else human(report, elapsed), file=out)
    return VERIFIED if report.ok else NOT_VERIFIED


def human(report: Report | LogReport, elapsed: float) -> str:
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


def _stamp_judge(certificates: Path) -> Judge:
    """Judges time stamps; takes a library that the verifier does without otherwise. Raises: OSError, Misconfigured."""
    try:
        from application.witness.timestamps import MAX_CERTIFICATES_BYTES, read_authorities
    except ModuleNotFoundError:
        raise Misconfigured("time stamps are judged with the package rfc3161-client, which is not installed") from None
    return read_authorities(read_limited(certificates, MAX_CERTIFICATES_BYTES + 1)).judge


def read_limited(path: Path, limit: int) -> bytes:
    """A file's first bytes. Raises: OSError."""
    with path.open("rb") as file:
        return file.read(limit)


def read_keys(keys: Path | None) -> TrustedKeys | None:
    """The keys of a key file; None without one. Raises: OSError, BadPublicKey."""
    return None if keys is None else parse_trusted_keys(read_limited(keys, MAX_KEYS_BYTES + 1))
