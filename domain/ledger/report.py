"""What a verification says: typed, in the order in which things were checked, with the first thing that failed."""

from typing import Literal

import msgspec

Trust = Literal["given keys", "internal consistency only"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of check, what it looks at in words, and how many things passed it."""

    name: str
    what: str
    count: int = 0
    ok: bool | None = None
    """None: not judged, because no key was given or an earlier check failed."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that failed: in which check, and which entry or member of the bundle."""

    check: str
    message: str
    """No control characters, at most 300 characters: parts of it may come from the bundle."""
    index: int | None = None
    """Index in the log of the entry that fails."""
    member: str | None = None
    kind: str | None = None
    revision: int | None = None

    def place(self) -> str:
        """Where: entry (with kind and revision of its stream, as far as they could be read), member, or the bundle."""
        if self.index is None:
            return self.member or "the bundle"
        about = [self.kind or "", f"revision {self.revision}" if self.revision is not None else ""]
        inside = ", ".join(part for part in about if part)
        return f"entry {self.index}" + (f" ({inside})" if inside else "")


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A signature that holds, by a key that may have been in other hands when it was made: somebody has to look."""

    index: int
    """Index in the log of the entry that carries it."""
    signature: Literal["actor", "ledger"]
    since: int
    """From when on the key is in doubt, as its revocation says: microseconds UTC."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The log goes on from an older copy of itself, under another origin."""

    index: int
    """The first entry under the new origin; those before it were first published under the old one."""
    old: str
    new: str
    reason: str
    released: int
    """Size of the last checkpoint that the old origin released: what it published from `index` up to there is lost."""
    lost: tuple[str, ...] = ()
    """Other origins that the log went by afterwards, and that are lost as well, as the entry says."""
    judged: bool = True
    """Whether the old log's keys were given; without them they are those that the entry names."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What holds, and the first thing that does not. Fields of the bundle are None where they could not be read."""

    ok: bool
    trust: Trust
    checks: tuple[Check, ...]
    failure: Failure | None = None
    statements: tuple[str, ...] = ()
    """What the result means, and what it does not say."""
    suspects: tuple[Suspect, ...] = ()
    """Signatures in doubt; they do not make the report fail."""
    erased: tuple[int, ...] = ()
    """Entries whose payloads were destroyed, as later entries of the case say."""
    holes: tuple[int, ...] = ()
    """Entries of the case whose payloads are missing, among others that are disclosed, without an erasure that accounts
    for them. The proofs hold even so."""
    restored: tuple[Restored, ...] = ()
    """Changes of origin, in the log's order."""
    remarks: tuple[str, ...] = ()
    origin: str | None = None
    case: str | None = None
    revision: int | None = None
    """Last revision of the case's stream in the bundle."""
    size: int | None = None
    """Entries in the log at the checkpoint."""
    committed_at: int | None = None
    """When the checkpoint's tree was committed, as signed by the log: microseconds UTC, in whole seconds, rounded
    down. None without keys."""
    entries: int = 0
    """Entries in the bundle."""

    def verdict(self) -> str:
        """One line."""
        if self.failure is not None:
            return f"NOT VERIFIED: {self.failure.place()}: {self.failure.message}"
        scope = f"case {self.case} to revision {self.revision}, {self.entries} entries, log of {self.size}"
        if self.trust == "given keys":
            return f"VERIFIED: {scope}"
        return f"CONSISTENT, NOT AUTHENTICATED (no keys were given): {scope}"
