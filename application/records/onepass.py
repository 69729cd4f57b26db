"""One pass over a file: hashed, recognised, header-read and encrypted while its bytes arrive."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import msgspec

from application.documents.sniffing import CDA, FHIR
from application.records.dicom import read_header
from application.records.media import DICOM, OCTETS, PDF, sniff
from application.records.vault import Blob, Vault
from domain.errors import DigestMismatch, NotDicom, TooLarge, TruncatedUpload, UnreadableDicom
from domain.imaging.model import InstanceHeader
from domain.records import FILE_BYTES

LOOKS = (64 * 1024, 1024**2, 16 * 1024**2)
"""How much of a file's beginning is looked at, in bytes: most headers end before the first, those of enhanced
images of some thousand frames before the last, and no more than that is ever kept."""
SELF_CONTAINED = frozenset({PDF, CDA, FHIR})
"""Media types of files that are a document by themselves, where pictures and texts may be the pages of one."""
BESIDE_IMAGES = SELF_CONTAINED | {DICOM}


class IngestedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass learnt: SHA-256 (hex), length in bytes, media type by content, header facts, blob path.

    `reason` says why a DICOM file has no header facts.
    """

    sha256: str
    bytes: int
    media_type: str
    header: InstanceHeader | None
    reason: str | None
    path: str


def ingest(
    vault: Vault,
    record: str,
    identity: str,
    chunks: Iterable[bytes],
    *,
    length: int | None = None,
    sha256: str | None = None,
    limit: int = FILE_BYTES,
    imaging: bool = False,
    accept: Callable[[IngestedFile], None] = lambda file: None,
    place: Callable[[str, InstanceHeader | None], tuple[str, str]] | None = None,
) -> IngestedFile:
    """Store one file in the vault and say what it is; nothing appears when any check fails.

    `length` (bytes) and `sha256` (hex) are what the sender announced. `imaging` refuses what is neither DICOM nor a
    document as CDs have them beside images, early where its first bytes already tell. `accept` sees what was learnt
    before anything appears, and refuses by raising. `place` says, by media type and header, of which record it is and
    under which identity, instead of `record` and `identity`; until it can be asked, no more than a header is held.

    Raises: TooLarge, TruncatedUpload, DigestMismatch, NotDicom, Unavailable, and whatever `chunks` and `accept` raise.
    """
    if length is not None and length > limit:
        raise TooLarge(f"A file has at most {limit} bytes.")
    recognised = _Recognition(imaging)

    def observed() -> Iterator[bytes]:
        arrived = 0
        for chunk in chunks:
            arrived += len(chunk)
            if length is not None and arrived > length:
                raise TooLarge(f"{length} bytes were announced and more arrive.")
            recognised.see(chunk)
            yield chunk

    def judged(blob: Blob) -> None:
        if length is not None and blob.bytes != length:
            raise TruncatedUpload(f"{length} bytes were announced and {blob.bytes} arrived.")
        if sha256 is not None and blob.sha256 != sha256.lower():
            raise DigestMismatch
        if blob.bytes == 0 and not imaging:
            raise TruncatedUpload("The file is empty.")
        recognised.end()
        accept(learnt(blob))

    def learnt(blob: Blob) -> IngestedFile:
        return IngestedFile(
            sha256=blob.sha256,
            bytes=blob.bytes,
            media_type=recognised.media_type,
            header=recognised.header,
            reason=recognised.reason,
            path=blob.path,
        )

    source: Iterator[bytes] = observed()
    if place is not None:
        held = []
        while not recognised.settled and (chunk := next(source, None)) is not None:
            held.append(chunk)
        if not recognised.settled:
            whole = sum(map(len, held))
            if length is not None and whole != length:
                raise TruncatedUpload(f"{length} bytes were announced and {whole} arrived.")
            recognised.end()
        record, identity = place(recognised.media_type, recognised.header)
        source = chain(held, source)
    return learnt(vault.put(record, identity, source, limit=limit, accept=judged))


class _Recognition:
    """Keeps the first bytes of a file until they have told what it is."""

    def __init__(self, imaging: bool) -> None:
        self._imaging = imaging
        self._first = bytearray()
        self._looks = list(LOOKS)
        self.media_type = OCTETS
        self.header: InstanceHeader | None = None
        self.reason: str | None = None

    def see(self, chunk: bytes) -> None:
        """Take the next bytes; raises NotDicom as soon as that is clear."""
        view = memoryview(chunk)
        while view and self._looks:
            taken = view[: self._looks[0] - len(self._first)]
            self._first += taken
            view = view[len(taken) :]
            if len(self._first) >= self._looks[0]:
                del self._looks[0]
                if self._look() or not self._looks:
                    self._settle()

    def end(self) -> None:
        """The file has ended: decide with what there is, unless that is done."""
        if not self.settled:
            self._look()
            self._settle()

    @property
    def settled(self) -> bool:
        """Whether the rest of the file can say no more."""
        return not self._looks

    def _look(self) -> bool:
        """Read what has come so far; whether more of the file could not say more."""
        first = bytes(self._first)
        self.media_type = sniff(first)
        self.header = self.reason = None
        if self.media_type not in (DICOM, OCTETS):
            return True
        try:
            self.header = read_header(first)
        except NotDicom:
            self.reason = "not readable as DICOM"
        except UnreadableDicom as error:
            self.media_type, self.reason = DICOM, str(error)
        except Exception as error:  # noqa: BLE001 - hostile bytes raise anything, and one file never ends a batch
            self.reason = f"not readable as DICOM ({type(error).__name__})"
        else:
            self.media_type = DICOM
            return self.header.has_pixels or self.header.is_directory
        if self.media_type != DICOM:
            self.reason = None
        return False

    def _settle(self) -> None:
        self._looks.clear()
        self._first = bytearray()
        if self._imaging and self.media_type not in BESIDE_IMAGES:
            raise NotDicom(f"A file offered as imaging is not DICOM but {self.media_type}.")
