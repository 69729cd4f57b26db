"""A patient: one stream above all of a person's cases."""

import unicodedata

from domain.case.calendar import DAY, end_of
from domain.errors import MalformedBody
from domain.event import Event, register
from domain.values import Day, Identifier, Line


@register.add("patient.registered.v1", subject="patient")
class PatientRegistered(Event, frozen=True, kw_only=True):
    """Who the patient is."""

    patient: Identifier
    account: Identifier
    name: Line
    born_on: Day


def check_birth(born_on: str, now: int) -> None:
    """Hold a day of birth against the calendar; `now` in microseconds.

    Raises:
        MalformedBody: there is no such day, or it is still to come.
    """
    try:
        ends = end_of(born_on)
    except MalformedBody:
        raise MalformedBody("patient.born_on: there is no such day") from None
    # It may be tomorrow already where the patient is.
    if ends > now + 2 * DAY:
        raise MalformedBody("patient.born_on: is in the future")


def likenesses(account: str, name: str, born_on: str) -> tuple[str, str]:
    """What two entries of one person are likely to share: the account; or the day of birth and the words of the name.

    The words are compared without case, accents, punctuation and order: "MÜLLER, Anna-Lena" is "Anna Lena Muller".
    """
    plain = "".join(
        each if each.isalnum() else " "
        for each in unicodedata.normalize("NFKD", name).casefold()
        if not unicodedata.combining(each)
    )
    return f"account {account}", f"person {born_on} {' '.join(sorted(plain.split()))}"
