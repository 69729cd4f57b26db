"""What kind of MR sequence a stack is: by words, by the sequence's name, then by its echo and repetition times."""

from typing import Final

from domain.imaging.requirement import Vocabulary
from domain.imaging.stacks import Stack
from domain.imaging.words import has_word

T1_ECHO_MS: Final = 30.0
T1_REPETITION_MS: Final = 1000.0
T2_ECHO_MS: Final = 60.0
"""Usual bounds of T1 and T2 weighting at 1.5 and 3 T (spin echo: short TR and TE against long TE)."""


def b_values(stack: Stack) -> list[float]:
    """Distinct b-values of a stack in s/mm2, ascending."""
    found = {
        one.frame.b_value if one.frame and one.frame.b_value is not None else one.header.b_value for one in stack.slices
    }
    return sorted(value for value in found if value is not None)


def sequences_of(stack: Stack, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Kinds that a stack counts as (dwi, adc, mrcp, stir, t2, t1), () when the headers do not tell."""
    header = stack.header
    texts = (header.series_description, header.protocol_name, header.sequence_name)
    kinds = set(header.image_type[2:])
    if stack.slices[0].frame is not None:
        kinds |= set(stack.slices[0].frame.kind[2:])
    found: list[str] = []
    for text in texts:
        found = [kind for kind, words in sorted(vocabulary.sequences.items()) if has_word(text, words)]
        if found:
            break
    if "ADC" in kinds:
        return ("adc",)
    if header.diffusion or kinds & {"DIFFUSION", "TRACEW"} or "dwi" in found:
        return ("adc",) if "adc" in found else ("dwi",)
    if found:
        return tuple(found)
    echo, repetition, inversion = header.echo_time, header.repetition_time, header.inversion_time
    if inversion is not None and 100 <= inversion <= 260 and "IR" in header.scanning_sequence:
        return ("stir",)
    if echo is not None and echo >= T2_ECHO_MS and "EP" not in header.scanning_sequence:
        return ("t2",)
    if echo is not None and repetition is not None and echo <= T1_ECHO_MS and 0 < repetition <= T1_REPETITION_MS:
        return ("t1",)
    return ()
