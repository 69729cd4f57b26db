"""What is drawn of a series, and how: letters, windows, colours, and the page about a check."""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian

from application.pictures import plan as planning
from application.pictures.decoding import Decoded, Undrawable, decode, read
from application.pictures.display import BODY_WINDOW, edges, reduced, shown, windows_of
from application.pictures.drawing_result import checked_output
from application.pictures.page import Facts, page
from application.pictures.plan import plan
from application.records.requirements import requirement
from domain.imaging.findings import Finding, Report, SeriesRow
from domain.imaging.model import InstanceHeader
from domain.records import FileEntry

CT, AXIAL = "1.2.840.10008.5.1.4.1.1.2", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
WORDS = requirement("any").vocabulary


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        (AXIAL, ("R", "L", "A", "P")),
        ((0.0, 1.0, 0.0, 0.0, 0.0, -1.0), ("A", "P", "H", "F")),
        ((1.0, 0.0, 0.0, 0.0, 0.0, -1.0), ("R", "L", "H", "F")),
        ((-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), ("L", "R", "P", "A")),
        ((1.0, 0.0, 0.0, 0.0, 0.94, -0.34), ("R", "L", "A", "P")),
        ((0.7071, 0.7071, 0.0, 0.0, 0.0, -1.0), ("RA", "LP", "H", "F")),
    ],
    ids=["axial", "sagittal", "coronal", "prone", "tilted by 20 degrees", "oblique"],
)
def test_edges_are_named_for_the_patient(orientation: tuple[float, ...], letters: tuple[str, ...]) -> None:
    """+x is the patient's left, +y the back, +z the head; the letter of a direction stands where it points to."""
    assert edges(orientation) == letters


def test_no_letters_without_orientation() -> None:
    """Unknown is not assumed to be axial."""
    assert edges(()) is None
    assert edges((0.0,) * 6) is None


def sample(name: str) -> bytes:
    """A real file out of pydicom's package."""
    return Path(str(get_testdata_file(name))).read_bytes()


def image(pixels: Any, **elements: Any) -> Dataset:
    """A data set of these 16-bit pixels."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    array = np.asarray(pixels)
    made.Rows, made.Columns = array.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 1
    made.PixelData = array.astype("<i2").tobytes()
    made["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def grey(dataset: Dataset) -> list[int]:
    """The first row as shown, at its own size."""
    frame = decode(dataset, 0)
    windows = windows_of({0: frame})
    return [int(each) for each in np.asarray(shown(frame, windows[0]).convert("L"))[0]]


def test_a_window_is_applied_to_hounsfield_units() -> None:
    """Slope and intercept first, then centre and width; PS3.3 C.11.2.1.2 by hand for 0, 100, 300 and 500 HU."""
    ct = image([[1024, 1124, 1324, 1524]], RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=300, WindowWidth=401)
    assert grey(ct) == [0, 0, 128, 255]
    ct.WindowCenter, ct.WindowWidth = ["100.5", "40"], ["201", "400"]
    assert grey(ct) == [0, 128, 255, 255]


def test_monochrome1_is_shown_inverted_and_padding_black() -> None:
    """The lowest value is the brightest; pixels outside of the image are no white frame."""
    made = image([[0, 50, 100, -2000]], PhotometricInterpretation="MONOCHROME1", WindowCenter=50.5, WindowWidth=101)
    assert grey(made)[:3] == [255, 128, 0]
    made.PixelPaddingValue = -2000
    assert grey(made) == [255, 128, 0, 0]
    made.PresentationLUTShape = "INVERSE"
    assert grey(made)[0] == 255


def test_without_a_window_the_values_tell_and_a_ct_has_one_for_the_body() -> None:
    """Percentiles over the whole sheet, so that slices compare; a window that shows nothing counts as none."""
    mr = image([list(range(0, 1000, 10))], WindowCenter=0, WindowWidth=0)
    shown_mr = grey(mr)
    assert shown_mr[0] == 0
    assert shown_mr[-1] == 255
    assert shown_mr == sorted(shown_mr)
    frame = decode(image([[-1000, 0, 40, 400]], Modality="CT", RescaleSlope=1, RescaleIntercept=0), 0)
    assert windows_of({0: frame}) == {0: BODY_WINDOW}
    off = decode(image([[10, 20, 30, 40]], WindowCenter=30_000, WindowWidth=10), 0)
    (window,) = windows_of({0: off}).values()
    assert 10 <= window[0] <= 40


def test_one_window_for_a_series_though_a_slice_shows_nothing_in_it() -> None:
    """Air above the head is black, and not suddenly in another window."""
    brain = decode(image([[0, 40, 80, -1000]], WindowCenter=40, WindowWidth=80), 0)
    air = decode(image([[-1000] * 4], WindowCenter=40, WindowWidth=80), 0)
    assert windows_of({0: brain, 1: air}) == {0: (40.0, 80.0), 1: (40.0, 80.0)}


@pytest.mark.parametrize("name", ["examples_palette.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm"])
def test_colours_stay_colours(name: str) -> None:
    """Palettes are looked up and YBR converted; an ultrasound is grey but for its Doppler and marks."""
    frame = decode(read(sample(name)), 0)
    assert frame.colour
    assert frame.values.dtype == np.uint8
    assert frame.values.shape[2] == 3
    assert 0 < float(frame.values.mean()) < 128


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "JPEG2000.dcm",
        "image_dfl.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "liver_1frame.dcm",
    ],
)
def test_every_syntax_that_we_say_we_read_is_read(name: str) -> None:
    """Little and big endian, implicit, deflated, RLE, JPEG, JPEG-LS, JPEG 2000."""
    frame = decode(read(sample(name)), 0)
    assert frame.values.size
    assert np.ptp(frame.values) > 0


def test_lossless_syntaxes_give_the_same_pixels() -> None:
    """One picture in four syntaxes."""
    names = ("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm")
    first, *others = (decode(read(sample(name)), 0).values for name in names)
    for other in others:
        assert np.array_equal(first, other)


def test_claims_are_judged_before_memory_is_asked_for() -> None:
    """A header that says 65,535 by 65,535 is refused as such."""
    huge = image([[0]], Rows=65535, Columns=65535)
    with pytest.raises(Undrawable, match="too-large"):
        decode(huge, 0)
    del huge.PixelData
    with pytest.raises(Undrawable, match="no-pixels"):
        decode(huge, 0)


def test_a_tile_has_square_pixels() -> None:
    """Rows 2 mm apart and columns 1 mm: the picture is twice as tall; and a millimetre keeps its length."""
    frame = decode(image(np.arange(100).reshape(10, 10), PixelSpacing=["2", "1"]), 0)
    tile = reduced(frame, 100)
    assert tile.values.shape == (100, 50)
    assert tile.spacing == (0.2, 0.2)


def entry(number: int, **more: Any) -> FileEntry:
    """A slice at a height of `number` millimetres."""
    header = InstanceHeader(
        sop_class_uid=CT,
        sop_instance_uid=f"1.{number}",
        series_uid="1.2",
        modality="CT",
        series_number=3,
        instance_number=number,
        position=(0.0, 0.0, float(number)),
        orientation=AXIAL,
        rows=64,
        columns=64,
        has_pixels=True,
    )
    header = msgspec.structs.replace(header, **more)
    digest = hashlib.sha256(repr((number, more)).encode()).hexdigest()
    return FileEntry(name=f"IM{number}", sha256=digest, bytes=9000, media_type="application/dicom", header=header)


def test_key_slices_are_evenly_apart_from_head_to_feet() -> None:
    """By position and not by number, each file once and in order, twelve of them at most."""
    files = [entry(number, instance_number=1000 - number) for number in range(120)]
    (series,) = plan(list(reversed(files)), WORDS)
    assert len(series.files) == len(series.sheet.tiles) == 12
    heights = [float(tile.position.removeprefix("H ").removesuffix(" mm")) for tile in series.sheet.tiles]
    assert heights == sorted(heights, reverse=True)
    steps = {round(a - b) for a, b in pairwise(heights)}
    assert steps == {10}
    assert [tile.place for tile in series.sheet.tiles][:2] == ["6/120", "16/120"]
    assert [tile.part for tile in series.sheet.tiles] == list(range(12))


def test_what_is_no_image_is_listed_without_a_picture() -> None:
    """A structured report, headers without pixels, a file too large to be drawn: each with its reason."""
    report = entry(1, series_uid="1.5", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.11", modality="SR", has_pixels=False)
    empty = entry(2, series_uid="1.6", has_pixels=False, position=())
    large = msgspec.structs.replace(entry(3, series_uid="1.7"), bytes=planning.PART_BYTES + 1)
    reasons = {series.series: series.reason for series in plan([report, empty, large], WORDS)}
    assert reasons == {"1.5": "no-picture", "1.6": "no-picture", "1.7": "too-large"}


def test_a_header_may_claim_a_million_frames() -> None:
    """Only those that are drawn are ever counted up."""
    (series,) = plan([entry(1, frames=1_000_000, orientation=())], WORDS)
    assert series.sheet.tiles[0].place == "41667/1000000"
    assert len(series.sheet.tiles) == 12


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (64).to_bytes(4, "big") + (64).to_bytes(4, "big")
SAID = b'{"tiles":[""],"width":64,"height":64}'


@pytest.mark.parametrize(
    "results",
    [
        (),
        (SAID, PNG),
        (b"{", PNG, PNG),
        (SAID, b"<html>", PNG),
        (b'{"tiles":["<b>"],"width":64,"height":64}', PNG, PNG),
        (b'{"tiles":["",""],"width":64,"height":64}', PNG, PNG),
        (b'{"tiles":[""],"width":65,"height":64}', PNG, PNG),
        (SAID, PNG[:16] + (2**31 - 1).to_bytes(4, "big") + PNG[20:], PNG),
    ],
)
def test_a_worker_is_not_believed(results: tuple[bytes, ...]) -> None:
    """Whatever does not have the form of its results is none."""
    assert checked_output((SAID, PNG, PNG), 1) is not None
    assert checked_output(results, 1) is None


HEADER = InstanceHeader(
    series_uid="1.2", modality="CT", study_date="20260105", study_description='<script>alert("x")</script>'
)
REPORT = Report(
    verdict="limited",
    site="liver-ct",
    requirement=1,
    on="2026-01-06",
    findings=(
        Finding(
            code="THICK_SLICES", severity="limited", message="Slices of 4 mm.", series="1.2#2", value="4", unit="mm"
        ),
        Finding(code="STALE", severity="note", message="Of another record.", series="1.9"),
        Finding(code="PHI_PRESENT", severity="note", message="Names & numbers."),
    ),
    series=(
        SeriesRow(series="1.2#2", label='CT series 3 "<b>liver</b>"', modality="CT", role="stack", instances=40),
        SeriesRow(series="1.9", label="CT series 9", modality="CT", role="stack", instances=40),
    ),
    files={"total": 80, "dicom": 80, "skipped": 0, "not_dicom": 0, "unreadable": 0},
)
FACTS = Facts(
    case="case-1",
    record="record-1",
    manifest_sha256="a" * 64,
    report_sha256="b" * 64,
    headers=(HEADER,),
    files=40,
    bytes=20_000_000,
    verdict="limited",
)


def test_the_page_escapes_what_headers_say() -> None:
    """A series description is text, whatever it looks like."""
    made = page(REPORT, FACTS, {"1.2": PNG})
    assert "<script" not in made
    assert "&lt;b&gt;liver&lt;/b&gt;" in made
    assert "<b>liver" not in made
    assert "Names &amp; numbers." in made
    assert made.count("<img ") == 1


def test_the_page_of_a_record_says_nothing_about_others() -> None:
    """Who may read this record may not be one who may read the next; that there is more is said."""
    made = page(REPORT, FACTS, {})
    assert "Of another record." not in made
    assert "CT series 9" not in made
    assert "1 finding concerns another record" in made
    assert "Slices of 4 mm." in made


def test_a_verdict_that_was_overruled_is_shown_with_the_one_that_was_found() -> None:
    """What counts stands on top, what the check said beneath."""
    made = page(REPORT, msgspec.structs.replace(FACTS, verdict="adequate", accepted_limits=("4 mm",)), {})
    assert "<b>Adequate</b>" in made
    assert "The check itself found: limited." in made
    assert "Accepted limits: 4 mm" in made


def test_colour_needs_no_window() -> None:
    """Colours are shown as they are."""
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0] = (255, 0, 0)
    picture = shown(Decoded(values=colours, colour=True), (0.0, 1.0))
    assert picture.getpixel((0, 0)) == (255, 0, 0)
