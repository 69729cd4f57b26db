"""Settings: each is documented, and what is not one of them is refused by name."""

import re
from pathlib import Path

import pytest

from caseledger.settings import PREFIX, Settings, read
from domain.errors import Misconfigured

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/settings.md"
ROW = re.compile(r"^\| `(CASELEDGER_[A-Z_]+)` \| `?([^`|]*)`? \|", re.MULTILINE)


def test_every_setting_is_documented_with_its_default_and_nothing_else_is() -> None:
    """The table of docs/settings.md is the Struct's fields, in order, with their defaults."""
    documented = [(name, default.strip()) for name, default in ROW.findall(DOCUMENT.read_text("utf-8"))]
    defaults = Settings()
    expected = []
    for field in Settings.__struct_fields__:
        value = getattr(defaults, field)
        expected.append((PREFIX + field.upper(), "none" if value is None else str(value)))
    assert documented == expected


def test_without_variables_the_defaults_count() -> None:
    """Other programs' variables, and empty ones of ours, change nothing."""
    assert read({}) == read({"PATH": "/bin", "CASELEDGER_PORT": "", "CASELEDGER_DATABASE_URL": ""}) == Settings()


def test_values_are_read_in_their_types() -> None:
    """A path and a number come out as such."""
    settings = read({"CASELEDGER_DATA": "/srv/ledger", "CASELEDGER_PORT": "0", "CASELEDGER_LOG_LEVEL": "debug"})
    assert (settings.data, settings.port, settings.log_level) == (Path("/srv/ledger"), 0, "debug")


def test_an_unknown_variable_is_named() -> None:
    """A misspelt setting is an error and not a default."""
    with pytest.raises(Misconfigured, match="CASELEDGER_DATAA"):
        read({"CASELEDGER_DATAA": "/srv/ledger"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty-secret"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("POOL_CONNECTIONS", "1"),
        ("DRAIN_S", "1.5"),
        ("LOG_LEVEL", "secret"),
    ],
)
def test_an_unusable_value_is_refused_by_name_and_not_repeated(name: str, value: str) -> None:
    """The message says which setting; what it was set to may be a secret."""
    with pytest.raises(Misconfigured, match=f"CASELEDGER_{name} is not usable") as caught:
        read({f"CASELEDGER_{name}": value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["CASELEDGER_DATABASE_URL", "CASELEDGER_OWNER_DATABASE_URL"])
def test_the_two_addresses_come_together(name: str) -> None:
    """One without the other would run migrations as the service, or serve as the owner."""
    with pytest.raises(Misconfigured, match="come together"):
        read({name: "postgresql://example.invalid/x"})
