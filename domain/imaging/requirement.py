"""What the imaging of one disease site must show, as data: every number with the source that it comes from.

The sets themselves are TOML files beside this module (`requirements/`), read by the application, since the domain does
no I/O. A source "J" means: our own default, to be signed off by a clinician.
"""

from typing import Literal

import msgspec

Need = Literal["essential", "expected", "wanted"]
"""What its absence does: inadequate, limited, or only a note."""
Phase = Literal["plain", "arterial", "portal", "delayed", "hepatobiliary", "unknown"]


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number, its unit (UCUM) and where it comes from."""

    value: float
    unit: str
    source: str


class PhaseNeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A contrast phase; `from_s` and `to_s` are seconds after the start of injection."""

    phase: Phase
    need: Need
    source: str
    label: str
    from_s: float | None = None
    to_s: float | None = None


class SequenceNeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An MR sequence by the kinds that satisfy it, with the planes and the b-value that it must have."""

    label: str
    any_of: tuple[str, ...]
    need: Need
    source: str
    planes: tuple[str, ...] = ()
    b_at_least: Limit | None = None
    contrast: bool = False
    """Only a stack after contrast counts."""
    slice_limited_above: Limit | None = None
    """Instead of the set's own limit."""


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words that descriptions use, by what they mean; a "*" at the end makes a word a beginning."""

    localizer: tuple[str, ...] = ()
    monitoring: tuple[str, ...] = ()
    projection: tuple[str, ...] = ()
    """Projections, renderings and calculated maps: pictures of a volume, and not the volume."""
    contrast: tuple[str, ...] = ()
    no_contrast: tuple[str, ...] = ()
    no_agent: tuple[str, ...] = ()
    enteral: tuple[str, ...] = ()
    """Contrast by mouth or rectum, which shows the bowel and no phase."""
    intravenous: tuple[str, ...] = ()
    several_phases: tuple[str, ...] = ()
    phases: dict[str, tuple[str, ...]] = {}
    regions: dict[str, tuple[str, ...]] = {}
    sequences: dict[str, tuple[str, ...]] = {}
    anonymous: tuple[str, ...] = ()


class Requirement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One versioned requirement set."""

    site: str
    version: int
    title: str
    modalities: tuple[str, ...] = ()
    """Modalities one of which must be there; () for any cross-sectional one."""
    slices_at_least: Limit
    """Below it a series is no stack."""
    slices_wanted: Limit | None = None
    """Below it a stack is limited, where the site states no coverage in millimetres."""
    slice_limited_above: Limit | None = None
    slice_inadequate_above: Limit | None = None
    volumetry_above: Limit | None = None
    coverage_limited_below: Limit | None = None
    coverage_inadequate_below: Limit | None = None
    age_limited_above: Limit | None = None
    age_inadequate_above: Limit | None = None
    matrix_at_least: Limit | None = None
    pixel_at_most: Limit | None = None
    regions: tuple[str, ...] = ()
    """Body regions that must be covered; () when the site does not say."""
    contrast: Need | None = None
    phases: tuple[PhaseNeed, ...] = ()
    sequences: tuple[SequenceNeed, ...] = ()
    companions: tuple[SequenceNeed, ...] = ()
    """Other examinations that the site wants beside this one, by modality in `any_of`."""
    one_of: tuple["Requirement", ...] = ()
    """Sets one of which is enough, where a site accepts several kinds of examination; the best verdict counts."""
    vocabulary: Vocabulary = Vocabulary()
