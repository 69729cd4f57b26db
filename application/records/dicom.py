"""Reading the header of one file, whatever it turns out to be: pydicom in, plain values out.

`read_header` is bounded: it looks at no more than `MAX_HEADER` bytes, stops before the pixels, and nothing but the
two errors that it documents escapes, because one hostile or broken file must not end a batch of thousands.
"""

import hashlib
import logging
import warnings
import zlib
from typing import BinaryIO, Final

import msgspec
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from application.records.dicom_frames import FUNCTIONAL_GROUPS, functional_groups
from application.records.dicom_framing import (
    BIG_ENDIAN,
    DEFLATED,
    DIRECTORIES,
    IMPLICIT,
    after_command_set,
    encoding,
    file_meta,
    something_else,
    uid,
)
from application.records.dicom_values import (
    Raw,
    bounded,
    encodings_of,
    integer,
    number,
    numbers,
    text,
    texts,
    whole_text,
)
from domain.errors import NotDicom, UnreadableDicom
from domain.imaging.model import InstanceHeader, PatientIdentity

MAX_HEADER: Final = 64 * 1024 * 1024
"""Bytes of a file, or of its inflated data set, that are looked at: the groups of 20,000 frames fit."""
FIRST_LOOK: Final = 1024 * 1024
"""Bytes read at first; an ordinary header has 2 to 60 KB, so few files need more."""

_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

# A warning of pydicom quotes header values; they belong in no log.
warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


_IDENTIFYING: Final = (
    (0x00100010, "PatientName"),
    (0x00100020, "PatientID"),
    (0x00100030, "PatientBirthDate"),
    (0x00101000, "OtherPatientIDs"),
    (0x00101001, "OtherPatientNames"),
    (0x00101040, "PatientAddress"),
    (0x00102154, "PatientTelephoneNumbers"),
)
# fmt: off
_TAGS: Final[list[BaseTag | int]] = [
    0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080020, 0x00080021, 0x00080022, 0x00080023,
    0x0008002A, 0x00080030, 0x00080031, 0x00080032, 0x00080033, 0x00080060, 0x00080064, 0x00080070,
    0x00081030, 0x0008103E, 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040, 0x00101000,
    0x00101001, 0x00101040, 0x00102154, 0x00180010, 0x00180015, 0x00180020, 0x00180021, 0x00180024,
    0x00180050, 0x00180080, 0x00180081, 0x00180082, 0x00180088, 0x00181030, 0x00181040, 0x00181041,
    0x00181042, 0x00181060, 0x00181120, 0x00181164, 0x00181210, 0x00189005, 0x00189075, 0x00189087,
    0x0019100C, 0x0020000D, 0x0020000E, 0x00200011, 0x00200012, 0x00200013, 0x00200032, 0x00200037,
    0x00200052, 0x00200100, 0x00201041, 0x00201208, 0x00201209, 0x00280002, 0x00280004, 0x00280008,
    0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280301, 0x00282110, 0x00282114, 0x00431039,
    *FUNCTIONAL_GROUPS,
]
# fmt: on


class _Pixels:
    """Where the pixel value starts, told by the callback that stops the reading in front of it."""

    __slots__ = ("found", "length")

    def __init__(self) -> None:
        self.found = False
        self.length = 0

    def stop(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag < 0x7FE00000:
            return False
        if tag in _PIXELS:
            self.found, self.length = True, length
        return True


def read_header(source: bytes | BinaryIO) -> InstanceHeader:
    """Header facts of the file in `source`, read from its current position; pixel data is never read.

    A DICOMDIR, empty or not, comes back with `is_directory` set and nothing else of use: the check skips it.

    Raises:
        NotDicom: the bytes are something else; the message says what, if they show it.
        UnreadableDicom: it is DICOM, but cannot be decoded (corrupt, cut off, nested too deeply).
    """
    try:
        if isinstance(source, bytes):
            return _guarded(source[:MAX_HEADER])
        data = source.read(FIRST_LOOK)
        if len(data) < FIRST_LOOK:
            return _guarded(data)
        try:
            header = _guarded(data)
            if header.has_pixels or header.is_directory:
                return header
        except UnreadableDicom:
            pass  # the first look may have cut an element in two
        return _guarded(data + source.read(MAX_HEADER - FIRST_LOOK))
    except (NotDicom, UnreadableDicom):
        raise
    except RecursionError as error:
        raise UnreadableDicom("its sequences are nested too deeply to be decoded") from error
    except Exception as error:  # whatever a decoder can raise on hostile bytes; the batch goes on
        raise UnreadableDicom(f"its header cannot be decoded ({type(error).__name__})") from error


def _guarded(data: bytes) -> InstanceHeader:
    try:
        return _read(data)
    except Warning:
        # Only where warnings are turned into errors: a warning is no reason to lose a file.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(data)


def _read(data: bytes) -> InstanceHeader:
    start = 132 if data[128:132] == b"DICM" else 4 if data[:4] == b"DICM" else 0
    if start == 0 and (why := something_else(data)):
        raise NotDicom(f"the file is {why}, not DICOM")
    meta, offset = file_meta(data, after_command_set(data, start))
    media_class = uid(meta.get(0x0002))
    if media_class in DIRECTORIES or data[offset : offset + 2] == b"\x04\0":
        return InstanceHeader(sop_class_uid=media_class or DIRECTORIES[0], is_directory=True)
    syntax = uid(meta.get(0x0010))
    deflated = syntax == DEFLATED
    if deflated:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        data, offset = inflater.decompress(data[offset:], MAX_HEADER), 0
    implicit, little = encoding(data, offset, syntax)
    pixels = _Pixels()
    stream = bounded(data)
    stream.seek(offset)
    dataset = read_dataset(
        stream,
        implicit,
        little,
        stop_when=pixels.stop,
        defer_size=MAX_HEADER,
        specific_tags=_TAGS,
    )
    raw: Raw = dict(dataset.items())
    if not syntax:
        syntax = IMPLICIT[0] if implicit else "1.2.840.10008.1.2.1" if little else BIG_ENDIAN
    header = _header(raw, meta, syntax)
    if start == 0 and not (header.sop_class_uid or header.study_uid or header.series_uid or header.modality):
        raise NotDicom("the file is something else, not DICOM")
    if not raw:
        raise UnreadableDicom("it has a DICOM preamble but no data set that can be decoded")
    return _with_pixels(header, raw, pixels, None if deflated else stream.tell() + (8 if implicit else 12))


def _header(raw: Raw, meta: dict[int, bytes], syntax: str) -> InstanceHeader:
    charset = raw.get(0x00080005)
    value = charset.value if charset is not None else b""
    enc = encodings_of(value) if isinstance(value, bytes) else ()
    sop_class, sop_instance = text(raw, 0x00080016), text(raw, 0x00080018)
    study, series = text(raw, 0x0020000D), text(raw, 0x0020000E)
    stated = (
        ("SOPClassUID", sop_class),
        ("SOPInstanceUID", sop_instance),
        ("StudyInstanceUID", study),
        ("SeriesInstanceUID", series),
    )
    frames, shared = functional_groups(raw, enc)
    b_value = _b_value(raw, enc)
    return InstanceHeader(
        sop_class_uid=sop_class or uid(meta.get(0x0002)),
        sop_instance_uid=sop_instance or uid(meta.get(0x0003)),
        study_uid=study,
        series_uid=series,
        frame_of_reference_uid=text(raw, 0x00200052),
        uids_missing=tuple(keyword for keyword, uid in stated if not uid),
        transfer_syntax=syntax,
        modality=text(raw, 0x00080060).upper(),
        image_type=tuple(part.upper() for part in texts(raw, 0x00080008)),
        header_has_phi=tuple(keyword for tag, keyword in _IDENTIFYING if text(raw, tag, enc)),
        patient=_patient(raw, enc),
        study_description=whole_text(raw, 0x00081030, enc),
        series_description=whole_text(raw, 0x0008103E, enc),
        protocol_name=whole_text(raw, 0x00181030, enc),
        body_part=text(raw, 0x00180015, enc) or shared.body_part,
        manufacturer=text(raw, 0x00080070, enc),
        series_number=integer(raw, 0x00200011),
        instance_number=integer(raw, 0x00200013),
        acquisition_number=integer(raw, 0x00200012),
        study_instances=integer(raw, 0x00201208),
        series_instances=integer(raw, 0x00201209),
        study_date=text(raw, 0x00080020),
        study_time=text(raw, 0x00080030),
        series_date=text(raw, 0x00080021),
        series_time=text(raw, 0x00080031),
        acquisition_date=text(raw, 0x00080022) or text(raw, 0x0008002A)[:8],
        acquisition_time=text(raw, 0x00080032) or text(raw, 0x0008002A)[8:21],
        content_date=text(raw, 0x00080023),
        content_time=text(raw, 0x00080033),
        position=_of_length(numbers(raw, 0x00200032), 3),
        orientation=_of_length(numbers(raw, 0x00200037), 6),
        pixel_spacing=_of_length(numbers(raw, 0x00280030), 2),
        imager_spacing=_of_length(numbers(raw, 0x00181164), 2),
        thickness=number(raw, 0x00180050),
        spacing_between=number(raw, 0x00180088),
        tilt=_first(number(raw, 0x00181120), shared.tilt),
        slice_location=number(raw, 0x00201041),
        rows=integer(raw, 0x00280010, "US"),
        columns=integer(raw, 0x00280011, "US"),
        frames=max(1, integer(raw, 0x00280008) or 1),
        frame_geometry=frames,
        contrast_agent=whole_text(raw, 0x00180010, enc) or shared.contrast_agent,
        contrast_volume=number(raw, 0x00181041),
        contrast_route=text(raw, 0x00181040, enc),
        contrast_start=text(raw, 0x00181042),
        kernel=text(raw, 0x00181210, enc) or shared.kernel,
        scanning_sequence=texts(raw, 0x00180020),
        sequence_variant=texts(raw, 0x00180021),
        sequence_name=text(raw, 0x00180024) or text(raw, 0x00189005),
        repetition_time=_first(number(raw, 0x00180080), shared.repetition_time),
        echo_time=_first(number(raw, 0x00180081), shared.echo_time),
        inversion_time=_first(number(raw, 0x00180082), shared.inversion_time),
        b_value=b_value,
        diffusion=b_value is not None
        or bool(text(raw, 0x00189075))
        or any(frame.b_value is not None for frame in frames),
        time_index=integer(raw, 0x00200100),
        trigger_time=number(raw, 0x00181060),
        burned_in=text(raw, 0x00280301).upper(),
        lossy=text(raw, 0x00282110),
        lossy_method=text(raw, 0x00282114),
        conversion_type=text(raw, 0x00080064).upper(),
    )


def _of_length(values: tuple[float, ...], length: int) -> tuple[float, ...]:
    return values if len(values) == length else ()


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _b_value(raw: Raw, enc: tuple[str, ...]) -> float | None:
    """Diffusion b-value (0018,9087), or the manufacturers' private element from before there was one."""
    standard = number(raw, 0x00189087, "FD")
    if standard is not None:
        return standard
    maker = text(raw, 0x00080070, enc).upper()
    if "SIEMENS" in maker:
        return number(raw, 0x0019100C, "IS")
    if maker.startswith("GE"):
        packed = number(raw, 0x00431039, "IS")
        return packed % 100_000 if packed is not None else None  # GE adds 10^9 to it
    return None


def _patient(raw: Raw, enc: tuple[str, ...]) -> PatientIdentity:
    facts = (
        text(raw, 0x00100020, enc),
        text(raw, 0x00100021, enc),
        text(raw, 0x00100010, enc),
        text(raw, 0x00100030),
        text(raw, 0x00100040).upper(),
    )
    told = b"caseledger/patient/v1\0" + "\0".join(facts).encode()
    digest = hashlib.sha256(told).hexdigest() if any(facts) else ""
    patient_id, issuer, name, birth_date, sex = facts
    return PatientIdentity(
        patient_id=patient_id,
        issuer=issuer,
        name=name,
        birth_date=birth_date,
        sex=sex,
        other_ids=tuple(part for part in texts(raw, 0x00101000, enc) if part),
        digest=digest,
    )


def _with_pixels(header: InstanceHeader, raw: Raw, pixels: _Pixels, offset: int | None) -> InstanceHeader:
    """The header with the facts about its pixel data, whose value starts at byte `offset` of the file."""
    if not pixels.found:
        return header
    bits, samples = integer(raw, 0x00280100, "US"), integer(raw, 0x00280002, "US") or 1
    expected = None
    if bits and header.rows and header.columns:
        expected = (header.rows * header.columns * samples * bits * header.frames + 7) // 8
        if text(raw, 0x00280004) == "YBR_FULL_422":
            expected = expected * 2 // 3
    return msgspec.structs.replace(
        header,
        has_pixels=True,
        pixel_offset=offset,
        pixel_length=pixels.length if pixels.length != 0xFFFFFFFF else None,
        pixel_expected=expected,
    )
