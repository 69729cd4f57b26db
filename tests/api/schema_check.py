"""A checker for the part of JSON Schema 2020-12 that the API's description uses; whatever else it meets, it refuses."""

import re
from typing import Any

_KNOWN = frozenset(
    "$ref title description type properties required additionalProperties items anyOf oneOf enum const pattern"
    " minLength maxLength minimum maximum exclusiveMaximum exclusiveMinimum minItems maxItems format contentEncoding"
    " default discriminator".split()
)
_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def faults(value: Any, schema: dict[str, Any], document: dict[str, Any], at: str = "$") -> list[str]:
    """Everything about a value that its schema does not allow."""
    if unknown := set(schema) - _KNOWN:
        return [f"{at}: cannot judge {sorted(unknown)}"]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return faults(value, document["components"]["schemas"][name], document, at)
    found: list[str] = []
    found += [
        f"{at}: fits none of {several}"
        for several in ("anyOf", "oneOf")
        if several in schema and all(faults(value, each, document, at) for each in schema[several])
    ]
    if "type" in schema:
        type_ = _TYPES[schema["type"]]
        if not isinstance(value, type_) or (type_ is int and isinstance(value, bool)):
            return [f"{at}: is not {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: not in enum")
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: not the constant")
    match value:
        case dict():
            found += _object(value, schema, document, at)
        case list():
            for number, each in enumerate(value):
                found += faults(each, schema.get("items", {}), document, f"{at}[{number}]")
        case str():
            if "pattern" in schema and not re.search(schema["pattern"], value):
                found.append(f"{at}: pattern")
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
                found.append(f"{at}: length")
        case int():
            if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                found.append(f"{at}: range")
    return found


def _object(value: dict[str, Any], schema: dict[str, Any], document: dict[str, Any], at: str) -> list[str]:
    properties = schema.get("properties", {})
    found = [f"{at}: lacks {name}" for name in schema.get("required", ()) if name not in value]
    for name, each in value.items():
        if name in properties:
            found += faults(each, properties[name], document, f"{at}.{name}")
        elif properties:
            found.append(f"{at}: {name} is not described")
    return found
