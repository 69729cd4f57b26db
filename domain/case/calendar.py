"""Business days: which days a calendar counts, and how due dates follow from them.

Days are ISO 8601 strings in UTC. Calendars are data: a holiday is a day ("2026-02-17") or, where it falls on the
same date every year, that date ("--01-26", the month and day of XML Schema's gMonthDay).
"""

from datetime import date, timedelta

import msgspec

from domain.errors import MalformedBody, Misconfigured

DAY = 86_400 * 1_000_000
"""Microseconds in a day."""

DUE_FROM = 5
"""Business days after which a result is at risk."""
DUE_BY = 7
"""Business days after which a result is missed."""

_EPOCH = date(1970, 1, 1)


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """Which days count; `weekend` holds ISO weekdays (Monday is 1)."""

    name: str
    weekend: frozenset[int] = frozenset({6, 7})
    holidays: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.weekend < frozenset(range(1, 8)):
            raise Misconfigured(f"calendar {self.name}: weekend days are 1 to 7, and not all of them")

    def is_business_day(self, day: date) -> bool:
        """Say whether work is done on that day."""
        written = day.isoformat()
        return (
            day.isoweekday() not in self.weekend
            and written not in self.holidays
            and f"-{written[4:]}" not in self.holidays
        )


class Calendars(msgspec.Struct, frozen=True, kw_only=True):
    """The service's own calendar, and those of the centres by name."""

    service: Calendar
    centres: tuple[Calendar, ...] = ()

    def named(self, name: str) -> Calendar:
        """The calendar of a centre, or the service's own.

        Raises:
            Misconfigured: there is none of that name.
        """
        for calendar in (self.service, *self.centres):
            if calendar.name == name:
                return calendar
        raise Misconfigured(f"there is no calendar named {name}")


def utc_day(at: int) -> str:
    """The UTC day of an instant in microseconds."""
    return (_EPOCH + timedelta(days=at // DAY)).isoformat()


def parsed(day: str) -> date:
    """Read a day that has the right form; it may still not exist.

    Raises:
        MalformedBody: there is no such day.
    """
    try:
        return date.fromisoformat(day)
    except ValueError:
        raise MalformedBody("a day is not one of the calendar") from None


def end_of(day: str) -> int:
    """The instant, in microseconds, at which that UTC day is over.

    Raises:
        MalformedBody: there is no such day.
    """
    return ((parsed(day) - _EPOCH).days + 1) * DAY


def add_business_days(calendar: Calendar, start: str, count: int) -> str:
    """The `count`-th business day after `start`; `start` itself, business day or not, for 0."""
    day = parsed(start)
    while count > 0:
        day += timedelta(days=1)
        count -= calendar.is_business_day(day)
    return day.isoformat()


def business_days_between(calendar: Calendar, start: str, end: str) -> int:
    """Business days after `start`, up to and including `end`."""
    first = parsed(start)
    days = (parsed(end) - first).days
    return sum(calendar.is_business_day(first + timedelta(days=each)) for each in range(1, days + 1))


def due(calendar: Calendar, running_since: str, ran: tuple[tuple[str, str], ...] = ()) -> tuple[str, str]:
    """The days (at risk after, missed after) of a clock that runs since a day and ran before in some stretches.

    It resumes with what was left; where nothing was left, the result is due on the day on which it resumes.
    """
    used = sum(business_days_between(calendar, start, end) for start, end in ran)
    return (
        add_business_days(calendar, running_since, DUE_FROM - used),
        add_business_days(calendar, running_since, DUE_BY - used),
    )


SERVICE = Calendar(name="service")

# Holidays that fall on one date each year, by law: India's three national holidays; China's New Year, Labour Day and
# National Day. China's days by the moon are listed for the year for which they are known; working weekends that make up
# for them are left out: a due date may be late by them, never early. Who runs the service hands in fuller calendars.
INDIA = Calendar(name="india", holidays=frozenset({"--01-26", "--08-15", "--10-02"}))
CHINA = Calendar(
    name="china",
    holidays=frozenset(
        {"--01-01", "--05-01", "--05-02", "--10-01", "--10-02", "--10-03"}
        | {"2026-02-16", "2026-02-17", "2026-02-18", "2026-02-19", "2026-04-05", "2026-06-19", "2026-09-25"}
    ),
)

CALENDARS = Calendars(service=SERVICE, centres=(INDIA, CHINA))
