"""Everything that can go wrong, as one tree.

    CaseLedgerError
    |-- Refused                     a rule of the service says no; nothing was appended
    |   |-- WrongPhase              the case's phase does not allow the action
    |   |-- WrongRole               the actor's role, or relation to the case, does not allow it
    |   |-- MissingPart             something required is not there yet
    |   |-- MissingConsent          no active consent covers it at this instant
    |   |-- NotEligible             the specialist is not one for this case
    |   |-- OnHold                  a legal hold stands on the case
    |   `-- AlreadyDone             it has happened, and happens once
    |-- InvalidInput                what was sent is not well formed
    |   |-- MalformedBody           not the JSON, or not the shape, that is expected
    |   |-- ControlCharacter        a control character inside a text
    |   |-- TooLarge                a field, statement, payload or file above its bound
    |   |-- QuotaExceeded           more than an upload, or a case, may take up
    |   |-- TooSlow                 a sender keeps a connection and hardly sends
    |   |-- TruncatedUpload         fewer bytes arrived than were announced
    |   |-- DigestMismatch          the bytes are not those that were announced
    |   |-- UnsafePath              a file's path is absolute, or climbs out of its folder
    |   |-- MalformedArchive        not a zip archive, or a member of one that does not unpack
    |   |-- EncryptedMember         a member of an archive is encrypted
    |   |-- NestedArchive           an archive inside an archive
    |   |-- SuspectedBomb           an archive, or a member, unpacks to far more than it should
    |   |-- NotDicom                a file offered as imaging is not DICOM
    |   |-- UnreadableDicom         a file is DICOM, but cannot be decoded
    |   |-- Undecodable             content that no picture or text can be made of within bounds
    |   |-- MalformedStatement      not a canonical statement
    |   |-- MalformedNote           not a signed note, or not a checkpoint
    |   |-- MalformedBundle         not a case bundle: its zip, a member, or a line of one
    |   |-- BadPublicKey            a low-order, non-canonical or malformed public key
    |   `-- PreconditionRequired    If-Match or Idempotency-Key is missing
    |-- NotFound                    nothing of that name
    |   |-- CaseNotFound
    |   |-- EntryNotFound
    |   |-- UploadNotFound
    |   |-- KeyNotFound
    |   |-- SpecialistNotFound
    |   |-- ShareNotFound
    |   |-- ErasureRequestNotFound
    |   `-- HoldNotFound
    |-- Conflict                    somebody else was first; load again and decide again
    |   |-- StaleRevision           the stream has moved since it was read
    |   |-- GuardBroken             something the decision relied on has changed
    |   |-- OffsetMismatch          a transfer goes on at another byte than the one where it broke
    |   |-- OtherContent            another file came under this id before
    |   |-- UploadBusy              the upload is being finished by another request
    |   `-- IdempotencyKeyReused    the same key came with another request
    |-- BadToken                    the bearer token is missing, malformed, expired or not ours
    |-- SignatureRefused            an actor's signature is not accepted
    |   |-- WrongKey                the key is not this actor's, not enrolled, or not valid
    |   |-- WrongStatement          the signature, or a field, is not of the prepared statement
    |   |-- PreparationExpired      the prepared statement is past its expires_at
    |   `-- PreparationReplayed     the prepared statement was submitted before, or the case has moved
    |-- IntegrityFailure            the ledger contradicts itself; never retried
    |   |-- ChainBroken             an entry does not follow its predecessor
    |   |-- EntryAltered            stored bytes do not hash to their leaf, or a signature fails
    |   |-- ProofInvalid            a Merkle proof does not lead to the root
    |   |-- BadSignature            an Ed25519 signature does not hold, or not strictly
    |   |-- NoteSignatureInvalid    a note lacks a good signature of a known key, or has a bad one
    |   |-- TimeStampInvalid        a time stamp does not hold, or is of something else
    |   |-- PayloadAltered          a payload does not open, or not to its commitment
    |   |-- BlobAltered             a stored blob is not the content that its address names
    |   |-- SplitView               a witness holds another history of this log, signed by its key
    |   |-- HeadBehindPin           the database is older than the last released checkpoint
    |   |-- HeadForked              the database does not extend the last released checkpoint
    |   `-- WrongOrigin             the database belongs to another ledger
    |-- SubjectErased               the data was erased; the entry and its proof remain
    |-- UnknownTopic                the log holds a kind of event that this version does not know
    |-- Unavailable                 try again later
    |   |-- UploadsFull             as many uploads are taken in at once as may be
    |   |-- QueueFull               more appends wait than the bound allows
    |   `-- DatabaseUnavailable     the database did not answer in time
    `-- Misconfigured               a setting, key file or data directory is unusable

A leaf's docstring is its default message. Messages name what is wrong and never hold personal data.
"""

from typing import ClassVar


class CaseLedgerError(Exception):
    """Case Ledger could not do what was asked."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", 1)[0])


class Refused(CaseLedgerError):
    """A rule of the service refuses this."""

    code = "refused"


class WrongPhase(Refused):
    """The case's phase does not allow this action."""

    code = "wrong-phase"


class WrongRole(Refused):
    """Your role, or your relation to the case, does not allow this."""

    code = "wrong-role"


class MissingPart(Refused):
    """Something that this requires is not there yet."""

    code = "missing-part"


class MissingConsent(Refused):
    """No active consent covers this."""

    code = "missing-consent"


class NotEligible(Refused):
    """The specialist is not eligible for this case."""

    code = "not-eligible"


class OnHold(Refused):
    """A legal hold stands on this case: nothing of it is erased."""

    code = "on-hold"


class AlreadyDone(Refused):
    """This has already happened, and happens once."""

    code = "already-done"


class InvalidInput(CaseLedgerError):
    """What was sent is not well formed."""

    code = "invalid-input"


class MalformedBody(InvalidInput):
    """The body is not the JSON, or not the shape, that is expected."""

    code = "malformed-body"


class ControlCharacter(InvalidInput):
    """A text contains a control character."""

    code = "control-character"


class TooLarge(InvalidInput):
    """A field, statement, payload or file is above its bound."""

    code = "too-large"


class QuotaExceeded(InvalidInput):
    """The upload, or the case, would take up more than it may."""

    code = "quota-exceeded"


class TooSlow(InvalidInput):
    """The content arrives too slowly."""

    code = "too-slow"


class TruncatedUpload(InvalidInput):
    """Fewer bytes arrived than were announced."""

    code = "truncated-upload"


class DigestMismatch(InvalidInput):
    """The bytes that arrived are not those that were announced."""

    code = "digest-mismatch"


class UnsafePath(InvalidInput):
    """The file's path is absolute, or climbs out of its folder."""

    code = "unsafe-path"


class MalformedArchive(InvalidInput):
    """The bytes are not a zip archive, or a member of it does not unpack."""

    code = "malformed-archive"


class EncryptedMember(InvalidInput):
    """A member of the archive is encrypted."""

    code = "encrypted-member"


class NestedArchive(InvalidInput):
    """An archive inside an archive is not unpacked."""

    code = "nested-archive"


class SuspectedBomb(InvalidInput):
    """The archive, or a member of it, unpacks to far more than it should."""

    code = "suspected-bomb"


class NotDicom(InvalidInput):
    """A file offered as imaging is not DICOM."""

    code = "not-dicom"


class UnreadableDicom(InvalidInput):
    """The file is DICOM, but cannot be decoded."""

    code = "unreadable-dicom"


class Undecodable(InvalidInput):
    """The content cannot be decoded within the bounds of memory and time."""

    code = "undecodable"


class MalformedStatement(InvalidInput):
    """The bytes are not a canonical statement."""

    code = "malformed-statement"


class MalformedNote(InvalidInput):
    """The bytes are not a signed note, or its text is not a checkpoint."""

    code = "malformed-note"


class MalformedBundle(InvalidInput):
    """The bytes are not a case bundle."""

    code = "malformed-bundle"

    def __init__(self, message: str | None = None, *, member: str | None = None, index: int | None = None) -> None:
        super().__init__(message)
        self.member = member
        self.index = index


class BadPublicKey(InvalidInput):
    """The public key is low-order, non-canonical or malformed."""

    code = "bad-public-key"


class PreconditionRequired(InvalidInput):
    """If-Match or Idempotency-Key is missing."""

    code = "precondition-required"


class NotFound(CaseLedgerError):
    """There is nothing of that name."""

    code = "not-found"


class CaseNotFound(NotFound):
    """There is no such case."""

    code = "case-not-found"


class EntryNotFound(NotFound):
    """The log has no entry at that index."""

    code = "entry-not-found"


class UploadNotFound(NotFound):
    """There is no such upload."""

    code = "upload-not-found"


class KeyNotFound(NotFound):
    """There is no such key."""

    code = "key-not-found"


class SpecialistNotFound(NotFound):
    """There is no such specialist."""

    code = "specialist-not-found"


class ShareNotFound(NotFound):
    """There is no such share."""

    code = "share-not-found"


class ErasureRequestNotFound(NotFound):
    """There is no such erasure request."""

    code = "erasure-request-not-found"


class HoldNotFound(NotFound):
    """There is no such hold."""

    code = "hold-not-found"


class Conflict(CaseLedgerError):
    """Somebody else was first; load again and decide again."""

    code = "conflict"


class StaleRevision(Conflict):
    """The stream has moved since it was read."""

    code = "stale-revision"


class GuardBroken(Conflict):
    """Something that the decision relied on has changed."""

    code = "guard-broken"


class OffsetMismatch(Conflict):
    """The transfer goes on at another byte than the one where it broke."""

    code = "offset-mismatch"

    def __init__(self, message: str | None = None, *, expected: int | None = None) -> None:
        super().__init__(message)
        self.expected = expected


class OtherContent(Conflict):
    """Another file came under this id before."""

    code = "other-content"


class UploadBusy(Conflict):
    """The upload is being finished by another request."""

    code = "upload-busy"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key came with another request before."""

    code = "idempotency-key-reused"


class BadToken(CaseLedgerError):
    """The bearer token is missing, malformed, expired or not ours."""

    code = "bad-token"


class SignatureRefused(CaseLedgerError):
    """The signature is not accepted."""

    code = "signature-refused"


class WrongKey(SignatureRefused):
    """The key is not this actor's, not enrolled, or not valid."""

    code = "wrong-key"


class WrongStatement(SignatureRefused):
    """The signature, or a field, is not of the prepared statement."""

    code = "wrong-statement"


class PreparationExpired(SignatureRefused):
    """The prepared statement has expired; prepare it again."""

    code = "preparation-expired"


class PreparationReplayed(SignatureRefused):
    """The prepared statement was submitted before, or the case has moved since."""

    code = "preparation-replayed"


class IntegrityFailure(CaseLedgerError):
    """The ledger contradicts itself."""

    code = "integrity-failure"


class ChainBroken(IntegrityFailure):
    """An entry does not follow its predecessor."""

    code = "chain-broken"


class EntryAltered(IntegrityFailure):
    """Stored bytes do not hash to their leaf, or a signature over them fails."""

    code = "entry-altered"


class ProofInvalid(IntegrityFailure):
    """The Merkle proof does not lead to the root."""

    code = "proof-invalid"


class BadSignature(IntegrityFailure):
    """The Ed25519 signature does not hold."""

    code = "bad-signature"


class NoteSignatureInvalid(IntegrityFailure):
    """The note lacks a good signature of a known key, or has a bad one."""

    code = "note-signature-invalid"


class TimeStampInvalid(IntegrityFailure):
    """The time stamp does not hold, or is of something else."""

    code = "time-stamp-invalid"


class SplitView(IntegrityFailure):
    """A witness holds another history of this log, signed by this log's key."""

    code = "split-view"

    def __init__(self, message: str | None = None, *, note: bytes = b"") -> None:
        super().__init__(message)
        self.note = note


class PayloadAltered(IntegrityFailure):
    """A payload does not open, or not to its commitment."""

    code = "payload-altered"

    def __init__(self, message: str | None = None, *, index: int | None = None, revision: int | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.revision = revision

    def at(self, index: int, revision: int) -> "PayloadAltered":
        """The same of an entry, by its index in the log and its stream's revision."""
        return PayloadAltered(f"entry {index}, revision {revision}: {self}", index=index, revision=revision)


class BlobAltered(IntegrityFailure):
    """A stored blob is not the content that its address names."""

    code = "blob-altered"


class HeadBehindPin(IntegrityFailure):
    """The database is older than the last released checkpoint."""

    code = "head-behind-pin"


class HeadForked(IntegrityFailure):
    """The database does not extend the last released checkpoint."""

    code = "head-forked"


class WrongOrigin(IntegrityFailure):
    """The database belongs to another ledger."""

    code = "wrong-origin"


class SubjectErased(CaseLedgerError):
    """The data was erased; the entry and its proof remain."""

    code = "subject-erased"


class UnknownTopic(CaseLedgerError):
    """The log holds a kind of event that this version does not know."""

    code = "unknown-topic"


class Unavailable(CaseLedgerError):
    """Not available right now; try again later."""

    code = "unavailable"


class UploadsFull(Unavailable):
    """As many uploads are being taken in as the service takes at once."""

    code = "uploads-full"


class QueueFull(Unavailable):
    """More appends wait than the bound allows."""

    code = "queue-full"


class DatabaseUnavailable(Unavailable):
    """The database did not answer in time."""

    code = "database-unavailable"


class Misconfigured(CaseLedgerError):
    """A setting, key file or data directory is unusable."""

    code = "misconfigured"
