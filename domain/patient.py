"""A patient: one stream above all of a person's cases."""

from domain.event import Event, register
from domain.values import Day, Identifier, Line


@register.add("patient.registered.v1", subject="patient")
class PatientRegistered(Event, frozen=True, kw_only=True):
    """Who the patient is."""

    patient: Identifier
    account: Identifier
    name: Line
    born_on: Day
