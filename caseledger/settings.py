"""Settings: read once from the environment, each documented in docs/settings.md."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from domain.errors import Misconfigured

PREFIX = "CASELEDGER_"

LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this process runs. A setting's variable is its name in capitals behind `CASELEDGER_`."""

    data: Path = Path("var")
    """Data directory: key files, pin, records, and the embedded database."""
    key_passphrase_file: Path | None = None
    """File (mode 0600) with the passphrase that the key files are locked with."""
    database_url: str | None = None
    """PostgreSQL >= 15 to use as the service role, instead of the embedded one."""
    owner_database_url: str | None = None
    """The same database as its owner role, for migrations and for rebuilding views."""
    object_store_url: str | None = None
    """`s3://bucket/prefix` for the records' content, instead of a folder in the data directory."""
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8765
    """Port to listen on; 0 takes a free one."""
    pool_connections: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 16
    """Database connections that reading uses at most."""
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 1
    """Jobs that this process does at once; 0 leaves them to `caseledger work`."""
    upload_max_gib: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 128
    """GiB that an upload takes at most."""
    upload_max_files: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000
    """Files that an upload takes at most."""
    case_max_gib: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] = 512
    """GiB that a case holds at most: its records, and uploads under way."""
    case_max_files: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] = 400_000
    """Files that a case holds at most, likewise."""
    uploads_at_once: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    """Uploads that this process takes in at once."""
    upload_min_bytes_s: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 1024
    """Bytes a second that an upload has to bring on average, over each minute of waiting for it."""
    drain_s: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 30
    """Seconds that requests under way are given to end when the service stops."""
    witnesses: Path | None = None
    """File with the policy of witnesses (C2SP tlog-policy): their keys, URLs, and the quorum."""
    cosign_period_s: Annotated[int, msgspec.Meta(ge=1, le=86400)] = 60
    """Seconds between two rounds of cosignatures over the newest checkpoint."""
    witness_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=300)] = 10
    """Seconds that a witness has for one answer."""
    tsa_url: str | None = None
    """Time-stamping authority (RFC 3161) for checkpoints."""
    tsa_certificates: Path | None = None
    """PEM file with the certificates that time stamps are trusted by."""
    tsa_period_s: Annotated[int, msgspec.Meta(ge=1, le=2592000)] = 3600
    """Seconds between two time stamps, of a log that grows."""
    tsa_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=300)] = 10
    """Seconds that the authority has for its answer."""
    log_level: LogLevel = "info"
    """debug, info, warning or error."""


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; an empty value counts as none.

    Raises:
        Misconfigured: an unknown `CASELEDGER_` variable, or a value that is not one; names it, not its value.
    """
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    for name in given:
        if name not in Settings.__struct_fields__:
            raise Misconfigured(f"there is no setting {PREFIX}{name.upper()}; docs/settings.md has them all")
    given = {name: value for name, value in given.items() if value}
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise Misconfigured(_unusable(str(error))) from None
    if (settings.database_url is None) != (settings.owner_database_url is None):
        raise Misconfigured(f"{PREFIX}DATABASE_URL and {PREFIX}OWNER_DATABASE_URL come together")
    if (settings.tsa_url is None) != (settings.tsa_certificates is None):
        raise Misconfigured(f"{PREFIX}TSA_URL and {PREFIX}TSA_CERTIFICATES come together")
    if settings.tsa_url is not None and not settings.tsa_url.startswith(("https://", "http://")):
        raise Misconfigured(f"{PREFIX}TSA_URL is not usable: expected a URL of http or https")
    return settings


def _path(type_: type, value: object) -> object:
    if type_ is Path and isinstance(value, str):
        return Path(value)
    raise TypeError("expected a path")


def _unusable(message: str) -> str:
    """Which setting, and what it would have to be; msgspec quotes a value only where it lists those allowed."""
    what, _, place = message.partition(" - at ")
    name = re.sub(r"[^a-z_]", "", place)
    if what.startswith("Invalid enum value"):
        what = "Expected one of those that docs/settings.md lists"
    return f"{PREFIX}{name.upper()} is not usable: {what[:1].lower()}{what[1:]}"
