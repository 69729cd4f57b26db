"""Lines of an import: what is taken, what is refused and in which words, and what a line comes to."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from application.importing import source as sources
from application.importing.checking import Checked, check, content_of
from application.importing.line import opening_of
from application.importing.source import MAX_LINE_BYTES, Source
from application.request import Request
from caseledger import demo_data_command
from caseledger.import_command import read_line
from domain.case import events as e
from domain.case.calendar import end_of
from domain.errors import InvalidInput, TooLarge, WrongRole
from domain.patient import PatientRegistered, likenesses

NOW = end_of("2026-03-01") + 9 * 3_600_000_000
"""Monday 2026-03-02, 09:00 UTC."""
REQUEST = Request(id="tom.fielding", role="coordinator", cause="cause-1", now=NOW)
SECRET_NAME = "Peter Doe Marker-Name"


def line(number: int = 1, **changed: Any) -> dict[str, Any]:
    """A good line; `changed` replaces members, by path with __ between its steps, or drops those that are None."""
    made: dict[str, Any] = {
        "reference": f"old/{number}",
        "opened_on": "2026-02-27",
        "patient": {"name": f"{SECRET_NAME} {number}", "born_on": "1961-02-03", "account": f"account-{number}"},
        "case": {"reason": "told_unresectable", "diagnosis": "Liver", "organ": "liver", "home_country": "GB"},
        "original_verdict": {"verdict": "unresectable", "centre": "Centre", "decided_on": "2026-02-20"},
    }
    for path, value in changed.items():
        *steps, last = path.split("__")
        place = made
        for step in steps:
            place = place[step]
        if value is None:
            place.pop(last)
        else:
            place[last] = value
    return made


def text(*lines: dict[str, Any] | bytes) -> bytes:
    """A file of these lines."""
    return b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in lines)


def checked(content: bytes) -> tuple[Checked, list[str]]:
    """The first reading of a file, and what it told."""
    told: list[str] = []
    return check(Source(BytesIO(content)), read_line, REQUEST, told.append), told


def test_a_good_line_is_an_opening_by_hand() -> None:
    """Patient, case, where it came from, contact, verdict; what happened then has the day of then."""
    made = opening_of(read_line(text(line(7))), 7, "a" * 64, REQUEST)
    kinds = [type(each.event) for each in made.events]
    assert kinds == [
        PatientRegistered,
        e.CaseOpened,
        e.CaseImported,
        e.CoordinatorAssigned,
        e.OriginalVerdictRecorded,
    ]
    then = end_of("2026-02-26")
    assert [each.occurred_at for each in made.events] == [then, then, None, None, then]
    imported = made.events[2].event
    assert imported == e.CaseImported(reference="old/7", file_sha256="a" * 64, line=7)
    assert [each.originator_version for each in made.events] == [1, 1, 2, 3, 4]
    assert (made.state.phase, made.state.coordinator) == ("intake", REQUEST.id)


def test_another_coordinator_is_handed_the_case() -> None:
    """Whoever imports holds it first, since only the assigned coordinator records the verdict."""
    made = opening_of(read_line(text(line(coordinator="ana.ruiz"))), 1, "a" * 64, REQUEST)
    assert made.state.coordinator == "ana.ruiz"
    assert made.events[-1].event == e.CoordinatorAssigned(coordinator="ana.ruiz")


def test_what_need_not_be_there_need_not() -> None:
    """Without a day nothing is said to have happened earlier; without a verdict none is recorded."""
    made = opening_of(read_line(text(line(opened_on=None, original_verdict=None))), 1, "a" * 64, REQUEST)
    assert len(made.events) == 4
    assert {each.occurred_at for each in made.events} == {None}


BAD: list[tuple[dict[str, Any] | bytes, str]] = [
    (b"{\n", "the line is not JSON in UTF-8"),
    (b"[]\n", "the line: Expected `object`, got `array`"),
    (b"\n", "the line: is empty"),
    (b'{"reference":"\xff"}\n', "the line is not JSON in UTF-8"),
    (text(line()).decode().encode("utf-16-le"), "the line"),
    (b"[" * 5000 + b"\n", "the line is nested more than 16 deep"),
    (b'{"reference":' + b"9" * 5000 + b"}\n", "the line is not JSON in UTF-8"),
    (
        text(line()).replace(b'"case"', b'"reference":"x","case"'),
        "an object of the line has the member",
    ),
    (text(line()).replace(b'"organ"', b'"organ":"lung","organ"'), "an object of the line has the member organ twice"),
    (line(reference=None), "the line: the member reference is missing"),
    (line(reference=""), "reference: Expected `str` of length >= 1"),
    (line(reference="r" * 101), "reference: Expected `str` of length <= 100"),
    (line(reference="a\x1bb"), "reference contains a control character"),
    (line(reference=7), "reference: Expected `str`, got `int`"),
    (
        line(nickname="x"),
        "the line: a member is not known; known are reference, opened_on, coordinator, patient, case,",
    ),
    (line(patient__sex="f"), "patient: a member is not known; known are name, born_on, account"),
    (
        text(line()).replace(b'"case"', b'"Markername":1,"Markername":2,"case"'),
        "an object of the line has a member twice",
    ),
    (line(patient__account=None), "a coordinator who opens a case names the patient's account"),
    (line(patient__account="Peter"), "patient.account does not have the form that is expected"),
    (line(patient__account=REQUEST.id), "nobody coordinates their own case"),
    (line(coordinator="account-1"), "nobody coordinates their own case"),
    (line(patient__born_on="1961-02-30"), "patient.born_on: there is no such day"),
    (line(patient__born_on="3.2.1961"), "patient.born_on does not have the form that is expected"),
    (line(patient__born_on="2026-03-04"), "patient.born_on: is in the future"),
    (line(opened_on="2026-03-03"), "opened_on: is in the future"),
    (line(opened_on="1969-12-31"), "opened_on: is before 1970"),
    (line(opened_on="0000-01-01"), "opened_on: there is no such day"),
    (line(case__organ="spleen"), "case.organ is not one of the values that are allowed: bile_duct, colon,"),
    (line(case__home_country="Britain"), "case.home_country does not have the form that is expected"),
    (line(original_verdict__centre=None), "original_verdict: the member centre is missing"),
    (line(original_verdict__decided_on="2026-03-04"), "decided_on is in the future"),
    (line(original_verdict__words="w" * 20_001), "original_verdict.words: Expected `str` of length <= 20000"),
    (b'{"reference":"' + b"x" * (MAX_LINE_BYTES + 1) + b'"}\n', "the line: has more than 262,144 bytes"),
]


@pytest.mark.parametrize(("bad", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bad_line_is_told_by_number_and_field(bad: dict[str, Any] | bytes, said: str) -> None:
    """And never by what it says; the lines around it are read as ever."""
    found, told = checked(text(line(100), bad if isinstance(bad, dict) else bad.rstrip(b"\n") + b"\n", line(101)))
    assert told[0].startswith(f"line 2: {said}")
    assert found.wrong == len(told)
    assert "Marker" not in "".join(told)
    assert {"old/100", "old/101"} <= set(found.references) or b"\x00" in text(bad)


def test_every_bad_line_is_told() -> None:
    """Not the first one only."""
    found, told = checked(text(*(line(number, case__organ="spleen") for number in range(1, 30)), line(30)))
    assert (found.wrong, found.lines, len(told)) == (29, 30, 29)
    assert [each.split(":")[0] for each in told] == [f"line {number}" for number in range(1, 30)]


def test_a_reference_is_that_of_one_line() -> None:
    """The second is told, with the number of the first."""
    _, told = checked(text(line(1), line(2), line(3, reference="old/1")))
    assert told == ["line 3: reference: is that of line 1 already"]


def test_an_empty_file_is_refused() -> None:
    """Somebody meant another."""
    with pytest.raises(InvalidInput, match="empty"):
        checked(b"")


def test_too_many_lines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are noticed, without reading on."""
    monkeypatch.setattr(sources, "MAX_LINES", 3)
    assert checked(text(*map(line, range(3))))[0].lines == 3
    with pytest.raises(TooLarge, match="at most 3 lines"):
        checked(text(*map(line, range(4))))


def test_a_line_at_the_bound_is_read_and_one_above_it_is_skipped_whole() -> None:
    """What follows an endless line is a line of its own."""
    padded = b" " * (MAX_LINE_BYTES - len(text(line(1)).rstrip()))
    whole = text(line(1)).rstrip() + padded + b"\n"
    found, told = checked(whole + whole.replace(b"\n", b" \n") + b"x" * 3 * MAX_LINE_BYTES + b"\n" + text(line(2)))
    assert [each.split(":")[0] for each in told] == ["line 2", "line 3"]
    assert found.references == {"old/1": 1, "old/2": 4}


def test_spelling_does_not_matter_and_meaning_does() -> None:
    """A byte order mark, other line ends, spaces, the order of members, a last line without its end."""
    plain = line(1)
    other = dict(reversed(plain.items()))
    assert content_of(read_line(text(plain))) == content_of(read_line(json.dumps(other, indent=1).encode()))
    assert content_of(read_line(text(plain))) != content_of(read_line(text(line(1, case__organ="lung"))))
    crlf = b"\xef\xbb\xbf" + text(plain, line(2)).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    found, told = checked(crlf)
    assert (found.lines, told) == (2, [])
    assert (found.contents, found.sha256) == ((same := checked(text(plain, line(2)))[0]).contents, same.sha256)


@pytest.mark.parametrize(
    ("name", "born_on", "account", "alike"),
    [
        ("Anna-Lena MÜLLER", "1961-02-03", "account-9", True),
        ("muller, anna lena", "1961-02-03", "account-9", True),
        ("Anna Lena Muller", "1961-02-04", "account-9", False),
        ("Anna Muller", "1961-02-03", "account-9", False),
        ("Somebody Else", "1950-01-01", "account-1", True),
    ],
)
def test_likely_the_same_patient(name: str, born_on: str, account: str, *, alike: bool) -> None:
    """By the account, or by the day of birth and the words of the name."""
    one = line(1, patient__name="Müller, Anna Lena")
    two = line(2, patient__name=name, patient__born_on=born_on, patient__account=account)
    found, told = checked(text(one, two))
    assert told == []
    assert [(each.line, each.same_as) for each in found.likely] == ([(2, "line 1")] if alike else [])
    assert not any(b"muller" in each for each in found.likenesses)


def test_a_name_of_nothing_but_marks_is_a_name() -> None:
    """Two of them are alike; nothing fails."""
    assert likenesses("a", "...", "1961-02-03")[1] == likenesses("b", "\u0301", "1961-02-03")[1]


def test_invented_cases_are_what_an_import_takes(tmp_path: Path) -> None:
    """Every line is good, none is likely to be of another's person, and a seed says which they are."""
    content = written(500, 7)
    found, told = checked(content)
    assert (found.lines, found.wrong, told, found.likely) == (500, 0, [], [])
    assert written(500, 7) == content
    assert written(20, 7) == b"".join(content.splitlines(keepends=True)[:20])
    other = read_lines(written(500, 8))
    assert not {each["reference"] for each in other} & set(found.references)
    everybody = read_lines(content)
    assert all(each["patient"]["name"].startswith("Invented ") for each in everybody)
    verdicts = [each["original_verdict"] for each in everybody if "original_verdict" in each]
    assert all(each["centre"].startswith("Invented ") for each in verdicts)
    assert len({each["case"]["organ"] for each in everybody}) == 11
    assert len({each["case"]["reason"] for each in everybody}) == 5


@pytest.mark.parametrize(("cases", "seed"), [(0, 1), (100_001, 1), (1, -1), (1, 2**53)])
def test_as_many_invented_cases_as_an_import_takes(cases: int, seed: int) -> None:
    """And a seed that is a number."""
    with pytest.raises(InvalidInput):
        demo_data_command.run(cases, seed, BytesIO())


def written(cases: int, seed: int) -> bytes:
    """What the command writes."""
    out = BytesIO()
    assert demo_data_command.run(cases, seed, out) == 0
    return out.getvalue()


def read_lines(content: bytes) -> list[dict[str, Any]]:
    """Each line's object."""
    return [json.loads(each) for each in content.splitlines()]


def test_the_documented_line_is_one() -> None:
    """docs/import.md's example, and every field of its table."""
    document = (Path(__file__).resolve().parents[2] / "docs/import.md").read_text("utf-8")
    example = document.split("```json\n")[1].split("```")[0]
    given = read_line(example.encode())
    request = msgspec.structs.replace(REQUEST, now=end_of("2026-11-01"))
    assert opening_of(given, 1, "a" * 64, request).state.coordinator == "ana.ruiz"
    fields = {each.split("`")[1] for each in document.splitlines() if each.startswith("| `")}
    assert fields == set(_paths(json.loads(example))) | {"original_verdict"}


def _paths(tree: dict[str, Any], above: str = "") -> list[str]:
    return [
        path
        for name, value in tree.items()
        for path in (_paths(value, f"{name}.") if isinstance(value, dict) else [f"{above}{name}"])
    ]


def test_no_rule_is_skipped_in_the_first_reading() -> None:
    """Whoever is no coordinator imports nothing, by the decision that opening a case has."""
    told: list[str] = []
    technician = msgspec.structs.replace(REQUEST, role="technician")
    check(Source(BytesIO(text(line()))), read_line, technician, told.append)
    assert told == ["line 1: a case is opened by a patient or a coordinator"]
    patient = msgspec.structs.replace(REQUEST, role="patient")
    with pytest.raises(WrongRole, match="only a coordinator brings"):
        opening_of(read_line(text(line(patient__account=None))), 1, "a" * 64, patient)
