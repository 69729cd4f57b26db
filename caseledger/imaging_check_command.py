"""`caseledger imaging-check`: the imaging check of a folder or zip archive, with no server and no database."""

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from application.records.requirements import requirement, sites
from caseledger.imaging_files import instances_of
from domain.errors import CaseLedgerError, InvalidInput
from domain.imaging.check import check
from domain.imaging.findings import Finding, Report, amount

COULD_NOT_RUN = 2
MEMBERS = ("code", "severity", "series", "value", "unit", "limit", "source", "message")
"""Members of a finding, all of them always there."""


def run(place: Path, site: str, on: str | None, *, as_json: bool) -> int:
    """Check, and print the report; status 0 whatever the verdict, 2 where there is none."""
    try:
        report = checked(place, site, on)
    except CaseLedgerError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{place}: {error.strerror or type(error).__name__}")
    if as_json:
        sys.stdout.write(msgspec.json.encode(shown(report)).decode() + "\n")
    else:
        sys.stdout.write(told(report, place))
    return 0


def checked(place: Path, site: str, on: str | None) -> Report:
    """The report on a folder or zip archive.

    Raises:
        InvalidInput: no such site, or no date. And what `instances_of` raises.
    """
    if site not in sites():
        raise InvalidInput(f"there is no requirement set {site!r}; --site is one of {', '.join(sites())}")
    day = _day(on)
    return check(instances_of(place), requirement(site), day, None)


def shown(report: Report) -> dict[str, Any]:
    """The report as JSON: four members, and eight of each finding."""
    files = report.files
    return {
        "verdict": report.verdict,
        "findings": [{name: getattr(each, name) for name in MEMBERS} for each in report.findings],
        "files": {
            "total": files["total"],
            "dicom": files["dicom"],
            "skipped": files["skipped"] + files["not_dicom"],
            "unreadable": files["unreadable"],
        },
        "series": [msgspec.structs.asdict(each) for each in report.series],
    }


def told(report: Report, place: Path) -> str:
    """The report for people."""
    files = shown(report)["files"]
    lines = [
        f"{report.verdict.upper()}  {place}, as {report.site} on {report.on}",
        ", ".join(f"{count} {name}" for name, count in files.items()),
    ]
    stacks = [each for each in report.series if each.role == "stack"]
    others = [each for each in report.series if each.role != "stack"]
    if stacks:
        lines += ["", "Stacks"]
    for row in stacks:
        facts = (
            row.modality,
            row.label,
            f"{row.slices} slices",
            row.plane,
            row.thickness_mm and f"{row.thickness_mm} mm thick",
            row.spacing_mm and f"every {row.spacing_mm} mm",
            row.extent_mm and f"over {row.extent_mm} mm",
            row.phase and f"phase {row.phase}",
            row.date,
            row.used_for and f"for {', '.join(row.used_for)}",
        )
        lines.append(f"  {', '.join(each for each in facts if each)}")
    if others:
        lines += ["", "Not diagnostic", *(f"  {row.instances} x {row.role}: {row.label}" for row in others)]
    if report.findings:
        lines += ["", "Findings", *map(_line, report.findings)]
    # What stands in a header may hold anything, and this goes to a terminal.
    return "".join(f"{_printable(line)}\n" for line in lines)


def _line(finding: Finding) -> str:
    # What is no number (the phase that is missing, the region) stands in the sentence already.
    source = f" ({finding.source})" if finding.source else ""
    limit = f", limit {amount(finding.limit, finding.unit)}{source}" if finding.limit[:1].isdigit() else ""
    measured = f" [{amount(finding.value, finding.unit)}{limit}]" if finding.value[:1].isdigit() else ""
    return f"  {finding.severity:10} {finding.code}{measured}: {finding.message}"


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in line)


def _day(on: str | None) -> date:
    if on is None:
        return datetime.now(UTC).date()
    try:
        if len(on) == len("2026-11-01"):
            return date.fromisoformat(on)
    except ValueError:
        pass
    raise InvalidInput(f"--on is a day like 2026-11-01, not {on!r}")


def _fail(message: str) -> int:
    line = _printable(" ".join(message.split()))
    sys.stderr.write(f"caseledger: {line}\n")
    return COULD_NOT_RUN
