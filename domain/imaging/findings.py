"""The findings of an imaging check: codes, what each does to the verdict, and the report that holds them.

Measured values and limits are decimal strings with a UCUM unit, so that a report can stand in an event.
"""

from typing import Final, Literal

import msgspec

Severity = Literal["stop", "inadequate", "ask", "limited", "note"]
Verdict = Literal["adequate", "limited", "inadequate", "stop", "undetermined"]

SEVERITIES: Final[tuple[Severity, ...]] = ("stop", "inadequate", "ask", "limited", "note")
"""Worst first: one finding of the worst kind decides the verdict."""

VERDICT_OF: Final[dict[Severity, Verdict]] = {
    "stop": "stop",
    "inadequate": "inadequate",
    "ask": "undetermined",
    "limited": "limited",
    "note": "adequate",
}

CODES: Final[dict[str, str]] = {
    "UNREADABLE": "a file that cannot be decoded as DICOM, or whose pixel data is cut off",
    "NOT_DICOM": "a file that is something else",
    "UID_MISSING": "Study, Series or SOP Instance UID or SOP Class empty in the data set",
    "DUPLICATE_INSTANCE": "the same instance again, byte for byte",
    "DUPLICATE_UID_DIFFERENT_BYTES": "one SOP Instance UID on files that differ",
    "IDENTITY_MISMATCH": "more than one patient, or a patient that is not the case's",
    "IDENTITY_UNKNOWN": "the headers do not say whose images these are",
    "PHI_PRESENT": "identifying header fields",
    "BURNED_IN": "text in the picture that may identify the patient",
    "LOCALIZER_ONLY": "nothing but scouts and surveys",
    "SECONDARY_CAPTURE_ONLY": "nothing but screenshots, photographs or summaries",
    "NO_DIAGNOSTIC_IMAGE": "no image at all",
    "NO_PIXEL_DATA": "image headers without an image",
    "NOT_A_VOLUME": "one position many times, projections, or too few slices to be a stack",
    "GEOMETRY_UNKNOWN": "slices without position or orientation",
    "MODALITY_MISSING": "none of the examinations that the site is judged by",
    "COMPANION_MISSING": "a further examination that the site wants is not among these images",
    "MISSING_SLICE": "a hole inside a stack",
    "UNEVEN_SPACING": "steps between slices that differ",
    "MIXED_THICKNESS": "slices of several thicknesses in one stack",
    "MIXED_ORIENTATION": "several orientations in one series",
    "GANTRY_TILT": "slices that are not at right angles to the direction of the stack",
    "THICK_SLICES": "slices thicker, or further apart, than the site's limit",
    "THICK_FOR_VOLUMETRY": "good for reading, but too thick to measure volumes on",
    "THICKNESS_UNKNOWN": "slice thickness not stated",
    "LOW_INPLANE_RES": "pixels larger, or a matrix smaller, than the site's limit",
    "COVERAGE_SHORT": "less extent along the normal than the site needs",
    "WRONG_ANATOMY": "another region of the body",
    "ANATOMY_UNKNOWN": "the headers do not show which region it is",
    "PHASE_ARTERIAL_MISSING": "no arterial phase",
    "PHASE_PORTAL_MISSING": "no portal venous phase",
    "PHASE_DELAYED_MISSING": "no delayed phase",
    "PHASE_PLAIN_MISSING": "no series before contrast",
    "PHASE_UNKNOWN": "the headers do not show which contrast phases these are",
    "PHASE_OFF_WINDOW": "a contrast phase acquired outside the seconds that the site wants",
    "NO_CONTRAST_EVIDENCE": "nothing says that contrast was given",
    "SEQUENCE_MISSING": "an MR sequence that the site needs",
    "SEQUENCE_UNKNOWN": "the headers do not show whether an MR sequence is there",
    "PLANE_MISSING": "a sequence is there, but not in a plane that the site needs",
    "LOSSY": "irreversible compression",
    "UNSUPPORTED_SYNTAX": "a transfer syntax that cannot be decoded here",
    "STALE": "older than the site's limit",
    "DATE_UNKNOWN": "no usable date",
    "STUDIES_FAR_APART": "studies of different years offered as one",
    "COUNT_SHORT": "fewer instances than the study or series says it has",
    "INSTANCE_NUMBERS_START_LATE": "numbering that starts late: a hint, no proof, that earlier slices were left out",
}
"""Every code and what it means. The ones that go beyond the service's own list name a question that it leaves open."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was found, and the sentence about it that can go to a hospital."""

    code: str
    severity: Severity
    message: str
    series: str = ""
    """Key of the series row it concerns, "" for the whole case."""
    value: str = ""
    unit: str = ""
    limit: str = ""
    source: str = ""
    """Where the limit comes from; "J" is our own default."""


_UNITS: Final = {"1": "", "d": "days", "deg": "\N{DEGREE SIGN}"}


def amount(value: str, unit: str) -> str:
    """A measured value or limit as people read it: "74 days", "41 mm", and a count without a unit."""
    return f"{value} {_UNITS.get(unit, unit)}".rstrip()


class SeriesRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stack, or the non-diagnostic rest of one series: its role, geometry and phase."""

    series: str
    label: str
    modality: str
    role: str
    instances: int
    slices: int = 0
    plane: str = ""
    thickness_mm: str = ""
    spacing_mm: str = ""
    extent_mm: str = ""
    pixel_mm: str = ""
    matrix: str = ""
    tilt_deg: str = ""
    date: str = ""
    kernel: str = ""
    regions: tuple[str, ...] = ()
    phase: str = ""
    phase_by: str = ""
    """What the phase was told by: words, timing or order."""
    delay_s: str = ""
    sequences: tuple[str, ...] = ()
    used_for: tuple[str, ...] = ()
    """The needs of the site that this stack was judged for."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the imaging of a case is good for, on the day that it was checked."""

    verdict: Verdict
    site: str
    requirement: int
    """Version of the requirement set."""
    on: str
    """Reference date, YYYY-MM-DD."""
    findings: tuple[Finding, ...]
    series: tuple[SeriesRow, ...]
    files: dict[str, int]
    """total, dicom, skipped (directories), not_dicom, unreadable."""

    def codes(self) -> tuple[str, ...]:
        """Codes of the findings, each once, in order."""
        return tuple(sorted({finding.code for finding in self.findings}))


def decimal(value: float | None, places: int = 2) -> str:
    """Decimal string without trailing zeros, "" for None: what a report holds instead of a float."""
    if value is None:
        return ""
    text = f"{value:.{places}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """The worst finding's verdict; adequate when nothing was found."""
    worst = min((SEVERITIES.index(finding.severity) for finding in findings), default=len(SEVERITIES) - 1)
    return VERDICT_OF[SEVERITIES[worst]]
