"""Reading content: opinions and records, each read recorded before a byte of it is shown."""

from collections.abc import Iterator

import msgspec

from application.accesses import Accesses
from application.ledger.store import Ledger
from application.records.blob_keys import BlobKeys
from application.records.intake import read_manifest
from application.records.vault import Vault
from application.request import Request
from application.standing import Standing
from domain.case.access import NO_OPINION
from domain.case.events import OpinionSigned
from domain.errors import NotFound, SubjectErased
from domain.event import Erased
from domain.records import Manifest

NOTICE = (
    "Information only. This opinion rests on the records that were submitted; it is no medical advice to the reader, "
    "replaces no examination, and guarantees no outcome."
)
"""Stands beside every opinion that is shown."""


class SignedOpinionText(msgspec.Struct, frozen=True, kw_only=True):
    """An opinion as its signer signed it; `signed_at` in microseconds UTC, `index` and `leaf` its entry in the log."""

    notice: str
    opinion: OpinionSigned
    signed_by: str
    signed_at: int
    index: int
    leaf: str


class Reading:
    """Reads of content."""

    def __init__(self, ledger: Ledger, accesses: Accesses, vault: Vault, blob_keys: BlobKeys) -> None:
        self._ledger = ledger
        self._accesses = accesses
        self._vault = vault
        self._blob_keys = blob_keys

    def opinion(self, request: Request, case: str, opinion: str) -> SignedOpinionText:
        """An opinion of a case.

        Raises:
            CaseNotFound, NotFound, SubjectErased; WrongRole, MissingConsent, WrongPhase: refused, and recorded.
        """
        self._accesses.read(request, case, "opinion", opinion)
        return read_opinion(self._ledger, case, opinion)

    def manifest(self, request: Request, case: str, record: str) -> Manifest:
        """What a record consists of.

        Raises:
            As `opinion`; BlobAltered.
        """
        access = self._accesses.read(request, case, "record", record)
        digest = access.case.state.records[record].manifest_sha256
        return read_manifest(self._vault, record, self._blob_keys.of(record), digest)

    def file(self, request: Request, case: str, record: str, sha256: str) -> tuple[str, int, Iterator[bytes]]:
        """One file of a record: media type, length in bytes, and the content as a stream.

        Warning: the stream raises BlobAltered at its end where the content is not what its address says, and a refusal
        where this caller is allowed no more: consents, quarantine and the rest are asked again while it goes on.

        Raises:
            As `manifest`; NotFound: the record has no such file.
        """
        standing = Standing(self._accesses, request, case, "record", record)
        manifest = self.manifest(request, case, record)
        for file in manifest.files:
            if file.sha256 == sha256:
                stream = self._vault.stream(record, self._blob_keys.of(record), sha256)
                return file.media_type, file.bytes, standing.over(stream)
        raise NotFound("the record has no such file")


def read_opinion(ledger: Ledger, case: str, opinion: str) -> SignedOpinionText:
    """An opinion's text out of the log, for a read that is allowed and recorded already.

    Raises:
        NotFound, SubjectErased.
    """
    erased = False
    for logged in ledger.stream(f"case-{case}"):
        match logged.event:
            case OpinionSigned() as signed if signed.opinion == opinion:
                return SignedOpinionText(
                    notice=NOTICE,
                    opinion=signed,
                    signed_by=logged.statement.actor,
                    signed_at=logged.statement.recorded_at,
                    index=logged.index,
                    leaf=logged.leaf,
                )
            case Erased(topic="opinion.signed.v1"):
                erased = True
    raise SubjectErased if erased else NotFound(NO_OPINION)
