"""Measuring one stack: extent, steps, holes, tilt, thickness and resolution, all along the slice normal.

The table of a tilted scan moves obliquely to the slices: its steps along the normal are its increments times cos(tilt),
which is even spacing and no hole.
"""

import math
from itertools import pairwise
from typing import Final

import msgspec

from domain.imaging.model import Vector
from domain.imaging.stacks import Stack, dot

STEP_TOLERANCE_MM: Final = 0.1
STEP_TOLERANCE: Final = 0.05
"""Steps within 0.1 mm or 5 % of the usual one are even: table and rounding errors seen in ordinary scans."""
HOLE: Final = 1.5
"""A step of at least this many usual ones leaves out a slice."""
TILT_DEG: Final = 1.0
"""Angle from which a stack counts as tilted; positions rounded to 0.01 mm stay far below."""
THICKNESS_TOLERANCE_MM: Final = 0.1


class Hole(msgspec.Struct, frozen=True):
    """A step that leaves out slices: where it starts, its length, and how many slices are missing."""

    at: Vector
    step: float
    missing: int


class Measures(msgspec.Struct, kw_only=True, frozen=True):
    """Geometry of one stack in millimetres and degrees."""

    count: int
    plane: str
    """axial, sagittal or coronal: the nearest."""
    span: float
    """From the first slice's centre to the last one's."""
    extent: float
    """Span and one slice: what the stack covers."""
    step: float | None
    step_min: float | None
    step_max: float | None
    holes: tuple[Hole, ...]
    uneven: bool
    tilt: float
    thickness: float | None
    """Of the thickest slice; None when none states it."""
    thickness_min: float | None
    unstated: int
    """Slices that state no thickness."""
    pixel: float | None
    matrix: int
    """The smaller of rows and columns."""


def plane_of(normal: Vector) -> str:
    """The body plane nearest to a normal (patient axes, PS3.3 C.7.6.2.1.1)."""
    weights = [abs(part) for part in normal]
    return ("sagittal", "coronal", "axial")[weights.index(max(weights))]


def measure(stack: Stack) -> Measures:
    """Measures of a stack of at least one slice."""
    slices = stack.slices
    places = [one.along for one in slices]
    steps = [after - before for before, after in pairwise(places)]
    usual = _usual(steps)
    stated = [one.thickness for one in slices if one.thickness is not None and one.thickness > 0]
    thickness = max(stated) if stated else None
    span = places[-1] - places[0]
    first = slices[0]
    spacings = [max(one.pixel_spacing) for one in slices if one.pixel_spacing and min(one.pixel_spacing) > 0]
    return Measures(
        count=len(slices),
        plane=plane_of(stack.normal),
        span=span,
        extent=span + (thickness if thickness is not None else (usual or 0.0)),
        step=usual,
        step_min=min(steps) if steps else None,
        step_max=max(steps) if steps else None,
        holes=tuple(_holes(stack, steps, usual)) if usual else (),
        uneven=bool(usual) and any(_differs(step, usual) for step in steps if usual),
        tilt=_tilt(stack),
        thickness=thickness,
        thickness_min=min(stated) if stated else None,
        unstated=len(slices) - len(stated),
        pixel=max(spacings) if spacings else None,
        matrix=min(first.header.rows or 0, first.header.columns or 0),
    )


def _usual(steps: list[float]) -> float | None:
    """The lower median step: with few slices a hole must not pass for the rule."""
    return sorted(steps)[(len(steps) - 1) // 2] if steps else None


def _differs(step: float, usual: float) -> bool:
    return abs(step - usual) > max(STEP_TOLERANCE_MM, STEP_TOLERANCE * usual)


def _holes(stack: Stack, steps: list[float], usual: float) -> list[Hole]:
    """Steps that leave out slices. Three long steps of one size in a row are another spacing, not three holes."""
    found = []
    for index, step in enumerate(steps):
        if step < HOLE * usual or _in_run(steps, index):
            continue
        found.append(Hole(at=stack.slices[index].position, step=step, missing=max(1, round(step / usual) - 1)))
    return found


def _in_run(steps: list[float], index: int) -> bool:
    length = 1
    for direction in (-1, 1):
        neighbour = index + direction
        while 0 <= neighbour < len(steps) and not _differs(steps[neighbour], steps[index]):
            length += 1
            neighbour += direction
    return length >= 3


def _tilt(stack: Stack) -> float:
    """Degrees between the normal and the line from first to last slice, or the tag's, whichever is larger.

    One slice, or slices that lie within 0.5 mm sideways, have no tilt of their own.
    """
    first, last = stack.slices[0].position, stack.slices[-1].position
    line = tuple(b - a for a, b in zip(first, last, strict=True))
    along = dot(line, stack.normal)
    length = math.sqrt(dot(line, line))
    sideways = math.sqrt(max(0.0, length * length - along * along))
    measured = math.degrees(math.atan2(sideways, abs(along))) if sideways > 0.5 and length > 0 else 0.0
    stated = max((abs(one.header.tilt) for one in stack.slices if one.header.tilt is not None), default=0.0)
    return max(measured, stated if stated <= 45 else 0.0)
