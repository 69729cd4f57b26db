"""Contrast phases: by words, then by seconds after the start of injection, then by order among like series.

What none of the three tells stays "unknown": that is a question for the hospital, and never a missing phase.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal

import msgspec

from domain.imaging.contrast import Evidence
from domain.imaging.model import InstanceHeader
from domain.imaging.requirement import Phase, Vocabulary
from domain.imaging.words import fold, has_word

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
_DAY_S: Final = 86_400.0


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
        elif not found and (match := _SECONDS.search(fold(text))) is not None:
            stack.phase, stack.by = _phase_at(float(match[1])), "words"
        if found or stack.by:
            return


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
    if delay < -_DAY_S / 2:
        delay += _DAY_S
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
        for at, stack in timed:
            if stack.phase != "unknown" or not given:
                continue
            alike = [other for _, other in timed if _alike(stack, other)]
            told = any(other.contrast == "given" for other in alike)
            phase = _place(at, alike) if told else "unknown"
            if phase == "unknown" and stack.contrast == "unknown" and at < min(given):
                phase = "plain"  # it names no agent, and came before every series that does
            if phase != "unknown":
                stack.phase, stack.by = phase, "order"


def _alike(a: Timed, b: Timed) -> bool:
    longer, shorter = max(a.extent, b.extent), min(a.extent, b.extent)
    return shorter > 0 and shorter >= 0.7 * longer


def _place(mine: float, alike: list[Timed]) -> Phase:
    """From the nearest stack whose phase is known, else from the pattern of pauses between acquisitions."""
    times = [(other.acquired_s, other) for other in alike if other.acquired_s is not None]
    anchors = [
        (abs(at - mine), at, other)
        for at, other in times
        if other.by in ("words", "timing") and other.phase in _USUAL_S
    ]
    if not anchors:
        return _by_pauses(mine, sorted({at for at, _ in times}))
    _, at, anchor = min(anchors, key=lambda item: item[:2])
    delay = (_USUAL_S[anchor.phase] if anchor.delay_s is None else anchor.delay_s) + mine - at
    return "plain" if delay < 0 else _phase_at(delay)


def _by_pauses(at: float, times: list[float]) -> Phase:
    """Position in the sequence [plain,] arterial, portal [, delayed] that the pauses show.

    Arterial to portal is 15-60 s, portal to delayed 60-300 s; anything else tells nothing.
    """
    starts: list[float] = []
    for time in times:
        if not starts or time - starts[-1] > 10:
            starts.append(time)
    pauses = [after - before for before, after in pairwise(starts)]
    index = max(i for i, start in enumerate(starts) if start <= at)
    for first in (0, 1):
        rest = pauses[first:]
        if not rest or not 15 <= rest[0] <= 60 or len(rest) > 2 or (len(rest) == 2 and not 60 < rest[1] <= 300):
            continue
        if first == 0 and len(rest) == 1:
            return "unknown"  # two series alone: plain and arterial look the same as arterial and portal
        names: tuple[Phase, ...] = ORDER[1 - first :]
        return names[index]
    return "unknown"
