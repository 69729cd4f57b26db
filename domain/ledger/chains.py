"""The fast look at a log: chains and tree, by hashes alone.

It says whether the entries are those that a checkpoint's root was made of, and whether each follows the one before in
its stream. It judges neither form nor signatures: whose checkpoint that is and who signed what, the verifier says.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from domain.errors import ChainBroken, IntegrityFailure, MalformedStatement
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.dsse import render
from domain.ledger.tree import Frontier


class _Link(msgspec.Struct, frozen=True):
    """What a statement says of its place in its stream; its other members are not looked at."""

    stream: str
    rev: int
    prev: str | None = None


_link = msgspec.json.Decoder(_Link)
_NEW = (0, None)


class ChainsAndTree:
    """A log's entries in order, hashed as they come. Memory: a revision and a leaf for each stream."""

    def __init__(self) -> None:
        self._streams: dict[str, tuple[int, str | None]] = {}
        self._frontier = Frontier()

    @property
    def size(self) -> int:
        """Entries so far."""
        return self._frontier.size

    def add(self, entries: Iterable[tuple[bytes, tuple[bytes, ...]]]) -> None:
        """Take the next entries, each as its statement and signatures; nothing of them counts when it raises.

        Raises:
            ChainBroken: an entry does not follow its stream's previous one.
            MalformedStatement: a statement that is none.
        """
        streams = self._streams
        leaves: list[bytes] = []
        for statement, signatures in entries:
            try:
                link = _link.decode(statement)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise MalformedStatement(f"entry {self.size + len(leaves)} has no place in a stream") from None
            rev, head = streams.get(link.stream, _NEW)
            if link.rev != rev + 1 or link.prev != head:
                raise ChainBroken(f"entry {self.size + len(leaves)} does not follow revision {rev} of its stream")
            leaf = sha256(b"\x00" + render(statement, signatures)).digest()
            streams[link.stream] = (link.rev, leaf.hex())
            leaves.append(leaf)
        self._frontier = self._frontier.extend(leaves)

    def check(self, checkpoint: Checkpoint) -> None:
        """Hold what came against a checkpoint of exactly that size.

        Raises:
            IntegrityFailure: the entries are not those that its root was made of.
        """
        if (self._frontier.size, self._frontier.root()) != (checkpoint.size, checkpoint.root):
            raise IntegrityFailure("the entries are not those that the checkpoint's root was made of")
