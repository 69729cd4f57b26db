"""The statement: what an entry of the log says in clear, and what is signed.

A statement names who did what kind of thing to which stream, when and why, and commits to the sealed rest. It holds
no direct identifier of a person: every field is an opaque id, a code, a number or a digest, and a pattern holds it to
that.
"""

from typing import Annotated

import msgspec

from domain.errors import MalformedBody, MalformedStatement, TooLarge
from domain.ledger import encoding

PAYLOAD_TYPE = "application/vnd.caseledger.statement.v1+json"
MAX_STATEMENT_BYTES = 8 * 1024
MAX_PAYLOAD_BYTES = 256 * 1024

# \Z, not $: the latter would let a final newline through.
Origin = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9.-]*(/[a-z0-9._-]+)*\Z", max_length=200)]
StreamId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,20}-[0-9a-z-]{1,64}\Z")]
SubjectId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,20}:[0-9a-z-]{1,64}\Z")]
Kind = Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]+(\.[a-z_]+)+\.v[1-9][0-9]{0,3}\Z", max_length=80)]
ActorId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
Role = Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,40}\Z")]
OpaqueId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-z][0-9a-z._:-]{0,99}\Z")]
KeyId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-z]{32}\Z")]
Sha256Hex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Purpose = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{2,20}\Z")]
Microseconds = Annotated[int, msgspec.Meta(ge=0, lt=encoding.MAX_INTEGER)]
Revision = Annotated[int, msgspec.Meta(ge=1, lt=encoding.MAX_INTEGER)]


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One action on one stream. Times are microseconds since 1970-01-01 UTC; digests are lower-case hex SHA-256."""

    origin: Origin
    """The log that this statement is made for; equals the checkpoints' origin."""
    stream: StreamId
    rev: Revision
    """Revision of the stream, dense from 1."""
    prev: Sha256Hex | None = None
    """Leaf hash of the stream's previous entry; absent at revision 1."""
    case: OpaqueId | None = None
    kind: Kind
    """Topic of the event that the payload holds."""
    actor: ActorId
    role: Role
    key_id: KeyId | None = None
    """Key of the actor's own signature; present exactly when the entry carries one."""
    key_head: Sha256Hex | None = None
    """Leaf hash of that key's latest entry, which binds the key's whole history up to here."""
    recorded_at: Microseconds
    occurred_at: Microseconds | None = None
    """When it happened, where that is not when it was recorded."""
    expires_at: Microseconds | None = None
    """An actor's signature is accepted until then; only in statements that the actor signs."""
    cause: OpaqueId
    """UUID, made by the server, of the request that this belongs to."""
    purpose: Purpose
    """Purpose of use (HL7 v3 PurposeOfUse code)."""
    subject: SubjectId | None = None
    """Whose key seals the payload; absent, with the commitment, when that subject was erased before."""
    commitment: Sha256Hex | None = None
    object: OpaqueId | None = None
    """For an access: what was asked for,"""
    version: OpaqueId | None = None
    """which version of it,"""
    outcome: Annotated[str, msgspec.Meta(pattern=r"\A(allowed|refused)\Z")] | None = None
    """and how it ended."""


class _Stored(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A statement whose fields were held to their patterns before; to do it again takes longer than all the rest."""

    origin: str
    stream: str
    rev: int
    prev: str | None = None
    case: str | None = None
    kind: str
    actor: str
    role: str
    key_id: str | None = None
    key_head: str | None = None
    recorded_at: int
    occurred_at: int | None = None
    expires_at: int | None = None
    cause: str
    purpose: str
    subject: str | None = None
    commitment: str | None = None
    object: str | None = None
    version: str | None = None
    outcome: str | None = None


_stored = msgspec.json.Decoder(_Stored)


def encode_statement(statement: Statement) -> bytes:
    """Canonical bytes of a statement, checked as on ingest.

    Raises:
        MalformedStatement, TooLarge: see `decode_statement`.
    """
    raw = encoding.encode(statement)
    decode_statement(raw)
    return raw


def decode_statement(raw: bytes) -> Statement:
    """Read a statement from bytes that must be its canonical form.

    Raises:
        TooLarge: more than 8 KiB.
        MalformedStatement: not canonical JSON, an unknown field, a value outside its pattern, or fields that
            contradict each other.
    """
    if len(raw) > MAX_STATEMENT_BYTES:
        raise TooLarge(f"a statement has at most {MAX_STATEMENT_BYTES} bytes, this one has {len(raw)}")
    try:
        statement = encoding.decode(raw, Statement)
    except MalformedBody as error:
        raise MalformedStatement(str(error)) from None
    if (statement.rev == 1) != (statement.prev is None):
        raise MalformedStatement("prev is absent at revision 1, and only there")
    if (statement.key_id is None) != (statement.key_head is None):
        raise MalformedStatement("key_id and key_head come together")
    if (statement.key_id is None) != (statement.expires_at is None):
        raise MalformedStatement("expires_at stands in statements that an actor signs, and only there")
    if (statement.subject is None) != (statement.commitment is None):
        raise MalformedStatement("subject and commitment come together")
    return statement


def peek_statement(raw: bytes) -> Statement:
    """Read a statement that passed `decode_statement` before; patterns and spelling are not checked again.

    Warning: only for bytes that are authenticated, as by opening the payload that was sealed to them.

    Raises:
        MalformedStatement, TooLarge: see `decode_statement`.
    """
    try:
        return _stored.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_statement(raw)
