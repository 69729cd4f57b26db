"""Whether contrast was given, by what the headers say; a filled field is not yet evidence."""

from typing import Literal

from domain.imaging.model import InstanceHeader
from domain.imaging.requirement import Vocabulary
from domain.imaging.words import has_word

Evidence = Literal["given", "plain", "unknown"]


def contrast_of(header: InstanceHeader, vocabulary: Vocabulary) -> Evidence:
    """given, plain (the header says that there was none) or unknown.

    A volume of 0 or an agent "NO" is no contrast; an agent "APPLIED" is; one that was only drunk tells nothing. What
    the series itself says comes before its protocol, which often names the whole examination.
    """
    described = header.series_description
    if has_word(described, vocabulary.no_contrast):
        return "plain"
    agent = header.contrast_agent.strip()
    denied = has_word(agent, vocabulary.no_agent)
    told = f"{agent} {header.contrast_route}"
    drunk = has_word(told, vocabulary.enteral) and not has_word(told, vocabulary.intravenous)
    if agent and not denied and not drunk and any(char.isalnum() for char in agent):
        return "given"
    if not drunk and ((header.contrast_volume or 0) > 0 or (header.contrast_start and not denied)):
        return "given"
    if has_word(described, vocabulary.contrast) or _has_phase(described, vocabulary):
        return "given"
    if denied:
        return "plain"
    protocol = header.protocol_name
    if has_word(protocol, vocabulary.no_contrast):
        return "plain"
    if has_word(protocol, vocabulary.contrast):
        return "given"
    return "unknown"


def _has_phase(text: str, vocabulary: Vocabulary) -> bool:
    return any(has_word(text, words) for phase, words in vocabulary.phases.items() if phase != "plain")
