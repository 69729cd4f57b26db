"""A stack with everything that is known about it: what the needs of a site choose from."""

from datetime import date

import msgspec

from domain.imaging.anatomy import Fit, fit_of, regions_of
from domain.imaging.contrast import Evidence, contrast_of
from domain.imaging.findings import SeriesRow, decimal
from domain.imaging.geometry import Measures, measure
from domain.imaging.model import InstanceHeader
from domain.imaging.phases import Timed, seconds_of
from domain.imaging.requirement import Requirement
from domain.imaging.roles import label_of, modality_of
from domain.imaging.sequences import b_values, sequences_of
from domain.imaging.stacks import Stack


class Candidate(msgspec.Struct, kw_only=True):
    """One stack, measured and described."""

    key: str
    label: str
    stack: Stack
    measures: Measures
    modality: str
    contrast: Evidence
    timed: Timed
    regions: tuple[str, ...]
    fit: Fit
    sequences: tuple[str, ...]
    b_values: list[float]
    day: date | None
    used_for: list[str]

    def row(self, instances: int) -> SeriesRow:
        """The row that the report shows."""
        measures, header = self.measures, self.stack.header
        return SeriesRow(
            series=self.key,
            label=self.label,
            modality=self.modality,
            role="stack",
            instances=instances,
            slices=measures.count,
            plane=measures.plane,
            thickness_mm=decimal(measures.thickness),
            spacing_mm=decimal(measures.step),
            extent_mm=decimal(measures.extent, 1),
            pixel_mm=decimal(measures.pixel, 3),
            matrix=f"{header.rows}x{header.columns}",
            tilt_deg=decimal(measures.tilt, 1),
            date=self.day.isoformat() if self.day else "",
            kernel=header.kernel,
            regions=self.regions,
            phase=self.timed.phase,
            phase_by=self.timed.by,
            delay_s=decimal(self.timed.delay_s, 0),
            sequences=self.sequences,
            used_for=tuple(self.used_for),
        )


def day_of(header: InstanceHeader) -> date | None:
    """Date of the images: of the acquisition, else of series, study, content; None when none is a date."""
    for text in (header.acquisition_date, header.series_date, header.study_date, header.content_date):
        digits = text.replace(".", "").replace("-", "")[:8]
        if len(digits) == 8 and digits.isascii() and digits.isdigit():
            try:
                found = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
            except ValueError:
                continue
            if found.year > 1970:  # archives write 1900-01-01 or 1970-01-01 for "removed"
                return found
    return None


def candidate_of(stack: Stack, key: str, layer: int, requirement: Requirement) -> Candidate:
    """A stack measured against the words and regions of a requirement set."""
    header, vocabulary = stack.header, requirement.vocabulary
    measures = measure(stack)
    modality = modality_of(header)
    contrast = contrast_of(header, vocabulary)
    regions = regions_of(header, vocabulary)
    day = day_of(header)
    acquired = _first_second(stack)
    return Candidate(
        key=key,
        label=label_of(header, modality),
        stack=stack,
        measures=measures,
        modality=modality,
        contrast=contrast,
        timed=Timed(
            header=header,
            contrast=contrast,
            acquired_s=acquired,
            day=day.isoformat() if day else "",
            extent=measures.extent,
            layer=layer,
            layers=stack.repeats,
        ),
        regions=regions,
        fit=fit_of(regions, requirement.regions, measures.extent),
        sequences=sequences_of(stack, vocabulary) if modality == "MR" else (),
        b_values=b_values(stack) if modality == "MR" else [],
        day=day,
        used_for=[],
    )


def _first_second(stack: Stack) -> float | None:
    """Seconds since midnight at which the first slice was acquired."""
    times = []
    for one in stack.slices:
        text = one.frame.acquired[8:] if one.frame and one.frame.acquired else one.header.acquisition_time
        seconds = seconds_of(text.split("+")[0].split("-")[0])
        if seconds is not None:
            times.append(seconds)
    return min(times, default=None)
