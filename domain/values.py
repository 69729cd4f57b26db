"""Values that events and commands are made of, each with the bound and the pattern that it is held to."""

from typing import Annotated, Literal

import msgspec

# Any text a person may type: no control characters but line feed and tab, nothing that is not a character.
_TEXT = r"\A[^\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]*\Z"
_LINE = r"\A[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+\Z"

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=_LINE)]
SourceReference = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=_LINE)]
"""What another system calls a case. It may be personal, so it stands nowhere in clear."""
Text = Annotated[str, msgspec.Meta(max_length=20_000, pattern=_TEXT)]
RequiredText = Annotated[str, msgspec.Meta(min_length=1, max_length=20_000, pattern=_TEXT)]
Identifier = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-z][0-9a-z._-]{0,63}\Z")]
SubjectName = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,20}:[0-9a-z-]{1,64}\Z")]
"""Whose key seals something: "case:...", "record:..."."""
Day = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
"""A calendar day, ISO 8601."""
Country = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{2}\Z")]
"""ISO 3166-1 alpha-2."""
Language = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{2,3}(-[A-Za-z0-9]{2,8})*\Z", max_length=35)]
"""BCP 47."""
Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Decimal = Annotated[str, msgspec.Meta(pattern=r"\A-?(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,8})?\Z")]
"""A measured number as it was written, with as many places."""
UcumUnit = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,40}\Z")]
"""A unit in UCUM, case-sensitive (https://ucum.org)."""
Micros = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""Microseconds since 1970-01-01 UTC."""
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]

Role = Literal[
    "patient",
    "coordinator",
    "technician",
    "specialist",
    "translator",
    "oncologist",
    "compliance",
    "administrator",
    "witness",
    "service",
]
"""Who acts; `service` is the service itself, in checks and timers that nobody started by hand. A `witness` reads the
log as such, and nothing else."""

Organ = Literal[
    "liver",
    "bile_duct",
    "pancreas",
    "colon",
    "rectum",
    "lung",
    "oesophagus",
    "stomach",
    "peritoneum",
    "soft_tissue",
    "other",
]
"""Organ of the operation in question; liver metastases of any primary are `liver`."""

Subspecialty = Literal["hpb", "colorectal", "thoracic", "upper_gi", "sarcoma", "peritoneal"]

Resectability = Literal[
    "resectable",
    "borderline_resectable",
    "locally_advanced",
    "potentially_resectable_after_conversion",
    "unresectable",
    "metastatic",
]
