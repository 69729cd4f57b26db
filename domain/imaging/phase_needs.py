"""The contrast phases that a site needs, held against the stacks that there are."""

from datetime import date
from typing import Final

from domain.imaging.candidate import Candidate
from domain.imaging.choosing import SEVERITY_OF, best, take
from domain.imaging.findings import Finding, Severity
from domain.imaging.requirement import PhaseNeed, Requirement

_PHASE_CODES: Final = {
    "plain": "PHASE_PLAIN_MISSING",
    "arterial": "PHASE_ARTERIAL_MISSING",
    "portal": "PHASE_PORTAL_MISSING",
    "delayed": "PHASE_DELAYED_MISSING",
    "hepatobiliary": "PHASE_DELAYED_MISSING",
}
_OFF_WINDOW_S: Final = 10.0
"""Seconds outside the wanted window that are only noted: injection protocols differ by as much (J)."""
_NOT_DYNAMIC: Final = frozenset(("dwi", "adc", "mrcp", "stir", "t2"))


def judge_contrast(pool: list[Candidate], requirement: Requirement) -> list[Finding]:
    """Whether anything says that contrast was given, where a site needs it."""
    if requirement.contrast is None or any(one.contrast == "given" for one in pool):
        return []
    if any(one.timed.phase in ("arterial", "portal", "delayed", "hepatobiliary") for one in pool):
        return []
    plain = all(one.contrast == "plain" for one in pool)
    severity: Severity = SEVERITY_OF[requirement.contrast] if plain else "ask"
    message = (
        "All series say that they were acquired without contrast; please acquire the contrast phases."
        if plain
        else "Nothing in the headers says that contrast was given: please tell us, or send the contrast series."
    )
    return [Finding(code="NO_CONTRAST_EVIDENCE", severity=severity, message=message)]


def judge_phases(pool: list[Candidate], requirement: Requirement, on: date, chosen: list[Candidate]) -> list[Finding]:
    """Findings of the phases; a stack that is judged for one is marked, and among the chosen."""
    findings: list[Finding] = []
    dynamic = [one for one in pool if not _NOT_DYNAMIC & set(one.sequences)]
    open_needs: list[PhaseNeed] = []
    by_phase: dict[str, list[PhaseNeed]] = {}
    for need in requirement.phases:
        by_phase.setdefault(need.label, []).append(need)
    for label, needs in by_phase.items():
        matching = [one for one in dynamic if any(one.timed.phase == need.phase for need in needs)]
        if not matching:
            open_needs.append(needs[0])
            continue
        found = best(matching, requirement, on)
        take(found, label, chosen)
        need = next(need for need in needs if need.phase == found.timed.phase)
        findings += _window(found, need)
    unknown = [one for one in dynamic if one.timed.phase == "unknown"]
    essential = [need for need in open_needs if need.need == "essential"]
    if unknown and open_needs:
        wanted = ", ".join(need.label for need in open_needs)
        severity: Severity = "ask" if essential else "limited"
        message = f"The headers do not show which contrast phases these are: please tell us which is {wanted}."
        findings.append(Finding(code="PHASE_UNKNOWN", severity=severity, value=wanted, message=message))
        if not chosen:
            take(best(unknown, requirement, on), "unknown phase", chosen)
        return findings
    for need in open_needs:
        message = f"There is no {need.label} among these images: please send it, or acquire it."
        findings.append(
            Finding(
                code=_PHASE_CODES[need.phase],
                severity=SEVERITY_OF[need.need],
                value=need.label,
                source=need.source,
                message=message,
            )
        )
    return findings


def _window(one: Candidate, need: PhaseNeed) -> list[Finding]:
    delay = one.timed.delay_s
    if delay is None or need.from_s is None or need.to_s is None or need.from_s <= delay <= need.to_s:
        return []
    off = max(need.from_s - delay, delay - need.to_s)
    message = (
        f"{one.label}: it was acquired {delay:.0f} s after the start of injection; "
        f"{need.from_s:.0f} to {need.to_s:.0f} s are wanted for the {need.label}."
    )
    return [
        Finding(
            code="PHASE_OFF_WINDOW",
            severity="note" if off <= _OFF_WINDOW_S else "limited",
            series=one.key,
            value=f"{delay:.0f}",
            unit="s",
            limit=f"{need.from_s:.0f}-{need.to_s:.0f}",
            source=need.source,
            message=message,
        )
    ]
