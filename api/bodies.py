"""JSON bodies, read strictly: one meaning or none.

msgspec takes the last of two equal keys, so the text is first read by a parser that sees them all. Errors name the
place and the rule, and never repeat what was sent.
"""

import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec

from api.problems import Told
from domain.errors import CaseLedgerError, ControlCharacter, MalformedBody, TooLarge

MAX_BODY_BYTES = 512 * 1024
"""Room for the largest payload (256 KiB) in base64, with its statement."""
MAX_DEPTH = 16

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MESSAGE = re.compile(r"(?P<rule>.*?)(?: - at `(?P<path>\$[^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]")
_MEMBER = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
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
    tree = _parsed(raw)
    try:
        return msgspec.json.decode(raw, type=type_)
    except msgspec.ValidationError as error:
        message = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Told(MalformedBody("the body is not JSON in UTF-8")) from None
    raise _refusal(message, tree)


def _parsed(raw: bytes) -> Any:
    if len(raw) > MAX_BODY_BYTES:
        raise Told(TooLarge(f"a JSON body has at most {MAX_BODY_BYTES} bytes"))
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            named = f"the member {key}" if _NAME.fullmatch(key) else "a member"
            raise Told(MalformedBody(f"an object of the body has {named} twice"))
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError("not a number of JSON")


def _refusal(message: str, tree: Any) -> Told:
    found = _MESSAGE.fullmatch(message)
    rule, path = (found["rule"], found["path"] or "$") if found else ("", "$")
    if member := _MEMBER.fullmatch(rule):
        name = member["name"] if _NAME.fullmatch(member["name"]) else None
        what = "is unknown" if "unknown" in member["what"] else "is missing"
        told = f"{_dotted(path)}: the member {name} {what}" if name else f"{_dotted(path)}: a member {what}"
        return Told(MalformedBody(told), field=_pointer(f"{path}.{name}" if name else path))
    error: type[CaseLedgerError] = MalformedBody
    if " of length <" in rule:
        error = TooLarge
    elif "matching regex" in rule:
        value = _at(tree, path)
        if isinstance(value, str) and _CONTROL.search(value):
            error, rule = ControlCharacter, "contains a control character"
        else:
            rule = "does not have the form that is expected"
    if error is not ControlCharacter and "form that" not in rule and not _REPEATABLE.fullmatch(rule):
        rule = "is not one of the values that are allowed"
    separator = " " if error is ControlCharacter or rule.startswith(("does", "is ")) else ": "
    return Told(error(f"{_dotted(path)}{separator}{rule}"), field=_pointer(path))


def _steps(path: str) -> list[str]:
    return [name or index for name, index in _STEP.findall(path)]


def _pointer(path: str) -> str | None:
    return "".join(f"/{step}" for step in _steps(path)) or None


def _dotted(path: str) -> str:
    return ".".join(_steps(path)) or "the body"


def _at(tree: Any, path: str) -> Any:
    for step in _steps(path):
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    return tree
