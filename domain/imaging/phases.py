"""Contrast phases: by words, then by seconds after the start of injection, then by order among like series.

What none of the three tells stays "unknown": that is a question for the hospital, and never a missing phase.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal

import msgspec

from domain.imaging.contrast import Evidence
from domain.imaging.model import InstanceHeader
from domain.imaging.requirement import Phase, Vocabulary
from domain.imaging.words import fold, found_word, has_word

By = Literal["words", "timing", "order", ""]

ORDER: Final[tuple[Phase, ...]] = ("plain", "arterial", "portal", "delayed", "hepatobiliary")
_EARLIEST_S: Final = 12.0
"""Contrast reaches the aorta no earlier; a scan before that is neither plain by time nor arterial."""
_BOUNDS: Final[tuple[tuple[float, Phase], ...]] = (
    (52.5, "arterial"),
    (105.0, "portal"),
    (600.0, "delayed"),
    (2700.0, "hepatobiliary"),
)
"""Upper bounds in seconds: half-way between late arterial 25-45 s, portal venous 60-90 s and delayed 120-300 s."""
_USUAL_S: Final[dict[str, float]] = {"arterial": 35.0, "portal": 70.0, "delayed": 180.0}
_SECONDS: Final = re.compile(r"(?<= )(\d{2,3}) (?:s|sec|secs|sek|seg|сек|秒)(?= )")
_MINUTES: Final = re.compile(r"(?<= )(\d{1,2}) (?:min|mins|minutes?|minuten|мин|分)(?= )")
_DAY_S: Final = 86_400.0
_MOST_EXTENTS: Final = 100
"""Kinds of stacks by their length that one day is searched for; no examination has as many."""


class Timed(msgspec.Struct, kw_only=True):
    """One stack as phase detection sees it; `phase` and `by` are its result."""

    header: InstanceHeader
    contrast: Evidence
    acquired_s: float | None
    """Seconds of its first slice since midnight of `day`."""
    day: str
    extent: float
    layer: int
    layers: int
    """Position in time among the stacks at the same places of one series."""
    phase: Phase = "unknown"
    by: By = ""
    delay_s: float | None = None


class _Alike(msgspec.Struct):
    """Stacks of one day that reach about as far: when runs began, and those of known phase in order of time."""

    given: bool
    starts: list[float]
    anchors: list[tuple[float, Timed]]


def seconds_of(time: str) -> float | None:
    """Seconds since midnight of a DICOM time "HHMMSS.ffffff" (also "HH:MM:SS"), None when it is not one."""
    digits = time.replace(":", "").strip()
    match = re.fullmatch(r"(\d{2})(\d{2})(\d{2})?(\.\d+)?", digits)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0) + float(match[4] or 0)


def detect(stacks: Sequence[Timed], vocabulary: Vocabulary) -> None:
    """Fill `phase`, `by` and `delay_s` of every stack."""
    for stack in stacks:
        stack.delay_s = _delay(stack)
        _by_words(stack, vocabulary)
        if stack.phase == "unknown":
            _by_timing(stack)
        if stack.phase == "unknown" and stack.contrast == "plain":
            stack.phase, stack.by = "plain", "words"
    _by_order(stacks)


def _words_in(text: str, vocabulary: Vocabulary) -> list[Phase]:
    """Phases that a text names, in time order. "Late arterial" is arterial, in every language."""
    found: list[Phase] = [phase for phase in ORDER if has_word(text, vocabulary.phases.get(phase, ()))]
    if "arterial" in found and "delayed" in found:
        found.remove("delayed")
    if "portal" in found and "delayed" in found:
        late = found_word(text, vocabulary.phases["delayed"])
        if found_word(text, vocabulary.phases["portal"]) in late:  # "late venous" is one phase
            found.remove("portal")
    if "hepatobiliary" in found and "delayed" in found:
        found.remove("delayed")
    return found


def _by_words(stack: Timed, vocabulary: Vocabulary) -> None:
    header = stack.header
    for text in (header.series_description, header.protocol_name):
        found = _words_in(text, vocabulary)
        if len(found) > 1 and len(found) == stack.layers:
            stack.phase, stack.by = found[stack.layer], "words"
        elif _is_dynamic(stack, text, vocabulary):
            stack.phase, stack.by = ORDER[min(stack.layer, 3)], "order"
        elif len(found) == 1 and not has_word(text, vocabulary.several_phases):
            stack.phase, stack.by = found[0], "words"
        elif not found and (delay := _stated_delay(text)) is not None:
            stack.phase, stack.by = _phase_at(delay), "words"
        if found or stack.by:
            return


def _stated_delay(text: str) -> float | None:
    """Seconds that a description names ("70 s", "3 min"), None when it names none."""
    folded = fold(text)
    if (seconds := _SECONDS.search(folded)) is not None:
        return float(seconds[1])
    minutes = _MINUTES.search(folded)
    return 60.0 * float(minutes[1]) if minutes is not None else None


def _is_dynamic(stack: Timed, text: str, vocabulary: Vocabulary) -> bool:
    """A series called dynamic whose places repeat four times or more: before contrast, arterial, portal, delayed.

    Three times could start before contrast or at the arterial phase, so they stay unknown.
    """
    return stack.layers > 3 and stack.contrast == "given" and has_word(text, vocabulary.several_phases)


def _delay(stack: Timed) -> float | None:
    """Seconds from the start of injection to the first slice, None when a time is missing or they are unrelated."""
    start = seconds_of(stack.header.contrast_start)
    if start is None or stack.acquired_s is None:
        return None
    delay = stack.acquired_s - start
    if abs(delay) > _DAY_S / 2:
        delay -= math.copysign(_DAY_S, delay)  # midnight came between the two
    return delay if -3600 < delay < 3600 else None


def _by_timing(stack: Timed) -> None:
    if stack.delay_s is None:
        return
    phase = "plain" if stack.delay_s < 0 else _phase_at(stack.delay_s)
    if phase != "unknown":
        stack.phase, stack.by = phase, "timing"


def _phase_at(delay: float) -> Phase:
    if delay < _EARLIEST_S:
        return "unknown"
    return next((phase for bound, phase in _BOUNDS if delay <= bound), "unknown")


def _by_order(stacks: Sequence[Timed]) -> None:
    """Phases of unknown stacks from like ones of the same day: same extent within 30 %, contrast given in one."""
    for day in sorted({stack.day for stack in stacks if stack.day}):
        timed = [(stack.acquired_s, stack) for stack in stacks if stack.day == day and stack.acquired_s is not None]
        given = [at for at, stack in timed if stack.contrast == "given"]
        groups: dict[float, _Alike] = {}
        for at, stack in timed:
            if stack.phase != "unknown" or not given:
                continue
            extent = round(stack.extent, 2)
            if extent not in groups and len(groups) < _MOST_EXTENTS:
                groups[extent] = _alike(stack, timed)
            alike = groups.get(extent)
            phase = _place(at, alike) if alike is not None and alike.given else "unknown"
            if phase == "unknown" and stack.contrast == "unknown" and at < min(given):
                phase = "plain"  # it names no agent, and came before every series that does
            if phase != "unknown":
                stack.phase, stack.by = phase, "order"


def _alike(one: Timed, timed: Sequence[tuple[float, Timed]]) -> _Alike:
    """The stacks that reach about as far as one."""
    peers = []
    for at, other in timed:
        longer, shorter = max(one.extent, other.extent), min(one.extent, other.extent)
        if shorter > 0 and shorter >= 0.7 * longer:
            peers.append((at, other))
    peers.sort(key=lambda peer: peer[0])
    starts: list[float] = []
    for at, _ in peers:
        if not starts or at - starts[-1] > 10:
            starts.append(at)
    return _Alike(
        given=any(other.contrast == "given" for _, other in peers),
        starts=starts,
        anchors=[(at, other) for at, other in peers if other.by in ("words", "timing") and other.phase in _USUAL_S],
    )


def _place(mine: float, alike: _Alike) -> Phase:
    """From the nearest stack whose phase is known, else from the pattern of pauses between acquisitions."""
    anchors = alike.anchors
    if not anchors:
        return _by_pauses(mine, alike.starts)
    index = bisect_left(anchors, mine, key=lambda anchor: anchor[0])
    near = anchors[index : index + 1]
    if index:
        near.append(anchors[bisect_left(anchors, anchors[index - 1][0], key=lambda anchor: anchor[0])])
    at, anchor = min(near, key=lambda anchor: (abs(anchor[0] - mine), anchor[0]))
    delay = (_USUAL_S[anchor.phase] if anchor.delay_s is None else anchor.delay_s) + mine - at
    return "plain" if delay < 0 else _phase_at(delay)


def _by_pauses(at: float, starts: list[float]) -> Phase:
    """Position in the sequence [plain,] arterial, portal [, delayed] that the pauses show.

    Arterial to portal is 15-60 s, portal to delayed 60-300 s; anything else tells nothing.
    """
    if len(starts) > 4:
        return "unknown"
    pauses = [after - before for before, after in pairwise(starts)]
    index = max((i for i, start in enumerate(starts) if start <= at), default=0)
    for first in (0, 1):
        rest = pauses[first:]
        if not rest or not 15 <= rest[0] <= 60 or len(rest) > 2 or (len(rest) == 2 and not 60 < rest[1] <= 300):
            continue
        if first == 0 and len(rest) == 1:
            return "unknown"  # two series alone: plain and arterial look the same as arterial and portal
        names: tuple[Phase, ...] = ORDER[1 - first :]
        return names[index]
    return "unknown"
