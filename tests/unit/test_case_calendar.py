import pytest

from domain.case.calendar import (
    CALENDARS,
    CHINA,
    DAY,
    INDIA,
    SERVICE,
    Calendar,
    add_business_days,
    business_days_between,
    due,
    end_of,
    utc_day,
)
from domain.errors import MalformedBody, Misconfigured


@pytest.mark.parametrize(
    ("calendar", "start", "count", "expected"),
    [
        (SERVICE, "2026-03-02", 5, "2026-03-09"),
        (SERVICE, "2026-03-07", 1, "2026-03-09"),
        (SERVICE, "2026-03-07", 0, "2026-03-07"),
        (SERVICE, "2027-12-31", 1, "2028-01-03"),
        (INDIA, "2026-01-23", 1, "2026-01-27"),
        (INDIA, "2029-01-25", 1, "2029-01-29"),
        (CHINA, "2026-02-13", 1, "2026-02-20"),
        (Calendar(name="friday", weekend=frozenset({5})), "2026-03-05", 2, "2026-03-08"),
    ],
)
def test_business_days_skip_weekends_and_holidays(calendar: Calendar, start: str, count: int, expected: str) -> None:
    """Of one year, or of every year; a start that is no business day does not count itself."""
    assert add_business_days(calendar, start, count) == expected


def test_counting_and_adding_agree() -> None:
    """As many business days lie between as were added."""
    for count in range(1, 40):
        assert business_days_between(CHINA, "2026-01-30", add_business_days(CHINA, "2026-01-30", count)) == count
    assert business_days_between(SERVICE, "2026-03-04", "2026-03-02") == 0


def test_what_ran_before_a_pause_is_taken_off() -> None:
    """Two business days ran; three and five are left, and never less than none."""
    assert due(SERVICE, "2026-03-09", (("2026-03-02", "2026-03-04"),)) == ("2026-03-12", "2026-03-16")
    assert due(SERVICE, "2026-03-30", (("2026-03-02", "2026-03-27"),)) == ("2026-03-30", "2026-03-30")


def test_days_are_those_of_utc() -> None:
    """The last microsecond of a day belongs to it."""
    assert utc_day(0) == "1970-01-01"
    assert utc_day(DAY - 1) == "1970-01-01"
    assert utc_day(end_of("2024-02-29") - 1) == "2024-02-29"
    assert utc_day(end_of("2024-02-29")) == "2024-03-01"


def test_a_day_that_does_not_exist_is_malformed() -> None:
    """Though it has the right form."""
    with pytest.raises(MalformedBody):
        end_of("2026-02-29")


def test_a_calendar_leaves_a_day_to_work() -> None:
    """Seven weekend days, or an eighth, would never end."""
    for weekend in (frozenset(range(1, 8)), frozenset({8})):
        with pytest.raises(Misconfigured):
            Calendar(name="never", weekend=weekend)


def test_calendars_go_by_name() -> None:
    """The service's own included."""
    assert CALENDARS.named("india") is INDIA
    assert CALENDARS.named("service") is SERVICE
    with pytest.raises(Misconfigured):
        CALENDARS.named("mars")
