"""Which slices of which series are drawn: chosen from header facts alone, before a pixel is decoded."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from domain.imaging.model import InstanceHeader
from domain.imaging.requirement import Vocabulary
from domain.imaging.roles import Role, label_of, modality_of, role_of
from domain.imaging.stacks import Slice, Stack, dot, series_key, slices_of, stacks_of
from domain.records import FileEntry

TILES: Final = 12
"""Most slices on a sheet: what fits a page and still shows each one."""
SERIES: Final = 64
"""Most series of one record that are drawn."""
PART_BYTES: Final = 512 * 1024**2
"""Largest file that is drawn, in bytes: enhanced images of some thousand frames fit."""

_DRAWN: Final[tuple[Role, ...]] = ("slice", "localizer", "projection", "monitoring", "picture", "screenshot")


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One frame to be drawn: of which part of the input, which frame of it, and what is written beside it."""

    part: int
    frame: int
    place: str
    """How-manieth of how many, as "12/45"."""
    position: str
    """Millimetres along the axis of the body that the stack runs along, as "H 112.5"; "" where not known."""


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """A contact sheet to be drawn."""

    title: str
    subtitle: str
    modality: str
    tiles: tuple[Tile, ...]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One series of a record, and what would be drawn of it; `reason` says why nothing."""

    series: str
    label: str
    modality: str
    role: Role
    images: int
    slices: int
    sheet: Sheet
    files: tuple[FileEntry, ...]
    """Whose bytes are the sheet's parts, in order."""
    reason: str = ""


class _Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that could be drawn."""

    file: FileEntry
    header: InstanceHeader
    frame: int
    place: str
    position: str = ""


def plan(files: Sequence[FileEntry], vocabulary: Vocabulary) -> list[Series]:
    """The series among these files by number and description, each with its key slices, evenly apart."""
    groups: dict[tuple[str, Role], list[FileEntry]] = defaultdict(list)
    for file in files:
        header = file.header
        if header is not None and not header.is_directory:
            groups[series_key(header), role_of(header, vocabulary)].append(file)
    found = [_series(key, role, members) for (key, role), members in groups.items()]
    return sorted(found, key=lambda one: (_number(one), one.series, one.role))


def _number(one: Series) -> int:
    numbers = [each.header.series_number for each in one.files if each.header is not None]
    return min((each for each in numbers if each is not None), default=2**31)


def _series(key: str, role: Role, members: list[FileEntry]) -> Series:
    first = min(members, key=lambda each: (_instance(each), each.sha256))
    header = first.header or InstanceHeader()
    frames, slices, reason = _frames(key, members)
    if role not in _DRAWN:
        reason = "no-picture"
    elif any(each.bytes > PART_BYTES for each in members):
        frames = [each for each in frames if each.file.bytes <= PART_BYTES]
        reason = "" if frames else "too-large"
    chosen = _evenly(frames, TILES) if not reason else []
    # Each file is sent once and in order, whatever the order of its frames on the sheet.
    sent = list({each.file.sha256: each.file for each in chosen}.values())
    at = {each.sha256: number for number, each in enumerate(sent)}
    tiles = tuple(
        Tile(
            part=at[each.file.sha256],
            frame=each.frame,
            place=each.place,
            position=each.position,
        )
        for each in chosen
    )
    modality = modality_of(header)
    sheet = Sheet(title=label_of(header, modality), subtitle=_facts(header, slices), modality=modality, tiles=tiles)
    return Series(
        series=key,
        label=sheet.title,
        modality=modality,
        role=role,
        images=sum(each.header.frames for each in members if each.header is not None),
        slices=slices,
        sheet=sheet,
        files=tuple(sent) or (first,),
        reason=reason,
    )


def _frames(key: str, members: list[FileEntry]) -> tuple[list[_Frame], int, str]:
    """Frames in the order in which they are looked at, how many slices the stacks have, and why there are none."""
    headers = {id(each.header): each for each in members if each.header is not None}
    slices = [one for each in members if each.header is not None for one in slices_of(each.header)]
    numbers = {
        id(frame): number
        for each in members
        if each.header is not None
        for number, frame in enumerate(each.header.frame_geometry)
    }
    stacks = [one for one in stacks_of(key, slices) if one.slices]
    volumes = [one for one in stacks if len(one.slices) > 1] or stacks
    if len(volumes) > 1 and volumes[0].orientations == 1 and len(volumes[0].slices) > 1:
        # The same places again (time points, echoes): the first of the longest stands for them.
        volumes = [max(volumes, key=lambda one: len(one.slices))]
    if volumes:
        ordered = [one for stack in volumes for one in _from_the_head(stack)]
        found = [
            _Frame(
                file=headers[id(one.header)],
                header=one.header,
                frame=numbers[id(one.frame)] if one.frame is not None else 0,
                place=f"{number}/{len(ordered)}",
                position=_position(one),
            )
            for number, one in enumerate(ordered, 1)
        ]
        return found, len(found), ""
    drawable = [
        (each, each.header)
        for each in sorted(members, key=lambda each: (_instance(each), each.name, each.sha256))
        if each.header is not None and each.header.has_pixels and each.header.rows
    ]
    total = sum(header.frames for _, header in drawable)
    loose: list[_Frame] = []
    before = 0
    for file, header in drawable:
        loose += [
            _Frame(file=file, header=header, frame=number, place=f"{before + number + 1}/{total}")
            for number in _some(header.frames)
        ]
        before += header.frames
    return loose, 0, "" if loose else "no-pixels"


def _some(frames: int) -> list[int]:
    """Numbers of frames, never more than can be drawn: a header may claim millions."""
    return list(range(frames)) if frames <= TILES else [(2 * at + 1) * frames // (2 * TILES) for at in range(TILES)]


def _from_the_head(stack: Stack) -> list[Slice]:
    """Slices from head to feet, from front to back, or from the patient's right to left."""
    axis = max(range(3), key=lambda one: abs(stack.normal[one]))
    upwards = stack.normal[axis] > 0
    return list(reversed(stack.slices)) if upwards == (axis == 2) else list(stack.slices)


def _position(one: Slice) -> str:
    axis = max(range(3), key=lambda each: abs(one.normal[each]))
    value = one.position[axis] if abs(one.normal[axis]) > 0.999 else dot(one.position, one.normal) * _sign(one, axis)
    letters = (("R", "L"), ("A", "P"), ("F", "H"))[axis]
    return f"{letters[value >= 0]} {abs(value):.1f} mm"


def _sign(one: Slice, axis: int) -> float:
    return 1.0 if one.normal[axis] >= 0 else -1.0


def _evenly(frames: list[_Frame], most: int) -> list[_Frame]:
    if len(frames) <= most:
        return frames
    return [frames[(2 * at + 1) * len(frames) // (2 * most)] for at in range(most)]


def _instance(file: FileEntry) -> int:
    number = None if file.header is None else file.header.instance_number
    return 2**31 if number is None else number


def _facts(header: InstanceHeader, slices: int) -> str:
    """What a technician asks first, in one line without anything that names the patient."""
    facts = []
    if slices:
        facts.append(f"{slices} slice" if slices == 1 else f"{slices} slices")
    if header.thickness is not None and header.thickness > 0:
        facts.append(f"{header.thickness:g} mm")
    if header.rows and header.columns:
        facts.append(f"{header.columns} x {header.rows}")
    if header.kernel:
        facts.append(f"kernel {header.kernel[:16]}")
    if header.contrast_agent:
        facts.append("contrast stated")
    facts.append("overview, not for diagnosis")
    return " \N{MIDDLE DOT} ".join(facts)
