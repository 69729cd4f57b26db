"""XML read with expat, which resolves nothing here: a document type, and so any entity of its own, is refused.

ElementTree alone would expand entities that a document declares, a thousandfold if it says so.
"""

from typing import Final, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

ELEMENTS: Final = 500_000
DEPTH: Final = 500


class Refused(Exception):
    """The XML declares a document type."""


def parse(data: bytes) -> Element:
    """The root of a document; names are `{namespace}name`.

    Raises:
        Refused: it declares a document type.
        ValueError: not well formed, nested too deeply, or of too many elements.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    depth = count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > DEPTH or count > ELEMENTS:
            raise ValueError("too many elements")
        builder.start(_named(name), {_named(each): value for each, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_named(name))

    def refuse(*_: object) -> NoReturn:
        raise Refused

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError:
        raise ValueError("not well formed") from None
    return builder.close()


def _named(name: str) -> str:
    return "{" + name if "}" in name else name
