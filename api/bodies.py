"""JSON bodies, read strictly: one meaning or none.

msgspec takes the last of two equal keys, so the text is first read by a parser that sees them all. Errors name the
place and the rule by names and values that are ours, and never repeat what was sent.
"""

import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import msgspec

from api import members
from api.problems import Told
from domain.errors import CaseLedgerError, ControlCharacter, MalformedBody, TooLarge

MAX_BODY_BYTES = 512 * 1024
"""Room for the largest payload (256 KiB) in base64, with its statement."""
MAX_DEPTH = 16

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MESSAGE = re.compile(r"(?P<rule>.*?)(?: - at `(?P<path>\$[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]")
_UNKNOWN = "Object contains unknown field "
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_REPEATABLE = re.compile(
    r"Expected `[a-z |`]+`?(?:, got `[a-z]+`| of length [<>]=? \d+| [<>]=? -?\d+| with a timezone component)"
    r"|Invalid RFC3339 encoded datetime|Invalid base64 encoded string|Integer value out of range"
)
"""What of msgspec's messages holds nothing but our own words; everything else is put in ours."""


def decode_body(raw: bytes, type_: type[T]) -> T:
    """A JSON body as the type that is expected.

    Raises:
        Told: of MalformedBody, ControlCharacter or TooLarge, with the field where there is one to blame.
    """
    tree = _parsed(raw, type_)
    try:
        return msgspec.json.decode(raw, type=type_)
    except msgspec.ValidationError as error:
        message = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Told(MalformedBody("the body is not JSON in UTF-8")) from None
    raise _refusal(message, tree, type_)


def _parsed(raw: bytes, type_: Any) -> Any:
    if len(raw) > MAX_BODY_BYTES:
        raise Told(TooLarge(f"a JSON body has at most {MAX_BODY_BYTES} bytes"))
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=partial(_object, type_), parse_constant=_constant)
    except RecursionError:
        raise Told(MalformedBody(f"the body is nested more than {MAX_DEPTH} deep")) from None
    except ValueError:
        # Among them numbers of thousands of digits, which Python does not read.
        raise Told(MalformedBody("the body is not JSON in UTF-8")) from None
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [item for each in level for item in _items(each)]
    if level:
        raise Told(MalformedBody(f"the body is nested more than {MAX_DEPTH} deep"))
    return tree


def _items(value: Any) -> list[Any]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
    return []


def _object(type_: Any, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            named = f"the member {key}" if key in members.every_member(type_) else "a member"
            raise Told(MalformedBody(f"an object of the body has {named} twice"))
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError("not a number of JSON")


def _refusal(message: str, tree: Any, type_: Any) -> Told:
    found = _MESSAGE.fullmatch(message)
    rule, path = (found["rule"], found["path"] or "") if found else ("", "")
    steps = [name or index for name, index in _STEP.findall(path)]
    kinds = members.place(type_, steps) if _there(tree, steps) else None
    if kinds is None or (rule.startswith(_UNKNOWN) and not members.members(kinds)):
        # There is no such place: a name that was sent was written so as to look like one.
        steps, kinds = [], members.place(type_, []) or ()
    if rule.startswith(_UNKNOWN):
        known = ", ".join(members.members(kinds))
        return Told(MalformedBody(f"{_dotted(steps)}: a member is not known; known are {known}"), field=_pointer(steps))
    if member := _MISSING.fullmatch(rule):
        told = f"{_dotted(steps)}: the member {member['name']} is missing"
        return Told(MalformedBody(told), field=_pointer([*steps, member["name"]]))
    error: type[CaseLedgerError] = MalformedBody
    if " of length <" in rule:
        error = TooLarge
    elif "matching regex" in rule:
        value = _at(tree, steps)
        if isinstance(value, str) and _CONTROL.search(value):
            error, rule = ControlCharacter, "contains a control character"
        else:
            rule = "does not have the form that is expected"
    if error is not ControlCharacter and "form that" not in rule and not _REPEATABLE.fullmatch(rule):
        listed = members.values(kinds)
        rule = "is not one of the values that are allowed" + (f": {', '.join(listed)}" if listed else "")
    separator = " " if error is ControlCharacter or rule.startswith(("does", "is ")) else ": "
    return Told(error(f"{_dotted(steps)}{separator}{rule}"), field=_pointer(steps))


def _pointer(steps: Sequence[str]) -> str | None:
    return "".join(f"/{step}" for step in steps) or None


def _dotted(steps: Sequence[str]) -> str:
    return ".".join(steps) or "the body"


def _there(tree: Any, steps: Sequence[str]) -> bool:
    try:
        _at(tree, steps)
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _at(tree: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    return tree
