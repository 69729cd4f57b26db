"""The entry: a DSSE envelope around a statement, rendered from one fixed template.

Only statement and signatures are stored; the envelope's bytes follow from them. Sources: the DSSE protocol and envelope
specifications (secure-systems-lab/dsse, version 1.0). Lengths in the pre-authentication encoding are byte lengths.
"""

import msgspec

from domain.errors import EntryAltered
from domain.ledger.statement import PAYLOAD_TYPE, Statement, decode_statement

SIGNATURE_BYTES = 64
MAX_ENTRY_BYTES = 16 * 1024

_PAE_HEAD = b"DSSEv1 %d %s " % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode())


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    sig: bytes


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The template: members in this order, no white space, bytes as padded base64."""

    payload: bytes
    payloadType: str  # noqa: N815 - DSSE's own name
    signatures: tuple[_Signature, ...]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A statement's bytes with its signatures: the actor's, if there is one, then the ledger's (64 bytes each)."""

    statement: bytes
    signatures: tuple[bytes, ...]

    def parsed(self) -> Statement:
        """The statement.

        Raises:
            MalformedStatement, TooLarge: as `decode_statement`.
        """
        return decode_statement(self.statement)

    def render(self) -> bytes:
        """The envelope: these bytes are the leaf's pre-image."""
        return render(self.statement, self.signatures)


def pre_authentication_encoding(statement: bytes) -> bytes:
    """The bytes that every signature of an entry is made over (DSSE PAE)."""
    return _PAE_HEAD + b"%d " % len(statement) + statement


def render(statement: bytes, signatures: tuple[bytes, ...]) -> bytes:
    """The envelope of a statement; padded base64, members and signatures in fixed order, no white space."""
    signed = (_Signature(signatures[0]),) if len(signatures) == 1 else tuple(map(_Signature, signatures))
    return _encode(_Envelope(statement, PAYLOAD_TYPE, signed))


def parse(raw: bytes) -> Entry:
    """Read an envelope; only the exact bytes that `render` gives are accepted.

    Raises:
        EntryAltered: not an envelope of this type, another spelling of one, or a wrong number or length of signatures.
    """
    if len(raw) > MAX_ENTRY_BYTES:
        raise EntryAltered(f"an entry has at most {MAX_ENTRY_BYTES} bytes, this one has {len(raw)}")
    try:
        envelope = _decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise EntryAltered("the entry is not a DSSE envelope") from None
    if envelope.payloadType != PAYLOAD_TYPE:
        raise EntryAltered("the entry's payload type is not that of a statement")
    signatures = tuple([each.sig for each in envelope.signatures])
    if not 1 <= len(signatures) <= 2 or set(map(len, signatures)) != {SIGNATURE_BYTES}:
        raise EntryAltered("an entry carries one or two signatures of 64 bytes")
    # Whatever else the decoder lets through (white space, escapes, other orders, loose base64) differs here.
    if _encode(envelope) != raw:
        raise EntryAltered("the envelope is not rendered from the fixed template")
    return Entry(envelope.payload, signatures)
