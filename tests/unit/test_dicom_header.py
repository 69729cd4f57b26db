"""Reading headers: every kind of file that comes in the wild, and the ones that come to do harm."""

import contextlib
import gzip
import io
import logging
import struct
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import msgspec
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from application.records.dicom import FIRST_LOOK, read_header
from domain.errors import NotDicom, UnreadableDicom
from domain.imaging.model import InstanceHeader
from tests.synthetic_dicom import CT, ROOT, Series, files_of, written

PACKAGED = Path(pydicom.__file__).parent / "data"
FILES = PACKAGED / "test_files"
EXPLICIT = ExplicitVRLittleEndian
ENCODINGS = [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def small(**values: object) -> Dataset:
    """A small CT data set, with or without pixels."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CT, f"{ROOT}.7"
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{ROOT}.8", f"{ROOT}.9"
    data.Modality = "CT"
    data.Rows, data.Columns, data.SamplesPerPixel, data.BitsAllocated = 4, 4, 1, 16
    data.ImagePositionPatient, data.ImageOrientationPatient = [1.5, -2, 3e1], [1, 0, 0, 0, 1, 0]
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def with_pixels(data: Dataset) -> Dataset:
    """The data set with 32 bytes of pixels."""
    data.PixelData = b"\0" * 32
    data["PixelData"].VR = "OW"
    return data


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_every_encoding_gives_the_same_facts(syntax: pydicom.uid.UID) -> None:
    """Implicit, explicit, big-endian and deflated data sets say the same."""
    header = read_header(written(with_pixels(small(SliceThickness="2.5")), syntax))
    assert (header.rows, header.position, header.thickness) == (4, (1.5, -2.0, 30.0), 2.5)
    assert header.transfer_syntax == str(syntax)
    assert header.has_pixels
    assert header.pixel_expected == 32


@pytest.mark.parametrize("syntax", [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_pixels_are_found_at_their_byte(syntax: pydicom.uid.UID) -> None:
    """The pixel value starts where the header says, so a cut-off file can be told."""
    content = written(with_pixels(small()), syntax)
    header = read_header(content)
    assert header.pixel_length == 32
    assert header.pixel_offset == len(content) - 32


@pytest.mark.parametrize("syntax", [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_bare_data_set_is_read(syntax: pydicom.uid.UID) -> None:
    """Without preamble and file meta group, the first element shows the encoding."""
    stream = io.BytesIO()
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    pydicom.dcmwrite(stream, small(), implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    header = read_header(stream.getvalue())
    assert (header.sop_instance_uid, header.columns) == (f"{ROOT}.7", 4)


def test_a_preamble_may_be_missing_before_the_meta_group() -> None:
    """A file that starts with group 0002 is read as any other."""
    content = written(small())
    assert read_header(content[132:]) == read_header(content)


def test_a_wrong_group_length_is_no_obstacle() -> None:
    """The stated length of the file meta group is not believed."""
    content = bytearray(written(small()))
    content[140:144] = struct.pack("<I", 9999)
    assert read_header(bytes(content)).modality == "CT"


def test_a_wrong_transfer_syntax_is_corrected() -> None:
    """A data set that is implicit although the meta group says explicit is read by its bytes."""
    content = written(small(), ImplicitVRLittleEndian)
    lie = content.replace(b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2\x20")
    assert read_header(lie).rows == 4
    explicit = written(small(), EXPLICIT).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    assert read_header(explicit).rows == 4


def test_uids_only_in_the_meta_group_are_used_and_reported() -> None:
    """Empty UIDs in the data set are named; the file meta group stands in for them."""
    header = read_header(written_with_empty_uids())
    assert header.sop_class_uid == CT
    assert header.uids_missing == ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def written_with_empty_uids() -> bytes:
    """A file whose UIDs stand in the file meta group only."""
    content = written(small())
    empty = small(SOPClassUID="", SOPInstanceUID="", StudyInstanceUID="", SeriesInstanceUID="")
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, empty, implicit_vr=False, little_endian=True, enforce_file_format=False)
    length = struct.unpack_from("<I", content, 140)[0]
    return content[: 144 + length].replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0") + stream.getvalue()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("chrArab.dcm", "قباني^لنزار"),
        ("chrGreek.dcm", "Διονυσιος"),
        ("chrRuss.dcm", "Люкceмбypг"),  # noqa: RUF001
        ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrX1.dcm", "Wang^XiaoDong=王^小東="),
        ("chrX2.dcm", "Wang^XiaoDong=王^小东="),
        ("chrHbrw.dcm", "שרון^דבורה"),
        ("chrFren.dcm", "Buc^Jérôme"),
        ("chrGerm.dcm", "Äneas^Rüdiger"),
        ("chrKoreanMulti.dcm", "김희중"),
    ],
)
def test_names_come_out_right_in_every_script(name: str, shown: str) -> None:
    """The standard's own examples of character sets are decoded (PS3.5 annexes H to K)."""
    assert read_header((PACKAGED / "charset_files" / name).read_bytes()).patient.name == shown


def test_gb18030_keeps_characters_whose_second_byte_is_a_backslash() -> None:
    """The value is split at backslashes after decoding, not before."""
    data = small(SpecificCharacterSet="GB18030", PatientName="誠^誠", SeriesDescription="肝誠期")
    assert b"\\" in "誠".encode("gb18030")
    header = read_header(written(data))
    assert (header.patient.name, header.series_description) == ("誠^誠", "肝誠期")


def test_undeclared_utf8_is_recognised() -> None:
    """Bytes that form UTF-8 are read as such although no character set is declared."""
    content = written(small(SeriesDescription="Lebe r arteriell")).replace(b"Lebe r", "Läbär".encode()[:6])
    assert read_header(content).series_description.startswith("Läb")


def test_control_characters_are_dropped() -> None:
    """No text from a header carries a control character, which a database would choke on."""
    content = written(small(SeriesDescription="ab_cd_ef")).replace(b"ab_cd_ef", b"ab\0cd\x1aef")
    assert read_header(content).series_description == "abcdef"


def test_numbers_that_are_none_are_not_stated() -> None:
    """NaN, infinity, text and half a vector count as not stated."""
    content = written(small(SliceThickness="1.5", GantryDetectorTilt="12345", PixelSpacing=["1", "1"]))
    content = content.replace(b"1.5 ", b"NaN ").replace(b"12345 ", b"1e999 ").replace(b"1\\1 ", b"1\\x ")
    header = read_header(content)
    assert (header.thickness, header.tilt, header.pixel_spacing) == (None, None, ())


def test_a_decimal_comma_is_read() -> None:
    """Some writers use the decimal separator of their country."""
    assert read_header(written(small(SliceThickness="1.25")).replace(b"1.25", b"1,25")).thickness == 1.25


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\xff\xd8\xff\xe0....JFIF", "JPEG"),
        (b"\x89PNG\r\n\x1a\n....", "PNG"),
        (gzip.compress(b"DICM" * 99), "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
        (b"PK\x03\x04........", "ZIP"),
        (b"Dear colleague, please find the images on the CD.", "text"),
        (b"\x93\x01" * 400, "something else"),
        (b"\x08\0\x05\0" + b"\xff" * 600, "DICOM"),
    ],
)
def test_something_else_is_told_apart(content: bytes, said: str) -> None:
    """What is not DICOM is refused with the name of what it is."""
    with pytest.raises(NotDicom, match=said):
        read_header(content)


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-empty.dcm", "DICOMDIR-implicit"])
def test_a_directory_is_marked(name: str) -> None:
    """A DICOMDIR, empty or not, is neither an image nor an error."""
    found = next(FILES.rglob(name))
    assert read_header(found.read_bytes()).is_directory


def test_a_preamble_without_a_data_set_is_unreadable() -> None:
    """A file that is cut off after its preamble is DICOM, and broken."""
    with pytest.raises(UnreadableDicom):
        read_header(b"\0" * 128 + b"DICM")
    with pytest.raises(UnreadableDicom):
        read_header(written(small())[:200])


def nested(depth: int, *, undefined: bool) -> bytes:
    """A CT header with sequences inside sequences, `depth` deep."""
    start = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    levels = (struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + start) * depth
    if undefined:
        return written(small()) + levels
    outer = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, len(start + levels))
    return written(small()) + outer + start + levels


@pytest.mark.parametrize("undefined", [True, False])
def test_deep_nesting_ends_in_an_error_of_ours(undefined: bool) -> None:
    """A hundred thousand levels neither crash the process nor escape as something else."""
    started = time.perf_counter()
    with pytest.raises(UnreadableDicom, match="nested too deeply"):
        read_header(nested(100_000, undefined=undefined))
    assert time.perf_counter() - started < 10


def test_claimed_sizes_are_not_believed() -> None:
    """A small file that claims gigabytes, of pixels or of a text, costs neither memory nor time."""
    tail = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFF0)
    huge = written(small(NumberOfFrames=1, Rows=65535, Columns=65535)) + tail
    text = written(small())[:-1] + struct.pack("<HH2sHI", 0x0028, 0x2114, b"UT", 0, 0xFFFFFFF0) + b"x"
    tracemalloc.start()
    header = read_header(io.BytesIO(huge))
    read_header(io.BytesIO(text))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert header.pixel_expected == 65535 * 65535 * 2
    assert header.pixel_length == 0xFFFFFFF0
    assert peak < 4_000_000


def test_a_deflated_bomb_is_bounded() -> None:
    """A data set that inflates to gigabytes of tiny elements ends within seconds and bounded memory."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(squeezer.compress(b"\0" * 1_000_000) for _ in range(300)) + squeezer.flush()
    content = written(small(), DeflatedExplicitVRLittleEndian)
    length = struct.unpack_from("<I", content, 140)[0]
    started = time.perf_counter()
    with pytest.raises(UnreadableDicom):
        read_header(content[: 144 + length] + bomb)
    assert time.perf_counter() - started < 20


def test_millions_of_nested_elements_are_bounded() -> None:
    """A sequence of millions of tiny elements ends within seconds too."""
    content = written(small()) + struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 8) + struct.pack("<HH2sH", 0x0008, 0x0050, b"SH", 0)
    started = time.perf_counter()
    with pytest.raises(UnreadableDicom, match="too many elements"):
        read_header(content + item * 2_000_000)
    assert time.perf_counter() - started < 60


def test_a_stream_is_read_no_further_than_needed() -> None:
    """From a stream only the first look is taken when the header fits into it."""

    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            self.taken += len(content)
            return content

    source = Counting(written(with_pixels(small()), EXPLICIT) + b"\0" * (3 * FIRST_LOOK))
    assert read_header(source).has_pixels
    assert source.taken <= FIRST_LOOK


def test_a_long_header_is_read_on() -> None:
    """A header longer than the first look is still found whole."""
    data = small()
    data.add_new(0x00091010, "OB", b"\0" * (FIRST_LOOK + 100))
    content = written(with_pixels(data), EXPLICIT)
    assert read_header(io.BytesIO(content)).has_pixels


def enhanced(positions: list[float], times: list[int]) -> bytes:
    """An enhanced CT whose geometry stands in functional groups only."""
    data = small(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=len(positions))
    del data.ImagePositionPatient, data.ImageOrientationPatient
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.7], 2
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for at, moment in zip(positions, times, strict=True):
        group, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, at]
        content.TemporalPositionIndex = moment
        group.PlanePositionSequence, group.FrameContentSequence = Sequence([place]), Sequence([content])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return written(data, EXPLICIT)


def test_enhanced_geometry_comes_from_the_functional_groups() -> None:
    """Shared and per-frame groups are merged, frame by frame."""
    header = read_header(enhanced([0, 2, 4], [1, 1, 2]))
    assert [frame.position for frame in header.frame_geometry] == [(0, 0, 0), (0, 0, 2), (0, 0, 4)]
    assert {frame.thickness for frame in header.frame_geometry} == {2.0}
    assert [frame.time_index for frame in header.frame_geometry] == [1, 1, 2]
    assert msgspec.json.decode(msgspec.json.encode(header), type=InstanceHeader) == header


def test_every_packaged_file_goes_through(capsys: pytest.CaptureFixture[str]) -> None:
    """Every file inside the pydicom package is read, or refused with one of the two errors."""
    counts = {"read": 0, "directory": 0, "not DICOM": 0, "unreadable": 0}
    for path in sorted(PACKAGED.rglob("*")):
        if not path.is_file() or path.suffix in (".py", ".pyc"):
            continue
        try:
            header = read_header(path.read_bytes())
        except NotDicom:
            counts["not DICOM"] += 1
        except UnreadableDicom:
            counts["unreadable"] += 1
        else:
            counts["directory" if header.is_directory else "read"] += 1
            assert msgspec.json.decode(msgspec.json.encode(header), type=InstanceHeader) == header
    with capsys.disabled():
        print(f"\npackaged pydicom files: {counts}")  # noqa: T201
    assert counts["read"] > 150
    assert counts["directory"] >= 7


def test_every_truncation_and_flip_stays_inside_the_two_errors() -> None:
    """A file cut at any byte, or with any byte changed, never raises anything else."""
    content = next(iter(files_of(Series(count=1, rows=128)).values()))[:1500]
    for index in range(0, len(content), 3):
        for broken in (content[:index], content[:index] + b"\xff" + content[index + 1 :]):
            with contextlib.suppress(NotDicom, UnreadableDicom):
                read_header(broken)


def test_reading_says_nothing_about_header_values(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings of pydicom quote values; neither its log nor its warnings get out."""
    content = written(small(SpecificCharacterSet="ISO_IR 192", PatientName="Secret^Name"))
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        read_header(content.replace(b"ISO_IR 192", b"ISO_IR 999"))
    assert caught == []
    assert caplog.records == []


@pytest.mark.parametrize("tag", [0x7FE00001, 0x7FE00002])
@pytest.mark.parametrize("syntax", [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_stands_before_the_pixels_is_no_end(tag: int, syntax: pydicom.uid.UID) -> None:
    """An extended offset table stands in front of pixels that are there."""
    data = with_pixels(small())
    data.add_new(tag, "OV", bytes(8))
    header = read_header(written(data, syntax))
    assert header.has_pixels
    assert header.pixel_length == 32


def test_a_group_length_before_the_pixels_is_no_end() -> None:
    """A real CT that has the retired group length in front of its pixels has pixels."""
    assert read_header((FILES / "693_J2KI.dcm").read_bytes()).has_pixels


@pytest.mark.parametrize("count", [1_000, 9_000])
def test_long_groups_of_undefined_length_are_read_whole(count: int) -> None:
    """The functional groups of an enhanced image may end far behind the first look, and be delimited by items."""
    groups = []
    for index in range(count):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, index]
        group.PlanePositionSequence = Sequence([position])
        group["PlanePositionSequence"].is_undefined_length = True
        group.is_undefined_length_sequence_item = True
        position.is_undefined_length_sequence_item = True
        groups.append(group)
    data = with_pixels(small(PerFrameFunctionalGroupsSequence=Sequence(groups)))
    data["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    content = written(data, EXPLICIT)
    assert len(content) > FIRST_LOOK / 2
    header = read_header(io.BytesIO(content))
    assert [frame.position for frame in header.frame_geometry] == [(0.0, 0.0, float(index)) for index in range(count)]
    assert header.has_pixels


def test_a_packaged_recording_is_read_whole() -> None:
    """A real waveform whose sequences reach beyond the first look is no broken file."""
    with (FILES / "waveform_ecg.dcm").open("rb") as stream:
        assert read_header(stream).modality == "ECG"


def test_private_b_values_are_read() -> None:
    """Philips has the b-value in an element of its own; a Siemens sequence from which that was removed, in its name."""
    philips = small(Manufacturer="Philips Medical Systems")
    philips.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(3, "FL", 800.0)
    assert read_header(written(philips, EXPLICIT)).b_value == 800
    siemens = small(Manufacturer="SIEMENS", SequenceName="*ep_b1000t")
    assert read_header(written(siemens, EXPLICIT)).b_value == 1000
    assert read_header(written(small(Manufacturer="SIEMENS", SequenceName="*tse2d1"), EXPLICIT)).b_value is None
