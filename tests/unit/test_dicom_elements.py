"""The walk over ordinary data sets: the same answers as pydicom's, or none."""

import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from application.records import dicom, dicom_elements
from application.records.dicom_facts import TAGS
from domain.errors import NotDicom, UnreadableDicom
from tests.shared import SHARED

PACKAGED = Path(pydicom.__file__).parent / "data"
BYTES = 256 * 1024


def told(content: bytes) -> Any:
    """Header facts, or the error."""
    try:
        return dicom.read_header(content)
    except (NotDicom, UnreadableDicom) as error:
        return type(error), str(error)


def damaged(content: bytes, numbers: random.Random) -> bytes:
    """Cut somewhere, or some bytes among the first changed."""
    if numbers.random() < 0.4:
        return content[: numbers.randrange(len(content) + 1)]
    changed = bytearray(content[:20_000])
    for _ in range(numbers.choice((1, 1, 2, 5))):
        if changed:
            changed[numbers.randrange(min(len(changed), 4000))] = numbers.choice((0, 255, numbers.randrange(256)))
    return bytes(changed)


def test_the_walk_answers_as_pydicom_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On every packaged and shared file, whole, cut and damaged: never another header, and never another error."""
    roots = [root for root in (PACKAGED, SHARED / "dicom") if root.is_dir()]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    contents = [path.read_bytes()[:BYTES] for path in files if path.suffix not in (".py", ".pyc")]
    numbers = random.Random(1)  # the same damage each time
    cases = [case for content in contents for case in (content, *(damaged(content, numbers) for _ in range(3)))]
    walk, answered = dicom_elements.data_set, [0, 0]

    def counted(*given: Any) -> Any:
        found = walk(*given)
        answered[found is None] += 1
        return found

    monkeypatch.setattr(dicom, "data_set", counted)
    ours = [told(case) for case in cases]
    monkeypatch.setattr(dicom, "data_set", lambda *given: None)
    monkeypatch.setattr(dicom_elements, "items", lambda *given: None)
    assert [told(case) for case in cases] == ours
    with capsys.disabled():
        print(f"\n{len(cases)} data sets, whole and damaged: {answered[0]} walked, {answered[1]} left to pydicom")  # noqa: T201
    assert answered[0] > len(cases) // 4


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One explicit little-endian element, with another length than its own if so given."""
    size = len(value) if length is None else length
    long = struct.pack("<HI", 0, size) if vr in dicom_elements.LONG_VRS else struct.pack("<H", size)
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + long + value


def item(value: bytes, tag: int = 0xFFFEE000, length: int | None = None) -> bytes:
    """An item, or what else stands in a sequence."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


MODALITY = element(0x00080060, b"CS", b"CT")
END, ITEM_END = item(b"", 0xFFFEE0DD), item(b"", 0xFFFEE00D)
UNDEFINED = dicom_elements.UNDEFINED


def sequence(content: bytes, vr: bytes = b"SQ", length: int = UNDEFINED) -> bytes:
    """A sequence that nothing is read of, between the modality and the number of rows."""
    return MODALITY + element(0x00081140, vr, content, length) + element(0x00280010, b"US", b"\4\0")


def nested(depth: int) -> bytes:
    """Sequences in items in sequences."""
    return item(element(0x00081140, b"SQ", nested(depth - 1), UNDEFINED)) + END if depth else END


def implicit(tag: int, value: bytes, length: int = UNDEFINED) -> bytes:
    """An element without a VR."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length) + value


def test_a_value_without_vr_is_no_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With implicit VR a value of undefined length ends at its first delimiter, whatever seems to nest in it."""
    inner = item(implicit(0x00081199, END))
    hidden = implicit(0x00100010, b"HIDDEN", 6)
    values = (0x00080070, 0x00080060, 0x00181120, 0x00080005, 0x00081199)
    for tag in values:
        content = b"".join((implicit(0x00080018, b"1.23", 4), implicit(tag, inner + END), hidden))
        whole = bytes(128) + b"DICM" + content
        ours = told(whole)
        with monkeypatch.context() as patch:
            patch.setattr(dicom, "data_set", lambda *given: None)
            patch.setattr(dicom_elements, "items", lambda *given: None)
            assert told(whole) == ours, hex(tag)


def test_a_sequence_without_vr_is_walked() -> None:
    """What is known to be a sequence, or is private and has items, is walked with implicit VR; so is a flat one."""
    nested = item(implicit(0x00081140, item(b"") + END)) + END
    for tag in (0x00400275, 0x52009230, 0x00091001):
        assert dicom_elements.data_set(implicit(tag, nested), 0, True, TAGS) is not None
    assert dicom_elements.data_set(implicit(0x00081199, item(b"") + END), 0, True, TAGS) is not None
    assert dicom_elements.data_set(implicit(0x00081199, nested), 0, True, TAGS) is None


@pytest.mark.parametrize(
    "usual",
    [
        MODALITY,
        sequence(END),
        sequence(item(MODALITY) + item(MODALITY + ITEM_END, length=UNDEFINED) + END),
        sequence(nested(5)),
    ],
)
def test_what_is_usual_is_walked(usual: bytes) -> None:
    """Elements, and sequences of undefined length with items of either kind."""
    found = dicom_elements.data_set(usual, 0, False, TAGS)
    assert found is not None
    assert found[0][0x00080060].value == b"CT"


@pytest.mark.parametrize(
    "unusual",
    [
        MODALITY + element(0x00080070, b"XX", b"ab"),
        MODALITY + element(0x00080070, b"LO", b"ab", 3),
        MODALITY + b"\x08\0",
        element(0x00080005, b"CS", b"ISO 2022 IR 87"),
        element(0x00080005, b"OB", b"ISO_IR 100"),
        element(0x00080005, b"SQ", END, UNDEFINED),
        sequence(item(element(0x00080005, b"CS", b"ISO 2022 IR 87")) + END),
        sequence(item(MODALITY)),
        sequence(item(MODALITY, tag=0x00080060) + END),
        sequence(item(MODALITY, length=len(MODALITY) + 100) + END),
        sequence(item(MODALITY, length=len(MODALITY) - 1) + END),
        sequence(item(MODALITY + ITEM_END) + END),
        sequence(item(MODALITY + END, length=UNDEFINED)),
        sequence(item(MODALITY + item(b"", 0xFFFEE00D, length=0x424F), length=UNDEFINED) + END),
        sequence(item(MODALITY) + END, vr=b"OB"),
        sequence(item(MODALITY) + END, vr=b"UN"),
        sequence(item(struct.pack("<HHI", 8, 0x60, 2) + b"CT") + END),
        sequence(item(MODALITY + item(MODALITY)) + END),
        sequence(nested(20)),
        MODALITY * (1024 * 1024 // len(MODALITY) + 1),
    ],
)
def test_what_is_unusual_is_not_answered(unusual: bytes) -> None:
    """Anything out of order, too deep or too long is left to pydicom."""
    assert dicom_elements.data_set(unusual, 0, False, TAGS) is None


def test_the_tables_are_pydicoms() -> None:
    """Value representations, those of them with long lengths, and character sets are named as there."""
    assert set(dicom_elements.VRS.values()) == {each.value for each in STANDARD_VR}
    assert {each.decode() for each in dicom_elements.LONG_VRS} == {each.value for each in EXPLICIT_VR_LENGTH_32}
    assert dicom_elements.ENCODINGS.items() <= python_encoding.items()
    assert {dictionary_VR(tag) for tag in dicom_elements.SEQUENCES} == {"SQ"}


def test_an_ordinary_file_is_read_without_pydicom() -> None:
    """Importing it takes longer than five hundred headers, so the command does without where it can."""
    content = (PACKAGED / "test_files" / "CT_small.dcm").read_bytes()
    program = "import sys; from application.records.dicom import read_header;"
    program += "header = read_header(sys.stdin.buffer.read());"
    program += "loaded = [name for name in ('pydicom', 'numpy') if name in sys.modules];"
    program += "print(header.modality, header.has_pixels, loaded)"
    done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
    assert done.stdout == b"CT True []\n"


def test_a_library_that_comes_late_is_quiet_too() -> None:
    """Importing pydicom sets the level of its log, so it is silenced when it comes: it quotes header values."""
    content = (PACKAGED / "test_files" / "CT_small.dcm").read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999")
    assert b"ISO_IR 999" in content
    program = "import logging, sys; logging.basicConfig(level=logging.DEBUG);"
    program += "from application.records.dicom import read_header;"
    program += "read_header(sys.stdin.buffer.read()); print('pydicom' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
    assert done.stdout == b"True\n"
    assert b"ISO_IR" not in done.stderr
