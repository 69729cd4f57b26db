"""One table: which HTTP status, and which title, every error of the service becomes."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from domain import errors as e

URN = "urn:caseledger:problem:"
"""What a problem's type begins with (RFC 9457 3.1.1); the rest is the error's code."""

STATUSES: Mapping[type, tuple[int, str]] = MappingProxyType(
    {
        e.CaseLedgerError: (500, "The service failed"),
        e.Refused: (403, "Refused by a rule of the service"),
        e.WrongPhase: (409, "Not in this phase of the case"),
        e.WrongRole: (403, "Not for this role"),
        e.MissingPart: (409, "Something is still missing"),
        e.MissingConsent: (403, "No active consent covers this"),
        e.NotEligible: (409, "The specialist is not eligible"),
        e.OnHold: (409, "On legal hold"),
        e.AlreadyDone: (409, "Done already"),
        e.InvalidInput: (400, "The request is not well formed"),
        e.MalformedBody: (400, "The body is not well formed"),
        e.ControlCharacter: (422, "A control character in a text"),
        e.TooLarge: (413, "Too large"),
        e.QuotaExceeded: (413, "More than may be held"),
        e.TooSlow: (408, "Too slow"),
        e.TruncatedUpload: (400, "The content broke off"),
        e.DigestMismatch: (422, "The content is not what was announced"),
        e.UnsafePath: (422, "Not an acceptable path"),
        e.MalformedArchive: (422, "Not an archive that can be unpacked"),
        e.EncryptedMember: (422, "Encrypted"),
        e.NestedArchive: (422, "An archive inside an archive"),
        e.SuspectedBomb: (413, "It unpacks to too much"),
        e.NotDicom: (422, "Not DICOM"),
        e.UnreadableDicom: (422, "DICOM that cannot be read"),
        e.Undecodable: (422, "Cannot be decoded"),
        e.MalformedStatement: (422, "Not a statement"),
        e.MalformedNote: (422, "Not a signed note"),
        e.MalformedBundle: (422, "Not a case bundle"),
        e.BadPublicKey: (422, "Not an acceptable public key"),
        # RFC 6585 3. Its sibling, a missing Idempotency-Key, is the same kind of omission.
        e.PreconditionRequired: (428, "A required header is missing"),
        e.NotFound: (404, "Not found"),
        e.CaseNotFound: (404, "No such case"),
        e.EntryNotFound: (404, "No such entry"),
        e.UploadNotFound: (404, "No such upload"),
        e.KeyNotFound: (404, "No such key"),
        e.SpecialistNotFound: (404, "No such specialist"),
        e.ShareNotFound: (404, "No such share"),
        e.ErasureRequestNotFound: (404, "No such erasure request"),
        e.HoldNotFound: (404, "No such hold"),
        e.Conflict: (409, "Somebody else was first"),
        # RFC 9110 13.1.1: what If-Match said does not hold, whether on arrival or at the moment of the append.
        e.StaleRevision: (412, "The case has moved"),
        e.GuardBroken: (409, "Something this relied on has changed"),
        # draft-ietf-httpbis-resumable-upload 4.4.2
        e.OffsetMismatch: (409, "Not where the transfer broke"),
        e.OtherContent: (409, "Another file has this id"),
        e.UploadBusy: (409, "Another request is at it"),
        # draft-ietf-httpapi-idempotency-key-header 2.7
        e.IdempotencyKeyReused: (422, "The Idempotency-Key came with another request"),
        e.BadToken: (401, "Not signed in"),
        e.SignatureRefused: (403, "The signature is not accepted"),
        e.WrongKey: (403, "Not a key for this"),
        e.WrongStatement: (422, "Not the prepared statement"),
        e.PreparationExpired: (410, "The prepared statement has expired"),
        e.PreparationReplayed: (409, "The prepared statement is spent"),
        e.IntegrityFailure: (500, "The ledger contradicts itself"),
        e.ChainBroken: (500, "The ledger contradicts itself"),
        e.EntryAltered: (500, "The ledger contradicts itself"),
        e.ProofInvalid: (500, "The ledger contradicts itself"),
        e.BadSignature: (500, "The ledger contradicts itself"),
        e.NoteSignatureInvalid: (500, "The ledger contradicts itself"),
        e.TimeStampInvalid: (500, "A time stamp does not hold"),
        e.SplitView: (500, "The ledger contradicts itself"),
        e.PayloadAltered: (500, "The ledger contradicts itself"),
        e.BlobAltered: (500, "Stored content was altered"),
        e.HeadBehindPin: (500, "The ledger contradicts itself"),
        e.HeadForked: (500, "The ledger contradicts itself"),
        e.WrongOrigin: (500, "The ledger contradicts itself"),
        e.SubjectErased: (410, "Erased"),
        e.UnknownTopic: (500, "A newer version wrote this"),
        e.Unavailable: (503, "Try again later"),
        e.UploadsFull: (503, "Too many uploads at once"),
        e.QueueFull: (503, "Too much is waiting"),
        e.DatabaseUnavailable: (503, "The database did not answer"),
        e.Misconfigured: (500, "The service is not set up right"),
    }
)

HTTP_CODES = MappingProxyType(
    {
        400: "invalid-input",
        404: "not-found",
        405: "method-not-allowed",
        413: "too-large",
        415: "unsupported-media-type",
        500: "internal-error",
        503: "unavailable",
    }
)
"""Codes of what HTTP itself refuses, before any use case is asked."""


def status_of(error: e.CaseLedgerError) -> tuple[int, str]:
    """Status and title of an error."""
    return next(found for each in type(error).__mro__ if (found := STATUSES.get(each)) is not None)


def title_of(status: int) -> str:
    """The standard phrase of a status."""
    return HTTPStatus(status).phrase
