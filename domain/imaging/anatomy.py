"""Which region of the body a series says that it shows."""

from typing import Literal

from domain.imaging.model import InstanceHeader
from domain.imaging.requirement import Vocabulary
from domain.imaging.words import has_word

Fit = Literal["right", "unknown", "wrong"]

TRUNK_MM = 350.0
"""A stack longer than this reaches beyond any one region of the trunk, whatever its label says."""
_TRUNK = frozenset(("chest", "abdomen", "pelvis"))


def regions_of(header: InstanceHeader, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Regions that body part and descriptions name, in order; () when they name none.

    The series' own words come before study and protocol, which often name more than one series shows.
    """
    near = (header.body_part, header.series_description)
    found = _named(near, vocabulary)
    return tuple(sorted(found or _named((header.protocol_name, header.study_description), vocabulary)))


def _named(texts: tuple[str, ...], vocabulary: Vocabulary) -> set[str]:
    return {region for region, words in vocabulary.regions.items() for text in texts if has_word(text, words)}


def fit_of(regions: tuple[str, ...], wanted: tuple[str, ...], extent: float) -> Fit:
    """Whether a stack can show what the site needs. A long stack of the trunk may show more than its label."""
    if not wanted:
        return "right"
    if not regions:
        return "unknown"
    if set(regions) & set(wanted) or "whole" in regions:
        return "right"
    if extent > TRUNK_MM and set(regions) & _TRUNK and set(wanted) & _TRUNK:
        return "unknown"
    return "wrong"
