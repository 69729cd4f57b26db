"""Slices into stacks: by series, orientation and matrix, then apart by time point, echo or reconstruction.

A stack is a set of parallel slices at distinct positions along their common normal. Instance numbers are never used to
order or to count: they run on over a gap and may start anywhere.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from domain.imaging.model import Frame, InstanceHeader, Vector
from domain.imaging.phases import seconds_of

SAME_POSITION_MM: Final = 0.05
"""Positions closer than this are one position: headers round to 0.01, and no clinical slice is that thin."""
PARALLEL: Final = math.cos(math.radians(1.0))
FARTHEST_MM: Final = 1e5
"""No patient lies further from a scanner's origin; a position beyond it, like a thickness, is a writing error."""
MOST_DIRECTIONS: Final = 500
"""Sets of parallel slices that one series is taken apart into; what turns on beyond them is no stack."""
_INTERLEAVED_AT_MOST: Final = 8
_SET_AT_LEAST: Final = 5
_PAUSE_S: Final = 8.0


class Slice(msgspec.Struct, kw_only=True, gc=False):
    """One image plane of a stack, of an ordinary file or a frame; millimetres."""

    header: InstanceHeader
    frame: Frame | None
    position: Vector
    normal: Vector
    along: float
    thickness: float | None
    pixel_spacing: Vector


class Stack(msgspec.Struct, kw_only=True):
    """Parallel slices of one series, sorted along the normal, no two at one position."""

    series: str
    header: InstanceHeader
    """Of the slice that comes first in time: the series' descriptions and dates."""
    slices: list[Slice]
    normal: Vector
    repeats: int
    """Stacks at the same positions in this series (time points, echoes, reconstructions), this one counted."""
    orientations: int
    """Orientations among the slices of this series."""


def series_key(header: InstanceHeader) -> str:
    """What ties files into one series: its UID, or what else they share when that is missing."""
    if header.series_uid:
        return header.series_uid
    number = "" if header.series_number is None else str(header.series_number)
    parts = (header.study_uid or header.study_date, header.modality, number, header.series_description)
    return "no-uid/" + "/".join(parts)


def cross(orientation: Vector) -> Vector:
    """Unit normal of a row and a column direction, () when they span no plane (PS3.3 C.7.6.2)."""
    ax, ay, az, bx, by, bz = orientation
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    return (nx / length, ny / length, nz / length) if 0.5 < length < 2.0 else ()


def dot(a: Vector, b: Vector) -> float:
    """Scalar product of two vectors of three."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def slices_of(header: InstanceHeader) -> list[Slice]:
    """The slices of one image, [] when it does not say where they lie (a mosaic holds many in one picture)."""
    if "MOSAIC" in header.image_type:
        return []
    if not header.frame_geometry:
        normal = cross(header.orientation) if header.orientation else ()
        if not normal or not _is_near(header.position) or header.frames > 1:
            return []
        return [
            Slice(
                header=header,
                frame=None,
                position=header.position,
                normal=normal,
                along=0.0,
                thickness=_length(header.thickness),
                pixel_spacing=header.pixel_spacing if _is_near(header.pixel_spacing) else (),
            )
        ]
    found = []
    for frame in header.frame_geometry:
        normal = cross(frame.orientation) if frame.orientation else ()
        if normal and _is_near(frame.position):
            thickness = frame.thickness if frame.thickness is not None else header.thickness
            spacing = frame.pixel_spacing or header.pixel_spacing
            found.append(
                Slice(
                    header=header,
                    frame=frame,
                    position=frame.position,
                    normal=normal,
                    along=0.0,
                    thickness=_length(thickness),
                    pixel_spacing=spacing if _is_near(spacing) else (),
                )
            )
    return found


def _is_near(lengths: Vector) -> bool:
    return bool(lengths) and max(lengths) < FARTHEST_MM and min(lengths) > -FARTHEST_MM


def _length(value: float | None) -> float | None:
    return value if value is not None and abs(value) < FARTHEST_MM else None


def stacks_of(series: str, slices: Sequence[Slice]) -> list[Stack]:
    """The stacks of one series, whatever order its slices come in."""
    groups: list[tuple[Vector, tuple[int | None, int | None], list[Slice]]] = []
    for one in sorted(slices, key=_canonical):
        matrix = (one.header.rows, one.header.columns)
        for normal, size, members in groups:
            if size == matrix and abs(dot(normal, one.normal)) >= PARALLEL:
                members.append(one)
                break
        else:
            if len(groups) < MOST_DIRECTIONS:
                groups.append((one.normal, matrix, [one]))
    orientations = _count_directions([normal for normal, _, _ in groups])
    found = []
    for normal, _, members in groups:
        for one in members:
            one.along = dot(one.position, normal)
        layers = _layers(members)
        for layer in layers:
            layer.sort(key=lambda one: one.along)
            found.append(
                Stack(
                    series=series,
                    header=min((one.header for one in layer), key=_when),
                    slices=layer,
                    normal=normal,
                    repeats=len(layers),
                    orientations=orientations,
                )
            )
    return found


def _canonical(one: Slice) -> tuple[Hashable, ...]:
    header = one.header
    return (one.position, header.orientation, *_when(header), header.instance_number or 0)


def _when(header: InstanceHeader) -> tuple[str, str, str, str]:
    return (
        header.acquisition_date or header.content_date or header.study_date,
        header.acquisition_time or header.content_time,
        header.sop_instance_uid,
        header.series_description,
    )


def _count_directions(normals: list[Vector]) -> int:
    distinct: list[Vector] = []
    for normal in normals:
        if not any(abs(dot(normal, other)) >= PARALLEL for other in distinct):
            distinct.append(normal)
    return len(distinct)


def _acquired(one: Slice) -> Hashable:
    return (one.header.acquisition_date, one.header.acquisition_time, one.frame.acquired if one.frame else "")


_KINDS: Final[tuple[Callable[[Slice], Hashable], ...]] = (
    lambda one: one.frame.kind if one.frame and one.frame.kind else one.header.image_type,
    lambda one: one.header.kernel,
    lambda one: one.frame.echo_time if one.frame and one.frame.echo_time is not None else one.header.echo_time,
)
"""What makes images of another kind, wherever they lie."""
_APART: Final[tuple[Callable[[Slice], Hashable], ...]] = (
    *_KINDS,
    lambda one: one.frame.b_value if one.frame and one.frame.b_value is not None else one.header.b_value,
    lambda one: one.frame.time_index if one.frame and one.frame.time_index is not None else one.header.time_index,
    lambda one: one.header.inversion_time,
    lambda one: one.header.acquisition_number,
    lambda one: one.thickness,
    lambda one: one.header.trigger_time,
    _acquired,
    lambda one: tuple(round(value) for value in _in_plane(one)),
)
"""What tells slices at one position apart, the likeliest first. Used only where positions repeat: alone, none of them
splits a stack (an axial CT has an acquisition number a rotation)."""


def _in_plane(one: Slice) -> Vector:
    return tuple(p - one.along * n for p, n in zip(one.position, one.normal, strict=True))


def _layers(members: list[Slice]) -> list[list[Slice]]:
    """Members apart into layers in which no position repeats."""
    depth = _depth(members)
    if depth == 1:
        return _interleaved(members)
    keys: list[Callable[[Slice], Hashable]] = []
    groups = [members]
    for apart in _APART:
        trial = _split(members, [*keys, apart])
        deepest = max(map(_depth, trial))
        if len(trial) > len(groups) and len(trial) <= 2 * depth and deepest < max(map(_depth, groups)):
            keys.append(apart)
            groups = trial
        if deepest == 1 and groups is trial:
            break
    return [layer for group in groups for layer in _ranked(group)]


def _interleaved(members: list[Slice]) -> list[list[Slice]]:
    """Members apart where whole sets lie between each other's places; else as one.

    Two reconstructions whose first slices are a fraction of a step apart repeat no position. Taken as one stack they
    would be full of holes. Stations follow each other, so they are no such sets; nor are odd and even slices of one
    acquisition, whose steps together are even.
    """
    for apart in _KINDS:
        if len({apart(one) for one in members}) > 1 and _are_sets(sets := _split(members, [apart])):
            return sets
    places = sorted(one.along for one in members)
    odd = len(places) - 1 - _even_steps(places)
    if 5 * odd * _INTERLEAVED_AT_MOST < 4 * len(members):
        return [members]
    for apart in (lambda one: one.header.acquisition_number, _pauses(members)):
        sets = _split(members, [apart])
        if 5 * odd * len(sets) >= 4 * len(members) and _are_sets(sets):
            return sets
    return [members]


def _are_sets(sets: list[list[Slice]]) -> bool:
    """Whether each is a stack of even steps by itself, and all reach over the same places."""
    if not 2 <= len(sets) <= _INTERLEAVED_AT_MOST or min(map(len, sets)) < _SET_AT_LEAST:
        return False
    placed = [sorted(one.along for one in each) for each in sets]
    lowest, highest = min(places[0] for places in placed), max(places[-1] for places in placed)
    spans = [places[-1] - places[0] for places in placed]
    even = all(_even_steps(places) >= 0.8 * (len(places) - 1) for places in placed)
    return even and min(spans) >= 0.5 * (highest - lowest)


def _even_steps(places: list[float]) -> int:
    """How many steps are like the middle one."""
    steps = [after - before for before, after in pairwise(places)]
    usual = sorted(steps)[len(steps) // 2] if steps else 0.0
    return sum(abs(step - usual) <= max(SAME_POSITION_MM, 0.05 * usual) for step in steps)


def _pauses(members: list[Slice]) -> Callable[[Slice], Hashable]:
    """Which run of the scanner a slice comes from, as the pauses between acquisition times tell."""
    seconds = {one.header.acquisition_time: seconds_of(one.header.acquisition_time) for one in members}
    runs: dict[str, int] = {}
    run, before = 0, None
    for time, second in sorted(seconds.items(), key=lambda item: (item[1] is None, item[1] or 0.0, item[0])):
        run += before is not None and second is not None and second - before > _PAUSE_S
        runs[time], before = run, second
    return lambda one: runs[one.header.acquisition_time]


def _split(members: list[Slice], keys: list[Callable[[Slice], Hashable]]) -> list[list[Slice]]:
    groups: dict[Hashable, list[Slice]] = defaultdict(list)
    for one in members:
        groups[tuple(key(one) for key in keys)].append(one)
    return list(groups.values())


def _places(members: list[Slice]) -> list[list[Slice]]:
    """Slices at the same position together, positions in order."""
    places: list[list[Slice]] = []
    for one in sorted(members, key=lambda one: (one.along, *_when(one.header), one.header.instance_number or 0)):
        if places and one.along - places[-1][0].along < SAME_POSITION_MM:
            places[-1].append(one)
        else:
            places.append([one])
    return places


def _depth(members: list[Slice]) -> int:
    return max((len(place) for place in _places(members)), default=0)


def _ranked(members: list[Slice]) -> list[list[Slice]]:
    """Layers by rank at each position, for repeats that nothing in the headers tells apart."""
    places = _places(members)
    depth = max(map(len, places))
    return [[place[rank] for place in places if len(place) > rank] for rank in range(depth)]
