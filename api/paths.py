"""Ids in paths: what cannot be one of ours is not found, and goes no further."""

import re
from collections.abc import Mapping
from typing import Any

from litestar.params import FromPath

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

Id = FromPath[str]
"""An id in a handler's path."""

_ID = re.compile(r"[0-9a-z][0-9a-z._-]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMS: Mapping[str, tuple[re.Pattern[str], type[NotFound]]] = {
    "case": (_UUID, CaseNotFound),
    "upload": (_UUID, UploadNotFound),
    "key": (_KEY, KeyNotFound),
    "share": (_ID, ShareNotFound),
    "erasure": (_UUID, ErasureRequestNotFound),
    "hold": (_ID, HoldNotFound),
    "sha256": (_SHA256, NotFound),
    # The sender's own, not one of ours: the use case says what is wrong with it.
    "file": (re.compile(r".{1,200}", re.DOTALL), NotFound),
    "tile": (re.compile(r"/[0-9xp./]{1,40}"), NotFound),
    # Litestar's own page for what is not there below /schema; a problem document is as good.
    "path": (re.compile("(?!)"), NotFound),
}
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
            continue
        form, error = _FORMS.get(name, (_ID, NotFound))
        if not form.fullmatch(str(value)):
            raise error
