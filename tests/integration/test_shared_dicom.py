"""Real folders, and the verdicts that they must get. The files stay where they are; here they are only read."""

import subprocess
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from application.records.requirements import requirement
from domain.imaging.check import check
from domain.imaging.findings import Report
from tests.shared import shared
from tests.synthetic_dicom import read

FOLDERS = [
    "ct01_abdomen_portal_41mm_no_uids",
    "ct02_head_1mm_uniform",
    "ct06_surview_only",
    "ct07_exam_summary_sc",
    "ct10_gap_contiguous_numbers",
    "mr03_two_slices",
]
VERDICTS = {"REPEAT": "inadequate", "WRONG REGION": "inadequate"}
OURS = {"MISSING_SLICE_INSIDE": "MISSING_SLICE", "NO_CONTRAST": "NO_CONTRAST_EVIDENCE"}
"""Neutral names that are called otherwise here. A late first instance number is a note of its own, because it proves
nothing about the count; phases that are there, and coverage that suffices, stand in the series rows."""


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders, expanded."""
    target = tmp_path_factory.mktemp("dicom")
    subprocess.run(["sh", str(shared("dicom", "unpack.sh")), str(target)], check=True)
    return target


@cache
def expected(folder: str) -> dict[str, Any]:
    """What is expected of a folder."""
    rows = msgspec.json.decode(shared("dicom", "expected.json").read_bytes())
    found: dict[str, Any] = next(row for row in rows if row["folder"] == folder)
    return found


def judged(folder: Path, ask: str, on: date) -> Report:
    """The report on every file of a folder."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return check(read(files), requirement(ask), on)


def reported(report: Report, code: str) -> bool:
    """Whether a report says what a neutral code means."""
    stacks = [row for row in report.series if row.role == "stack"]
    match code:
        case "PHASE_PORTAL_OR_LATER_PRESENT":
            return any(row.phase in ("portal", "delayed", "hepatobiliary") for row in stacks)
        case "COVERAGE_OK":
            return bool(stacks) and "COVERAGE_SHORT" not in report.codes()
        case "MULTIFRAME":
            return any(row.slices > row.instances for row in stacks)
        case _:
            return OURS.get(code, code) in report.codes()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_real_folder_gets_its_verdict(folder: str, unpacked: Path) -> None:
    """Each folder gets the verdict, the findings and none of the false findings that were derived by hand."""
    facts = expected(folder)
    ask, _, rest = facts["ask"].partition(",")
    on = date.fromisoformat(rest.split()[-1]) if rest else date(2026, 1, 20)
    report = judged(unpacked / folder, ask, on)
    verdict = next(ours for neutral, ours in VERDICTS.items() if facts["verdict"].startswith(neutral))
    assert report.verdict == verdict
    assert [code for code in facts["must"] if not reported(report, code)] == []
    assert [code for code in facts["must_not"] if reported(report, code)] == []
    assert report.files["total"] == facts["facts"]["files"]
    stack = next((row for row in report.series if row.role == "stack"), None)
    for fact, field in (("thickness_mm", "thickness_mm"), ("spacing_mm", "spacing_mm"), ("extent_mm", "extent_mm")):
        if fact in facts["facts"]:
            assert stack is not None
            assert float(getattr(stack, field)) == pytest.approx(facts["facts"][fact], abs=0.01)


def test_the_same_imaging_goes_stale(unpacked: Path) -> None:
    """Seventy-four days after it was acquired the real liver CT is stale as well."""
    report = judged(unpacked / FOLDERS[0], "liver", date(2023, 2, 20))
    assert [(f.value, f.unit) for f in report.findings if f.code == "STALE"] == [("74", "d")]


def test_every_folder_that_is_expected_is_tested() -> None:
    """No folder of the shared ones is left out."""
    rows = msgspec.json.decode(shared("dicom", "expected.json").read_bytes())
    assert sorted(row["folder"] for row in rows) == FOLDERS
