"""Settings: read once from the environment, each documented in docs/settings.md."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from domain.errors import Misconfigured

PREFIX = "CASELEDGER_"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this process runs. A setting's variable is its name in capitals behind `CASELEDGER_`."""

    data: Path = Path("var")
    """Data directory: key files, pin, records, and the embedded database."""
    database_url: str | None = None
    """PostgreSQL >= 15 to use as the service role, instead of the embedded one."""
    owner_database_url: str | None = None
    """The same database as its owner role, for migrations and for rebuilding views."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8765
    """Port to listen on."""
    pool_connections: int = 16
    """Database connections that reading uses at most."""
    log_level: str = "info"
    """debug, info, warning or error."""


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        Misconfigured: an unknown `CASELEDGER_` variable, or a value of the wrong type; names it, not its value.
    """
    given = {
        name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
    }
    for name in given:
        if name not in Settings.__struct_fields__:
            raise Misconfigured(f"there is no setting {PREFIX}{name.upper()}")
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"a setting is not usable: {error}") from None
    if (settings.database_url is None) != (settings.owner_database_url is None):
        raise Misconfigured(f"{PREFIX}DATABASE_URL and {PREFIX}OWNER_DATABASE_URL come together")
    return settings


def _path(type_: type, value: object) -> object:
    if type_ is Path and isinstance(value, str) and value:
        return Path(value)
    raise TypeError(f"expected a path, got {type(value).__name__}")
