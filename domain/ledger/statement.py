"""The statement: what an entry of the log says in clear, and what is signed.

A statement names who did what kind of thing to which stream, when and why, and commits to the sealed rest. It holds
no direct identifier of a person: every field is an opaque id, a code, a number or a digest, and a pattern holds it to
that.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import inspect
from msgspec.structs import fields

from domain.errors import MalformedBody, MalformedStatement, TooLarge
from domain.ledger import encoding

PAYLOAD_TYPE = "application/vnd.caseledger.statement.v1+json"
MAX_STATEMENT_BYTES = 8 * 1024
MAX_PAYLOAD_BYTES = 256 * 1024
MAX_ORIGIN = 200
MAX_KIND = 80

# \Z, not $: the latter would let a final newline through.
_START, _END = r"\A", r"\Z"
Origin = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9.-]*(/[a-z0-9._-]+)*\Z", max_length=MAX_ORIGIN)]
StreamId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,20}-[0-9a-z-]{1,64}\Z")]
SubjectId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z]{1,20}:[0-9a-z-]{1,64}\Z")]
Kind = Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]+(\.[a-z_]+)+\.v[1-9][0-9]{0,3}\Z", max_length=MAX_KIND)]
ActorId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
Role = Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,40}\Z")]
OpaqueId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-z][0-9a-z._:-]{0,99}\Z")]
KeyId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-z]{32}\Z")]
Sha256Hex = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Purpose = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{2,20}\Z")]
Microseconds = Annotated[int, msgspec.Meta(ge=0, lt=encoding.MAX_INTEGER)]
Revision = Annotated[int, msgspec.Meta(ge=1, lt=encoding.MAX_INTEGER)]


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One action on one stream. Times are microseconds since 1970-01-01 UTC; digests are lower-case hex SHA-256.

    `_Strict` says what each field may hold; it is held to that where it is decoded, not where it is made.
    """

    origin: str
    """The log that this statement is made for; equals the checkpoints' origin."""
    stream: str
    rev: int
    """Revision of the stream, dense from 1."""
    prev: str | None = None
    """Leaf hash of the stream's previous entry; absent at revision 1."""
    case: str | None = None
    kind: str
    """Topic of the event that the payload holds."""
    actor: str
    role: str
    key_id: str | None = None
    """Key of the actor's own signature; present exactly when the entry carries one."""
    key_head: str | None = None
    """Leaf hash of that key's latest entry, which binds the key's whole history up to here."""
    recorded_at: int
    occurred_at: int | None = None
    """When it happened, where that is not when it was recorded."""
    expires_at: int | None = None
    """An actor's signature is accepted until then; only in statements that the actor signs."""
    cause: str
    """UUID, made by the server, of the request that this belongs to."""
    purpose: str
    """Purpose of use (HL7 v3 PurposeOfUse code)."""
    subject: str | None = None
    """Whose key seals the payload; absent, with the commitment, when that subject was erased before."""
    commitment: str | None = None
    object: str | None = None
    """For an access: what was asked for,"""
    version: str | None = None
    """which version of it,"""
    outcome: str | None = None
    """and how it ended."""


class _Strict(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What each field of a statement may hold."""

    origin: Origin
    stream: StreamId
    rev: Revision
    prev: Sha256Hex | None = None
    case: OpaqueId | None = None
    kind: Kind
    actor: ActorId
    role: Role
    key_id: KeyId | None = None
    key_head: Sha256Hex | None = None
    recorded_at: Microseconds
    occurred_at: Microseconds | None = None
    expires_at: Microseconds | None = None
    cause: OpaqueId
    purpose: Purpose
    subject: SubjectId | None = None
    commitment: Sha256Hex | None = None
    object: OpaqueId | None = None
    version: OpaqueId | None = None
    outcome: Annotated[str, msgspec.Meta(pattern=r"\A(allowed|refused)\Z")] | None = None


def _spelling() -> re.Pattern[bytes]:
    """The canonical spelling of every statement that `_Strict` allows, as one expression over its bytes.

    No pattern lets a character through that JSON could spell in two ways, so keys in order, each at most once, and
    nothing between them is the whole of the canonical form. The two lengths are not in it; of the numbers it knows
    those below 9 * 10**15.
    """
    members = []
    for number, field in enumerate(sorted(fields(_Strict), key=lambda each: each.name)):
        kinds = [each for each in _kinds(field.type) if not isinstance(each, inspect.NoneType)]
        value = "|".join(_value(each) for each in kinds)
        member = f'{"," if number else ""}"{field.name}":(?:{value})'
        members.append(member if field.required else f"(?:{member})?")
    return re.compile(("{" + "".join(members) + "}").encode())


def _kinds(type_: Any) -> Sequence[inspect.Type]:
    told = inspect.type_info(type_)
    return told.types if isinstance(told, inspect.UnionType) else (told,)


def _value(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType(pattern=str(pattern)):
            return f'"{pattern.removeprefix(_START).removesuffix(_END)}"'
        case inspect.IntType(ge=least, lt=encoding.MAX_INTEGER):
            return ("" if least else "0|") + "[1-9][0-9]{0,14}|[1-8][0-9]{15}"
    raise TypeError(f"a statement has no fields of the kind {type(kind).__name__}")


_spelled = _spelling().fullmatch
_decode = msgspec.json.Decoder(Statement).decode


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
    statement = _decode(raw) if _spelled(raw) else None
    if statement is None or len(statement.origin) > MAX_ORIGIN or len(statement.kind) > MAX_KIND:
        # Says what is wrong; what is right is known by one look at its spelling, in half the time.
        try:
            encoding.decode(raw, _Strict)
        except MalformedBody as error:
            raise MalformedStatement(str(error)) from None
        statement = _decode(raw)
    if (statement.rev == 1) != (statement.prev is None):
        raise MalformedStatement("prev is absent at revision 1, and only there")
    if (statement.key_id is None) != (statement.key_head is None):
        raise MalformedStatement("key_id and key_head come together")
    if (statement.key_id is None) != (statement.expires_at is None):
        raise MalformedStatement("expires_at stands in statements that an actor signs, and only there")
    if (statement.subject is None) != (statement.commitment is None):
        raise MalformedStatement("subject and commitment come together")
    return statement


def peek_statements(raws: Iterable[bytes]) -> list[Statement]:
    """Read statements that passed `decode_statement` before; patterns and spelling are not checked again.

    Warning: only for bytes that are authenticated, as by opening the payload that was sealed to them.

    Raises:
        MalformedStatement, TooLarge: see `decode_statement`.
    """
    raws = list(raws)
    try:
        return [_decode(raw) for raw in raws]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [decode_statement(raw) for raw in raws]
