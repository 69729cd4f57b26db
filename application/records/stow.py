"""Instances of one STOW-RS request into an open upload, and what is said of each (DICOM PS3.18 10.5, I.2)."""

import re
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Final

import msgspec

from application.records.adding import Adding
from application.records.multipart import Multipart, Part, parameters
from application.records.onepass import IngestedFile
from domain.errors import (
    AlreadyDone,
    CaseLedgerError,
    InvalidInput,
    MalformedBody,
    NotDicom,
    QuotaExceeded,
    TooLarge,
    UnreadableDicom,
    UploadNotFound,
)

DICOM: Final = "application/dicom"

PROCESSING_FAILURE: Final = 0x0110
CLASS_NOT_SUPPORTED: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
"""Failure reasons (PS3.18 table I.2-2, PS3.4 annex B): A7xx refused, A9xx data set against SOP class or request, Cxxx
cannot understand."""

_AT_ONCE: Final = 4
_SMALL_BYTES: Final = 4 * 1024 * 1024
"""Instances up to here are taken into memory whole; of larger ones, as of enhanced images, a chunk at a time."""
_CRUMB_BYTES: Final = 4096

_UID = re.compile(r"[0-9.]{1,64}")


class Said(msgspec.Struct, frozen=True):
    """What is said of one instance: its UIDs, as far as it told them, and why it was not stored, if it was not."""

    sop_class: str
    sop_instance: str
    reason: int | None = None


class _Unfit(CaseLedgerError):
    def __init__(self, reason: int) -> None:
        super().__init__()
        self.reason = reason


def store(adding: Adding, body: Multipart, study: str | None) -> list[Said]:
    """Add every instance of a body; each bad one gets its own reason, and the others are stored and durable.

    With `study`, only instances of that Study Instance UID are. While the next instances arrive, up to four that are
    small are on their way to the disk: one after the other, most of the time would be waiting for it.

    Raises: UploadNotFound, AlreadyDone when the upload ended meanwhile; Unavailable; and what ends the body.
    """
    said: list[Said | Future[Said]] = []
    waiting: deque[Future[Said]] = deque()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stow") as threads:
        for part in body.parts():
            if len(waiting) == _AT_ONCE:
                # What ends the upload ends the request, too.
                waiting.popleft().result()
            try:
                _check_type(part)
                whole, chunks = _begun(part)
                if whole:
                    waiting.append(threads.submit(_stored, adding, chunks, part.length, study))
                    said.append(waiting[-1])
                else:
                    said.append(_stored(adding, chain(chunks, part.chunks), part.length, study, body))
            except InvalidInput as error:
                if body.broken is not None:
                    raise
                said.append(_said([], _reason(error)))
        answers = [each.result() if isinstance(each, Future) else each for each in said]
    if not answers:
        raise MalformedBody("the body has no part")
    adding.settle()
    return answers


def _begun(part: Part) -> tuple[bool, list[bytes]]:
    """The beginning of a part's bytes, and whether that is all of them."""
    pieces: list[bytes | bytearray] = []
    size, whole = 0, True
    for chunk in part.chunks:
        if len(chunk) >= _CRUMB_BYTES or not pieces:
            pieces.append(chunk)
        elif isinstance(last := pieces[-1], bytearray):
            last += chunk
        else:
            # Crumbs are put together: each by itself would take up many times its size.
            pieces.append(bytearray(chunk))
        size += len(chunk)
        if size > _SMALL_BYTES:
            whole = False
            break
    return whole, [bytes(each) for each in pieces]


def _stored(
    adding: Adding, chunks: Iterable[bytes], length: int | None, study: str | None, body: Multipart | None = None
) -> Said:
    """Add one instance, and say what became of it; `body` is where its bytes still come from."""
    seen: list[IngestedFile] = []

    def judge(file: IngestedFile) -> None:
        seen.append(file)
        _judge(file, study)

    try:
        adding.add(_name, chunks, length, accept=judge, durable=False)
    except (UploadNotFound, AlreadyDone):
        raise
    except (InvalidInput, _Unfit) as error:
        if body is not None and body.broken is not None:
            raise
        return _said(seen, _reason(error))
    return _said(seen, None)


def _check_type(part: Part) -> None:
    media_type, _ = parameters(part.headers.get("content-type", DICOM))
    if media_type != DICOM:
        raise NotDicom("the part is not application/dicom")


def _judge(file: IngestedFile, study: str | None) -> None:
    header = file.header
    if header is None or not _UID.fullmatch(header.sop_instance_uid) or not header.sop_class_uid:
        raise _Unfit(CLASS_NOT_SUPPORTED if header is not None and header.is_directory else CANNOT_UNDERSTAND)
    if header.is_directory:
        raise _Unfit(CLASS_NOT_SUPPORTED)
    if study is not None and header.study_uid != study:
        raise _Unfit(DOES_NOT_MATCH)


def _name(file: IngestedFile) -> str:
    # The same instances in any order and in any number of requests have the same names, hence the same manifest.
    return f"{file.header.sop_instance_uid if file.header else 'instance'}.dcm"


def _reason(error: CaseLedgerError) -> int:
    match error:
        case _Unfit():
            return error.reason
        case TooLarge() | QuotaExceeded():
            return OUT_OF_RESOURCES
        case NotDicom() | UnreadableDicom():
            return CANNOT_UNDERSTAND
    return PROCESSING_FAILURE


def _said(seen: list[IngestedFile], reason: int | None) -> Said:
    header = seen[-1].header if seen else None
    return Said(header.sop_class_uid if header else "", header.sop_instance_uid if header else "", reason)
