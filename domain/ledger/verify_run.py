"""What one verification of a bundle has established so far, and how a check of it fails."""

from collections.abc import Callable
from typing import ParamSpec, TypeAlias, TypeVar

import msgspec

from domain.errors import CaseLedgerError
from domain.ledger import bundle, cosignature_verify
from domain.ledger.cosignature_policy import Policy
from domain.ledger.origins import Origins
from domain.ledger.report import Suspect
from domain.ledger.verify_ledger import LedgerKeys
from domain.ledger.verify_signers import KeyHistory, LogEntry
from domain.ledger.verify_trust import TrustedKeys

P = ParamSpec("P")
R = TypeVar("R")


class Failed(Exception):
    """A check's failure on its way to the report; never leaves the verifier."""

    def __init__(
        self, message: str, *, index: int | None = None, member: str | None = None, item: LogEntry | None = None
    ) -> None:
        super().__init__(message)
        self.index = item.index if item is not None else index
        self.member = member
        self.item = item


class Run(msgspec.Struct, kw_only=True):
    """What has been established so far."""

    raw: bytes
    keys: TrustedKeys | None
    policy: Policy | None = None
    stamp_judge: cosignature_verify.Judge | None = None
    support: cosignature_verify.Support = cosignature_verify.Support()
    read: bundle.Bundle | None = None
    size: int | None = None
    root: bytes = b""
    committed_at: int | None = None
    items: list[LogEntry] = []
    unread: Failed | None = None
    key_payloads: dict[int, bytes] = {}
    """Of the entries that say which keys count; each is the one that was committed to."""
    origins: Origins = Origins("")
    no_origins: Failed | None = None
    ledger: LedgerKeys = LedgerKeys(checkpoint=(), entries=())
    streams: dict[str, list[LogEntry]] = {}
    histories: dict[str, KeyHistory] = {}
    payloads: dict[int, bytes] = {}
    signed: list[LogEntry] = []
    suspects: list[Suspect] = []

    @property
    def content(self) -> bundle.Bundle:
        """The bundle, which the first check has read."""
        assert self.read is not None  # noqa: S101 - later checks do not run before
        return self.read


Step: TypeAlias = Callable[[Run], int | None]
"""Returns how many things passed, or None where it had no key to judge by. Raises: Failed."""


def hold(item: LogEntry, check: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a check about one entry; what it raises is that entry's failure."""
    try:
        return check(*args, **kwargs)
    except CaseLedgerError as error:
        raise Failed(str(error), item=item) from None
