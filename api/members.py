"""What the type of a body knows of itself: the names of its members, and the values that a member may have.

Errors name these, which are ours, and never what was sent in their place.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from msgspec import inspect

_of = lru_cache(256)(inspect.type_info)


@lru_cache(256)
def every_member(type_: Any) -> frozenset[str]:
    """Names of all members that a body of this type may have, at any depth."""
    found: set[str] = set()
    waiting, seen = list(_kinds(_of(type_))), set()
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, inspect.StructType):
            if kind.cls in seen:
                continue
            seen.add(kind.cls)
            found.update(field.encode_name for field in kind.fields)
            waiting += [each for field in kind.fields for each in _kinds(field.type)]
        else:
            waiting += [each for part in _parts(kind) for each in _kinds(part)]
    return frozenset(found)


def place(type_: Any, steps: Sequence[str]) -> tuple[inspect.Type, ...] | None:
    """What may stand at a place, by the names and indexes that lead to it; None where the type has no such place."""
    kinds = tuple(_kinds(_of(type_)))
    for step in steps:
        kinds = tuple(_inside(kinds, step))
        if not kinds:
            return None
    return kinds


def members(kinds: Sequence[inspect.Type]) -> tuple[str, ...]:
    """Names of the members that an object at that place may have, in the type's order."""
    structs = (each for each in kinds if isinstance(each, inspect.StructType))
    return tuple(dict.fromkeys(field.encode_name for each in structs for field in each.fields))


def values(kinds: Sequence[inspect.Type]) -> tuple[str, ...]:
    """The values that are allowed at that place, where they are listed."""
    listed = (each for each in kinds if isinstance(each, inspect.LiteralType))
    return tuple(dict.fromkeys(str(value) for each in listed for value in each.values))


def _inside(kinds: Sequence[inspect.Type], step: str) -> Iterator[inspect.Type]:
    for kind in kinds:
        if isinstance(kind, inspect.StructType):
            for field in kind.fields:
                if field.encode_name == step:
                    yield from _kinds(field.type)
        elif step.isdecimal():
            for part in _parts(kind):
                yield from _kinds(part)


def _parts(kind: inspect.Type) -> Sequence[inspect.Type]:
    match kind:
        case inspect.TupleType():
            return kind.item_types
        case inspect.CollectionType():
            return (kind.item_type,)
        case inspect.DictType():
            return (kind.value_type,)
    return ()


def _kinds(kind: inspect.Type) -> Iterator[inspect.Type]:
    """A type, or those of a union; what the type says beside it is taken off."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _kinds(each)
    else:
        yield kind
