"""What one file says about itself: header facts as plain values, never a pydicom Dataset.

Numbers are the header's own, in its own units (millimetres, milliseconds, degrees): they live inside the check and are
no events. A text that the header leaves out is "", a number None, a list (). Everything round-trips through JSON.
"""

import msgspec

Vector = tuple[float, ...]


class Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Geometry and time of one frame of a multi-frame image (PS3.3 C.7.6.16): as an ordinary file has them."""

    position: Vector = ()
    orientation: Vector = ()
    pixel_spacing: Vector = ()
    thickness: float | None = None
    time_index: int | None = None
    """Temporal Position Index (0020,9128)."""
    echo_time: float | None = None
    b_value: float | None = None
    acquired: str = ""
    """Frame Acquisition DateTime (0018,9074), as written."""
    kind: tuple[str, ...] = ()
    """Frame Type (0008,9007)."""


class PatientIdentity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who the image, or the case, says the patient is. Personal data throughout: never logged, never in a message.

    `name` is a DICOM person name (PS3.5 6.2): components by "^", up to three scripts by "="; `birth_date` is YYYYMMDD.
    `digest` is the SHA-256 that stands for the whole. Warning: its input is guessable, so it is as personal as that is.
    """

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    other_ids: tuple[str, ...] = ()
    digest: str = ""


class InstanceHeader(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Header facts of one DICOM file.

    `patient` holds personal data; descriptions may, since people type them. Dates are YYYYMMDD and times HHMMSS.ffffff
    as written. UIDs are those of the data set, or of the file meta group where the data set leaves them empty;
    `uids_missing` names the ones that the data set itself lacks.
    """

    # What it is
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    frame_of_reference_uid: str = ""
    uids_missing: tuple[str, ...] = ()
    """Keywords of the UIDs that are empty in the data set, whether or not the file meta group has them."""
    transfer_syntax: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    is_directory: bool = False
    """A DICOMDIR or another Media Storage Directory: to be skipped without a finding."""
    header_has_phi: tuple[str, ...] = ()
    """Keywords of the directly identifying fields that are filled."""

    patient: PatientIdentity = PatientIdentity()

    # What it is called
    study_description: str = ""
    series_description: str = ""
    protocol_name: str = ""
    body_part: str = ""
    manufacturer: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    acquisition_number: int | None = None
    study_instances: int | None = None
    """Number of Study Related Instances (0020,1208)."""
    series_instances: int | None = None
    """Number of Series Related Instances (0020,1209)."""

    # When
    study_date: str = ""
    study_time: str = ""
    series_date: str = ""
    series_time: str = ""
    acquisition_date: str = ""
    acquisition_time: str = ""
    content_date: str = ""
    content_time: str = ""

    # Geometry, millimetres and degrees
    position: Vector = ()
    orientation: Vector = ()
    pixel_spacing: Vector = ()
    imager_spacing: Vector = ()
    thickness: float | None = None
    spacing_between: float | None = None
    tilt: float | None = None
    slice_location: float | None = None
    rows: int | None = None
    columns: int | None = None
    frames: int = 1
    frame_geometry: tuple[Frame, ...] = ()
    """One for each frame of an enhanced image; () for an ordinary one."""

    # Contrast
    contrast_agent: str = ""
    contrast_volume: float | None = None
    """Millilitres; 0 is a filled tag, not contrast."""
    contrast_route: str = ""
    contrast_start: str = ""
    """Contrast/Bolus Start Time (0018,1042), HHMMSS.ffffff."""

    # How it was made
    kernel: str = ""
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    sequence_name: str = ""
    repetition_time: float | None = None
    """Milliseconds, as are echo and inversion time."""
    echo_time: float | None = None
    inversion_time: float | None = None
    b_value: float | None = None
    """Seconds per square millimetre."""
    diffusion: bool = False
    """The header says diffusion in one of its own fields, not only in a description."""
    time_index: int | None = None
    trigger_time: float | None = None

    # What is in the picture
    burned_in: str = ""
    lossy: str = ""
    """Lossy Image Compression (0028,2110): "01" when it ever was."""
    lossy_method: str = ""
    conversion_type: str = ""

    # Where the pixels are, to see whether the file has all of them
    has_pixels: bool = False
    pixel_offset: int | None = None
    """Byte of the file at which the pixel value starts; None where that cannot be said (deflated, no pixels)."""
    pixel_length: int | None = None
    """Announced bytes of pixel value; None when encapsulated in fragments of their own length."""
    pixel_expected: int | None = None
    """Bytes that rows, columns, samples, bits and frames ask for, uncompressed."""


class Instance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file that was handed in: its header, or why there is none."""

    name: str
    sha256: str
    """Lower-case hexadecimal digest of the whole file."""
    size: int
    """Bytes of the whole file."""
    header: InstanceHeader | None = None
    problem: str = ""
    """Code of the error when there is no header: `not-dicom` or `unreadable-dicom`."""
    reason: str = ""
    """Why there is no header, in a few words."""
