"""To whom a case goes: by the organ of the operation in question, not by the primary tumour."""

from domain.errors import NotEligible
from domain.specialist import Specialist
from domain.values import Organ, Subspecialty

RULE_VERSION = 1
"""Stands in every routing; a changed rule is a new version."""

MINIMUM_YEARLY_VOLUME = 100
"""Operations on the organ in a year, on evidence."""

_BY_ORGAN: dict[Organ, Subspecialty] = {
    "liver": "hpb",
    "bile_duct": "hpb",
    "pancreas": "hpb",
    "colon": "colorectal",
    "rectum": "colorectal",
    "lung": "thoracic",
    "oesophagus": "thoracic",
}


def subspecialty_for(organ: Organ) -> Subspecialty | None:
    """The subspecialty that the rule names; None where a person decides."""
    return _BY_ORGAN.get(organ)


def require_eligible(specialist: Specialist, organ: Organ) -> None:
    """Let a specialist pass who is of the subspecialty and does the operation often enough.

    Raises:
        NotEligible: another subspecialty than the rule names, or no evidence of enough operations a year.
    """
    wanted = subspecialty_for(organ)
    if wanted is not None and specialist.subspecialty != wanted:
        raise NotEligible(f"{organ} goes to {wanted}; specialist {specialist.specialist} is {specialist.subspecialty}")
    volume = specialist.yearly_volume(organ)
    if volume < MINIMUM_YEARLY_VOLUME:
        raise NotEligible(
            f"specialist {specialist.specialist} shows {volume} operations on {organ} a year;"
            f" {MINIMUM_YEARLY_VOLUME} are needed"
        )
