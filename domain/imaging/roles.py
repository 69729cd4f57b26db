"""What each instance is good for: a slice to judge, a scout, a screenshot, or no picture at all (PS3.4 B.5, PS3.3 C.8).

The SOP class decides first, then Image Type values 3 and 4, then words. Modality and geometry decide nothing: a
screenshot of a CT can carry both.
"""

import re
from typing import Final, Literal

from domain.imaging.model import InstanceHeader
from domain.imaging.requirement import Vocabulary
from domain.imaging.words import has_word

Role = Literal["slice", "localizer", "screenshot", "picture", "projection", "monitoring", "no-image", "no-pixels"]

_IMAGE: Final = "1.2.840.10008.5.1.4.1.1."
CROSS_SECTIONAL: Final = {
    _IMAGE + "2": "CT",
    _IMAGE + "2.1": "CT",
    _IMAGE + "2.2": "CT",
    _IMAGE + "4": "MR",
    _IMAGE + "4.1": "MR",
    _IMAGE + "4.3": "MR",
    _IMAGE + "4.4": "MR",
    _IMAGE + "128": "PT",
    _IMAGE + "128.1": "PT",
    _IMAGE + "130": "PT",
}
"""CT, MR and PET image storage, ordinary, enhanced and legacy converted."""

_SECONDARY: Final = _IMAGE + "7"
_PHOTOGRAPHS: Final = (_IMAGE + "77.1.4", _IMAGE + "77.1.4.1")
_PICTURES: Final = frozenset("1 1.1 1.2 1.3 3 3.1 5 6 6.1 6.2 12 12.1 12.1.1 12.2 12.2.1 12.3 13 14 20 77".split())
_PICTURE_MODALITIES: Final = frozenset("CR DX MG US XA RF NM ES GM SM XC OP IVUS OCT".split())
_PRIVATE_IMAGES: Final = {"1.2.840.113619.4.2": "MR", "1.2.840.113619.4.3": "CT"}
"""GE's own MR and CT image storage, from before its scanners wrote the standard's."""

LOCALIZER_TYPES: Final = frozenset(
    ("LOCALIZER", "SCOUT", "SURVEY", "SURVIEW", "TOPOGRAM", "SCANOGRAM", "REF_SURVIEW", "CT_SOM TOP")
)
MONITORING_TYPES: Final = frozenset(("CT_SOM MON", "MONITORING", "BOLUS TRACKING"))
PROJECTION_TYPES: Final = frozenset(
    (
        *("PROJECTION IMAGE", "MIP", "MINIP", "MAX_IP", "MIN_IP", "CSA MIP"),
        *("VOLREN", "VRT", "SSD", "CSA VRT", "CSA SSD", "VOLUME RENDERING", "VOLUME_RENDER", "SURFACE_RENDER"),
    )
)
TEXT_TYPES: Final = frozenset(
    ("DOSE_INFO", "PATIENT_INFO", "RESULTS", "DOSE", "SCREEN SAVE", "SCREENSHOT", "CT_SOM PROT")
)
"""Image Type values 3 and 4 (PS3.3 C.7.6.1.1.2 and vendors' own) that are no slices to judge."""
_GENERATION: Final = re.compile(r"^CT_SOM\d+ ")
"""Siemens names the generation of the scanner's software in front of the kind: CT_SOM5 MON, CT_SOM7 MON."""


def modality_of(header: InstanceHeader) -> str:
    """Modality that the SOP class names, else the tag's: CT, MR, PT or whatever else is written."""
    return CROSS_SECTIONAL.get(header.sop_class_uid) or _PRIVATE_IMAGES.get(header.sop_class_uid) or header.modality


def label_of(header: InstanceHeader, modality: str) -> str:
    """What a hospital finds the series by: its number and description."""
    number = "" if header.series_number is None else f" {header.series_number}"
    described = header.series_description or header.protocol_name
    shown = f' "{described[:64]}"' if described else ""
    return f"{modality or 'image'} series{number}{shown}"


def is_secondary_capture(header: InstanceHeader) -> bool:
    """A photograph, print or screenshot by its SOP class (PS3.3 A.8)."""
    uid = header.sop_class_uid
    if not uid:
        return bool(header.conversion_type)
    return uid in _PHOTOGRAPHS or uid == _SECONDARY or uid.startswith(_SECONDARY + ".")


def role_of(header: InstanceHeader, vocabulary: Vocabulary) -> Role:
    """Role of a readable instance."""
    uid = header.sop_class_uid
    kinds = _kinds(header)
    if is_secondary_capture(header):
        return "screenshot"
    cross = uid in CROSS_SECTIONAL or uid in _PRIVATE_IMAGES
    if not cross and uid:
        suffix = uid.removeprefix(_IMAGE)
        picture = uid.startswith(_IMAGE) and (suffix in _PICTURES or suffix.startswith(("77.1.", "13.1.")))
        return "picture" if picture else "no-image"
    if not cross and header.modality not in ("CT", "MR", "PT"):
        return "picture" if header.modality in _PICTURE_MODALITIES and header.rows else "no-image"
    if kinds & LOCALIZER_TYPES:
        return "localizer"
    if kinds & MONITORING_TYPES:
        return "monitoring"
    if kinds & TEXT_TYPES:
        return "screenshot"
    if kinds & PROJECTION_TYPES:
        return "projection"
    described = header.series_description or header.protocol_name
    if has_word(described, vocabulary.localizer):
        return "localizer"
    if has_word(described, vocabulary.monitoring):
        return "monitoring"
    if has_word(described, vocabulary.projection):
        return "projection"
    if not header.rows or not header.columns or not header.has_pixels:
        return "no-pixels"
    return "slice"


def _kinds(header: InstanceHeader) -> set[str]:
    """Image Type values 3 and later, and the frames' own: values 1 and 2 (DERIVED, SECONDARY) exclude nothing."""
    kinds = {kind for kind in header.image_type[2:] if kind}
    if header.frame_geometry:
        kinds.update(kind for kind in header.frame_geometry[0].kind[2:] if kind)
    return {_GENERATION.sub("CT_SOM ", kind) if kind.startswith("CT_SOM") else kind for kind in kinds}
