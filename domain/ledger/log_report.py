"""What the verification of a whole log says: typed, in the order in which things were checked."""

import msgspec

from domain.ledger.report import Check, Failure, Restored, Suspect, Trust


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of a log, and the first thing that does not. Times are microseconds UTC."""

    ok: bool
    trust: Trust
    checks: tuple[Check, ...]
    failure: Failure | None = None
    statements: tuple[str, ...] = ()
    """What the result means, and what it does not say."""
    suspects: tuple[Suspect, ...] = ()
    """Signatures in doubt; they do not make the report fail."""
    restored: tuple[Restored, ...] = ()
    """Changes of origin, in the log's order."""
    remarks: tuple[str, ...] = ()
    origin: str | None = None
    size: int | None = None
    """Entries in the log at the checkpoint."""
    committed_at: int | None = None
    """When the checkpoint's tree was committed, as signed by the log, in whole seconds; None without keys."""
    post_quantum_size: int | None = None
    """Up to which size the tree is signed by the log's post-quantum key; None where no such key was given."""
    entries: int = 0
    """Entries that were looked at."""
    streams: int = 0

    def verdict(self) -> str:
        """One line."""
        if self.failure is not None:
            return f"NOT VERIFIED: {self.failure.place()}: {self.failure.message}"
        scope = f"log {self.origin}, complete: every entry up to size {self.size}, {self.streams} streams"
        if self.trust == "given keys":
            return f"VERIFIED: {scope}"
        return f"CONSISTENT, NOT AUTHENTICATED (no keys were given): {scope}"
