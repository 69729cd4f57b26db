"""The elements of one data set as an `InstanceHeader`: which tag says what, and what stands in for it (PS3.6)."""

import hashlib
import re
from typing import Final

import msgspec

from application.records.dicom_frames import FUNCTIONAL_GROUPS, functional_groups
from application.records.dicom_framing import uid
from application.records.dicom_values import Raw, encodings_of, integer, number, numbers, text, texts, whole_text
from domain.imaging.model import InstanceHeader, PatientIdentity

_IDENTIFYING: Final = (
    (0x00100010, "PatientName"),
    (0x00100020, "PatientID"),
    (0x00100030, "PatientBirthDate"),
    (0x00101000, "OtherPatientIDs"),
    (0x00101001, "OtherPatientNames"),
    (0x00101040, "PatientAddress"),
    (0x00102154, "PatientTelephoneNumbers"),
)
_NAMED_B: Final = re.compile(r"\bep_b(\d{1,5})(?!\d)")
# fmt: off
TAGS: Final = frozenset((
    0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080020, 0x00080021, 0x00080022, 0x00080023,
    0x0008002A, 0x00080030, 0x00080031, 0x00080032, 0x00080033, 0x00080060, 0x00080064, 0x00080070,
    0x00081030, 0x0008103E, 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040, 0x00101000,
    0x00101001, 0x00101040, 0x00102154, 0x00180010, 0x00180015, 0x00180020, 0x00180021, 0x00180024,
    0x00180050, 0x00180080, 0x00180081, 0x00180082, 0x00180088, 0x00181030, 0x00181040, 0x00181041,
    0x00181042, 0x00181060, 0x00181120, 0x00181164, 0x00181210, 0x00189005, 0x00189075, 0x00189087,
    0x0019100C, 0x0020000D, 0x0020000E, 0x00200011, 0x00200012, 0x00200013, 0x00200032, 0x00200037,
    0x00200052, 0x00200100, 0x00201041, 0x00201208, 0x00201209, 0x00280002, 0x00280004, 0x00280008,
    0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280301, 0x00282110, 0x00282114, 0x00431039,
    0x20011003,
    *FUNCTIONAL_GROUPS,
))
# fmt: on


def header_of(raw: Raw, meta: dict[int, bytes], syntax: str) -> InstanceHeader:
    """The header that the elements make; `meta` stands in for UIDs that the data set leaves empty."""
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
    name = text(raw, 0x00180024) or text(raw, 0x00189005)
    b_value = _b_value(raw, enc, name)
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
        sequence_name=name,
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


def _b_value(raw: Raw, enc: tuple[str, ...], name: str) -> float | None:
    """Diffusion b-value (0018,9087), or the manufacturers' private element from before there was one.

    Where private elements were removed, a Siemens sequence still has it in its name ("*ep_b800t").
    """
    standard = number(raw, 0x00189087, "FD")
    if standard is not None:
        return standard
    maker = text(raw, 0x00080070, enc).upper()
    if "SIEMENS" in maker:
        private = number(raw, 0x0019100C, "IS")
        named = _NAMED_B.search(name) if private is None else None
        return float(named[1]) if named is not None else private
    if maker.startswith("GE"):
        packed = number(raw, 0x00431039, "IS")
        return packed % 100_000 if packed is not None else None  # GE adds 10^9 to it
    if maker.startswith("PHILIPS"):
        return number(raw, 0x20011003, "FL")
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


def with_pixels(header: InstanceHeader, raw: Raw, length: int, offset: int | None) -> InstanceHeader:
    """The header with the facts about its pixel data, whose value starts at byte `offset` of the file."""
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
        pixel_length=length if length != 0xFFFFFFFF else None,
        pixel_expected=expected,
    )
