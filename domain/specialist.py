"""A specialist surgeon: what routing may rely on."""

import msgspec

from domain.event import Erased, Event, Meta, register
from domain.values import Count, Country, Identifier, Line, Organ, Sha256, Subspecialty


class Volume(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many operations on an organ in a year, and the evidence of it."""

    organ: Organ
    operations_a_year: Count
    evidence_sha256: Sha256


@register.add("specialist.registered.v1", subject="specialist")
class SpecialistRegistered(Event, frozen=True, kw_only=True):
    """A specialist was admitted to the service on evidence of subspecialty and volume."""

    specialist: Identifier
    actor: Identifier
    name: Line
    centre: Line
    country: Country
    calendar: Identifier
    subspecialty: Subspecialty
    subspecialty_evidence_sha256: Sha256
    volumes: tuple[Volume, ...]


class Specialist(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need to know of a specialist."""

    specialist: str
    actor: str
    name: str
    country: str
    calendar: str
    subspecialty: Subspecialty
    volumes: tuple[Volume, ...]

    def yearly_volume(self, organ: Organ) -> int:
        """Operations on that organ in a year; 0 where there is no evidence."""
        return sum(each.operations_a_year for each in self.volumes if each.organ == organ)


def evolve(state: Specialist | None, event: Event | Erased, meta: Meta) -> Specialist | None:
    """Fold one event of a specialist's stream."""
    match event:
        case SpecialistRegistered():
            return Specialist(
                specialist=event.specialist,
                actor=event.actor,
                name=event.name,
                country=event.country,
                calendar=event.calendar,
                subspecialty=event.subspecialty,
                volumes=event.volumes,
            )
    return state
