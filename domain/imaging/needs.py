"""What a site needs, held against the stacks that there are: for each need the best one, or why there is none."""

from collections.abc import Sequence
from datetime import date

import msgspec

from domain.imaging.candidate import Candidate
from domain.imaging.choosing import SEVERITY_OF, best, limit_for, take
from domain.imaging.findings import Finding, Severity, decimal
from domain.imaging.phase_needs import judge_contrast, judge_phases
from domain.imaging.quality import quality
from domain.imaging.requirement import Requirement, SequenceNeed
from domain.imaging.stacks import PARALLEL, dot


def judge(candidates: Sequence[Candidate], requirement: Requirement, on: date) -> list[Finding]:
    """Findings of the needs, and of the stacks that were chosen for them; marks those stacks."""
    findings: list[Finding] = []
    pool = [one for one in candidates if not requirement.modalities or one.modality in requirement.modalities]
    usable = bool(pool)
    if not usable:
        findings.append(other_modality(requirement))
        requirement = _without_limits(requirement)
        pool = list(candidates)
    fitting = [one for one in pool if one.fit != "wrong"]
    if not fitting:
        findings.append(wrong_anatomy({region for one in pool for region in one.regions}, requirement))
    chosen: list[Candidate] = []
    pool = fitting or pool
    findings += judge_contrast(pool, requirement)
    if requirement.phases and fitting and usable:
        findings += judge_phases(pool, requirement, on, chosen)
    if requirement.sequences and fitting and usable:
        findings += _sequences(pool, requirement, on, chosen)
    if not chosen:
        given = [one for one in pool if one.contrast == "given"] if requirement.contrast else []
        take(best(given or pool, requirement, on), "stack", chosen)
    findings += _companions(candidates, requirement)
    seen: set[str] = set()
    for one in chosen:
        if one.key not in seen:
            seen.add(one.key)
            findings += _joined(one, pool, quality(one, requirement, on, limit_for(one, requirement)))
    findings += _volumetry(chosen, requirement)
    if fitting and chosen and all(one.fit == "unknown" for one in chosen):
        wanted = ", ".join(requirement.regions)
        message = f"The headers do not show which region was examined ({wanted} needed): please tell us."
        findings.append(Finding(code="ANATOMY_UNKNOWN", severity="ask", limit=wanted, source="J", message=message))
    return findings


def other_modality(requirement: Requirement) -> Finding:
    """That none of the modalities is there which a set is for."""
    wanted = " or ".join(requirement.modalities)
    message = f"There is no {wanted} among these images: {requirement.title} is needed."
    return Finding(code="MODALITY_MISSING", severity="inadequate", value=wanted, message=message)


def _without_limits(requirement: Requirement) -> Requirement:
    """A set without the numbers that hold for its own modality only: a CT's pixels are no measure for an MRI."""
    return msgspec.structs.replace(
        requirement,
        slice_limited_above=None,
        slice_inadequate_above=None,
        volumetry_above=None,
        matrix_at_least=None,
        pixel_at_most=None,
    )


def wrong_anatomy(regions: set[str], requirement: Requirement) -> Finding:
    """That all images are labelled as other regions than a set needs."""
    shown = sorted(regions)
    wanted = ", ".join(requirement.regions)
    message = (
        f"The images are labelled as {', '.join(shown)}; {requirement.title} needs {wanted}. "
        "Please send the examination of that region."
    )
    value = ", ".join(shown)
    return Finding(code="WRONG_ANATOMY", severity="inadequate", value=value, limit=wanted, source="J", message=message)


def _volumetry(chosen: list[Candidate], requirement: Requirement) -> list[Finding]:
    """A note when no stack is thin enough to measure volumes on."""
    limit = requirement.volumetry_above
    stated = [one.measures.thickness for one in chosen if one.measures.thickness is not None]
    if limit is None or not stated or min(stated) <= limit.value:
        return []
    message = (
        f"The thinnest slices have {decimal(min(stated))} mm: for measuring volumes please send a reconstruction of "
        f"{decimal(limit.value)} mm or less, if there is one."
    )
    return [
        Finding(
            code="THICK_FOR_VOLUMETRY",
            severity="note",
            value=decimal(min(stated)),
            unit="mm",
            limit=decimal(limit.value),
            source=limit.source,
            message=message,
        )
    ]


def _sequences(pool: list[Candidate], requirement: Requirement, on: date, chosen: list[Candidate]) -> list[Finding]:
    findings: list[Finding] = []
    untold = any(one.modality == "MR" and not one.sequences for one in pool)
    for need in requirement.sequences:
        matching = [one for one in pool if set(need.any_of) & set(one.sequences)]
        if need.contrast:
            matching = [one for one in matching if one.contrast == "given"]
        if need.b_at_least is not None and matching:
            bound = need.b_at_least.value
            stated = [one for one in matching if one.b_values]
            high = [one for one in stated if one.b_values[-1] >= bound]
            if high or not stated:
                if not high:
                    findings.append(_sequence_unknown(need, "its b-values are not stated"))
                matching = high or matching
            else:
                matching = []
        if not matching:
            if untold:
                findings.append(_sequence_unknown(need, "some series do not say what they are"))
            else:
                message = f"There is no {need.label} among these images: please send it, or acquire it."
                findings.append(
                    Finding(
                        code="SEQUENCE_MISSING",
                        severity=SEVERITY_OF[need.need],
                        value=need.label,
                        source=need.source,
                        message=message,
                    )
                )
            continue
        findings += _planes(need, matching, requirement, on, chosen)
    return findings


def _planes(
    need: SequenceNeed, matching: list[Candidate], requirement: Requirement, on: date, chosen: list[Candidate]
) -> list[Finding]:
    if not need.planes:
        take(best(matching, requirement, on, need.slice_limited_above), need.label, chosen)
        return []
    findings = []
    for plane in need.planes:
        there = [one for one in matching if one.measures.plane == plane]
        if there:
            take(best(there, requirement, on, need.slice_limited_above), need.label, chosen)
            continue
        message = f"{need.label} is not there in the {plane} plane: please send it, or acquire it."
        findings.append(
            Finding(
                code="PLANE_MISSING",
                severity=SEVERITY_OF[need.need],
                value=plane,
                source=need.source,
                message=message,
            )
        )
    return findings


def _sequence_unknown(need: SequenceNeed, why: str) -> Finding:
    severity: Severity = "ask" if need.need == "essential" else "note"
    message = f"The headers do not show whether {need.label} is there ({why}): please tell us."
    return Finding(code="SEQUENCE_UNKNOWN", severity=severity, value=need.label, message=message)


def _companions(candidates: Sequence[Candidate], requirement: Requirement) -> list[Finding]:
    findings = []
    for need in requirement.companions:
        if not any(one.modality in need.any_of for one in candidates):
            message = f"{need.label} is not among these images: please send it, if it was done."
            findings.append(
                Finding(
                    code="COMPANION_MISSING",
                    severity=SEVERITY_OF[need.need],
                    value=need.label,
                    source=need.source,
                    message=message,
                )
            )
    return findings


def _joined(one: Candidate, pool: list[Candidate], findings: list[Finding]) -> list[Finding]:
    """Findings without COVERAGE_SHORT where like stacks of one frame of reference together reach far enough."""
    short = next((finding for finding in findings if finding.code == "COVERAGE_SHORT" and finding.unit == "mm"), None)
    frame, normal = one.stack.header.frame_of_reference_uid, one.stack.normal
    if short is None or not frame:
        return findings
    like = [
        other
        for other in pool
        if other.stack.header.frame_of_reference_uid == frame
        and abs(dot(other.stack.normal, normal)) >= PARALLEL
        and (other.timed.phase, other.timed.day) == (one.timed.phase, one.timed.day)
    ]
    reaches = []
    for other in like:
        ends = [dot(other.stack.slices[index].position, normal) for index in (0, -1)]
        reaches.append((min(ends), max(ends) + other.measures.extent - other.measures.span))
    reaches.sort()
    covered, end = 0.0, float("-inf")
    for bottom, top in reaches:
        covered += max(0.0, top - max(bottom, end))
        end = max(end, top)
    return [finding for finding in findings if finding is not short] if covered >= float(short.limit) else findings
