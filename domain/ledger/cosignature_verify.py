"""What stands behind a checkpoint besides its log: witnesses, by a policy that the verifier brings, and time stamps."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from domain.errors import NoteSignatureInvalid
from domain.ledger.cosignature import Cosignature, cosignatures, released, released_lines
from domain.ledger.cosignature_policy import Policy
from domain.ledger.note import Note

Judge = Callable[[bytes, bytes], int]
"""Judges a time-stamp response (RFC 3161) over a message; gives its time in microseconds UTC.

Raises: TimeStampInvalid.
"""


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """What was found to hold."""

    witnesses: tuple[Cosignature, ...] = ()
    quorum: bool | None = None
    """None: no policy was given."""
    others: int = 0
    """Signature lines that nobody judged."""
    stamped_at: tuple[int, ...] = ()
    """Times of the time stamps that hold, microseconds UTC."""
    unjudged: int = 0
    """Time stamps that are there, and that nobody judged."""

    def statements(self) -> list[str]:
        """What holds, in words."""
        said = []
        if self.quorum is not None:
            names = ", ".join(sorted({each.key.name for each in self.witnesses})) or "nobody"
            said.append(f"the checkpoint is cosigned as the policy of witnesses asks, by {names}")
        if self.stamped_at:
            at = datetime.fromtimestamp(min(self.stamped_at) // 1_000_000, UTC)
            said.append(f"{len(self.stamped_at)} time stamps hold; the checkpoint existed by {at:%Y-%m-%dT%H:%M:%SZ}")
        return said

    def remarks(self) -> tuple[str, ...]:
        """What is there and was not judged: anybody can have added it, and nothing follows from it."""
        said = []
        if self.others:
            said.append(f"{self.others} signatures of the checkpoint are of keys that were not given, and not judged")
        if self.unjudged:
            said.append(f"{self.unjudged} time stamps of the checkpoint are present, and not judged")
        return tuple(said)


def support(
    note: bytes, own_lines: int, policy: Policy | None, stamps: Sequence[bytes], judge: Judge | None
) -> Support:
    """Judge a signed checkpoint by a policy, and time stamps over the note as the log released it.

    `own_lines` is how many of its lines were judged as the log's own. What is not asked for is counted, not judged.

    Raises:
        NoteSignatureInvalid: a line of one of the policy's witnesses does not hold, or they are no quorum.
        TimeStampInvalid: a time stamp does not hold.
        MalformedNote: the note is none.
    """
    parsed = Note.parse(note)
    found: tuple[Cosignature, ...] = ()
    if policy is not None:
        known = {(key.name, key.key_hash) for key in policy.cosigners()}
        if any((line.name, line.key_hash) in known for line in parsed.signatures):
            found = cosignatures(parsed.text, parsed.signatures, policy.cosigners())
        if not policy.satisfied({each.key for each in found}):
            raise NoteSignatureInvalid("the checkpoint is not cosigned as the policy of witnesses asks")
    message = released(note) if stamps and judge is not None else b""
    return Support(
        witnesses=found,
        quorum=None if policy is None else True,
        others=max(0, len(parsed.signatures) - (own_lines or released_lines(parsed)) - len(found)),
        stamped_at=() if judge is None else tuple(judge(each, message) for each in stamps),
        unjudged=len(stamps) if judge is None else 0,
    )
