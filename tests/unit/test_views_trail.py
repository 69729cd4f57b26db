"""What the trail says of an event, and what makes a view another one."""

from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from msgspec.structs import replace

from domain import access, patient, signing_key, specialist  # noqa: F401 - they register their events
from domain.case import events as e
from domain.event import Event, register
from projections import case_view
from projections.registry import PROJECTIONS
from projections.trail_summary import MAX_CHARACTERS, summary_of
from tests import cases_fixture as cases


def some(type_: Any, text: str) -> Any:
    """A value of a type, with this text wherever one stands; no bound is kept."""
    origin, args = get_origin(type_), get_args(type_)
    if origin is Literal:
        return args[0]
    if origin is tuple:
        return (some(args[0], text),)
    if args:  # Annotated, or a union
        return some(args[0], text)
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_(**{each.name: some(each.type, text) for each in msgspec.structs.fields(type_)})
    return {str: text, int: 7, bool: True}[type_]


@pytest.mark.parametrize("topic", register.topics())
def test_every_event_has_a_short_line(topic: str) -> None:
    """Whatever an event holds, its summary is one line of bounded length that says something."""
    for text in ("two\nlines\tof text", "long " * 5_000):
        summary = summary_of(some(register.named(topic).type, text))
        assert 0 < len(summary) <= MAX_CHARACTERS
        assert summary.isprintable()


def test_a_summary_says_what_happened() -> None:
    """The lines are what a coordinator would say of it."""
    recipient = e.Recipient(country="IN", organisation="HPB Centre", person="Dr Grieshaber")
    shared = e.OpinionShared(share="s-1", opinion="o-1", version=1, consent="c-1", recipient=recipient)
    assert summary_of(shared) == "opinion o-1 to Dr Grieshaber, HPB Centre, IN, under consent c-1"
    # Not what the opinion says: a patient reads the trail before it is delivered.
    assert summary_of(cases.opinion()) == "signed by Dr Grieshaber (opinion opinion-1)"
    assert summary_of(cases.opened()) == f"told unresectable; liver; {cases.DIAGNOSIS} (AT)"


def test_a_summary_never_names_the_account() -> None:
    """The account under which a patient signs in is not for whoever reads a trail."""
    assert "account" not in summary_of(cases.opened())


def test_an_event_without_a_wording_lists_its_short_fields() -> None:
    """A new kind of event shows up in the trail before anybody has found words for it."""

    class SomethingNew(Event, frozen=True, kw_only=True):
        cycle_number: int
        agent: str
        details: tuple[str, ...] = ()

    assert summary_of(SomethingNew(cycle_number=3, agent="FOLFOX", details=("x",))) == "cycle number 3, agent FOLFOX"


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda each: each.name)
def test_the_columns_are_those_of_the_table(projection: Any) -> None:
    """A projection's columns stand in its .sql file in the same order, each with its type."""
    types = {"text": "text", "bigint": "int8", "bytea": "bytea"}
    body = projection.sql().split("{schema}." + projection.name + " (")[1].split("\n)")[0]
    lines = [line.split() for line in body.splitlines() if line.strip()]
    assert tuple((line[0], types[line[1].rstrip(",")]) for line in lines) == projection.columns


def described(name: str, *fields: tuple[str, type], words: str) -> type[msgspec.Struct]:
    """A Struct of that name, with a docstring."""
    return msgspec.defstruct(name, fields, namespace={"__doc__": words})


def test_another_version_table_or_content_is_another_shape() -> None:
    """Whatever changes what a row is changes the shape; docstrings do not."""
    view = case_view.PROJECTION
    content = described("Content", ("description", str), words="One thing.")
    documented = described("Content", ("description", str), words="The same thing in other words.")
    wider = described("Content", ("description", str), ("more", int), words="One thing.")
    other = described("Content", ("description", int), words="One thing.")
    assert msgspec.json.schema(content) != msgspec.json.schema(documented)
    shapes = [replace(view, content=each).shape() for each in (content, documented, wider, other)]
    assert shapes[0] == shapes[1]
    assert len({*shapes, view.shape()}) == 4
    assert replace(view, version=view.version + 1).shape() != view.shape()
    assert replace(view, columns=view.columns[:-1]).shape() != view.shape()
