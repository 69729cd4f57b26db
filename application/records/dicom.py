"""Reading the header of one file, whatever it turns out to be: pydicom in, plain values out.

Ordinary files are read by `dicom_elements`, and pydicom is imported at the first that is not.
`read_header` is bounded: it looks at no more than `MAX_HEADER` bytes, stops before the pixels, and nothing but the
two errors that it documents escapes, because one hostile or broken file must not end a batch of thousands.
"""

import warnings
import zlib
from typing import Any, BinaryIO, Final

from application.records.dicom_elements import FIRST_PIXELS, PIXELS, data_set
from application.records.dicom_facts import TAGS, header_of, with_pixels
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
from application.records.dicom_values import Raw, bounded
from domain.errors import NotDicom, UnreadableDicom
from domain.imaging.model import InstanceHeader

MAX_HEADER: Final = 64 * 1024 * 1024
"""Bytes of a file, or of its inflated data set, that are looked at: the groups of 20,000 frames fit."""
FIRST_LOOK: Final = 128 * 1024
"""Bytes read at first; an ordinary header has 2 to 60 KB, so few files need more."""
_SECOND_LOOK: Final = 1024 * 1024

# A warning of pydicom quotes header values; see `dicom_library`, too.
warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")


class _Pixels:
    """Where the pixel value starts, told by the callback that stops the reading in front of it."""

    __slots__ = ("found", "length")

    def __init__(self) -> None:
        self.found = False
        self.length = 0

    def stop(self, tag: int, vr: str | None, length: int) -> bool:
        if tag < FIRST_PIXELS:
            return False
        if tag in PIXELS:
            self.found, self.length = True, length
        return True


def _read_by_pydicom(data: bytes, at: int, implicit: bool, little: bool) -> tuple[Raw, tuple[int, int] | None]:
    """What `data_set` answers, of a data set of any kind."""
    from application.records.dicom_library import read_dataset

    pixels = _Pixels()
    stream = bounded(data)
    stream.seek(at)
    tags: Any = list(TAGS)
    dataset = read_dataset(stream, implicit, little, stop_when=pixels.stop, defer_size=MAX_HEADER, specific_tags=tags)
    return dict(dataset.items()), (stream.tell(), pixels.length) if pixels.found else None


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
        data = b""
        for look in (FIRST_LOOK, _SECOND_LOOK):
            data += source.read(look - len(data))
            if len(data) < look:
                return _guarded(data)
            try:
                header = _guarded(data)
                if header.has_pixels or header.is_directory:
                    return header
            except Exception as error:  # whatever it is: the look may have cut an element, or a sequence, in two
                if isinstance(error, NotDicom | RecursionError):
                    raise
        return _guarded(data + source.read(MAX_HEADER - len(data)))
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
    walked = data_set(data, offset, implicit, TAGS) if little else None
    raw: Raw
    raw, pixels = walked if walked is not None else _read_by_pydicom(data, offset, implicit, little)
    if not syntax:
        syntax = IMPLICIT[0] if implicit else "1.2.840.10008.1.2.1" if little else BIG_ENDIAN
    header = header_of(raw, meta, syntax)
    if start == 0 and not (header.sop_class_uid or header.study_uid or header.series_uid or header.modality):
        raise NotDicom("the file is something else, not DICOM")
    if not raw:
        raise UnreadableDicom("it has a DICOM preamble but no data set that can be decoded")
    if pixels is None:
        return header
    at, length = pixels
    return with_pixels(header, raw, length, None if deflated else at + (8 if implicit else 12))
