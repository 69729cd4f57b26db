"""Ids that the service makes, each by its form: what names a thing in a path, or in clear in a statement, has it.

An entry stays for ever, and what it says in clear with it. So nothing that somebody sends comes to stand there but what
could be the id of such a thing, whether there is one or not.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

IdKind = Literal["case", "record", "opinion", "consent", "share", "hold", "erasure", "upload", "transfer", "key"]

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FORMS: Final[Mapping[IdKind, re.Pattern[str]]] = {
    "case": re.compile(_UUID),
    "record": re.compile(_UUID),
    "opinion": re.compile(f"opinion-{_UUID}"),
    "consent": re.compile(f"consent-{_UUID}"),
    "share": re.compile(f"share-{_UUID}"),
    "hold": re.compile(f"hold-{_UUID}"),
    "erasure": re.compile(_UUID),
    "upload": re.compile(_UUID),
    "transfer": re.compile(_UUID),
    "key": re.compile(r"[0-9a-f]{32}"),
}


def is_id(kind: IdKind, sent: str) -> bool:
    """Whether this could be the id of such a thing."""
    return _FORMS[kind].fullmatch(sent) is not None
