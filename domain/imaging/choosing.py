"""Which stack a need of a site is judged on: of those that fit, the best one."""

from collections.abc import Sequence
from datetime import date
from typing import Final

from domain.imaging.candidate import Candidate
from domain.imaging.findings import SEVERITIES, Severity
from domain.imaging.quality import quality
from domain.imaging.requirement import Limit, Need, Requirement

SEVERITY_OF: Final[dict[Need, Severity]] = {"essential": "inadequate", "expected": "limited", "wanted": "note"}


def limit_for(one: Candidate, requirement: Requirement) -> Limit | None:
    """The slice limit of the sequence that a stack was taken for, where that has its own."""
    for need in requirement.sequences:
        if need.label in one.used_for and need.slice_limited_above is not None:
            return need.slice_limited_above
    return None


def best(pool: Sequence[Candidate], requirement: Requirement, on: date, limit: Limit | None = None) -> Candidate:
    """The stack with the least serious findings; then the thinnest, then the longest."""

    def rank(one: Candidate) -> tuple[object, ...]:
        found = [SEVERITIES.index(finding.severity) for finding in quality(one, requirement, on, limit)]
        serious = sorted(severity for severity in found if severity < len(SEVERITIES) - 1)
        worst = serious[0] if serious else len(SEVERITIES)
        thickness = one.measures.thickness if one.measures.thickness is not None else 1e6
        return (one.fit != "right", -worst, len(serious), thickness, -one.measures.extent, one.key)

    return min(pool, key=rank)


def take(one: Candidate, label: str, chosen: list[Candidate]) -> None:
    """Have a stack judged for a need of this name."""
    one.used_for.append(label)
    chosen.append(one)
