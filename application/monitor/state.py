"""What a monitor knows and says of a log, and how it finds that something does not hold."""

from typing import Literal, TypeAlias

import msgspec

from application.monitor.restorations import Restoration

Verdict = Literal["starting", "good", "bad"]
What: TypeAlias = Literal["head", "checkpoint", "entry", "tile", "root"]
"""What does not hold."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What does not hold, and where: the index of the first entry that it concerns."""

    what: What
    index: int
    message: str
    found_at: int
    """Microseconds UTC."""


class MonitorState(msgspec.Struct, frozen=True, kw_only=True):
    """What the monitor knows, how far it got, and how old that is. Positions are tree sizes, times microseconds UTC."""

    verdict: Verdict = "starting"
    """`good` once a whole pass has ended well; until then nothing is said of the log's end."""
    head: int = 0
    """Size of the log when it was last looked at."""
    checkpoint: int = 0
    """Size of the newest checkpoint that was found signed, and consistent with those before it."""
    position: int = 0
    """Entries re-hashed in the pass that is under way."""
    passes: int = 0
    passed_size: int = 0
    """Size of the log that the last complete pass went through."""
    looked_at: int | None = None
    """When the database last answered."""
    passed_at: int | None = None
    """When the last complete pass ended."""
    began_at: int | None = None
    """When that pass began: what was altered since is not seen yet."""
    restored: tuple[Restoration, ...] = ()
    """Changes of origin after a restore: said for ever, and no finding."""
    finding: Finding | None = None
    error: str | None = None
    """Class of what keeps the monitor from looking; it is tried again."""


class Bad(Exception):
    """Something does not hold; never leaves the monitor."""

    def __init__(self, what: What, index: int, message: str) -> None:
        super().__init__(message)
        self.what: What = what
        self.index = index
