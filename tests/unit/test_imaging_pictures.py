"""What is said of images that form no stack, and of pictures that only look like one."""

import math
from datetime import date
from typing import Any

import msgspec
import pytest

from application.records.requirements import requirement
from domain.imaging.batch import cut_off
from domain.imaging.check import check
from domain.imaging.findings import Report
from domain.imaging.model import Instance
from tests.synthetic_dicom import MR, Series, instance, instances_of, triple_phase

ON = date(2026, 1, 20)
JPEG = "1.2.840.10008.1.2.4.50"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def judge(instances: list[Instance], site: str = "liver-ct", on: date = ON) -> Report:
    """The report on a site."""
    return check(instances, requirement(site), on)


def severities(report: Report, code: str) -> list[str]:
    """Severities of a code's findings."""
    return [finding.severity for finding in report.findings if finding.code == code]


@pytest.mark.parametrize("count", [1, 12])
def test_a_single_slice_is_told_apart_as_well(count: int) -> None:
    """Of one place nothing can be judged as a volume, but compression, age, region and coverage are told."""
    series = Series(count=count, step=0, date="20230105", body_part="HEAD", description="")
    report = judge(instances_of(series, transfer_syntax=JPEG))
    assert report.verdict == "inadequate"
    assert {"NOT_A_VOLUME", "LOSSY", "STALE", "WRONG_ANATOMY", "COVERAGE_SHORT"} <= set(report.codes())
    assert not {"PHASE_UNKNOWN", "PHASE_ARTERIAL_MISSING"} & set(report.codes())


def test_lossy_pictures_are_noted_where_there_is_nothing_else() -> None:
    """A lossy screenshot alone says so; beside good series it says nothing."""
    picture = instances_of(Series(number=9, count=1, sop_class=SECONDARY), transfer_syntax=JPEG)
    assert severities(judge(picture), "LOSSY") == ["note"]
    assert severities(judge([*picture, *instances_of(*triple_phase())]), "LOSSY") == []


def test_slices_without_a_place_still_name_modality_and_region() -> None:
    """A mosaic of the brain is asked back as the wrong examination, not as a riddle."""
    mosaic = Series(
        count=5, sop_class=MR, modality="MR", body_part="BRAIN", image_type=("ORIGINAL", "PRIMARY", "M", "MOSAIC")
    )
    report = judge(instances_of(mosaic))
    assert report.verdict == "inadequate"
    assert {"MODALITY_MISSING", "WRONG_ANATOMY", "GEOMETRY_UNKNOWN"} <= set(report.codes())
    assert judge(instances_of(mosaic), "any").verdict == "undetermined"


def test_another_modality_is_not_held_against_this_ones_numbers() -> None:
    """An MRI that comes for a CT is the wrong examination; its pixels and slices are not judged as a CT's."""
    report = judge(instances_of(Series(sop_class=MR, modality="MR", pixel=1.5, thickness=5, step=6, rows=192)))
    assert "MODALITY_MISSING" in report.codes()
    assert not {"LOW_INPLANE_RES", "THICK_SLICES", "THICK_FOR_VOLUMETRY"} & set(report.codes())


@pytest.mark.parametrize(("turns", "role"), [(3, "localizer"), (12, "slice")])
def test_thick_slabs_around_an_axis_are_no_survey(turns: int, role: str) -> None:
    """Three thick planes are a survey; twelve about one axis are a radial set, and no volume."""
    found = []
    for index in range(turns):
        angle = index * math.pi / turns
        row = (math.cos(angle), math.sin(angle), 0.0)
        series = Series(count=1, sop_class=MR, modality="MR", description="", thickness=40)
        uid = f"1.2.3.{index}"
        found += instances_of(series, orientation=(*row, 0.0, 0.0, -1.0), sop_instance_uid=uid)
    assert {row.role for row in judge(found, "any").series} == {role}


@pytest.mark.parametrize(
    ("agent", "route", "asked"),
    [
        ("GASTROGRAFIN", "", True),
        ("IOMERON", "ORAL", True),
        ("OMNIPAQUE", "IV", False),
        ("ORAL & I.V. OMNIPAQUE", "", False),
        ("APPLIED", "", False),
    ],
)
def test_contrast_that_was_drunk_shows_no_phase(agent: str, route: str, asked: bool) -> None:
    """Contrast by mouth is no evidence of a phase; by vein, or by both, it is."""
    found = instances_of(Series(description=""), contrast_agent=agent, contrast_route=route, contrast_start="")
    assert ("NO_CONTRAST_EVIDENCE" in judge(found).codes()) is asked


@pytest.mark.parametrize("description", ["MIP ART 2.0", "Iodine map pv", "VRT Leber", "Z effective art"])
def test_calculated_pictures_are_no_phase(description: str) -> None:
    """A projection or a calculated map that names a phase does not stand in for its series."""
    report = judge(instances_of(Series(description=description, agent="")))
    assert [row.role for row in report.series] == ["projection"]
    assert "NOT_A_VOLUME" in report.codes()


@pytest.mark.parametrize(
    ("kind", "role"),
    [("CT_SOM5 MON", "monitoring"), ("CT_SOM10 MON", "monitoring"), ("CT_SOM7 TOP", "localizer")],
)
def test_every_generation_of_a_scanner_is_known(kind: str, role: str) -> None:
    """What stands behind the generation of the scanner's software tells what an image is."""
    report = judge(instances_of(Series(count=6, image_type=("ORIGINAL", "PRIMARY", "AXIAL", kind))))
    assert [row.role for row in report.series] == [role]


@pytest.mark.parametrize(
    ("sop_class", "modality", "role"),
    [
        ("1.2.840.113619.4.2", "MR", "stack"),
        ("1.2.840.113619.4.3", "CT", "stack"),
        ("1.3.46.670589.11.0.0.12.1", "MR", "no-image"),
    ],
)
def test_private_classes_are_what_their_makers_say(sop_class: str, modality: str, role: str) -> None:
    """GE's private images are an MR and a CT; Philips's private spectrum is no image."""
    report = judge(instances_of(Series(sop_class=sop_class, modality=modality)), "any")
    assert [(row.modality, row.role) for row in report.series] == [(modality, role)]


def test_a_late_number_is_told_of_slices_only_and_by_name() -> None:
    """A report numbered 5 proves nothing; of slices the sentence says which series."""
    report = judge(instances_of(Series(sop_class="1.2.840.10008.5.1.4.1.1.88.67", count=1), instance_number=5))
    assert "INSTANCE_NUMBERS_START_LATE" not in report.codes()
    late = judge(instances_of(Series(number=4, count=12, description="pv", step=0), instance_number=40), "any")
    told = next(finding.message for finding in late.findings if finding.code == "INSTANCE_NUMBERS_START_LATE")
    assert 'CT series 4 "pv"' in told


def test_a_short_series_is_named() -> None:
    """Whoever sends the rest is told of which series."""
    report = judge(instances_of(Series(number=4, count=12, description="pv"), series_instances=40), "any")
    told = next(finding.message for finding in report.findings if finding.code == "COUNT_SHORT")
    assert '40 images that the CT series 4 "pv" says it has only 12 came' in told


def test_tomorrow_east_of_here_is_today() -> None:
    """Images that were made where the next day has begun have a date; those of next week have none."""
    found = instances_of(*triple_phase())
    assert "DATE_UNKNOWN" not in judge(found, on=date(2026, 1, 4)).codes()
    assert "DATE_UNKNOWN" in judge(found, on=date(2026, 1, 3)).codes()


def test_a_black_slice_may_be_small() -> None:
    """A compressed frame of one colour has a few hundred bytes; gigabytes in as many are a claim."""

    def small(**claims: Any) -> Instance:
        header = instances_of(Series(count=1))[0].header
        assert header is not None
        told = {"transfer_syntax": "1.2.840.10008.1.2.4.90", "pixel_offset": 1000, **claims}
        return msgspec.structs.replace(instance(msgspec.structs.replace(header, **told)), size=1200)

    assert cut_off(small(pixel_expected=512 * 512 * 2)) == ""
    assert cut_off(small(pixel_expected=8_600_000_000)) == "the pixel data is cut off"
