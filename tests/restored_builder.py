"""A ledger in memory that was restored: cut off at some size, and continued under another origin; it can lie."""

from pathlib import Path
from typing import Any

import msgspec

from caseledger import verify_log_command
from caseledger.log.sources import DirectorySource
from caseledger.verify_log_command import Wanted
from domain.event import encode, register
from domain.ledger import bundle
from domain.ledger.checkpoint import read_unverified
from domain.ledger.keys import key_id
from domain.ledger.log_report import LogReport
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.origins import STREAM, SUCCEEDED, origin_message
from domain.ledger.report import Report
from domain.ledger.tree import leaf_hash
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys, render_trusted_keys
from domain.origin import Endorsement, OriginSucceeded
from tests.ledger_builder import LedgerBuilder, private_key, public_bytes, small_ledger
from tests.log_fixture import publish
from tests.verifying import BY, OWN

A, B, C = "ledger.example/test", "ledger.example/second", "ledger.example/third"
M = 8
"""The first eight of the small ledger's entries come back: the opinion is there, its delivery is lost."""
SERVICE = {"actor": "service", "role": "service"}


class Restored(LedgerBuilder):
    """Keeps what it published under earlier origins: notes, and the keys that verifiers were given."""

    def __init__(self, origin: str = "ledger.example/test") -> None:
        super().__init__(origin)
        self.released: list[bytes] = []
        self.before: list[TrustedKeys] = []

    def succeed(
        self,
        size: int,
        origin: str,
        /,
        *,
        endorsers: tuple[Any, Any] | None = None,
        statement: dict[str, Any] | None = None,
        **lies: Any,
    ) -> int:
        """Restore the first `size` entries, and go on as `origin`; the index of the entry that says so.

        `lies` replace fields of the event, before the endorsers (the old checkpoint and entry keys) sign for it.
        """
        lost = self.checkpoint()
        self.released.append(lost)
        old = self.trusted_keys()
        self.before.append(old)
        cut = LedgerBuilder(self.origin)
        cut.entries = self.entries[:size]
        root = read_unverified(cut.checkpoint()).root if size else b""
        check_old, entry_old = endorsers or (self.checkpoint_key, self.entry_key)
        self.entry_key, self.checkpoint_key = private_key(f"{origin} entry"), private_key(f"{origin} checkpoint")
        event = OriginSucceeded(
            reason="disaster_recovery", origin=self.origin, size=size, root=root.hex(), lost=(lost.decode(),),
            keys=tuple(map(str, (*old.checkpoint, *old.entries))),
            checkpoint_key=str(VerifierKey.make(origin, ED25519, public_bytes(self.checkpoint_key))),
            entry_key=str(VerifierKey.make(f"{origin}/entries", ED25519, public_bytes(self.entry_key))),
            endorsements=(),
        )  # fmt: skip
        event = msgspec.structs.replace(event, **lies)
        message = origin_message(
            event.origin, event.size, bytes.fromhex(event.root), [note.encode() for note in event.lost],
            VerifierKey.parse(event.checkpoint_key), VerifierKey.parse(event.entry_key),
        )  # fmt: skip
        made = tuple(
            Endorsement(purpose=purpose, key=key_id(public_bytes(key)), signature=key.sign(message).hex())
            for purpose, key in (("checkpoint", check_old), ("entry", entry_old))
        )
        self._cut(size)
        self.origin = origin
        event = msgspec.structs.replace(event, endorsements=lies.get("endorsements", made))
        return self.append(STREAM, SUCCEEDED, encode(event), **{**SERVICE, **(statement or {})})

    def _cut(self, size: int) -> None:
        for each in (self.statements, self.entries, self.openings):
            del each[size:]
        self.heads = {
            statement.stream: (statement.rev, leaf_hash(entry).hex())
            for statement, entry in zip(self.statements, self.entries, strict=True)
        }

    def all_keys(self) -> TrustedKeys:
        """The keys of the present origin, and of those before."""
        return msgspec.structs.replace(self.trusted_keys(), others=tuple(self.before))

    def whole_case(self, case: str, **fields: Any) -> bundle.Bundle:
        """The bundle of a case with its keys' streams and that of origins."""
        content = self.case_bundle(case)
        chosen = {each.index for each in content.proofs}
        chosen |= {at for at, each in enumerate(self.statements) if each.stream == STREAM}
        own = bundle.case_stream(case)
        return self.bundle_of(sorted(chosen), case=case, revision=self.heads[own][0], **fields)


def restored(**how: Any) -> Restored:
    """The small ledger, restored to its first eight entries, and the case gone on with."""
    ledger = Restored(A)
    start = small_ledger()
    for name in ("statements", "entries", "openings"):
        getattr(ledger, name).extend(getattr(start, name))
    ledger.heads = dict(start.heads)
    assert ledger.succeed(M, B, **how) == M
    ledger.append(OWN, "opinion.delivered.v1", b'{"to":"patient"}', **BY)
    return ledger


def judged(content: bundle.Bundle, keys: TrustedKeys | None) -> Report:
    """The report on a bundle."""
    return verify(bundle.write(content), keys)


def on_log(ledger: Restored, place: Path, keys: TrustedKeys | None, **wanted: Any) -> LogReport:
    """The report on the whole log, from tiles."""
    place.mkdir(exist_ok=True)
    given = None
    if keys is not None:
        given = place / "keys"
        given.write_bytes(render_trusted_keys(keys))
    source = DirectorySource(publish(ledger, place / "log"))
    return verify_log_command.verify(source, Wanted(keys=given, jobs=1, **wanted))


def said_by(ledger: Restored) -> OriginSucceeded:
    """What the entry at the change says."""
    opening = ledger.openings[M]
    assert opening is not None
    event = register.decode(SUCCEEDED, opening.payload)
    assert isinstance(event, OriginSucceeded)
    return event
