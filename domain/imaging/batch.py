"""The files as they were handed in: what could be read, what came twice, and whose images they are."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from domain.imaging.findings import Finding, Severity
from domain.imaging.identity import comparable, contradicts, several
from domain.imaging.model import Instance, InstanceHeader, PatientIdentity
from domain.imaging.requirement import Vocabulary
from domain.imaging.roles import TEXT_TYPES, is_secondary_capture, label_of, modality_of
from domain.imaging.stacks import series_key

DIRECTORY_NAMES: Final = ("dicomdir", "dirfile")
_NATIVE: Final = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"))
_COMPRESSION: Final = 2000
"""No codec makes a clinical image this many times smaller; a file below it does not hold the picture it claims."""
_EMPTY_FRAME: Final = 16 * 1024 * 1024
"""Bytes of a picture from which that counts: below, one that is black throughout can shrink further."""


class Batch(msgspec.Struct, kw_only=True):
    """Files of one check, sorted: readable ones without repeats, counts, and what was found so far."""

    readable: list[InstanceHeader]
    files: dict[str, int]
    findings: list[Finding]


def files(count: int) -> str:
    """ "1 file" or "n files"."""
    return f"{count} file" if count == 1 else f"{count} files"


def sort_out(instances: Sequence[Instance]) -> Batch:
    """The readable instances, once each, with the findings about files and counts."""
    ordered = sorted(instances, key=lambda one: (one.sha256, one.name, one.size))
    counts = {"total": len(ordered), "dicom": 0, "skipped": 0, "not_dicom": 0, "unreadable": 0}
    findings: list[Finding] = []
    readable: list[tuple[Instance, InstanceHeader]] = []
    foreign: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for one in ordered:
        header = one.header
        name = one.name.replace("\\", "/").rsplit("/", 1)[-1].casefold()
        if header is not None and header.is_directory:
            counts["skipped"] += 1
        elif header is None and one.problem == "not-dicom":
            if name.partition(".")[0] in DIRECTORY_NAMES:
                counts["skipped"] += 1
            else:
                counts["not_dicom"] += 1
                foreign[one.reason or "not DICOM"] += 1
        elif header is None:
            counts["unreadable"] += 1
            broken[one.reason or "it cannot be decoded"] += 1
        elif cut := cut_off(one):
            counts["unreadable"] += 1
            broken[cut] += 1
        else:
            counts["dicom"] += 1
            readable.append((one, header))
    for reason, count in sorted(broken.items()):
        severity: Severity = "limited" if readable else "inadequate"
        told = f"{files(count)} cannot be opened ({reason}): please send again."
        findings.append(Finding(code="UNREADABLE", severity=severity, value=str(count), unit="1", message=told))
    for reason, count in sorted(foreign.items()):
        told = f"{files(count)} sent as imaging cannot be used ({reason}): please send the DICOM originals."
        findings.append(Finding(code="NOT_DICOM", severity="note", value=str(count), unit="1", message=told))
    kept, repeats = _once(readable)
    return Batch(readable=kept, files=counts, findings=findings + repeats)


def cut_off(one: Instance) -> str:
    """Why the file cannot hold the picture that its header announces, "" when it can."""
    header = one.header
    if header is None or not header.has_pixels or header.pixel_offset is None:
        return ""
    present = one.size - header.pixel_offset
    announced = header.pixel_length
    if announced is not None and announced > present + 1:
        return "the pixel data is cut off"
    expected = header.pixel_expected
    if expected is None:
        return ""
    if header.transfer_syntax in _NATIVE:
        return "the pixel data is shorter than the image" if expected > present + 1 else ""
    least = 1 if expected < _EMPTY_FRAME else expected / _COMPRESSION
    return "the pixel data is cut off" if present < least else ""


def _once(readable: list[tuple[Instance, InstanceHeader]]) -> tuple[list[InstanceHeader], list[Finding]]:
    """Headers without repeats: same bytes, or the same SOP Instance UID, of which the first by digest stays."""
    kept: dict[str, InstanceHeader] = {}
    digests: set[str] = set()
    same, different = 0, 0
    for one, header in readable:
        uid = header.sop_instance_uid or one.sha256
        if one.sha256 in digests:
            same += 1
        elif uid in kept:
            different += 1
        else:
            kept[uid] = header
        digests.add(one.sha256)
    findings: list[Finding] = []
    if same:
        told = f"{files(same)} came twice; the copies were left out."
        findings.append(Finding(code="DUPLICATE_INSTANCE", severity="note", value=str(same), unit="1", message=told))
    if different:
        told = (
            f"The identifier of another file, with other content, stands on {files(different)}: "
            "please say which are right, and send the series again."
        )
        code = "DUPLICATE_UID_DIFFERENT_BYTES"
        findings.append(Finding(code=code, severity="ask", value=str(different), unit="1", message=told))
    return list(kept.values()), findings


def whose(found: list[InstanceHeader], case: PatientIdentity | None, vocabulary: Vocabulary) -> list[Finding]:
    """Identity: one patient in each study and in all, and the case's own."""
    anonymous = vocabulary.anonymous
    studies: dict[str, dict[str, PatientIdentity]] = defaultdict(dict)
    everyone: dict[str, PatientIdentity] = {}
    for header in found:
        if header.patient.digest:
            studies[header.study_uid][header.patient.digest] = header.patient
            everyone[header.patient.digest] = header.patient
    people = [everyone[digest] for digest in sorted(everyone)]
    told = ""
    if any(several(list(group.values()), one_study=True, anonymous=anonymous) for group in studies.values()):
        told = "The images of one study name different patients"
    elif several(people, one_study=False, anonymous=anonymous):
        told = "The images name different patients"
    elif case is not None and any(contradicts(person, case, anonymous) for person in people):
        told = "The images name another patient than this case's"
    if told:
        message = f"{told}: please check whose images these are before anybody looks at them."
        return [Finding(code="IDENTITY_MISMATCH", severity="stop", message=message)]
    if case is not None and found and not any(comparable(person, case, anonymous) for person in people):
        message = "The images do not say whose they are: please confirm the patient's name and date of birth."
        return [Finding(code="IDENTITY_UNKNOWN", severity="ask", message=message)]
    return []


def labels(found: list[InstanceHeader]) -> list[Finding]:
    """Identifiers that are missing, identifying fields, and text in the pictures."""
    findings: list[Finding] = []
    missing = Counter(keyword for header in found for keyword in header.uids_missing)
    if missing:
        worst = max(missing.values())
        told = (
            f"Identifiers that every DICOM image must have ({', '.join(sorted(missing))}) are missing in "
            f"{files(worst)}: please export the study again from the archive."
        )
        findings.append(Finding(code="UID_MISSING", severity="limited", value=str(worst), unit="1", message=told))
    phi = sorted({keyword for header in found for keyword in header.header_has_phi})
    if phi:
        told = f"The headers identify the patient ({', '.join(phi)}); they are kept confidential."
        findings.append(Finding(code="PHI_PRESENT", severity="note", value=str(len(phi)), unit="1", message=told))
    burned = sum(map(_burned_in, found))
    if burned:
        told = f"Text inside the picture may identify the patient in {files(burned)}: please send them without it."
        findings.append(Finding(code="BURNED_IN", severity="note", value=str(burned), unit="1", message=told))
    return findings


def _burned_in(header: InstanceHeader) -> bool:
    if header.burned_in == "YES":
        return True
    usual = set(header.image_type[2:]) & TEXT_TYPES or (is_secondary_capture(header) and header.conversion_type)
    return bool(usual) and header.burned_in != "NO"


def counted(found: list[InstanceHeader]) -> list[Finding]:
    """Studies and series that say they have more instances than came."""
    findings: list[Finding] = []
    for kind in ("study", "series"):
        came: Counter[str] = Counter()
        said: dict[str, int] = {}
        shown: dict[str, str] = {}
        for header in found:
            key = header.study_uid if kind == "study" else header.series_uid
            stated = header.study_instances if kind == "study" else header.series_instances
            if key:
                came[key] += 1
                said[key] = max(said.get(key, 0), stated or 0)
                if stated and key not in shown:
                    shown[key] = label_of(header, modality_of(header)) if kind == "series" else "study"
        for key in sorted(came):
            if said[key] > came[key]:
                told = (
                    f"Of the {said[key]} images that the {shown[key]} says it has only {came[key]} came: "
                    "please send the others too."
                )
                findings.append(
                    Finding(
                        code="COUNT_SHORT",
                        severity="limited",
                        series=key if kind == "series" else "",
                        value=str(came[key]),
                        unit="1",
                        limit=str(said[key]),
                        source="the header's own count",
                        message=told,
                    )
                )
    return findings


def late_numbers(slices: list[InstanceHeader]) -> list[Finding]:
    """Series whose instance numbers start late: a hint that earlier slices were left out, and no more."""
    lowest: dict[str, int] = {}
    shown: dict[str, str] = {}
    for header in slices:
        if header.instance_number is not None:
            key = series_key(header)
            if key not in shown:
                shown[key] = label_of(header, modality_of(header))
            lowest[key] = min(lowest.get(key, header.instance_number), header.instance_number)
    return [
        Finding(
            code="INSTANCE_NUMBERS_START_LATE",
            severity="note",
            series=key,
            value=str(first),
            unit="1",
            message=f"The images of the {shown[key]} are numbered from {first}: please send earlier ones, if any.",
        )
        for key, first in sorted(lowest.items())
        if first > 2
    ]
