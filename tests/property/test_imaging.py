"""Synthetic stacks, damaged in one way at a time: the check finds exactly what was done, and nothing else."""

import math
from datetime import date
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from application.records.requirements import requirement
from domain.imaging.check import check, encode
from domain.imaging.findings import Report
from domain.imaging.model import Instance, InstanceHeader
from tests.synthetic_dicom import Series, instance, instances_of

ON = date(2026, 1, 20)
ANY = requirement("any")

stacks = st.builds(
    Series,
    count=st.integers(12, 60),
    step=st.sampled_from([0.5, 0.7, 0.8, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0]),
    start=st.floats(-900, 900).map(lambda value: round(value, 3)),
    thickness=st.sampled_from([1.0, 1.25, 3.0, 5.0]),
    tilt=st.just(0.0),
)
"""Even stacks, overlapping ones and ones with gaps between thin slices included."""


def judged(instances: list[Instance]) -> Report:
    """The report for site `any`."""
    return check(instances, ANY, ON)


def few(left: list[Instance]) -> set[str]:
    """What a stack of so few slices earns for their number alone."""
    wanted = ANY.slices_wanted
    return {"COVERAGE_SHORT"} if wanted is not None and len(left) < wanted.value else set()


def header_of(one: Instance) -> InstanceHeader:
    """The header of an instance that has one."""
    assert one.header is not None
    return one.header


def with_headers(instances: list[Instance], **changes: list[Any]) -> list[Instance]:
    """The instances with one value of each list given to each header."""
    return [
        instance(msgspec.structs.replace(header_of(one), **{key: values[index] for key, values in changes.items()}))
        for index, one in enumerate(instances)
    ]


@given(stacks)
def test_an_even_stack_earns_nothing(series: Series) -> None:
    """A stack with even steps, whatever its step and thickness, is adequate without a finding."""
    report = judged(instances_of(series))
    assert (report.verdict, report.codes()) == ("adequate", ())
    extent = (series.count - 1) * series.step + (series.thickness or 0)
    assert abs(float(report.series[0].extent_mm) - extent) <= 0.05 + 1e-6


@given(stacks, st.data())
def test_dropped_slices_are_found_and_counted(series: Series, data: st.DataObject) -> None:
    """Slices taken out of the inside make a hole of that many slices, although the numbers are made contiguous."""
    gone = data.draw(st.integers(1, 4))
    at = data.draw(st.integers(1, series.count - gone - 1))
    left = [one for index, one in enumerate(instances_of(series)) if not at <= index < at + gone]
    left = with_headers(left, instance_number=list(range(1, len(left) + 1)))
    report = judged(left)
    assert set(report.codes()) == {"MISSING_SLICE", "UNEVEN_SPACING"} | few(left)
    assert report.verdict == "inadequate"
    assert [finding.value for finding in report.findings if finding.code == "MISSING_SLICE"] == [str(gone)]


@given(stacks, st.data())
def test_two_holes_are_two(series: Series, data: st.DataObject) -> None:
    """Two separate slices taken out are two missing slices."""
    first = data.draw(st.integers(2, series.count // 2 - 2))
    second = data.draw(st.integers(series.count // 2 + 1, series.count - 3))
    left = [one for index, one in enumerate(instances_of(series)) if index not in (first, second)]
    report = judged(left)
    assert [finding.value for finding in report.findings if finding.code == "MISSING_SLICE"] == ["2"]


@given(stacks, st.integers(0, 3), st.integers(0, 3))
def test_slices_cut_from_the_ends_are_no_hole(series: Series, before: int, after: int) -> None:
    """A shorter stack is only shorter: a late first number is a hint, and there is no hole."""
    left = instances_of(series)[before : series.count - after or None]
    report = judged(left)
    hints = {"INSTANCE_NUMBERS_START_LATE"} if before >= 2 else set()
    assert set(report.codes()) == hints | few(left)


@given(stacks, st.data())
def test_a_copied_file_is_a_duplicate(series: Series, data: st.DataObject) -> None:
    """Files that come again are named as duplicates, and change nothing else."""
    instances = instances_of(series)
    again = data.draw(st.lists(st.sampled_from(instances), min_size=1, max_size=5))
    report = judged([*instances, *(msgspec.structs.replace(one, name="again.dcm") for one in again)])
    assert (report.verdict, report.codes()) == ("adequate", ("DUPLICATE_INSTANCE",))
    assert report.findings[0].value == str(len(again))


@given(stacks, st.floats(2, 30).map(lambda value: round(value, 1)), st.booleans())
def test_a_tilted_gantry_is_no_uneven_spacing(series: Series, angle: float, stated: bool) -> None:
    """A tilt shows in the positions, stated or not; the steps along the normal are the table's times cos(tilt)."""
    tilted = msgspec.structs.replace(series, tilt=angle)
    report = judged(instances_of(tilted, tilt=angle if stated else 0.0))
    travelled = (series.count - 1) * series.step * math.sin(math.radians(angle))
    seen = stated or travelled > 0.5
    assert (report.verdict, report.codes()) == ("adequate", ("GANTRY_TILT",) if seen else ())
    step = series.step * math.cos(math.radians(angle))
    assert abs(float(report.series[0].spacing_mm) - step) <= 0.005 + 1e-9


@given(stacks, st.data())
def test_small_errors_of_position_are_even(series: Series, data: st.DataObject) -> None:
    """Positions off by a few hundredths of a millimetre, as tables are, leave a stack even."""
    instances = instances_of(series)
    errors = data.draw(st.lists(st.floats(-0.02, 0.02), min_size=series.count, max_size=series.count))
    moved = [
        (header_of(one).position[0], header_of(one).position[1], header_of(one).position[2] + error)
        for one, error in zip(instances, errors, strict=True)
    ]
    assert judged(with_headers(instances, position=moved)).codes() == ()


@given(stacks, st.data())
def test_a_shifted_slice_is_uneven(series: Series, data: st.DataObject) -> None:
    """One slice moved by a third of a step makes the spacing uneven, and no slice is missing."""
    big = msgspec.structs.replace(series, step=max(series.step, 1.0))
    instances = instances_of(big)
    index = data.draw(st.integers(1, big.count - 2))
    moved = [header_of(one).position for one in instances]
    moved[index] = (moved[index][0], moved[index][1], moved[index][2] + 0.33 * big.step)
    report = judged(with_headers(instances, position=moved))
    assert (report.verdict, report.codes()) == ("limited", ("UNEVEN_SPACING",))


@given(stacks, st.data())
def test_mixed_thickness_is_named(series: Series, data: st.DataObject) -> None:
    """A few slices of another thickness are named as a mixture."""
    instances = instances_of(series)
    others = data.draw(st.sets(st.integers(0, series.count - 1), min_size=1, max_size=series.count - 1))
    thick = [7.5 if index in others else series.thickness for index in range(series.count)]
    report = judged(with_headers(instances, thickness=thick))
    assert (report.verdict, report.codes()) == ("limited", ("MIXED_THICKNESS",))


@given(stacks, st.randoms(use_true_random=False))
def test_numbers_and_order_mean_nothing(series: Series, chance: Any) -> None:
    """Instance numbers dealt out at random, and files in any order, change no finding and no measure."""
    instances = instances_of(series)
    expected = judged(instances)
    numbers = list(range(1, series.count + 1))
    chance.shuffle(numbers)
    dealt = with_headers(instances, instance_number=numbers)
    first = encode(judged(dealt))
    chance.shuffle(dealt)
    assert encode(judged(dealt)) == first
    report = judged(dealt)
    assert (report.findings, report.series) == (expected.findings, expected.series)


@given(stacks, st.integers(2, 5))
def test_time_points_are_stacks_of_their_own(series: Series, repeats: int) -> None:
    """The same positions several times make as many stacks, each of all slices."""
    found = []
    for moment in range(repeats):
        for one in instances_of(series, time_index=moment + 1, acquisition_time=f"1015{moment * 10:02}"):
            header = header_of(one)
            uid = f"{header.sop_instance_uid}.{moment}"
            found.append(instance(msgspec.structs.replace(header, sop_instance_uid=uid)))
    report = judged(found)
    assert report.codes() == ()
    assert [row.slices for row in report.series] == [series.count] * repeats


@settings(max_examples=300)
@given(st.data())
def test_no_header_breaks_the_check(data: st.DataObject) -> None:
    """Headers with any values in any field give a report, the same for either order."""
    number = st.none() | st.floats(-1e6, 1e6) | st.just(0.0)
    vector3 = st.just(()) | st.tuples(*[st.floats(-1e3, 1e3)] * 3)
    vector6 = st.just(()) | st.just((1.0, 0, 0, 0, 1.0, 0)) | st.tuples(*[st.floats(-1, 1)] * 6)
    text = st.sampled_from(["", "portal", "ART", "20260105", "101530", "DWI b800", "Leber nativ", "///", "頭"])
    headers = st.builds(
        InstanceHeader,
        sop_class_uid=st.sampled_from(["", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.3"]),
        sop_instance_uid=st.sampled_from(["", "1", "2", "3", "4"]),
        series_uid=st.sampled_from(["", "a", "b"]),
        modality=st.sampled_from(["", "CT", "MR", "SR"]),
        series_description=text,
        protocol_name=text,
        body_part=text,
        study_date=text,
        acquisition_time=text,
        contrast_start=text,
        contrast_agent=text,
        contrast_volume=number,
        position=vector3,
        orientation=vector6,
        pixel_spacing=st.just(()) | st.tuples(number.filter(lambda v: v is not None), st.just(0.5)),
        thickness=number,
        tilt=number,
        rows=st.none() | st.integers(0, 600),
        columns=st.none() | st.integers(0, 600),
        frames=st.integers(1, 3),
        has_pixels=st.booleans(),
        echo_time=number,
        repetition_time=number,
        b_value=number,
        instance_number=st.none() | st.integers(-5, 500),
    )
    instances = [instance(header) for header in data.draw(st.lists(headers, max_size=8))]
    site = data.draw(st.sampled_from(["any", "liver-ct", "liver-mr", "rectum-mr", "sarcoma-mr", "colon-ct"]))
    report = check(instances, requirement(site), ON)
    assert encode(check(instances[::-1], requirement(site), ON)) == encode(report)
