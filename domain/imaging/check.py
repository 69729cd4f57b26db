"""The imaging check: can a subspecialist give a definitive remote opinion on these images, and if not, what is needed?

Pure and deterministic: the same files in any order give the same report, byte for byte.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from domain.imaging.anatomy import fit_of, regions_of
from domain.imaging.batch import counted, labels, late_numbers, sort_out, whose
from domain.imaging.candidate import Candidate, candidate_of
from domain.imaging.findings import SEVERITIES, Finding, Report, SeriesRow, Severity, Verdict, verdict_of
from domain.imaging.model import Instance, InstanceHeader, PatientIdentity
from domain.imaging.needs import judge, other_modality, wrong_anatomy
from domain.imaging.phases import detect
from domain.imaging.quality import NOTED, compressed, quality
from domain.imaging.requirement import Requirement
from domain.imaging.roles import Role, label_of, modality_of, role_of
from domain.imaging.stacks import Slice, Stack, series_key, slices_of, stacks_of

FAR_APART_D: Final = 365
"""Days between studies from which they are no longer one picture of the disease (J)."""
_SURVEY_MM: Final = 8.0
_SURVEY_SLICES: Final = 12
_SURVEY_PLANES: Final = 4
"""Several planes of few thick slices are a survey, whatever the description says (J)."""
_OF_PICTURES: Final = frozenset(
    (
        *("MODALITY_MISSING", "WRONG_ANATOMY", "NO_CONTRAST_EVIDENCE", "STALE", "DATE_UNKNOWN", "COVERAGE_SHORT"),
        *("THICK_SLICES", "LOW_INPLANE_RES", "GANTRY_TILT", "LOSSY", "UNSUPPORTED_SYNTAX"),
    )
)
"""What is said of slices that form no stack: whoever sends the rest should not send more of the same."""


def check(
    instances: Sequence[Instance],
    requirement: Requirement,
    on: date,
    case_patient: PatientIdentity | None = None,
) -> Report:
    """Judge files against a requirement set on the reference date `on`.

    Of a set with alternatives the report is the best one's, and names that one as its site.
    """
    if requirement.one_of:
        reports = [check(instances, each, on, case_patient) for each in requirement.one_of]
        return min(reports, key=_preference)
    batch = sort_out(instances)
    found = batch.readable
    findings = [
        *batch.findings,
        *whose(found, case_patient, requirement.vocabulary),
        *labels(found),
        *counted(found),
    ]
    roles: dict[str, Counter[Role]] = defaultdict(Counter)
    slices: dict[str, list[Slice]] = defaultdict(list)
    unplaced: dict[str, list[InstanceHeader]] = defaultdict(list)
    first: dict[str, InstanceHeader] = {}
    numbered: list[InstanceHeader] = []
    for header in found:
        key = series_key(header)
        role = role_of(header, requirement.vocabulary)
        roles[key][role] += 1
        first.setdefault(key, header)
        if role == "slice":
            placed = slices_of(header)
            slices[key] += placed
            numbered.append(header)
            if not placed:
                unplaced[key].append(header)
    candidates: list[Candidate] = []
    for key in sorted(slices):
        stacks = stacks_of(key, slices[key])
        if _is_survey(stacks):
            roles[key]["localizer"] += roles[key].pop("slice")
            unplaced.pop(key, None)
            continue
        candidates += _candidates(key, stacks, requirement)
        findings += _single_position(key, stacks, first[key])
    volumes = [one for one in candidates if one.measures.count > 1]
    detect([one.timed for one in volumes], requirement.vocabulary)
    if volumes:
        findings += judge(volumes, requirement, on)
        findings += _noted(volumes, requirement, on)
        findings += _far_apart(volumes)
    elif candidates:
        findings += [each for each in judge(candidates, requirement, on) if each.code in _OF_PICTURES]
    findings += late_numbers(numbered)
    findings += _unplaced(unplaced, requirement, bool(candidates))
    if not volumes:
        findings += _compressed_pictures(found, requirement)
    findings += _nothing(roles, bool(volumes), sum(map(len, unplaced.values())))
    rows = [one.row(roles[one.stack.series]["slice"]) for one in volumes]
    rows += _rest(roles, first, {one.stack.series for one in volumes})
    ordered = tuple(sorted(set(findings), key=_order))
    return Report(
        verdict=verdict_of(ordered),
        site=requirement.site,
        requirement=requirement.version,
        on=on.isoformat(),
        findings=ordered,
        series=tuple(sorted(rows, key=lambda row: (row.series, row.role))),
        files=batch.files,
    )


def _preference(report: Report) -> tuple[int, bool]:
    """Best verdict first; then the set whose kind of examination is there at all."""
    order: tuple[Verdict, ...] = ("adequate", "limited", "undetermined", "inadequate", "stop")
    return order.index(report.verdict), "MODALITY_MISSING" in report.codes()


def encode(report: Report) -> bytes:
    """Canonical JSON of a report."""
    return msgspec.json.encode(report, order="sorted")


def _order(finding: Finding) -> tuple[int, str, str, str, str]:
    return (SEVERITIES.index(finding.severity), finding.code, finding.series, finding.value, finding.message)


def _candidates(key: str, stacks: list[Stack], requirement: Requirement) -> list[Candidate]:
    made = []
    seen: Counter[tuple[float, ...]] = Counter()
    longest = max((len(stack.slices) for stack in stacks), default=0)
    for index, stack in enumerate(sorted(stacks, key=_stack_order)):
        layer = seen[stack.normal]
        seen[stack.normal] += 1
        if longest == 1:
            return [candidate_of(stack, key, layer, requirement)]
        if len(stack.slices) > 1:
            made.append(candidate_of(stack, key if len(stacks) == 1 else f"{key}#{index + 1}", layer, requirement))
    return made


def _stack_order(stack: Stack) -> tuple[object, ...]:
    header, first = stack.header, stack.slices[0]
    moment = first.frame.acquired if first.frame else ""
    index = first.frame.time_index if first.frame else header.time_index
    return (
        stack.normal,
        header.acquisition_date,
        header.acquisition_time,
        moment,
        index or 0,
        header.acquisition_number or 0,
        first.position,
        header.sop_instance_uid,
    )


def _is_survey(stacks: list[Stack]) -> bool:
    """Two planes, or a few, each of few thick slices. What turns on about an axis is a radial set (MRCP)."""
    if not stacks or not 2 <= stacks[0].orientations <= _SURVEY_PLANES:
        return False
    return all(
        len(stack.slices) <= _SURVEY_SLICES
        and min((one.thickness or 0.0 for one in stack.slices), default=0.0) >= _SURVEY_MM
        for stack in stacks
    )


def _single_position(key: str, stacks: list[Stack], header: InstanceHeader) -> list[Finding]:
    """A series without two slices at different places: bolus tracking, a radial set, or a single image."""
    if any(len(stack.slices) > 1 for stack in stacks) or not stacks:
        return []
    label = label_of(header, modality_of(header))
    count = len(stacks)
    severity: Severity = "note"
    its = "its only image shows one place" if count == 1 else f"its {count} images show no two parallel places"
    told = f"{label[:1].upper()}{label[1:]}: {its}, so it is no volume."
    return [Finding(code="NOT_A_VOLUME", severity=severity, series=key, value=str(count), unit="1", message=told)]


def _noted(volumes: list[Candidate], requirement: Requirement, on: date) -> list[Finding]:
    """What is wrong with stacks that the verdict does not rest on, as notes."""
    return [
        msgspec.structs.replace(finding, severity="note")
        for one in volumes
        if not one.used_for
        for finding in quality(one, requirement, on)
        if finding.code in NOTED
    ]


def _far_apart(volumes: list[Candidate]) -> list[Finding]:
    days = sorted({one.day for one in volumes if one.day is not None})
    if not days or (days[-1] - days[0]).days <= FAR_APART_D:
        return []
    used = [one.day for one in volumes if one.used_for and one.day is not None]
    relied = bool(used) and (max(used) - min(used)).days > FAR_APART_D
    told = (
        f"The studies reach from {days[0].isoformat()} to {days[-1].isoformat()}: please say which of them are current."
    )
    return [
        Finding(
            code="STUDIES_FAR_APART",
            severity="ask" if relied else "note",
            value=str((days[-1] - days[0]).days),
            unit="d",
            limit=str(FAR_APART_D),
            source="J",
            message=told,
        )
    ]


def _unplaced(unplaced: dict[str, list[InstanceHeader]], requirement: Requirement, judged: bool) -> list[Finding]:
    """What headers without a place tell all the same: compression; where there is nothing else, modality and region."""
    findings: list[Finding] = []
    for key, headers in unplaced.items():
        findings += compressed(headers, key, label_of(headers[0], modality_of(headers[0])))
    everything = [header for headers in unplaced.values() for header in headers]
    if judged or not everything:
        return [msgspec.structs.replace(finding, severity="note") for finding in findings] if judged else findings
    if requirement.modalities and not any(modality_of(header) in requirement.modalities for header in everything):
        findings.append(other_modality(requirement))
    regions = [regions_of(header, requirement.vocabulary) for header in everything]
    if all(fit_of(each, requirement.regions, 0.0) == "wrong" for each in regions):
        findings.append(wrong_anatomy({region for each in regions for region in each}, requirement))
    return findings


def _compressed_pictures(found: list[InstanceHeader], requirement: Requirement) -> list[Finding]:
    """Notes about how pictures that are no slices were compressed, where there is nothing better to judge."""
    series: dict[str, list[InstanceHeader]] = defaultdict(list)
    for header in found:
        if header.has_pixels and role_of(header, requirement.vocabulary) in ("screenshot", "picture", "projection"):
            series[series_key(header)].append(header)
    return [
        msgspec.structs.replace(finding, severity="note")
        for key, headers in series.items()
        for finding in compressed(headers, key, label_of(headers[0], modality_of(headers[0])))
    ]


def _nothing(roles: dict[str, Counter[Role]], volumes: bool, lost: int) -> list[Finding]:
    """Why there is nothing to judge, and image headers without images or places."""
    total: Counter[Role] = Counter()
    for count in roles.values():
        total.update(count)
    findings: list[Finding] = []
    severity: Severity = "limited" if volumes else "inadequate"
    if total["no-pixels"]:
        headers = "1 image header" if total["no-pixels"] == 1 else f"{total['no-pixels']} image headers"
        told = f"{headers} came without the image: please send the complete files."
        findings.append(
            Finding(code="NO_PIXEL_DATA", severity=severity, value=str(total["no-pixels"]), unit="1", message=told)
        )
    if lost:
        images = "1 image does" if lost == 1 else f"{lost} images do"
        told = f"{images} not say where in the body the slices lie: please send the original series."
        findings.append(
            Finding(
                code="GEOMETRY_UNKNOWN",
                severity="note" if volumes else "ask",
                value=str(lost),
                unit="1",
                message=told,
            )
        )
    if volumes or lost or total["no-pixels"]:
        return findings
    why: list[tuple[str, str]] = []
    if total["slice"] or total["monitoring"] or total["projection"] or total["picture"]:
        why.append(("NOT_A_VOLUME", "There is no stack of slices among these images, only single pictures"))
    else:
        if total["localizer"]:
            why.append(("LOCALIZER_ONLY", "There are only scout images"))
        if total["screenshot"]:
            why.append(("SECONDARY_CAPTURE_ONLY", "There are only screenshots or photographs"))
        if not why:
            why.append(("NO_DIAGNOSTIC_IMAGE", "There is no diagnostic image among these files"))
    findings += [
        Finding(code=code, severity="inadequate", message=f"{told}: please send the original DICOM series.")
        for code, told in why
        if not (code == "SECONDARY_CAPTURE_ONLY" and total["localizer"])
    ]
    return findings


def _rest(roles: dict[str, Counter[Role]], first: dict[str, InstanceHeader], judged: set[str]) -> list[SeriesRow]:
    """Rows for what is no stack."""
    rows = []
    for key in sorted(roles):
        for role, count in sorted(roles[key].items()):
            if count and not (role == "slice" and key in judged):
                modality = modality_of(first[key])
                rows.append(
                    SeriesRow(
                        series=key, label=label_of(first[key], modality), modality=modality, role=role, instances=count
                    )
                )
    return rows
