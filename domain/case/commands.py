"""What may be asked of a case.

Where the application makes or looks up part of a command - ids, digests of what was uploaded, a specialist's state -
the part that the client sends is a Struct of its own, named `...Input`, and `completed` joins the two:

    completed(GrantConsent, decoded_body, consent=new_id())

A command without an `...Input` is sent by the client as it is, but for RecordImagingCheck and AcceptReview, of which
the service makes all.
Decoding checks the bounds; nothing checks them again, so what the application adds must be within them.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from domain.case.events import (
    ChecklistItem,
    CloseReason,
    ConsentKind,
    Coverage,
    DocumentFact,
    Marker,
    Opinion,
    PersonsVerdict,
    Reason,
    Recipient,
    RecordKind,
    RecordPin,
    RepeatAdvice,
    Representative,
    Verdict,
)
from domain.specialist import Specialist
from domain.values import (
    Count,
    Country,
    Day,
    Identifier,
    Language,
    Line,
    Micros,
    Organ,
    RequiredText,
    Resectability,
    Sha256,
    SourceReference,
    Text,
)


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for, or the client's part of it."""


C = TypeVar("C", bound=Input)


def completed(command: type[C], sent: Input, /, **made: Any) -> C:
    """Join what the client sent with what the application made."""
    return command(**{name: getattr(sent, name) for name in sent.__struct_fields__}, **made)


class OpenCaseInput(Input, frozen=True, kw_only=True):
    """Why a case is opened, and on what."""

    reason: Reason
    diagnosis: Line
    organ: Organ
    home_country: Country


class ImportedFrom(Input, frozen=True, kw_only=True):
    """Where a case comes from that another system held until now."""

    reference: SourceReference
    file_sha256: Sha256
    line: Count


class OpenCase(OpenCaseInput, frozen=True, kw_only=True):
    """Open a case. `patient` is the patient's stream, `patient_actor` a new random id."""

    patient: Identifier
    patient_account: Identifier
    patient_actor: Identifier
    imported: ImportedFrom | None = None


class RecordOriginalVerdict(Input, frozen=True, kw_only=True):
    """Record what the first centre said."""

    verdict: Resectability
    centre: Line
    decided_on: Day
    words: Text = ""


class AcknowledgeDisclaimer(Input, frozen=True, kw_only=True):
    """Acknowledge that an opinion is information only."""

    text_sha256: Sha256
    language: Language


class AssignCoordinator(Input, frozen=True, kw_only=True):
    """Make somebody the single contact, or hand over to them."""

    coordinator: Identifier


class GrantConsentInput(Input, frozen=True, kw_only=True):
    """Consent to one thing; from now on where `valid_from` is absent."""

    kind: ConsentKind
    recipient: Recipient | None = None
    covers: Coverage = Coverage()
    purpose: Line
    valid_from: Micros | None = None
    valid_until: Micros | None = None
    language: Language
    text_sha256: Sha256
    representative: Representative | None = None
    evidence_sha256: Sha256 | None = None
    supersedes: Identifier | None = None


class GrantConsent(GrantConsentInput, frozen=True, kw_only=True):
    """Consent to one thing, under a new id."""

    consent: Identifier


class WithdrawConsent(Input, frozen=True, kw_only=True):
    """Withdraw a consent."""

    consent: Identifier
    evidence_sha256: Sha256 | None = None


class IssueChecklist(Input, frozen=True, kw_only=True):
    """Say what the case needs."""

    items: Annotated[tuple[ChecklistItem, ...], msgspec.Meta(min_length=1, max_length=100)]
    imaging_site: Identifier


class ReceiveRecordInput(Input, frozen=True, kw_only=True):
    """What kind of record arrives."""

    kind: RecordKind


class Arrival(ReceiveRecordInput, frozen=True, kw_only=True):
    """A record that has arrived whole."""

    record: Identifier
    manifest_sha256: Sha256
    files: Count
    bytes: Count


class ReceiveRecord(Arrival, frozen=True, kw_only=True):
    """Take in a record that has arrived whole, and those that came with it: studies and documents of one CD."""

    beside: tuple[Arrival, ...] = ()


class ReleaseRecordInput(Input, frozen=True, kw_only=True):
    """Why a record is this patient's after all."""

    reason: RequiredText


class ReleaseRecord(ReleaseRecordInput, frozen=True, kw_only=True):
    """Take a record out of quarantine: whose it is has been found out."""

    record: Identifier


Advice = Annotated[tuple[RepeatAdvice, ...], msgspec.Meta(min_length=1, max_length=50)]


class ClassifyRecordInput(Input, frozen=True, kw_only=True):
    """Say what kind of record this is. Without markers, bloods get those that the laboratory coded."""

    kind: RecordKind
    dated_on: Day | None = None
    markers: Annotated[tuple[Marker, ...], msgspec.Meta(max_length=100)] | None = None


class ClassifyRecord(Input, frozen=True, kw_only=True):
    """Say what kind of record this is, with what its files were found to be."""

    record: Identifier
    kind: RecordKind
    suggested: RecordKind | None = None
    dated_on: Day | None = None
    documents: tuple[DocumentFact, ...] = ()
    markers: tuple[Marker, ...] = ()


class RecordImagingCheck(Input, frozen=True, kw_only=True):
    """Put an imaging check on record: `records` is all that it looked at, `advice` what an inadequate one leads to."""

    records: tuple[Identifier, ...]
    verdict: Verdict
    findings: tuple[Identifier, ...]
    report_sha256: Sha256
    requirement: Identifier
    requirement_version: Count
    checker_version: Count
    valid_until: Day | None = None
    advice: tuple[RepeatAdvice, ...] = ()


class OverruleImagingVerdict(Input, frozen=True, kw_only=True):
    """Judge the imaging otherwise than the check did, and say why."""

    verdict: PersonsVerdict
    reason: RequiredText


class AdviseRepeatImaging(Input, frozen=True, kw_only=True):
    """Say what has to be acquired or sent again, finding by finding."""

    advice: Advice


class AcceptLimitedImaging(Input, frozen=True, kw_only=True):
    """Take limited imaging as it is: which limits, in words that the opinion will carry, and why."""

    limits: Annotated[tuple[Line, ...], msgspec.Meta(min_length=1, max_length=50)]
    reason: RequiredText


class DeclareRecordsComplete(Input, frozen=True, kw_only=True):
    """Start the clock."""


class RouteCaseInput(Input, frozen=True, kw_only=True):
    """Why this specialist; needed where the rule leaves it to a person."""

    grounds: Text = ""


class RouteCase(RouteCaseInput, frozen=True, kw_only=True):
    """Offer the case to a specialist."""

    specialist: Specialist


class AcceptReview(Input, frozen=True, kw_only=True):
    """Take the case; the client sends nothing, `specialist` is the state of who asks."""

    specialist: Specialist


class SignOpinionInput(Input, frozen=True, kw_only=True):
    """The opinion, and every record that it relies on."""

    content: Opinion
    relied_on: Annotated[tuple[RecordPin, ...], msgspec.Meta(min_length=1, max_length=500)]


class SignOpinion(SignOpinionInput, frozen=True, kw_only=True):
    """Sign an opinion, under a new id and the name that the specialist is registered with."""

    opinion: Identifier
    signer_name: Line


class DeliverOpinion(Input, frozen=True, kw_only=True):
    """Hand the opinion to the patient."""

    opinion: Identifier
    channel: Literal["portal", "video_call", "in_person", "post"]


class CloseCase(Input, frozen=True, kw_only=True):
    """End the case."""

    reason: CloseReason


class ShareOpinionInput(Input, frozen=True, kw_only=True):
    """Which version goes to whom, under which consent."""

    opinion: Identifier
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] = 1
    consent: Identifier
    recipient: Recipient


class ShareOpinion(ShareOpinionInput, frozen=True, kw_only=True):
    """Share an opinion, under a new id."""

    share: Identifier


class OpenShare(Input, frozen=True, kw_only=True):
    """Open what was shared."""

    share: Identifier


Command = (
    OpenCase
    | RecordOriginalVerdict
    | AcknowledgeDisclaimer
    | AssignCoordinator
    | GrantConsent
    | WithdrawConsent
    | IssueChecklist
    | ReceiveRecord
    | ClassifyRecord
    | ReleaseRecord
    | RecordImagingCheck
    | OverruleImagingVerdict
    | AdviseRepeatImaging
    | AcceptLimitedImaging
    | DeclareRecordsComplete
    | RouteCase
    | AcceptReview
    | SignOpinion
    | DeliverOpinion
    | ShareOpinion
    | OpenShare
    | CloseCase
)
