"""Ids in paths: what cannot be one of ours is not found, and goes no further.

So it is neither recorded nor looked up, and the answer is that of one which could be, and is not there.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast, get_args

from litestar.params import FromPath

from domain.case.access import NO_OPINION, NO_RECORD
from domain.case.consent import NO_CONSENT
from domain.errors import (
    CaseNotFound,
    EntryNotFound,
    ErasureRequestNotFound,
    HoldNotFound,
    KeyNotFound,
    NotFound,
    ShareNotFound,
    UploadNotFound,
)
from domain.ids import IdKind, is_id

Id = FromPath[str]
"""An id in a handler's path."""

_OURS: Final[Mapping[IdKind, Callable[[], NotFound]]] = {
    "case": CaseNotFound,
    "record": lambda: NotFound(NO_RECORD),
    "opinion": lambda: NotFound(NO_OPINION),
    "consent": lambda: NotFound(NO_CONSENT),
    "share": ShareNotFound,
    "hold": HoldNotFound,
    "erasure": ErasureRequestNotFound,
    "upload": UploadNotFound,
    "transfer": UploadNotFound,
    "key": KeyNotFound,
}
_OTHERS: Final[Mapping[str, re.Pattern[str]]] = {
    "sha256": re.compile(r"[0-9a-f]{64}"),
    # A Study Instance UID, the sender's own (PS3.5 9.1): where instances are of another, each is told so.
    "study": re.compile(r"[0-9.]{1,64}"),
    # The sender's own, too: the use case says what is wrong with it.
    "file": re.compile(r".{1,200}", re.DOTALL),
    "level": re.compile(r"[0-9]{1,2}"),
    "tile": re.compile(r"/[0-9xp./]{1,40}"),
    # Litestar's own page for what is not there below /schema; a problem document is as good.
    "path": re.compile("(?!)"),
}
NAMES: Final = frozenset((*get_args(IdKind), *_OTHERS))
"""Names of the parameters that have a form; one of another name lets nothing pass."""
_MAX_INDEX = 2**53


def check_path(parameters: Mapping[str, Any]) -> None:
    """Let a path's parameters pass.

    Raises:
        NotFound: the fitting leaf, for the first that cannot be an id.
    """
    for name, value in parameters.items():
        if isinstance(value, int):
            if not 0 <= value < _MAX_INDEX:
                raise EntryNotFound
        elif name in _OURS:
            kind = cast(IdKind, name)
            error = _OURS[kind]()
            if not is_id(kind, str(value)):
                raise error
        elif name not in _OTHERS or not _OTHERS[name].fullmatch(str(value)):
            raise NotFound
