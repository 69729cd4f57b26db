"""Slices into stacks, and what is measured on them."""

import math
import time
from datetime import date
from typing import Any

import msgspec
import pytest

from application.records.requirements import requirement, sites
from domain.errors import NotFound
from domain.imaging.check import check
from domain.imaging.findings import Report, decimal
from domain.imaging.geometry import measure, plane_of
from domain.imaging.model import Frame, Instance, InstanceHeader
from domain.imaging.stacks import cross, slices_of, stacks_of
from tests.synthetic_dicom import Series, instance, instances_of


def headers(*series: Series, **changes: Any) -> list[InstanceHeader]:
    """Headers of synthetic series."""
    return [one.header for one in instances_of(*series, **changes) if one.header is not None]


def split(found: list[InstanceHeader]) -> list[int]:
    """Slices in each stack that the headers form, largest first."""
    slices = [one for header in found for one in slices_of(header)]
    return sorted((len(stack.slices) for stack in stacks_of("s", slices)), reverse=True)


def with_value(found: list[InstanceHeader], field: str, values: list[Any]) -> list[InstanceHeader]:
    """The headers with one field set to one value each."""
    return [msgspec.structs.replace(header, **{field: value}) for header, value in zip(found, values, strict=True)]


def report_of(found: list[InstanceHeader]) -> Report:
    """The report on headers, for site `any`."""
    numbered = with_value(found, "sop_instance_uid", [f"1.2.{index}" for index in range(len(found))])
    files: list[Instance] = [instance(header) for header in numbered]
    return check(files, requirement("any"), date(2026, 1, 20))


def test_an_acquisition_number_a_rotation_splits_nothing() -> None:
    """An axial CT has a number and a time for each rotation; it is one stack all the same."""
    found = headers(Series(count=24))
    found = with_value(found, "acquisition_number", [index // 4 for index in range(24)])
    found = with_value(found, "acquisition_time", [f"1015{index:02}" for index in range(24)])
    assert split(found) == [24]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("kernel", ["B30f", "B70f"]),
        ("echo_time", [2.4, 4.8]),
        ("b_value", [50.0, 800.0]),
        ("acquisition_number", [1, 2]),
        ("image_type", [("ORIGINAL", "PRIMARY", "M"), ("ORIGINAL", "PRIMARY", "P")]),
        ("acquisition_time", ["101530", "101600"]),
        ("instance_number", [1, 2]),
    ],
)
def test_what_repeats_at_one_place_is_taken_apart(field: str, values: list[Any]) -> None:
    """Two images at each position are two stacks, whatever tells them apart, or nothing at all."""
    single = headers(Series(count=20))
    found = [msgspec.structs.replace(header, **{field: value}) for header in single for value in values]
    assert split(found) == [20, 20]


def test_opposite_normals_are_one_direction() -> None:
    """A slice whose rows and columns are exchanged still lies in the same stack."""
    found = headers(Series(count=20))
    found[7] = msgspec.structs.replace(found[7], orientation=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0))
    assert split(found) == [20]


def test_another_matrix_is_another_stack() -> None:
    """Slices of another matrix do not belong to the stack."""
    found = headers(Series(count=20))
    found[19] = msgspec.structs.replace(found[19], rows=256, columns=256)
    assert split(found) == [19, 1]


def test_a_change_of_spacing_is_no_hole() -> None:
    """Thin slices below and thick ones above are uneven and mixed, and none is missing."""
    thin, thick = Series(count=16, step=2.5, thickness=2.5), Series(count=12, step=5, start=42.5, thickness=5)
    report = report_of(headers(thin, thick))
    assert set(report.codes()) == {"UNEVEN_SPACING", "MIXED_THICKNESS"}


def test_a_hole_among_few_slices_is_seen() -> None:
    """With three steps, two usual and one double, the double one is the hole."""
    found = [header for index, header in enumerate(headers(Series(count=8))) if index != 6]
    measures = measure(stacks_of("s", [one for header in found for one in slices_of(header)])[0])
    assert [(hole.step, hole.missing) for hole in measures.holes] == [(5.0, 1)]


def test_series_without_uid_are_held_together_by_what_they_share() -> None:
    """Files without a Series UID form one series by number and description, and another number is another series."""
    found = headers(Series(count=12), Series(number=2, count=12), series_uid="", study_uid="")
    assert sorted(row.slices for row in report_of(found).series) == [12, 12]


def test_an_orientation_that_spans_no_plane_has_no_normal() -> None:
    """Zero, or parallel, row and column directions give no normal."""
    assert cross((0.0,) * 6) == ()
    assert cross((1.0, 0, 0, 1.0, 0, 0)) == ()
    assert cross((1.0, 0, 0, 0, 1.0, 0)) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(("degrees", "plane"), [(0, "axial"), (40, "axial"), (50, "coronal"), (90, "coronal")])
def test_an_oblique_plane_is_named_by_the_nearest(degrees: int, plane: str) -> None:
    """An oblique stack counts as the body plane that it lies nearest to."""
    angle = math.radians(degrees)
    assert plane_of((0.0, math.sin(angle), math.cos(angle))) == plane


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(70.0, 0, "70"), (2.5, 2, "2.5"), (3.0, 2, "3"), (-0.001, 2, "0"), (None, 2, ""), (100.0, 1, "100")],
)
def test_decimals_lose_no_digit_that_counts(value: float | None, places: int, text: str) -> None:
    """Trailing zeros go behind the point only."""
    assert decimal(value, places) == text


def test_a_site_without_a_set_is_refused() -> None:
    """Only the sites that have a requirement set can be asked for."""
    assert {"any", "liver-ct", "liver-mr", "rectum-mr", "sarcoma-mr"} <= set(sites())
    assert "words" not in sites()
    with pytest.raises(NotFound, match="liver-ct"):
        requirement("../words")


@pytest.mark.parametrize("changes", [{"kernel": "B60f"}, {"acquisition_number": 2}, {"acquisition_time": "101610"}])
def test_sets_that_lie_between_each_other_are_two_stacks(changes: dict[str, Any]) -> None:
    """Two reconstructions, or phases, that begin a fraction of a step apart are two even stacks without a hole."""
    first, second = headers(Series(count=40)), headers(Series(number=2, count=40, start=0.4), **changes)
    found = first + [msgspec.structs.replace(header, series_uid=first[0].series_uid) for header in second]
    assert split(found) == [40, 40]
    assert set(report_of(found).codes()) == set()


def test_odd_and_even_slices_of_one_acquisition_are_one_stack() -> None:
    """Slices that were acquired in two turns stay together, and a hole among them is one."""
    found = headers(Series(count=40))
    turns = [
        msgspec.structs.replace(header, acquisition_number=1 + index % 2, acquisition_time=f"10{15 + index % 2}00")
        for index, header in enumerate(found)
        if index != 21
    ]
    assert split(turns) == [39]
    assert {"MISSING_SLICE"} <= set(report_of(turns).codes())


@pytest.mark.parametrize("far", [1e307, -1e300, 2e5])
def test_a_position_beyond_any_scanner_is_none(far: float) -> None:
    """A slice that lies outside of every room has no place, and measures nothing."""
    found = headers(Series(count=20))
    found[7] = msgspec.structs.replace(found[7], position=(0.0, 0.0, far), thickness=abs(far))
    report = report_of(found)
    assert "GEOMETRY_UNKNOWN" in report.codes()
    assert all(len(finding.message) < 300 for finding in report.findings)


def test_thousands_of_directions_take_seconds() -> None:
    """A file whose frames all turn another way ends in time that does not grow with their square."""
    angles = [index * 0.37 for index in range(6_000)]
    frames = tuple(
        Frame(
            position=(0.0, 0.0, float(index)),
            orientation=(
                *(math.cos(angle), math.sin(angle), 0.0),
                *(-math.sin(angle) * math.cos(index), math.cos(angle) * math.cos(index), math.sin(index)),
            ),
        )
        for index, angle in enumerate(angles)
    )
    header = msgspec.structs.replace(headers(Series(count=1))[0], frame_geometry=frames, frames=len(frames))
    began = time.process_time()
    assert len(stacks_of("s", slices_of(header))) <= 6_000
    assert time.process_time() - began < 3
