"""The bundle's format: what is written is read, and anything else is refused by name within bounds."""

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import msgspec
import pytest

from domain.errors import MalformedBundle
from domain.ledger import bundle
from domain.ledger.verify import verify
from tests.ledger_builder import small_ledger

CONTENT = small_ledger().case_bundle()
RAW = bundle.write(CONTENT)


def unpacked(raw: bytes = RAW) -> dict[str, bytes]:
    """The members of a bundle."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of any members."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def replaced(member: str, content: bytes) -> bytes:
    """The bundle with another member."""
    return packed(unpacked() | {member: content})


def refused(raw: bytes) -> MalformedBundle:
    """The error that reading raises."""
    with pytest.raises(MalformedBundle) as caught:
        bundle.read(raw)
    return caught.value


def test_round_trip() -> None:
    """What is written is read again, and the same content gives the same bytes."""
    assert bundle.read(RAW) == CONTENT
    assert bundle.write(CONTENT) == RAW


def test_exactly_the_five_members_are_written() -> None:
    """The zip holds the five members, stored, in a fixed order."""
    with zipfile.ZipFile(io.BytesIO(RAW)) as archive:
        assert tuple(archive.namelist()) == bundle.MEMBERS
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_deflated_members_in_any_order_are_read() -> None:
    """A bundle that someone packed again, compressed, is the same bundle."""
    assert bundle.read(packed(dict(reversed(unpacked().items())), zipfile.ZIP_DEFLATED)) == CONTENT


def test_writing_refuses_what_reading_would() -> None:
    """A bundle that nobody could read is not written."""
    with pytest.raises(MalformedBundle):
        bundle.write(msgspec.structs.replace(CONTENT, proofs=CONTENT.proofs[:-1]))
    with pytest.raises(MalformedBundle):
        bundle.write(msgspec.structs.replace(CONTENT, proofs=CONTENT.proofs[::-1]))


@pytest.mark.parametrize(
    "name", ["more.json", "../bundle.json", "/bundle.json", "inner.zip", "bundle.json/", "BUNDLE.JSON"]
)
def test_other_members_are_refused(name: str) -> None:
    """Exactly the five members: none more, none of another name, no way out of a directory."""
    members = unpacked()
    assert "members" in str(refused(packed(members | {name: b"x"})))
    content = members.pop(bundle.MANIFEST)
    assert "exactly" in str(refused(packed(members | {name: content})))


def test_a_name_that_goes_on_behind_a_nul_is_refused() -> None:
    """A reader that stops at the NUL would take it for a member."""
    members = unpacked()
    members["checkpoint..."] = members.pop(bundle.CHECKPOINT)
    assert "exactly" in str(refused(packed(members).replace(b"checkpoint...", b"checkpoint\0..")))


def test_duplicate_members_are_refused() -> None:
    """Five members of which two have the same name are not the five."""
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w") as archive:
        warnings.simplefilter("ignore")
        for name in (*bundle.MEMBERS[:4], bundle.MANIFEST):
            archive.writestr(name, unpacked()[name])
    assert "exactly" in str(refused(target.getvalue()))


@pytest.mark.parametrize(
    "raw", [b"", b"PK", b"no zip at all" * 50, RAW[:-1], RAW[1:], RAW + b"\n", b"#!/bin/sh\n" + RAW, RAW + RAW]
)
def test_what_is_not_one_whole_zip_is_refused(raw: bytes) -> None:
    """Truncated, prefixed or followed by something, or no zip: a typed error."""
    refused(raw)


def test_a_comment_is_refused() -> None:
    """The directory's end is the file's end."""
    assert "does not end in" in str(refused(RAW[:-2] + b"\1\0"))
    assert "does not end in" in str(refused(RAW[:-2] + b"\1\0!"))


def test_every_truncation_is_refused() -> None:
    """No beginning of a bundle is a bundle."""
    for length in range(0, len(RAW), 61):
        refused(RAW[:length])


def test_a_directory_of_many_members_is_refused_before_it_is_read() -> None:
    """The number of members, the directory's size and ZIP64 are judged on the last bytes alone."""
    end = struct.Struct("<4s4H2LH")
    *_, size, offset, _ = end.unpack(RAW[-22:])
    for count, declared in ((65_535, size), (6, size), (5, size + 1), (5, 2**31)):
        refused(RAW[:-22] + end.pack(b"PK\x05\x06", 0, 0, count, count, declared, offset, 0))
    locator = b"PK\x06\x07" + bytes(16)
    assert "ZIP64" in str(refused(RAW[:-22] + locator + end.pack(b"PK\x05\x06", 0, 0, 5, 5, size + 20, offset, 0)))


@pytest.mark.parametrize("member", bundle.MEMBERS)
def test_an_archive_inside_the_archive_is_not_opened(member: str) -> None:
    """A whole good bundle in the place of a member fails as that member; beside the members it is refused."""
    report = verify(replaced(member, RAW), None)
    assert report.failure is not None
    assert (report.ok, report.failure.member) == (False, member)
    refused(packed(unpacked() | {"more.zip": RAW}))


def test_a_member_declared_too_large_is_refused() -> None:
    """A declared size above the bound is refused before anything is unpacked."""
    error = refused(packed(unpacked() | {bundle.MANIFEST: bytes(5000)}, zipfile.ZIP_DEFLATED))
    assert (error.member, str(error)) == (bundle.MANIFEST, "the member is larger than allowed")


STAMPED = msgspec.structs.replace(CONTENT, time_stamps=(bundle.TimeStamp(rfc3161=b"0"), bundle.TimeStamp(rfc3161=b"1")))


def test_time_stamps_are_a_sixth_member_where_there_are_any() -> None:
    """They read back in order; without any the member is not there."""
    raw = bundle.write(STAMPED)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert tuple(archive.namelist()) == (*bundle.MEMBERS, bundle.TIME_STAMPS)
    assert bundle.read(raw).time_stamps == STAMPED.time_stamps
    assert bundle.read(bundle.write(CONTENT)).time_stamps == ()


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b'{"rfc3161":"MA=="}', b'{"rfc3161":""}\n', b'{"other":"MA=="}\n', b'{"rfc3161":"MA=="}\n' * 17]
)
def test_time_stamps_of_another_shape_are_refused(raw: bytes) -> None:
    """An empty member, a line without its end, an empty or foreign one, more than sixteen: the member is named."""
    assert refused(packed(unpacked() | {bundle.TIME_STAMPS: raw})).member == bundle.TIME_STAMPS


def test_members_that_are_too_large_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of the unpacked sizes is bounded too."""
    content = packed(unpacked(), zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(bundle, "MAX_BUNDLE_BYTES", sum(map(len, unpacked().values())) - 1)
    assert "together" in str(refused(content))


def deflated(size: int) -> bytes:
    """So many zeros, compressed."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(bytes(size)) + squeezer.flush()


@pytest.mark.parametrize(
    ("stream", "declared"),
    [
        (deflated(40_000_000), 10),
        (deflated(40_000_000), 1_000_000),
        (deflated(100), 101),
        (deflated(100) + b"more", 100),
        (deflated(100)[:-1], 100),
    ],
)
def test_a_bomb_that_lies_about_its_size_is_refused(stream: bytes, declared: int) -> None:
    """A compressed member that unpacks to more or less than it declares is refused, and never unpacked beyond that."""
    raw = bytearray(packed(unpacked() | {bundle.OPENINGS: stream}))
    local, central = raw.find(b"PK\x03\x04", raw.find(bundle.PROOFS.encode())), raw.rfind(b"PK\x01\x02")
    for at, method in ((local, 8), (central, 10)):
        raw[at + method : at + method + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    raw[local + 22 : local + 26] = raw[central + 24 : central + 28] = struct.pack("<L", declared)
    tracemalloc.start()
    error = refused(bytes(raw))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (error.member, "declares" in str(error)) == (bundle.OPENINGS, True)
    assert peak < 8_000_000


@pytest.mark.parametrize(("flag", "method"), [(0x1, 0), (0x40, 0), (0x20, 0), (0, 12), (0, 14), (0, 99)])
def test_encrypted_and_otherwise_compressed_members_are_refused(flag: int, method: int) -> None:
    """Only stored and deflated members, in clear."""
    raw = bytearray(RAW)
    central = raw.rfind(b"PK\x01\x02")
    raw[central + 8 : central + 12] = struct.pack("<HH", flag, method)
    assert refused(bytes(raw)).member == bundle.OPENINGS


def test_a_wrong_crc_is_a_remark() -> None:
    """CRC-32 protects nothing: a mismatch is told, and the content is judged by what it is."""
    raw = bytearray(RAW)
    central = raw.rfind(b"PK\x01\x02")
    raw[central + 16] ^= 0xFF
    read = bundle.read(bytes(raw))
    assert [bundle.OPENINGS in remark for remark in read.remarks] == [True]
    assert msgspec.structs.replace(read, remarks=()) == CONTENT


@pytest.mark.parametrize(
    "line",
    [
        b'{"hashes":[],"index":0,"index":1}',
        b'{"hashes":[], "index":0}',
        b'{"index":0,"hashes":[]}',
        b'{"hashes":[],"index":0,"more":1}',
        b'{"hashes":[],"index":-1}',
        b'{"hashes":[],"index":9007199254740992}',
        b'{"hashes":[],"index":' + b"9" * 3000 + b"}",
        b'{"hashes":[],"index":1e2}',
        b'{"hashes":[],"index":1.0}',
        b'{"hashes":' + b"[" * 1500 + b"]" * 1500 + b',"index":0}',
        b'{"hashes":["' + b"A" * 43 + b'"],"index":0}',
        b'{"hashes":["' + b"A" * 42 + b'B="],"index":0}',
        b'{"hashes":["AAAA"],"index":0}',
        b'{"hashes":[' + b",".join([b'"' + b"A" * 43 + b'="'] * 65) + b'],"index":0}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"hashes":["\\ud800"],"index":0}',
        b"null",
        b"",
    ],
)
def test_hostile_lines_are_refused(line: bytes) -> None:
    """Duplicate keys, other spellings, numbers and nesting out of bounds: refused, naming the member."""
    rest = b"".join(unpacked()[bundle.PROOFS].splitlines(keepends=True)[1:])
    error = refused(replaced(bundle.PROOFS, line + b"\n" + rest))
    assert error.member == bundle.PROOFS
    assert "line 1 of proofs.ndjson" in str(error)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"caseledger-bundle/v1"', b'"caseledger-bundle/v2"'),
        (b'"revision":5', b'"revision":0'),
        (b'"revision":5', b'"revision":5,"revision":5'),
        (b"ledger.example", b"ledger.\\nexample"),
        (b'"case":"', b'"case":"../'),
        (b"}", b"}\n"),
    ],
)
def test_hostile_manifests_are_refused(old: bytes, new: bytes) -> None:
    """The manifest is canonical JSON of one format, every field in its pattern."""
    manifest = unpacked()[bundle.MANIFEST]
    assert old in manifest
    assert refused(replaced(bundle.MANIFEST, manifest.replace(old, new, 1))).member == bundle.MANIFEST


def test_a_blinding_of_another_length_is_refused() -> None:
    """HMAC pads keys with zeros, so a shorter blinding could open the same commitment."""
    short = bundle.encoding.encode({"blinding": bytes(31), "index": 0, "payload": b""}) + b"\n"
    assert refused(replaced(bundle.OPENINGS, short)).member == bundle.OPENINGS


def test_an_opening_of_no_entry_is_refused() -> None:
    """Openings belong to entries of the bundle; the other one's index is named."""
    members = unpacked()
    foreign = bundle.encoding.encode(bundle.Disclosure(index=99, blinding=bytes(32), payload=b"")) + b"\n"
    error = refused(replaced(bundle.OPENINGS, members[bundle.OPENINGS] + foreign))
    assert (error.member, error.index) == (bundle.OPENINGS, 99)


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("at", [0, 40, 700, -1])
def test_an_entry_that_became_two_lines_is_named(number: int, at: int) -> None:
    """Where newlines do not match the proofs, the first line that is no envelope is named by its entry's index."""
    lines = unpacked()[bundle.ENTRIES].splitlines(keepends=True)
    lines[number] = lines[number][:at] + b"\n" + lines[number][at:]
    error = refused(replaced(bundle.ENTRIES, b"".join(lines)))
    # A newline before the last one leaves the entry whole: what fails is the empty line after it.
    broken = number if at != -1 else number + 1
    expected = CONTENT.proofs[broken].index if broken < 7 else None
    assert (error.member, error.index) == (bundle.ENTRIES, expected)


@pytest.mark.parametrize("number", range(7))
def test_an_entry_that_lost_its_newline_is_named(number: int) -> None:
    """Two entries on one line, or a last line without an end: the first of them is named."""
    lines = unpacked()[bundle.ENTRIES].splitlines(keepends=True)
    lines[number] = lines[number][:-1]
    error = refused(replaced(bundle.ENTRIES, b"".join(lines)))
    assert (error.member, error.index) == (bundle.ENTRIES, CONTENT.proofs[number].index)


def test_more_entries_than_proofs_are_refused() -> None:
    """A whole entry too many or too few is refused with both numbers."""
    entries = unpacked()[bundle.ENTRIES]
    for changed in (entries + entries.splitlines(keepends=True)[0], entries[entries.find(b"\n") + 1 :]):
        assert "proofs.ndjson has 7" in str(refused(replaced(bundle.ENTRIES, changed)))


def test_too_many_lines_are_refused_before_they_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of lines is counted first."""
    monkeypatch.setattr(bundle, "MAX_ENTRIES", 6)
    assert "more than 6 lines" in str(refused(RAW))
