"""Functional groups of an enhanced multi-frame image (PS3.3 C.7.6.16): geometry, time, diffusion, frame by frame."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from application.records import dicom_elements
from application.records.dicom_values import Raw, bounded, integer, number, numbers, text, texts
from domain.imaging.model import Frame

MAX_FRAMES: Final = 20_000
"""Frames whose geometry is kept; the largest dynamic series seen have 5,000."""

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_POSITION, _ORIENTATION, _MEASURES, _CONTENT = 0x00209113, 0x00209116, 0x00289110, 0x00209111
_ECHO, _DIFFUSION, _TIMING, _MODIFIER = 0x00189114, 0x00189117, 0x00189112, 0x00189115
_MR_TYPE, _CT_TYPE, _CT_DETAILS, _CT_RECONSTRUCTION = 0x00189226, 0x00189329, 0x00189304, 0x00189314
_ANATOMY, _REGION, _AGENT = 0x00209071, 0x00082218, 0x00180012

FUNCTIONAL_GROUPS: Final = (_SHARED, _PER_FRAME, _REGION, _AGENT)
"""Sequences that this module reads from the top of a data set."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What a multi-frame image says once, in sequences, where an ordinary one has elements."""

    body_part: str = ""
    contrast_agent: str = ""
    kernel: str = ""
    tilt: float | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None


def items(raw: Raw, tag: int, enc: Sequence[str] = ()) -> list[Raw]:
    """Items of a sequence as raw data sets, [] when absent. One sent as UN is implicit VR (PS3.5 6.2.2)."""
    element: Any = raw.get(tag)
    if element is None or not element.value:
        return []
    value = element.value
    if isinstance(value, bytes):
        unknown = element.VR == "UN"
        if element.is_little_endian:
            walked = dicom_elements.items(value, element.is_implicit_VR or unknown)
            if walked is not None:
                return list[Raw](walked)
        from application.records.dicom_library import read_sequence

        value = read_sequence(
            bounded(value),
            element.is_implicit_VR or unknown,
            element.is_little_endian,
            len(value),
            list(enc) or ["iso8859"],
        )
    return [dict(item.items()) for item in value] if not isinstance(value, str) else []


def _item(raw: Raw, tag: int) -> Raw:
    found = items(raw, tag)
    return found[0] if found else {}


def functional_groups(raw: Raw, enc: tuple[str, ...]) -> tuple[tuple[Frame, ...], Shared]:
    """One `Frame` for each item of the per-frame groups, and what is said once; (), all empty for an ordinary image."""
    if not any(tag in raw for tag in FUNCTIONAL_GROUPS):
        return (), Shared()
    per_frame = items(raw, _PER_FRAME, enc)[:MAX_FRAMES]
    shared = _item(raw, _SHARED)
    common = _frame(shared, Frame()) if per_frame else Frame()
    frames = tuple(_frame(group, common) for group in per_frame)
    return frames, _shared_facts(raw, shared, per_frame[0] if per_frame else {}, enc)


def _frame(group: Raw, common: Frame) -> Frame:
    measures, content = _item(group, _MEASURES), _item(group, _CONTENT)
    spacing = numbers(measures, 0x00280030)
    kind = texts(_item(group, _MR_TYPE), 0x00089007) or texts(_item(group, _CT_TYPE), 0x00089007)
    position = numbers(_item(group, _POSITION), 0x00200032)
    orientation = numbers(_item(group, _ORIENTATION), 0x00200037)
    thickness = number(measures, 0x00180050)
    time_index = integer(content, 0x00209128, "UL")
    echo_time = number(_item(group, _ECHO), 0x00189082, "FD")
    b_value = number(_item(group, _DIFFUSION), 0x00189087, "FD")
    return Frame(
        position=position if len(position) == 3 else common.position,
        orientation=orientation if len(orientation) == 6 else common.orientation,
        pixel_spacing=spacing if len(spacing) == 2 else common.pixel_spacing,
        thickness=thickness if thickness is not None else common.thickness,
        time_index=time_index if time_index is not None else common.time_index,
        echo_time=echo_time if echo_time is not None else common.echo_time,
        b_value=b_value if b_value is not None else common.b_value,
        acquired=text(content, 0x00189074) or common.acquired,
        kind=tuple(part.upper() for part in kind) or common.kind,
    )


def _shared_facts(raw: Raw, common: Raw, first: Raw, enc: tuple[str, ...]) -> Shared:
    """Facts that stand in sequences only; from the first frame where the shared groups lack them."""

    def group(tag: int) -> Raw:
        return _item(common, tag) or _item(first, tag)

    region = _item(raw, _REGION) or _item(group(_ANATOMY), _REGION)
    return Shared(
        body_part=text(region, 0x00080104, enc),
        contrast_agent=text(_item(raw, _AGENT), 0x00080104, enc),
        kernel=text(group(_CT_RECONSTRUCTION), 0x00181210),
        tilt=number(group(_CT_DETAILS), 0x00181120, "FD"),
        repetition_time=number(group(_TIMING), 0x00180080),
        echo_time=number(group(_ECHO), 0x00189082, "FD"),
        inversion_time=number(group(_MODIFIER), 0x00189079, "FD"),
    )
