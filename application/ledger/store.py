"""The ledger as an event-sourced application: seals what is saved; what is loaded, `opening` opens and checks.

Sealing covers a whole save, because the chain runs through it; the mapper only encodes and decodes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import EventStore, InfrastructureFactory, JSONTranscoder, Notification, Recording
from eventsourcing.utils import Environment

from application.ledger.entries import Append, Appended, Erase, Guard, IdempotencyKey, SealedEntry
from application.ledger.keyfiles import KeyFiles
from application.ledger.keyring import Keyring
from application.ledger.library import LedgerFactory, LedgerMapper
from application.ledger.opening import EntryReader, chained
from application.ledger.randomness import random_bytes
from application.ledger.recorder import LedgerRecorder
from application.ledger.streams import (
    Act,
    ActorSigned,
    Evolve,
    Loaded,
    LoggedEvent,
    NewEvent,
    ReceiptedRecording,
    projector,
)
from domain.errors import GuardBroken, SignatureRefused, WrongStatement
from domain.event import register
from domain.ledger import sealing
from domain.ledger.dsse import pre_authentication_encoding
from domain.ledger.sealing import Opening
from domain.ledger.signatures import REQUIRED_ROLE
from domain.ledger.statement import Statement, decode_statement, encode_statement

S = TypeVar("S")


class LedgerEventStore(EventStore[str]):
    """Seals and chains on the way in; checks chain, leaf and commitment on the way out."""

    recorder: LedgerRecorder

    def __init__(self, mapper: LedgerMapper, recorder: LedgerRecorder, keys: KeyFiles, keyring: Keyring) -> None:
        super().__init__(mapper, recorder)
        self._keys = keys
        self._keyring = keyring
        self.reader = EntryReader(keyring)

    def put(self, domain_events: Sequence[Any], **kwargs: Any) -> list[Recording[str]]:
        """Seal and append new events together.

        Takes `act: Act`; `heads`, the leaf (hex) of each stream that exists already; `guards`; `idempotency`;
        `erase`, what goes in the same transaction; and `signed`, the actor-signed statement of the one event that
        needs it.
        """
        new: Sequence[NewEvent] = domain_events
        appended: Appended | None = None
        entries: tuple[SealedEntry, ...] = ()
        while appended is None:
            seal = self.recorder.live.seal()
            entries = tuple(
                self._sealed(new, kwargs["act"], dict(kwargs.get("heads") or {}), kwargs.get("signed"), seal.key),
            )
            append = Append(
                entries=entries,
                guards=(*(kwargs.get("guards") or ()), *seal.guards),
                idempotency=kwargs.get("idempotency"),
                erase=kwargs.get("erase"),
            )
            try:
                appended = self.recorder.append(append)
            except GuardBroken:
                # Either what the decision relied on has moved, or the log's own key: only then it is sealed again.
                if not seal.guards:
                    raise
                self.recorder.refresh_keys()
                if self.recorder.live.seal().guards == seal.guards:
                    raise
        if appended.replayed:
            return []
        return [
            ReceiptedRecording(event, self._notification(entry, receipt.index), event, receipt)
            for event, entry, receipt in zip(new, entries, appended.receipts, strict=True)
        ]

    def statement_of(self, new: NewEvent, act: Act, prev: str | None, opening: Opening | None) -> Statement:
        """The statement that an event gets, at its place in the chain; without an opening it commits to nothing."""
        return Statement(
            origin=self._keys.origin,
            stream=new.originator_id,
            rev=new.originator_version,
            prev=prev,
            case=new.case,
            kind=register.of(new.event).topic,
            actor=act.actor,
            role=act.role,
            recorded_at=act.recorded_at,
            occurred_at=act.occurred_at if new.occurred_at is None else new.occurred_at,
            cause=act.cause,
            purpose=act.purpose,
            subject=new.subject,
            commitment=None if opening is None else opening.commitment(),
            object=new.object,
            version=new.version,
            outcome=new.outcome,
        )

    def opening_of(self, new: NewEvent) -> Opening:
        """A fresh opening of an event's payload."""
        return Opening(random_bytes(sealing.BLINDING_BYTES), self.mapper.to_stored_event(new).state)

    def get(
        self,
        originator_id: str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Iterator[Any]:
        """Events of a stream, checked: every leaf is that of its entry, and every entry follows the one before.

        Raises:
            ChainBroken, EntryAltered, PayloadAltered: stored bytes contradict each other.
        """
        logged = self.reader.logged(self.recorder.rows(originator_id, gt, lte, desc, limit))
        return iter(logged) if desc else chained(logged, originator_id, gt or 0)

    def _sealed(
        self,
        new: Sequence[NewEvent],
        act: Act,
        heads: dict[str, str],
        signed: ActorSigned | None,
        key: Ed25519PrivateKey | None = None,
    ) -> Iterator[SealedEntry]:
        key = key or self.recorder.live.seal().key
        keys = self._keyring.get_many(tuple(each.subject for each in new if each.subject is not None))
        for each in new:
            opening: Opening | None
            topic = register.of(each.event).topic
            if signed is not None or topic in REQUIRED_ROLE:
                if signed is None or len(new) != 1:
                    raise SignatureRefused(f"{topic} counts only with its actor's signature, and alone")
                raw, statement = signed.statement, decode_statement(signed.statement)
                self._check_signed(each, statement, signed.opening)
                opening = signed.opening
            else:
                opening = None if each.subject is None else self.opening_of(each)
                statement = self.statement_of(each, act, heads.get(each.originator_id), opening)
                raw = encode_statement(statement)
            sealed = None
            if each.subject is not None and opening is not None:
                sealed = sealing.seal(keys[each.subject], random_bytes(sealing.NONCE_BYTES), opening, raw)
            ledger_signature = key.sign(pre_authentication_encoding(raw))
            entry = SealedEntry.make(statement, raw, signed.signature if signed else None, ledger_signature, sealed)
            heads[each.originator_id] = entry.leaf.hex()
            yield entry

    def _check_signed(self, new: NewEvent, statement: Statement, opening: Opening) -> None:
        """What was signed has to say the event that is saved; who signed it is for the caller to check before."""
        payload = self.mapper.to_stored_event(new)
        signed = (statement.origin, statement.stream, statement.rev, statement.kind, statement.subject)
        if signed != (self._keys.origin, new.originator_id, new.originator_version, payload.topic, new.subject):
            raise WrongStatement
        if opening.payload != payload.state or opening.commitment() != statement.commitment:
            raise WrongStatement

    def _notification(self, entry: SealedEntry, index: int) -> Notification:
        statement = entry.statement
        return Notification(statement.stream, statement.rev, statement.kind, entry.sealed or b"", id=index + 1)


class Ledger(Application[str]):
    """Saves events as sealed, signed, chained entries, and loads streams as folded states."""

    events: LedgerEventStore
    recorder: LedgerRecorder

    def __init__(self, recorder: LedgerRecorder, keys: KeyFiles, keyring: Keyring) -> None:
        self._handed = (recorder, keys, keyring)
        super().__init__()

    def construct_env(self, name: str, env: Any = None) -> Environment:
        """An empty environment: no setting of the library is read from the process's own."""
        return Environment(name, {})

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """See `LedgerFactory`."""
        return LedgerFactory(env)

    def construct_mapper(self) -> LedgerMapper:
        """See `LedgerMapper`."""
        return LedgerMapper(JSONTranscoder())

    def construct_recorder(self) -> LedgerRecorder:
        """The recorder that was handed in."""
        return self._handed[0]

    def construct_event_store(self) -> LedgerEventStore:
        """See `LedgerEventStore`."""
        return LedgerEventStore(LedgerMapper(JSONTranscoder()), *self._handed)

    def load(self, stream: str, evolve: Evolve[S], *, version: int | None = None) -> Loaded[S] | None:
        """Fold a stream, up to a revision if one is given; None where there is no such stream.

        Raises:
            ChainBroken, EntryAltered, PayloadAltered: stored bytes contradict each other.
        """
        try:
            loaded: Loaded[S] = self.repository.get(stream, version=version, projector_func=projector(evolve))
        except AggregateNotFoundError:
            return None
        return loaded

    def stream(self, stream: str) -> list[LoggedEvent]:
        """All events of a stream, by revision.

        Raises:
            ChainBroken, EntryAltered, PayloadAltered: stored bytes contradict each other.
        """
        return list(self.events.get(stream))

    def read(self, start: int, stop: int) -> list[LoggedEvent]:
        """Events with start <= index < stop, in the log's order, opened and checked; erased ones as `Erased`.

        Raises:
            EntryAltered, PayloadAltered: stored bytes contradict each other.
        """
        return self.events.reader.logged(self.recorder.range(start, stop))

    def appended_under(self, key: IdempotencyKey) -> Appended | None:
        """What an earlier request under this Idempotency-Key appended; None for a new key.

        Raises:
            IdempotencyKeyReused: the key came with another request.
        """
        return self.recorder.appended_under(key)

    def append(
        self,
        events: Iterable[NewEvent],
        act: Act,
        *,
        heads: Mapping[str, str] | None = None,
        guards: Sequence[Guard] = (),
        idempotency: IdempotencyKey | None = None,
        signed: ActorSigned | None = None,
        erase: Erase | None = None,
    ) -> list[ReceiptedRecording]:
        """Save events together, and destroy what they say is erased; each comes back with its receipt.

        Empty where an equal request under the same Idempotency-Key was saved at the same moment: ask for its answer.

        Raises:
            StaleRevision, GuardBroken, IdempotencyKeyReused: somebody else was first; nothing was saved.
            SubjectErased, QueueFull, DatabaseUnavailable, IntegrityFailure.
        """
        # As `save`, which first asks of each event whether it is one: that takes longer than to encrypt it.
        recordings = self.events.put(
            list(events),
            act=act,
            heads=dict(heads or {}),
            guards=tuple(guards),
            idempotency=idempotency,
            signed=signed,
            erase=erase,
        )
        return [each for each in recordings if isinstance(each, ReceiptedRecording)]
