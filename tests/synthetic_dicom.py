"""DICOM files made for tests. Every header says that it is synthetic; no patient ever lay in this scanner.

`Series` describes one series; `files_of` writes it as real DICOM with pydicom, `instances_of` as the headers that the
check reads, without the detour, for tests that need thousands. Both are deterministic.
"""

import hashlib
import io
import math
import struct
from typing import Any

import msgspec
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, RLELossless

from application.records.dicom import read_header
from domain.errors import CaseLedgerError
from domain.imaging.model import Instance, InstanceHeader, PatientIdentity

ROOT = "1.2.826.0.1.3680043.8.498.990"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
NAME = "Synthetic^NoPatient"
NOTICE = "SYNTHETIC TEST DATA"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One synthetic series: axial slices from `start` upwards, millimetres; a tilt turns them about the x axis."""

    number: int = 1
    description: str = NOTICE
    study: int = 1
    count: int = 90
    step: float = 2.5
    start: float = 0.0
    thickness: float | None = 2.5
    tilt: float = 0.0
    rows: int = 512
    pixel: float = 0.78
    date: str = "20260105"
    injected: str = "101500"
    acquired: str = "101535"
    agent: str = "SYNTHETIC AGENT"
    body_part: str = "ABDOMEN"
    sop_class: str = CT
    modality: str = "CT"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    more: dict[str, Any] = {}


def triple_phase() -> list[Series]:
    """Late arterial, portal venous and delayed series of one synthetic liver CT, 225 mm each; no phase is named."""
    times = ((1, "101535"), (2, "101610"), (3, "101800"))
    return [Series(number=number, acquired=time) for number, time in times]


def _geometry(series: Series, index: int) -> tuple[list[float], list[float]]:
    """Position and orientation of one slice; the table moves along z whatever the tilt."""
    angle = math.radians(series.tilt)
    position = [-200.0, -200.0, series.start + index * series.step]
    return position, [1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle)]


def _blank(rows: int) -> bytes:
    """An all-zero 16-bit RLE frame (PS3.5 annex G)."""
    row = bytes((257 - 128, 0)) * (rows // 128) + (bytes((257 - rows % 128, 0)) if rows % 128 else b"")
    segment = row * rows
    segment += b"\0" * (len(segment) % 2)
    return struct.pack("<16I", 2, 64, 64 + len(segment), *([0] * 13)) + segment * 2


def files_of(series: Series) -> dict[str, bytes]:
    """The series as DICOM files by name."""
    pixels = encapsulate([_blank(series.rows)])
    found = {}
    for index in range(series.count):
        position, orientation = _geometry(series, index)
        data = Dataset()
        data.SpecificCharacterSet = "ISO_IR 192"
        data.ImageType = list(series.image_type)
        data.SOPClassUID = series.sop_class
        data.SOPInstanceUID = f"{ROOT}.{series.study}.{series.number}.{index + 1}"
        data.StudyInstanceUID = f"{ROOT}.{series.study}"
        data.SeriesInstanceUID = f"{ROOT}.{series.study}.{series.number}"
        data.FrameOfReferenceUID = f"{ROOT}.{series.study}.0"
        data.StudyDate = data.SeriesDate = data.AcquisitionDate = series.date
        data.StudyTime = "101000"
        data.AcquisitionTime = series.acquired
        data.Modality = series.modality
        data.Manufacturer = NOTICE
        data.StudyDescription = NOTICE
        data.SeriesDescription = series.description
        data.PatientName, data.PatientID, data.PatientBirthDate = NAME, "SYNTHETIC", "19000101"
        data.BodyPartExamined = series.body_part
        data.SeriesNumber, data.InstanceNumber = series.number, index + 1
        if series.thickness is not None:
            data.SliceThickness = series.thickness
        data.GantryDetectorTilt = 0
        data.ImagePositionPatient, data.ImageOrientationPatient = position, orientation
        data.PixelSpacing = [series.pixel, series.pixel]
        if series.agent:
            data.ContrastBolusAgent, data.ContrastBolusStartTime = series.agent, series.injected
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows = data.Columns = series.rows
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        for keyword, value in series.more.items():
            setattr(data, keyword, value)
        data.PixelData = pixels
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        found[f"{series.study}-{series.number:02}-{index + 1:04}.dcm"] = written(data)
    return found


def written(data: Dataset, syntax: UID = RLELossless) -> bytes:
    """A data set as the bytes of a file with preamble and file meta group."""
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.get("SOPClassUID", CT)
    data.file_meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", f"{ROOT}.9")
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read(files: dict[str, bytes]) -> list[Instance]:
    """Files as the check takes them: header or problem, digest, size."""
    found = []
    for name, content in files.items():
        header, problem, reason = None, "", ""
        try:
            header = read_header(content)
        except CaseLedgerError as error:
            problem, reason = error.code, str(error)
        found.append(
            Instance(
                name=name,
                sha256=hashlib.sha256(content).hexdigest(),
                size=len(content),
                header=header,
                problem=problem,
                reason=reason,
            )
        )
    return found


def instances_of(*many: Series, **changes: Any) -> list[Instance]:
    """Instances of the series, with `changes` made to every header."""
    found = []
    for series in many:
        for index in range(series.count):
            position, orientation = _geometry(series, index)
            header = InstanceHeader(
                sop_class_uid=series.sop_class,
                sop_instance_uid=f"{ROOT}.{series.study}.{series.number}.{index + 1}",
                study_uid=f"{ROOT}.{series.study}",
                series_uid=f"{ROOT}.{series.study}.{series.number}",
                frame_of_reference_uid=f"{ROOT}.{series.study}.0",
                transfer_syntax="1.2.840.10008.1.2.1",
                modality=series.modality,
                image_type=series.image_type,
                patient=PatientIdentity(name=NAME, patient_id="SYNTHETIC", digest="d1"),
                series_description=series.description,
                body_part=series.body_part,
                series_number=series.number,
                instance_number=index + 1,
                study_date=series.date,
                acquisition_date=series.date,
                acquisition_time=series.acquired,
                position=tuple(position),
                orientation=tuple(orientation),
                pixel_spacing=(series.pixel, series.pixel),
                thickness=series.thickness,
                rows=series.rows,
                columns=series.rows,
                contrast_agent=series.agent,
                contrast_start=series.injected if series.agent else "",
                has_pixels=True,
            )
            found.append(instance(msgspec.structs.replace(header, **changes)))
    return found


def instance(header: InstanceHeader, name: str = "") -> Instance:
    """A header as an instance, with the digest that its content gives."""
    digest = hashlib.sha256(msgspec.json.encode(header)).hexdigest()
    return Instance(name=name or f"{digest[:12]}.dcm", sha256=digest, size=1_000_000, header=header)
