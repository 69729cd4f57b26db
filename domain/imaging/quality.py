"""What is wrong with one stack, by the limits of a requirement set."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from domain.imaging.candidate import Candidate
from domain.imaging.findings import Finding, Severity, decimal
from domain.imaging.geometry import THICKNESS_TOLERANCE_MM, TILT_DEG
from domain.imaging.model import InstanceHeader
from domain.imaging.requirement import Limit, Requirement

_UID: Final = "1.2.840.10008.1.2"
DECODABLE: Final = frozenset(
    [_UID, _UID + ".1", _UID + ".2", _UID + ".1.99", _UID + ".5", "1.2.840.113619.5.2"]
    + [f"{_UID}.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)]
)
"""Transfer syntaxes that common decoders open (PS3.5 annex A): native, deflated, RLE, JPEG, JPEG-LS, JPEG 2000."""
_LOSSY: Final = frozenset(f"{_UID}.4.{number}" for number in (50, 51, 81))
_MAYBE_LOSSY: Final = frozenset(f"{_UID}.4.{number}" for number in (91, 203))
"""Syntaxes that allow both: lossy unless the header says that it is not."""
_LONG_STEP: Final = 1.05
_SOFT: Final = 1e-6
NOTED: Final = frozenset(
    (
        "MISSING_SLICE",
        "UNEVEN_SPACING",
        "MIXED_THICKNESS",
        "MIXED_ORIENTATION",
        "GANTRY_TILT",
        "LOSSY",
        "UNSUPPORTED_SYNTAX",
    )
)
"""What is still noted about a stack that the verdict does not rest on."""


def quality(one: Candidate, requirement: Requirement, on: date, thickness: Limit | None = None) -> list[Finding]:
    """Findings about a stack; `thickness` replaces the set's own limit for slices."""
    return [
        *_steps(one),
        *_volume(one, requirement),
        *_thickness(one, requirement, thickness or requirement.slice_limited_above, thickness is not None),
        *_resolution(one, requirement),
        *_pixels(one),
        *_age(one, requirement, on),
    ]


def _finding(
    one: Candidate,
    code: str,
    severity: Severity,
    message: str,
    value: float | str | None = None,
    unit: str = "",
    limit: Limit | None = None,
) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        series=one.key,
        value=value if isinstance(value, str) else decimal(value),
        unit=unit,
        limit=decimal(limit.value) if limit else "",
        source=limit.source if limit else "",
        message=f"{one.label[:1].upper()}{one.label[1:]}: {message}",
    )


def _steps(one: Candidate) -> Iterator[Finding]:
    measures = one.measures
    if measures.holes:
        missing = sum(hole.missing for hole in measures.holes)
        first = measures.holes[0]
        place = ", ".join(decimal(part, 1) for part in first.at)
        yield _finding(
            one,
            "MISSING_SLICE",
            "inadequate",
            f"{_slices(missing)} {'is' if missing == 1 else 'are'} missing; "
            f"the first hole is {decimal(first.step)} mm wide where slices are "
            f"{decimal(measures.step)} mm apart (after position {place}). Please send the complete series.",
            float(missing),
            "1",
        )
    if measures.uneven:
        severity: Severity = "note" if measures.holes else "limited"
        yield _finding(
            one,
            "UNEVEN_SPACING",
            severity,
            f"the steps between slices vary from {decimal(measures.step_min)} to {decimal(measures.step_max)} mm; "
            "please send a reconstruction with even steps.",
            measures.step_max,
            "mm",
        )
    if measures.tilt >= TILT_DEG:
        yield _finding(
            one,
            "GANTRY_TILT",
            "note",
            f"the slices are tilted by {decimal(measures.tilt, 1)} degrees against the direction of the stack.",
            measures.tilt,
            "deg",
        )
    low, high = measures.thickness_min, measures.thickness
    if low is not None and high is not None and high - low > THICKNESS_TOLERANCE_MM:
        yield _finding(
            one,
            "MIXED_THICKNESS",
            "limited",
            f"slices of {decimal(low)} to {decimal(high)} mm are mixed; please send one reconstruction throughout.",
            high,
            "mm",
        )
    if one.stack.orientations > 1:
        yield _finding(
            one,
            "MIXED_ORIENTATION",
            "note",
            f"the series mixes {one.stack.orientations} orientations; each was judged by itself.",
            float(one.stack.orientations),
            "1",
        )


def _volume(one: Candidate, requirement: Requirement) -> Iterator[Finding]:
    measures, least, wanted = one.measures, requirement.slices_at_least, requirement.slices_wanted
    if measures.count < least.value:
        told = f"it has only {_slices(measures.count)}, too few for a volume; please send the complete examination."
        yield _finding(one, "NOT_A_VOLUME", "inadequate", told, float(measures.count), "1", least)
    few = next((limit for limit in (least, wanted) if limit and measures.count < limit.value), None)
    hard, soft = requirement.coverage_inadequate_below, requirement.coverage_limited_below
    short = next((limit for limit in (hard, soft) if limit and measures.extent + _SOFT < limit.value), None)
    if short is not None:
        severity: Severity = "inadequate" if short is hard else "limited"
        told = (
            f"it covers {decimal(measures.extent, 1)} mm; {requirement.title} needs at least "
            f"{decimal((soft or short).value)} mm. Please send the complete examination, or acquire it."
        )
        yield _finding(one, "COVERAGE_SHORT", severity, told, measures.extent, "mm", soft or short)
    elif few is not None:
        severity = "inadequate" if few is least else "limited"
        told = (
            f"it covers only {decimal(measures.extent, 1)} mm with {_slices(measures.count)}; "
            "please send the complete examination."
        )
        yield _finding(one, "COVERAGE_SHORT", severity, told, float(measures.count), "1", few)


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _thickness(one: Candidate, requirement: Requirement, soft: Limit | None, replaced: bool) -> Iterator[Finding]:
    measures = one.measures
    hard = None if replaced else requirement.slice_inadequate_above
    if measures.thickness is None:
        severity: Severity = "ask" if soft else "note"
        yield _finding(one, "THICKNESS_UNKNOWN", severity, "the slice thickness is not stated; please tell us.")
    thickness = measures.thickness or 0.0
    step = measures.step or 0.0
    worst = step if step > thickness * _LONG_STEP else thickness
    over = next((limit for limit in (hard, soft) if limit and worst > limit.value + _SOFT), None)
    if over is None:
        return
    far = "a slice only every" if worst > thickness else "slices of"
    wanted = f"{decimal((soft or over).value)} mm or less"
    told = f"it has {far} {decimal(worst)} mm; please " + (
        f"reconstruct at {wanted} from the raw data, or acquire again."
        if one.modality == "CT"
        else f"send it at {wanted}, or acquire it."
    )
    yield _finding(one, "THICK_SLICES", "inadequate" if over is hard else "limited", told, worst, "mm", soft or over)


def _resolution(one: Candidate, requirement: Requirement) -> Iterator[Finding]:
    matrix, pixel, measures = requirement.matrix_at_least, requirement.pixel_at_most, one.measures
    if pixel and measures.pixel is not None and measures.pixel > pixel.value + _SOFT:
        told = (
            f"its pixels measure {decimal(measures.pixel)} mm; at most {decimal(pixel.value)} mm are needed. "
            "Please send the original resolution."
        )
        yield _finding(one, "LOW_INPLANE_RES", "limited", told, measures.pixel, "mm", pixel)
    elif matrix and measures.matrix < matrix.value:
        told = (
            f"its matrix is {one.stack.header.rows} x {one.stack.header.columns}; at least "
            f"{decimal(matrix.value)} x {decimal(matrix.value)} are needed. Please send the original resolution."
        )
        yield _finding(one, "LOW_INPLANE_RES", "limited", told, float(measures.matrix), "1", matrix)


def _pixels(one: Candidate) -> Iterator[Finding]:
    return compressed([part.header for part in one.stack.slices], one.key, one.label)


def compressed(stacked: Sequence[InstanceHeader], key: str, label: str) -> Iterator[Finding]:
    """Findings about the compression of images of one series; lossy or not openable."""
    named = f"{label[:1].upper()}{label[1:]}"
    unknown = sorted({header.transfer_syntax for header in stacked} - DECODABLE)
    if unknown:
        value = ", ".join(unknown)
        told = f"{named}: its compression ({value}) cannot be opened here; please send it uncompressed."
        yield Finding(code="UNSUPPORTED_SYNTAX", severity="inadequate", series=key, value=value, message=told)
    lossy = sum(
        header.lossy == "01"
        or header.transfer_syntax in _LOSSY
        or (header.transfer_syntax in _MAYBE_LOSSY and header.lossy != "00")
        for header in stacked
    )
    if lossy:
        count = "1 image is" if lossy == 1 else f"{lossy} images are"
        told = f"{named}: {count} compressed irreversibly; please send the original ones."
        yield Finding(code="LOSSY", severity="limited", series=key, value=str(lossy), unit="1", message=told)


def _age(one: Candidate, requirement: Requirement, on: date) -> Iterator[Finding]:
    soft, hard = requirement.age_limited_above, requirement.age_inadequate_above
    if one.day is None or (one.day - on).days > 1:  # east of the reader it may be tomorrow
        severity: Severity = "ask" if soft or hard else "note"
        told = "its date is missing or in the future; please tell us when it was acquired."
        yield _finding(one, "DATE_UNKNOWN", severity, told)
        return
    age = max(0, (on - one.day).days)
    over = next((limit for limit in (hard, soft) if limit and age > limit.value), None)
    if over is not None:
        told = (
            f"it was acquired {age} days ago, on {one.day.isoformat()}; at most {decimal(over.value)} days are "
            "accepted. Please send newer imaging, or acquire it."
        )
        yield _finding(one, "STALE", "inadequate" if over is hard else "limited", told, float(age), "d", over)
