"""500 CT files of the usual size, declared synthetic: one series of 512 x 512 pixels of 16 bits."""

import random
import re
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

_ROOT = "1.2.826.0.1.3680043.8.498.991"
_CT = "1.2.840.10008.5.1.4.1.1.2"
_SIDE = 512


FIRST_STUDY = 1000


def renamed(files: list[Path], study: int) -> None:
    """Make another study of these files, in place: every UID in them changes, and no length."""
    for file in files:
        content = file.read_bytes()
        head = content[:4096]
        found = re.search(rb"%s\.(\d{4})\." % re.escape(_ROOT.encode()), head)
        assert found is not None
        old, new = _ROOT.encode() + b"." + found[1], b"%s.%04d" % (_ROOT.encode(), study)
        file.write_bytes(head.replace(old, new) + content[4096:])


def write_ct(folder: Path, count: int, *, study: int = FIRST_STUDY) -> list[Path]:
    """Write a series of axial slices; about 526 kB a file. Returns the files in order."""
    numbers = random.Random(study)
    made = []
    for index in range(count):
        path = folder / f"IM{index:04}.dcm"
        _slice(study, index, numbers.randbytes(_SIDE * _SIDE * 2)).save_as(path, enforce_file_format=True)
        made.append(path)
    return made


def _slice(study: int, index: int, pixels: bytes) -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SOPClassUID, data.SOPInstanceUID = _CT, f"{_ROOT}.{study}.1.{index + 1}"
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{_ROOT}.{study}", f"{_ROOT}.{study}.1"
    data.FrameOfReferenceUID = f"{_ROOT}.{study}.0"
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = "20260105"
    data.StudyTime, data.AcquisitionTime = "101000", "101610"
    data.Modality, data.Manufacturer, data.BodyPartExamined = "CT", "SYNTHETIC", "ABDOMEN"
    data.StudyDescription = data.SeriesDescription = "SYNTHETIC BENCHMARK DATA"
    data.PatientName, data.PatientID, data.PatientBirthDate = "Synthetic^NoPatient", "SYNTHETIC", "19000101"
    data.SeriesNumber, data.InstanceNumber = 1, index + 1
    data.SliceThickness, data.GantryDetectorTilt, data.PixelSpacing = 1, 0, [0.78, 0.78]
    data.ImagePositionPatient, data.ImageOrientationPatient = [-200, -200, index], [1, 0, 0, 0, 1, 0]
    data.ContrastBolusAgent, data.ContrastBolusStartTime = "SYNTHETIC AGENT", "101500"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows = data.Columns = _SIDE
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.add_new("PixelData", "OW", pixels)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = _CT, data.SOPInstanceUID
    return data
