"""What a projection is: one table, folded from the log, with whatever is personal in it sealed."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from application.ledger.keyring import Keyring
from application.ledger.streams import LoggedEvent
from domain.errors import SubjectErased

R = TypeVar("R")
Key = str | int
Stored = tuple[Any, ...]
"""A row as the database holds it: one value a column, in the columns' order."""


class Seals:
    """Seals and opens columns of rows; None stands for what nobody can read any more."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes | None:
        """Seal deterministically; None where the subject was erased."""
        try:
            return self._keyring.seal(subject, context, plaintext)
        except SubjectErased:
            return None

    def open(self, subject: str, context: str, sealed: bytes | None) -> bytes | None:
        """Open what `seal` gave; None where there is nothing, or the subject was erased.

        Raises:
            PayloadAltered: other bytes, or moved here from elsewhere.
        """
        if sealed is None:
            return None
        try:
            return self._keyring.open(subject, context, sealed)
        except SubjectErased:
            return None


class Projection(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """A read model: its table is in the .sql file of the same name beside this one.

    `fold` is pure over (row, event). A row depends on the entries of one case alone, and says in its column `case_id`
    of which. It follows from those entries and from which keys are left, and from nothing else: a row folded anew has
    equal bytes.
    """

    name: str
    version: int
    """Goes up when the fold changes; what an older one folded is then rebuilt."""
    columns: tuple[tuple[str, str], ...]
    """Name and PostgreSQL type of each column; the first is the primary key."""
    content: Any
    """Type of what is sealed in a row."""
    key: Callable[[LoggedEvent], Key | None]
    """Which row an event belongs to; None where the event is of no concern."""
    fold: Callable[[R | None, LoggedEvent], R]
    """The row after the event, from the row before; None where there was none."""
    store: Callable[[R, Seals], Stored]
    restore: Callable[[Stored, Seals], R] | None
    """Inverse of `store`; None where a row is written once and never read by the fold."""

    def sql(self) -> str:
        """The table's SQL, with a placeholder for the schema."""
        return Path(__file__).with_name(f"{self.name}.sql").read_text("utf-8")

    def shape(self) -> str:
        """Digest of version, table and sealed content: a view of another shape is rebuilt, never folded on."""
        content = _undocumented(msgspec.json.schema(self.content))
        shape = [self.version, self.sql(), self.columns, content]
        return hashlib.sha256(msgspec.json.encode(shape, order="sorted")).hexdigest()[:32]

    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(name for name, _ in self.columns)


def _undocumented(schema: Any) -> Any:
    """A JSON schema without its docstrings, which change nothing."""
    match schema:
        case dict():
            # Only a text is a docstring: a field may have that name, too.
            return {
                name: _undocumented(each)
                for name, each in schema.items()
                if not (name == "description" and isinstance(each, str))
            }
        case list():
            return [_undocumented(each) for each in schema]
    return schema
