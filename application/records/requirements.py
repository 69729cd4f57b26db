"""Requirement sets, read from the TOML files that lie beside the domain's imaging check."""

import tomllib
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from domain.errors import NotFound
from domain.imaging.requirement import Requirement

_WORDS: Final = "words.toml"


@cache
def sites() -> tuple[str, ...]:
    """Sites that have a requirement set, in alphabetical order."""
    folder = resources.files("domain.imaging") / "requirements"
    names = sorted(entry.name for entry in folder.iterdir())
    return tuple(name.removesuffix(".toml") for name in names if name.endswith(".toml") and name != _WORDS)


@cache
def requirement(site: str) -> Requirement:
    """The current requirement set of a site, with the vocabulary that all sets share.

    Raises:
        NotFound: no set bears that name.
    """
    if site not in sites():
        raise NotFound(f"there is no imaging requirement set of that name; there are {', '.join(sites())}")
    content = _read(f"{site}.toml")
    names = msgspec.convert(content.pop("one_of", []), list[str])
    found = msgspec.convert({**content, "vocabulary": _read(_WORDS)}, Requirement)
    return msgspec.structs.replace(found, one_of=tuple(requirement(name) for name in names))


def _read(name: str) -> dict[str, object]:
    return tomllib.loads((resources.files("domain.imaging") / "requirements" / name).read_text("utf-8"))
