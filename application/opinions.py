"""Opinions, signed by the specialist's own key in two steps.

Prepare gives the exact statement that the log will hold. The client checks that its commitment opens to what it sees,
signs, and submits. Submit trusts nothing that comes back: it makes the statement once more from what it knows itself,
decides once more, and accepts only the very same bytes.
"""

import hashlib
import hmac

import msgspec
from uuid_utils import uuid7

from application.cases import Cases, LoadedCase, new_events
from application.keys.signing_keys import SigningKeys
from application.ledger.entries import Guard
from application.ledger.keyfiles import KeyFiles
from application.ledger.store import Ledger
from application.ledger.streams import ActorSigned, Loaded, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.request import Request
from application.specialists import Specialists
from domain.case.actor import acting_id
from domain.case.calendar import CALENDARS, Calendars
from domain.case.commands import SignOpinion, SignOpinionInput, completed
from domain.case.decide import decide
from domain.case.events import OpinionSigned
from domain.errors import (
    BadSignature,
    MalformedBody,
    PreparationExpired,
    PreparationReplayed,
    WrongKey,
    WrongRole,
    WrongStatement,
)
from domain.event import register
from domain.ledger.dsse import pre_authentication_encoding
from domain.ledger.keys import verify_ed25519
from domain.ledger.sealing import Opening
from domain.ledger.signatures import PREPARED_FOR_US
from domain.ledger.statement import Statement, decode_statement, encode_statement
from domain.signing_key import SigningKey
from domain.specialist import Specialist


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A statement to sign, and what its commitment opens to. `expires_at` is in microseconds UTC and stands in it."""

    statement: bytes
    blinding: bytes
    payload: bytes
    expires_at: int
    preparation: bytes
    """Shows, on submission, that this service prepared that statement."""


class Submission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prepared statement, signed: all of what `Prepared` gave, and the signature (64 bytes) over its DSSE PAE."""

    statement: bytes
    blinding: bytes
    payload: bytes
    preparation: bytes
    signature: bytes


class Opinions:
    """Preparing and submitting opinions."""

    def __init__(
        self,
        ledger: Ledger,
        keys: KeyFiles,
        cases: Cases,
        signing_keys: SigningKeys,
        specialists: Specialists,
        calendars: Calendars = CALENDARS,
    ) -> None:
        self._ledger = ledger
        self._secret = keys.preparation
        self._cases = cases
        self._signing_keys = signing_keys
        self._specialists = specialists
        self._calendars = calendars

    def prepare(self, request: Request, case: str, key: str, opinion: SignOpinionInput) -> Prepared:
        """Decide on an opinion and make the statement for it; nothing is appended.

        Raises:
            WrongKey: the key is not the caller's, or not enrolled.
            StaleRevision, and whatever the decision refuses with.
        """
        loaded = self._cases.load(case)
        specialist = self._specialist(loaded, request)
        request.require_seen(loaded.revision)
        signing_key = self._key(key, request)
        command = completed(SignOpinion, opinion, opinion=f"opinion-{uuid7()}", signer_name=specialist.state.name)
        new = self._decided(loaded, command, request, request.now)
        opening = self._ledger.events.opening_of(new)
        expires_at = request.now + PREPARED_FOR_US
        raw = encode_statement(self._statement(loaded, new, request, signing_key, opening, expires_at))
        return Prepared(
            statement=raw,
            blinding=opening.blinding,
            payload=opening.payload,
            expires_at=expires_at,
            preparation=self._mac(raw),
        )

    def submit(self, request: Request, case: str, sent: Submission) -> Outcome:
        """Append a signed opinion.

        Raises:
            WrongStatement: not what was prepared, or prepared for somebody or something else.
            PreparationExpired: signed too late.
            PreparationReplayed: submitted before, or the case has moved since.
            WrongKey: the key is not valid any more, or the signature is another's.
            GuardBroken, and whatever the decision refuses with.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "case")) is not None:
            return earlier
        statement = self._prepared_here(sent)
        if statement.actor != request.id or statement.role != request.role or statement.case != case:
            raise WrongStatement("the statement was prepared for somebody else, or for another case")
        if statement.expires_at is None or request.now >= statement.expires_at:
            raise PreparationExpired
        loaded = self._cases.load(case)
        request.require_seen(loaded.revision)
        if statement.rev != loaded.revision + 1 or statement.prev != loaded.head:
            raise PreparationReplayed
        specialist = self._specialist(loaded, request)
        signing_key = self._key(statement.key_id or "", request)
        if statement.key_head != signing_key.head:
            raise WrongKey("the key's history has moved since the statement was prepared")
        opening = Opening(sent.blinding, sent.payload)
        new = self._redecided(loaded, sent.payload, request, statement.recorded_at)
        at_preparation = msgspec.structs.replace(request, now=statement.recorded_at, cause=statement.cause)
        again = self._statement(loaded, new, at_preparation, signing_key, opening, statement.expires_at)
        if encode_statement(again) != sent.statement:
            raise WrongStatement
        try:
            verify_ed25519(
                bytes.fromhex(signing_key.state.public_key),
                sent.signature,
                pre_authentication_encoding(sent.statement),
            )
        except BadSignature:
            raise WrongKey("the signature is not one of the key that the statement names") from None
        recordings = self._ledger.append(
            [new],
            at_preparation.act(statement.actor),
            heads={loaded.stream: loaded.head},
            guards=(Guard(signing_key.id, signing_key.head), Guard(specialist.id, specialist.head)),
            idempotency=request.idempotency,
            signed=ActorSigned(statement=sent.statement, signature=sent.signature, opening=opening),
        )
        return settled_outcome(self._ledger, request.idempotency, loaded.stream, recordings)

    def _prepared_here(self, sent: Submission) -> Statement:
        if not hmac.compare_digest(self._mac(sent.statement), sent.preparation):
            raise WrongStatement("this service did not prepare that statement")
        return decode_statement(sent.statement)

    def _redecided(self, loaded: LoadedCase, payload: bytes, request: Request, now: int) -> NewEvent:
        """The decision made again from the payload that came back; it has to come out as it was."""
        try:
            event = register.decode("opinion.signed.v1", payload)
        except MalformedBody:
            raise WrongStatement("the payload is not the one that was prepared") from None
        if not isinstance(event, OpinionSigned):
            raise WrongStatement("the payload is not an opinion")
        command = SignOpinion(
            content=event.content,
            relied_on=event.relied_on,
            opinion=event.opinion,
            signer_name=self._specialist(loaded, request).state.name,
        )
        # Consents must cover it now, not only when it was prepared.
        self._decided(loaded, command, request, request.now)
        new = self._decided(loaded, command, request, now)
        if self._ledger.mapper.to_stored_event(new).state != payload:
            raise WrongStatement("the payload is not the one that was prepared")
        return new

    def _decided(self, loaded: LoadedCase, command: SignOpinion, request: Request, now: int) -> NewEvent:
        events = decide(loaded.state, command, request.actor(), now, self._calendars)
        (new,) = new_events(loaded.stream, loaded.revision, loaded.case, events)
        return new

    def _statement(
        self,
        loaded: LoadedCase,
        new: NewEvent,
        request: Request,
        key: Loaded[SigningKey],
        opening: Opening,
        expires_at: int,
    ) -> Statement:
        act = request.act(acting_id(loaded.state, request.actor()))
        statement = self._ledger.events.statement_of(new, act, loaded.head, opening)
        return msgspec.structs.replace(statement, key_id=key.state.key, key_head=key.head, expires_at=expires_at)

    def _specialist(self, loaded: LoadedCase, request: Request) -> Loaded[Specialist]:
        assignment = loaded.state.assignment
        if assignment is None or assignment.actor != request.id:
            raise WrongRole("only the specialist to whom this case was routed does this")
        return self._specialists.load(assignment.specialist)

    def _key(self, key: str, request: Request) -> Loaded[SigningKey]:
        signing_key = self._signing_keys.load(key)
        if signing_key.state.owner != request.id or not signing_key.state.enrolled:
            raise WrongKey
        return signing_key

    def _mac(self, statement: bytes) -> bytes:
        return hmac.digest(self._secret, b"caseledger/preparation/v1\0" + statement, hashlib.sha256)
