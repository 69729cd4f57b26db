"""The case bundle: one zip that lets anybody check a case without us. Written here, and read here within bounds.

Five members, and a sixth where there are time stamps; docs/ledger.md gives their bytes. Nothing in a bundle is believed
for being in it: reading checks shape and bounds only, `domain.ledger.verify` judges the rest.
"""

import io
import zipfile
from typing import Annotated, Literal, TypeVar

import msgspec

from domain.errors import CaseLedgerError, MalformedBody, MalformedBundle
from domain.ledger import dsse, encoding, unzip
from domain.ledger.note import MAX_NOTE_BYTES
from domain.ledger.statement import MAX_PAYLOAD_BYTES, Microseconds, OpaqueId, Origin, Revision
from domain.ledger.tree import HASH_BYTES, MAX_PROOF_HASHES

FORMAT: Literal["caseledger-bundle/v1"] = "caseledger-bundle/v1"
MANIFEST, CHECKPOINT = "bundle.json", "checkpoint"
ENTRIES, PROOFS, OPENINGS = "entries.ndjson", "proofs.ndjson", "openings.ndjson"
MEMBERS = (MANIFEST, CHECKPOINT, ENTRIES, PROOFS, OPENINGS)
TIME_STAMPS = "timestamps.ndjson"
"""The member that is there only when it has lines."""

MAX_BUNDLE_BYTES = 256 * 1024 * 1024
"""Of the zip, and of all its members together once unpacked."""
MAX_ENTRIES = 100_000
_MAX_MANIFEST_BYTES = 4096
# 64 hashes in base64 with quotes and commas, and the largest index.
_MAX_PROOF_LINE = 47 * MAX_PROOF_HASHES + 64
# Base64 of the largest payload and of the blinding, and the largest index.
_MAX_OPENING_LINE = 4 * (MAX_PAYLOAD_BYTES // 3 + 1) + 160
_LIMITS = {
    MANIFEST: _MAX_MANIFEST_BYTES,
    CHECKPOINT: MAX_NOTE_BYTES,
    ENTRIES: MAX_BUNDLE_BYTES,
    PROOFS: MAX_BUNDLE_BYTES,
    OPENINGS: MAX_BUNDLE_BYTES,
}

MAX_TIME_STAMPS, MAX_TIME_STAMP_BYTES = 16, 64 * 1024
_MAX_TIME_STAMP_LINE = 4 * (MAX_TIME_STAMP_BYTES // 3 + 1) + 64
_OPTIONAL = {TIME_STAMPS: MAX_TIME_STAMPS * (_MAX_TIME_STAMP_LINE + 1)}

Index = Annotated[int, msgspec.Meta(ge=0, lt=encoding.MAX_INTEGER)]
Hash = Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
T = TypeVar("T")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bundle says it is. `exported_at` (microseconds UTC) is the exporter's word; nothing covers it."""

    format: Literal["caseledger-bundle/v1"] = FORMAT
    origin: Origin
    case: OpaqueId
    revision: Revision
    """Last revision of the case's stream in here."""
    exported_at: Microseconds


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an entry stands in the log, and its inclusion proof in the checkpoint's tree, from leaf to root."""

    index: Index
    hashes: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=MAX_PROOF_HASHES)]


class Disclosure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The opening of the commitment of the entry at `index`."""

    index: Index
    # HMAC pads short keys with zeros: of two lengths both could open one commitment, so one length counts.
    blinding: Hash
    payload: Annotated[bytes, msgspec.Meta(max_length=MAX_PAYLOAD_BYTES)]


class TimeStamp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time-stamp response over the checkpoint's note as the log released it, without cosignatures."""

    rfc3161: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_TIME_STAMP_BYTES)]
    """DER of the TimeStampResp (RFC 3161 2.4.2)."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle's content: the signed note, envelopes by ascending index, a proof for each, some openings."""

    manifest: Manifest
    checkpoint: bytes
    entries: tuple[bytes, ...]
    proofs: tuple[Proof, ...]
    openings: tuple[Disclosure, ...]
    time_stamps: tuple[TimeStamp, ...] = ()
    remarks: tuple[str, ...] = ()
    """What reading noticed that alters nothing."""


def case_stream(case: str) -> str:
    """The stream of a case."""
    return f"case-{case}"


def key_stream(key_id: str) -> str:
    """The stream of a signing key's history."""
    return f"key-{key_id}"


def write(bundle: Bundle) -> bytes:
    """The zip of a bundle, members stored uncompressed; the same content gives the same bytes.

    Raises:
        MalformedBundle: it would not be read again: above a bound, out of order, or not one proof for each entry.
    """
    members = {
        MANIFEST: encoding.encode(bundle.manifest),
        CHECKPOINT: bundle.checkpoint,
        ENTRIES: b"".join(each + b"\n" for each in bundle.entries),
        PROOFS: b"".join(encoding.encode(each) + b"\n" for each in bundle.proofs),
        OPENINGS: b"".join(encoding.encode(each) + b"\n" for each in bundle.openings),
    }
    if bundle.time_stamps:
        members[TIME_STAMPS] = b"".join(encoding.encode(each) + b"\n" for each in bundle.time_stamps)
    raw = write_members(members)
    read(raw)
    return raw


def write_members(members: dict[str, bytes]) -> bytes:
    """A zip of these members, stored, with a fixed date."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


def read(raw: bytes) -> Bundle:
    """Read a bundle's shape, within bounds of memory and time.

    Raises:
        MalformedBundle: not a zip of the five members and at most the sixth, above a bound, a line of another shape or
            not in canonical form, indexes out of order, or another number of proofs than of entries; names the member,
            and the entry's index where there is one.
    """
    if len(raw) > MAX_BUNDLE_BYTES:
        raise MalformedBundle(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")
    members, remarks = unzip.members(raw, _LIMITS, MAX_BUNDLE_BYTES, _OPTIONAL)
    manifest = _decode(members[MANIFEST], Manifest, _MAX_MANIFEST_BYTES, MANIFEST, "")
    proofs = _decode_lines(members[PROOFS], Proof, _MAX_PROOF_LINE, PROOFS)
    entries = _entries(members[ENTRIES], proofs)
    openings = _decode_lines(members[OPENINGS], Disclosure, _MAX_OPENING_LINE, OPENINGS)
    known = {proof.index for proof in proofs}
    for opening in openings:
        if opening.index not in known:
            raise MalformedBundle("an opening belongs to no entry of the bundle", member=OPENINGS, index=opening.index)
    return Bundle(
        manifest=manifest,
        checkpoint=members[CHECKPOINT],
        entries=entries,
        proofs=proofs,
        openings=openings,
        time_stamps=_time_stamps(members[TIME_STAMPS]) if TIME_STAMPS in members else (),
        remarks=remarks,
    )


def _lines(raw: bytes, member: str) -> list[bytes]:
    if raw.count(b"\n") > MAX_ENTRIES:
        raise MalformedBundle(f"{member} has more than {MAX_ENTRIES} lines", member=member)
    return raw.split(b"\n")


L = TypeVar("L", Proof, Disclosure)


def _decode_lines(raw: bytes, type_: type[L], limit: int, member: str) -> tuple[L, ...]:
    lines = _lines(raw, member)
    if lines.pop():
        raise MalformedBundle(f"line {len(lines) + 1} of {member} does not end in a newline", member=member)
    decoded: list[L] = []
    before = -1
    for number, line in enumerate(lines, 1):
        item = _decode(line, type_, limit, member, f"line {number} of ")
        if item.index <= before:
            message = f"line {number} of {member}: indexes do not ascend"
            raise MalformedBundle(message, member=member, index=item.index)
        before = item.index
        decoded.append(item)
    return tuple(decoded)


def _time_stamps(raw: bytes) -> tuple[TimeStamp, ...]:
    lines = raw.split(b"\n")
    if lines.pop() or not 1 <= len(lines) <= MAX_TIME_STAMPS:
        message = f"{TIME_STAMPS} has 1 to {MAX_TIME_STAMPS} lines, each ended by a newline"
        raise MalformedBundle(message, member=TIME_STAMPS)
    return tuple(
        _decode(line, TimeStamp, _MAX_TIME_STAMP_LINE, TIME_STAMPS, f"line {number} of ")
        for number, line in enumerate(lines, 1)
    )


def _decode(raw: bytes, type_: type[T], limit: int, member: str, where: str) -> T:
    if len(raw) > limit:
        raise MalformedBundle(f"{where}{member} has more than {limit} bytes", member=member)
    try:
        return encoding.decode(raw, type_)
    except MalformedBody as error:
        raise MalformedBundle(f"{where}{member}: {error}", member=member) from None


def _entries(raw: bytes, proofs: tuple[Proof, ...]) -> tuple[bytes, ...]:
    """The envelopes, one for each proof. Where newlines came or went, the first line that is no envelope is named."""
    lines = _lines(raw, ENTRIES)
    if not lines[-1] and len(lines) - 1 == len(proofs):
        return tuple(lines[:-1])
    ended = lines[:-1] if not lines[-1] else lines
    for number, line in enumerate(ended, 1):
        try:
            dsse.parse(line)
        except CaseLedgerError as error:
            index = proofs[number - 1].index if number <= len(proofs) else None
            message = f"line {number} of {ENTRIES}: {error}"
            raise MalformedBundle(message, member=ENTRIES, index=index) from None
    if lines[-1]:
        message, last = f"{ENTRIES} does not end in a newline", min(len(lines), len(proofs))
        raise MalformedBundle(message, member=ENTRIES, index=proofs[last - 1].index if last else None)
    message = f"{ENTRIES} has {len(ended)} lines, and {PROOFS} has {len(proofs)}"
    raise MalformedBundle(message, member=ENTRIES)
