"""One patient or several: names as people write them, numbers as hospitals give them."""

import pytest

from application.records.requirements import requirement
from domain.imaging.identity import MOST_WRITINGS, comparable, contradicts, differ, several
from domain.imaging.model import PatientIdentity

ANONYMOUS = requirement("any").vocabulary.anonymous


def person(name: str = "", number: str = "", birth: str = "") -> PatientIdentity:
    """An identity of three facts."""
    return PatientIdentity(name=name, patient_id=number, birth_date=birth, digest=f"{name}/{number}/{birth}")


@pytest.mark.parametrize(
    ("a", "b", "one_study", "expected"),
    [
        (person("DOE^JOHN", "1"), person("Doe^John^^Mr", "1"), True, False),
        (person("DOE^JOHN", "1"), person("John Doe", "1"), True, False),
        (person("DOE^JOHN", "1"), person("DOE^J", "1"), True, False),
        (person("DOE^JOHN", "0012"), person("DOE^JOHN", "12"), True, False),
        (person("MÜLLER^JÖRG", "1"), person("Muller^Jorg", "1"), True, False),
        (person("MÜLLER^JÖRG", "1"), person("Mueller^Joerg", "1"), True, False),
        (person("SØRENSEN^ÅSE", "1"), person("Soerensen^Ase", "1"), True, False),
        (person("Wałęsa^Łucja", "1"), person("WALESA^LUCJA", "1"), True, False),
        (person("DOE^JOHN", "1"), person("DOE^JANE", "1"), True, True),
        (person("DOE^JOHN", "1"), person("ROE^JOHN", "1"), True, True),
        (person("DOE^JOHN", "1", "19500101"), person("DOE^JOHN", "1", "19500102"), True, True),
        (person("DOE^JOHN", "1"), person("DOE^JOHN", "2"), True, True),
        (person("DOE^JOHN", "1"), person("DOE^JOHN", "2"), False, True),
        (person("DOE^JOHN", "1", "19500101"), person("DOE^JOHN", "2", "19500101"), False, False),
        (person("DOE^JOHN", "1", "19500101"), person("DOE^JOHN", "2", "19500101"), True, True),
        (person("Yamada^Tarou=山田^太郎", "1"), person("山田^太郎", "1"), True, False),
        (person("Ivanov^Ivan", "1"), person("Иванов^Иван", "1"), True, False),
        (person("Anonymous", "A"), person("Anonymized^Patient", "A"), True, False),
        (person("DOE^JOHN", "1"), person("", ""), True, False),
        (person("", "1"), person("", "2"), True, True),
    ],
)
def test_differences_are_told(a: PatientIdentity, b: PatientIdentity, one_study: bool, expected: bool) -> None:
    """Spelling, order, titles and scripts make no other patient; another name, date or number does."""
    assert differ(a, b, one_study=one_study, anonymous=ANONYMOUS) is expected
    assert differ(b, a, one_study=one_study, anonymous=ANONYMOUS) is expected


def test_a_hospitals_number_does_not_contradict_the_case() -> None:
    """Against the case's patient only name and birth date count; without them nothing can be compared."""
    case = person("Doe^John", "case-7", "19500101")
    assert not contradicts(person("DOE^JOHN", "H-1", "19500101"), case)
    assert contradicts(person("DOE^JOHN", "H-1", "19500102"), case)
    assert contradicts(person("ROE^JANE", "H-1"), case)
    assert not comparable(person("", "H-1"), case)
    assert comparable(person("", "case-7"), case)


def test_nobody_is_written_in_a_hundred_ways() -> None:
    """More writings than any patient has are several people, and are not compared pair by pair."""
    many = [person("DOE^JOHN", str(number), "19500101") for number in range(1, 20_000)]
    assert several(many, one_study=False)
    assert not several(many[:MOST_WRITINGS], one_study=False)
