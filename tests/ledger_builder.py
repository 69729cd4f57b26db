"""A small ledger in memory, with real keys, for tests: entries, tree, checkpoint, bundle.

Deterministic: keys and blindings follow from labels, times from a counter. It can also lie: any field of a statement,
and the signatures, may be overridden, and the ledger signs what it is told to, as a dishonest one would.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.event import Event, encode
from domain.ledger import bundle, dsse, encoding, sealing
from domain.ledger.batch_prover import BatchProver
from domain.ledger.checkpoint import Checkpoint, sign
from domain.ledger.keys import key_id, proof_of_possession_message
from domain.ledger.note import ED25519, VerifierKey
from domain.ledger.statement import Statement
from domain.ledger.tree import Frontier, leaf_hash
from domain.ledger.verify_trust import TrustedKeys
from domain.signing_key import KeyEnrolled, KeyEnrolmentRequested

ORIGIN = "ledger.example/test"
CASE = "0199aaaa-0000-7000-8000-000000000001"
START = 1_800_000_000_000_000
SECOND = 1_000_000


def private_key(label: str) -> Ed25519PrivateKey:
    """The Ed25519 key of a label: its seed is the label's SHA-256."""
    return Ed25519PrivateKey.from_private_bytes(sha256(label.encode()).digest())


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The raw public half."""
    return key.public_key().public_bytes_raw()


class Signer(msgspec.Struct, frozen=True):
    """An actor with a signing key."""

    actor: str
    role: str
    key: Ed25519PrivateKey
    key_id: str


class LedgerBuilder:
    """Appends entries; index i of every list is the entry at index i of the log."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.entry_key, self.checkpoint_key = private_key(f"{origin} entry"), private_key(f"{origin} checkpoint")
        self.statements: list[Statement] = []
        self.entries: list[bytes] = []
        self.openings: list[sealing.Opening | None] = []
        self.heads: dict[str, tuple[int, str]] = {}

    def append(
        self,
        stream: str,
        kind: str,
        payload: bytes | None,
        *,
        actor: str,
        role: str,
        signer: Signer | None = None,
        signatures: Callable[[bytes], tuple[bytes, ...]] | None = None,
        **overrides: Any,
    ) -> int:
        """Append one entry; returns its index. `overrides` replace fields; `signatures` makes others."""
        index = len(self.entries)
        rev, prev = self.heads.get(stream, (0, None))
        opening = None if payload is None else sealing.Opening(sha256(b"blinding %d" % index).digest(), payload)
        recorded_at = START + index * SECOND
        statement = Statement(
            origin=self.origin, stream=stream, rev=rev + 1, prev=prev, kind=kind, actor=actor, role=role,
            case=stream.removeprefix("case-") if stream.startswith("case-") else None,
            key_id=signer.key_id if signer else None,
            key_head=self.heads[bundle.key_stream(signer.key_id)][1] if signer else None,
            expires_at=recorded_at + 600 * SECOND if signer else None,
            recorded_at=recorded_at, cause=f"0199bbbb-0000-7000-8000-{index:012d}", purpose="TREAT",
            subject=stream.replace("-", ":", 1) if opening else None,
            commitment=opening.commitment() if opening else None,
        )  # fmt: skip
        statement = msgspec.structs.replace(statement, **overrides)
        raw = encoding.encode(statement)
        signed = dsse.pre_authentication_encoding(raw)
        made = [signer.key.sign(signed)] if signer else []
        made.append(self.entry_key.sign(signed))
        entry = dsse.render(raw, signatures(signed) if signatures else tuple(made))
        self.statements.append(statement)
        self.entries.append(entry)
        self.openings.append(opening)
        self.heads[statement.stream] = (statement.rev, leaf_hash(entry).hex())
        return index

    def event(self, stream: str, kind: str, event: Event, **fields: Any) -> int:
        """Append a real event."""
        return self.append(stream, kind, encode(event), **fields)

    def request_key(self, actor: str, role: str, **overrides: Any) -> Signer:
        """An actor asks for a key to be theirs; `overrides` replace fields of the event."""
        key = private_key(f"{actor} key")
        public = public_bytes(key)
        name = key_id(public)
        event = KeyEnrolmentRequested(
            key=name, algorithm="ed25519", public_key=public.hex(), owner=actor,
            possession=key.sign(proof_of_possession_message(self.origin, actor, name, public)).hex(),
        )  # fmt: skip
        event = msgspec.structs.replace(event, **overrides)
        self.event(bundle.key_stream(name), "key.enrolment_requested.v1", event, actor=actor, role=role)
        return Signer(actor, role, key, name)

    def approve_key(
        self, signer: Signer, approver: str = "officer-1", role: str = "compliance", **overrides: str
    ) -> int:
        """A second person approves it."""
        event = msgspec.structs.replace(KeyEnrolled(key=signer.key_id, owner=signer.actor), **overrides)
        return self.event(bundle.key_stream(signer.key_id), "key.enrolled.v1", event, actor=approver, role=role)

    def sign_opinion(self, by: Signer, case: str = CASE, kind: str = "opinion.signed.v1", **fields: Any) -> int:
        """An opinion, signed with the actor's own key."""
        fields = {"actor": by.actor, "role": by.role, "signer": by, **fields}
        return self.append(bundle.case_stream(case), kind, b'{"resectability":"resectable"}', **fields)

    def checkpoint(self) -> bytes:
        """The signed note over all entries; committed a second after the last was recorded."""
        checkpoint = Checkpoint(self.origin, len(self.entries), self._prover().root)
        return sign(checkpoint, self.checkpoint_key, START + len(self.entries) * SECOND)

    def case_bundle(
        self, case: str = CASE, *, until: int | None = None, disclose: Callable[[int], bool] = lambda index: True
    ) -> bundle.Bundle:
        """The bundle of a case up to a revision, with the streams of every key that signed in it."""
        own, last = bundle.case_stream(case), until or self.heads[bundle.case_stream(case)][0]
        chosen = [i for i, each in enumerate(self.statements) if each.stream == own and each.rev <= last]
        keys = {bundle.key_stream(each) for i in chosen if (each := self.statements[i].key_id) is not None}
        return self.bundle_of(
            sorted({*chosen, *(i for i, each in enumerate(self.statements) if each.stream in keys)}),
            case=case,
            revision=last,
            disclose=lambda i: self.statements[i].stream in keys or disclose(i),
        )

    def bundle_of(
        self,
        chosen: list[int],
        *,
        case: str = CASE,
        revision: int,
        disclose: Callable[[int], bool] = lambda index: True,
    ) -> bundle.Bundle:
        """A bundle of exactly these entries."""
        prover = self._prover()
        return bundle.Bundle(
            manifest=bundle.Manifest(
                origin=self.origin, case=case, revision=revision, exported_at=START + 3600 * SECOND
            ),
            checkpoint=self.checkpoint(),
            entries=tuple(self.entries[i] for i in chosen),
            proofs=tuple(bundle.Proof(index=i, hashes=tuple(prover.proof(i))) for i in chosen),
            openings=tuple(
                bundle.Disclosure(index=i, blinding=opening.blinding, payload=opening.payload)
                for i in chosen
                if (opening := self.openings[i]) is not None and disclose(i)
            ),
        )

    def trusted_keys(self) -> TrustedKeys:
        """What a verifier of this ledger is given."""
        return TrustedKeys(
            self.origin,
            (VerifierKey.make(self.origin, ED25519, public_bytes(self.checkpoint_key)),),
            (VerifierKey.make(f"{self.origin}/entries", ED25519, public_bytes(self.entry_key)),),
        )

    def _prover(self) -> BatchProver:
        return BatchProver(Frontier(), [leaf_hash(each) for each in self.entries])


def small_ledger() -> LedgerBuilder:
    """Eleven entries: a key enrolled, a case of five entries with a signed opinion, another case between them.

    Index: 0 key asked for, 1 the case opened, 2 another case opened, 3 key approved, 4 and 5 the case goes on, 6 the
    other case goes on, 7 the opinion, 8 the opinion delivered, 9 and 10 the other case.
    """
    ledger, own, other = LedgerBuilder(), bundle.case_stream(CASE), bundle.case_stream("other")
    by: dict[str, Any] = {"actor": "coordinator-1", "role": "coordinator"}
    surgeon = ledger.request_key("surgeon-1", "specialist")
    ledger.append(own, "case.opened.v1", b'{"why":"told-unresectable"}', **by)
    ledger.append(other, "case.opened.v1", b'{"why":"rare"}', **by)
    ledger.approve_key(surgeon)
    ledger.append(own, "case.routed.v1", b'{"to":"surgeon-1"}', **by)
    ledger.append(own, "review.accepted.v1", b"{}", actor="surgeon-1", role="specialist")
    ledger.append(other, "case.closed.v1", b"{}", **by)
    ledger.sign_opinion(surgeon)
    ledger.append(own, "opinion.delivered.v1", b'{"to":"patient"}', **by)
    ledger.append(other, "case.reopened.v1", b"{}", **by)
    ledger.append(other, "case.closed.v1", b"{}", **by)
    return ledger
