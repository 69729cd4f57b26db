import itertools

import msgspec
import pytest

from domain.errors import BlobAltered, ControlCharacter, MalformedBody, TooLarge
from domain.imaging.model import InstanceHeader
from domain.records import FileEntry, Manifest, RecordKind, checked_name, decode_manifest, digest_of

NAMES = ("صورة الكبد.dcm", "간 MRI.dcm", "肝脏增强.dcm", "Ångström/IM 1", "Ελληνικά", "снимок.jpg", "a\u200fb")


def entry(name: str, byte: str = "a", size: int = 7, **more: object) -> FileEntry:
    """A file whose digest is one digit repeated."""
    return msgspec.convert(
        {"name": name, "sha256": byte * 64, "bytes": size, "media_type": "application/dicom", **more}, FileEntry
    )


def test_order_of_arrival_does_not_matter() -> None:
    """The same files in any order give the same bytes, hence the same digest."""
    files = [entry("b"), entry("a", "c"), entry("a", "b")]
    encoded = {Manifest.of(RecordKind.IMAGING, list(order)).encode() for order in itertools.permutations(files)}
    assert len(encoded) == 1


def test_round_trip_keeps_names_and_headers() -> None:
    """Names in any script and header facts come back as they went in."""
    header = InstanceHeader(modality="MR", position=(1.5, -2.0, 3.0))
    files = [msgspec.structs.replace(entry(name), header=header) for name in NAMES]
    manifest = Manifest.of(RecordKind.IMAGING, files)
    encoded = manifest.encode()
    back = decode_manifest(encoded, digest_of(encoded))
    assert back == manifest
    assert {file.name for file in back.files} == set(NAMES)
    assert back.files[0].header == header
    assert back.total_bytes == 7 * len(NAMES)


@pytest.mark.parametrize("position", [0, 20, -1])
def test_altered_bytes_are_refused(position: int) -> None:
    """One changed byte anywhere is no longer the manifest that the record names."""
    encoded = Manifest.of(RecordKind.BLOODS, [entry("a")]).encode()
    altered = bytearray(encoded)
    altered[position] ^= 1
    with pytest.raises(BlobAltered):
        decode_manifest(bytes(altered), digest_of(encoded))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(b'"total_bytes":7', b'"total_bytes":8'),
        lambda text: text.replace(b'"version":1', b'"version":2'),
        lambda text: text.replace(b'"kind":"bloods"', b'"kind":"gossip"'),
        lambda text: text.replace(b'"name"', b'"nome"'),
        lambda text: text.replace(b"a" * 64, b"A" * 64),
        lambda text: text[:-1],
        lambda text: b"\xff" + text,
    ],
)
def test_what_is_no_manifest_is_refused_though_its_digest_fits(damage) -> None:  # type: ignore[no-untyped-def]
    """A wrong total, version, kind, member, digest or encoding is refused even with a matching digest."""
    encoded = damage(Manifest.of(RecordKind.BLOODS, [entry("a")]).encode())
    with pytest.raises(BlobAltered):
        decode_manifest(encoded, digest_of(encoded))


def test_a_record_has_files_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is refused, and so is one more than the bound."""
    with pytest.raises(MalformedBody):
        Manifest.of(RecordKind.OTHER, [])
    monkeypatch.setattr("domain.records.FILES_PER_RECORD", 2)
    with pytest.raises(TooLarge):
        Manifest.of(RecordKind.OTHER, [entry(str(number)) for number in range(3)])


@pytest.mark.parametrize("name", [*NAMES, "肝" * 255, "../../etc/passwd", "CON", "…"])
def test_names_in_any_script_survive(name: str) -> None:
    """A name is kept as it is: it never becomes a path, so no spelling of it is dangerous."""
    assert checked_name(name) == name


def test_a_gb18030_name_survives() -> None:
    """A name that came as GB18030 bytes is the same after the manifest."""
    name = b"\xb8\xce\xd4\xe0CT.dcm".decode("gb18030")
    encoded = Manifest.of(RecordKind.IMAGING, [entry(checked_name(name))]).encode()
    assert decode_manifest(encoded, digest_of(encoded)).files[0].name == "肝脏CT.dcm"


@pytest.mark.parametrize("bad", ["\0", "\n", "\r", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029"])
def test_control_characters_in_names_are_refused(bad: str) -> None:
    """C0, DEL, C1 and line separators are refused, not dropped."""
    with pytest.raises(ControlCharacter):
        checked_name(f"a{bad}b")


@pytest.mark.parametrize(("name", "error"), [("", MalformedBody), (" ", MalformedBody), ("\udc80", MalformedBody)])
def test_what_is_no_name_is_refused(name: str, error: type[Exception]) -> None:
    """Nothing, blanks, and bytes that were no text are not names."""
    with pytest.raises(error):
        checked_name(name)


def test_a_name_is_bounded_in_characters() -> None:
    """255 characters pass, 256 do not."""
    with pytest.raises(TooLarge):
        checked_name("肝" * 256)
