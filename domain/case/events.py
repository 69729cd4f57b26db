"""What can happen to a case. Each event's topic never changes its shape again."""

from typing import Annotated, Literal

import msgspec

from domain.event import Event, register
from domain.values import (
    Count,
    Country,
    Day,
    Decimal,
    Identifier,
    Language,
    Line,
    Micros,
    Organ,
    RequiredText,
    Resectability,
    Sha256,
    SourceReference,
    SubjectName,
    Subspecialty,
    Text,
    UcumUnit,
)

Reason = Literal[
    "told_unresectable",
    "rare_or_complex_cancer",
    "major_high_risk_operation",
    "surgeon_little_experience",
    "plan_changed_much",
]
ConsentKind = Literal[
    "process",
    "review",
    "transfer_to_country",
    "records_request",
    "translation",
    "share_opinion",
    "share_records",
    "trial_team",
    "treating_centre",
]
RecordKind = Literal[
    "imaging", "radiology_report", "pathology", "operative_note", "oncologist_letter", "bloods", "other"
]
Verdict = Literal["adequate", "limited", "inadequate", "stop", "undetermined"]
PersonsVerdict = Literal["adequate", "limited", "inadequate"]
"""What a person may say instead of the check: a stop is released and checked again, and a person can tell."""
CloseReason = Literal["completed", "withdrawn", "died", "unreachable", "not_suitable"]
Phase = Literal[
    "intake",
    "gathering",
    "imaging_check",
    "ready",
    "routed",
    "in_review",
    "signed",
    "delivered",
    "follow_up",
    "closed",
    "merged",
    "erased",
]


@register.add("case.opened.v1", subject="case")
class CaseOpened(Event, frozen=True, kw_only=True):
    """A case was opened, by the patient or for them."""

    patient: Identifier
    """Stream of the patient."""
    patient_account: Identifier
    """Who the patient is to the sign-in service; stands nowhere in clear."""
    patient_actor: Identifier
    """The random id under which the patient acts in this case."""
    reason: Reason
    diagnosis: Line
    organ: Organ
    home_country: Country


@register.add("case.imported.v1", subject="case")
class CaseImported(Event, frozen=True, kw_only=True):
    """The case came from another system: what it was called there, and which line of which file brought it."""

    reference: SourceReference
    file_sha256: Sha256
    line: Count


@register.add("case.original_verdict_recorded.v1", subject="case")
class OriginalVerdictRecorded(Event, frozen=True, kw_only=True):
    """What the first centre said, and when."""

    verdict: Resectability
    centre: Line
    decided_on: Day
    words: Text = ""


@register.add("case.disclaimer_acknowledged.v1", subject="case")
class DisclaimerAcknowledged(Event, frozen=True, kw_only=True):
    """The patient was told that an opinion is information only and guarantees nothing."""

    text_sha256: Sha256
    language: Language


@register.add("case.coordinator_assigned.v1", subject="case")
class CoordinatorAssigned(Event, frozen=True, kw_only=True):
    """One coordinator is the single contact from now on."""

    coordinator: Identifier


class Representative(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who grants for the patient, on what evidence, and until when."""

    name: Line
    relation: Line
    evidence_sha256: Sha256
    expires_on: Day


class Recipient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who may receive; `actor` is their sign-in id, where they have one."""

    country: Country
    organisation: Line | None = None
    person: Line | None = None
    actor: Identifier | None = None


class Coverage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What exactly a consent covers. An amendment or a translation is covered only where it says so."""

    records: tuple[Identifier, ...] = ()
    all_records: bool = False
    opinions: tuple[Identifier, ...] = ()
    next_opinion: bool = False
    """Covers the opinion that is still to be signed in this case (its first version)."""
    amendments: bool = False
    translations: bool = False


@register.add("case.consent_granted.v1", subject="accountability")
class ConsentGranted(Event, frozen=True, kw_only=True):
    """The patient, or a representative, consents to one thing."""

    consent: Identifier
    kind: ConsentKind
    recipient: Recipient | None = None
    covers: Coverage = Coverage()
    purpose: Line
    valid_from: Micros
    valid_until: Micros | None = None
    language: Language
    text_sha256: Sha256
    """SHA-256 of the exact text that was shown."""
    representative: Representative | None = None
    evidence_sha256: Sha256 | None = None
    """What shows that the patient consented, where a coordinator records it."""
    supersedes: Identifier | None = None


@register.add("case.consent_withdrawn.v1", subject="accountability")
class ConsentWithdrawn(Event, frozen=True, kw_only=True):
    """A consent ends, at once, without a reason."""

    consent: Identifier
    evidence_sha256: Sha256 | None = None
    """What shows that the patient withdrew it, where a coordinator records that."""


class ChecklistItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of record that the disease asks for."""

    item: Identifier
    kind: RecordKind
    description: Line


@register.add("case.checklist_issued.v1", subject="case")
class ChecklistIssued(Event, frozen=True, kw_only=True):
    """What the case needs before it can be reviewed; gathering begins."""

    items: tuple[ChecklistItem, ...]
    imaging_site: Identifier
    """Name of the imaging requirement set."""


@register.add("record.received.v1", subject="record")
class RecordReceived(Event, frozen=True, kw_only=True):
    """A record arrived whole: a study, a report, a letter."""

    record: Identifier
    kind: RecordKind
    manifest_sha256: Sha256
    """SHA-256 of the manifest, which names every file and its SHA-256."""
    files: Count
    bytes: Count
    duplicate_of: Identifier | None = None


MarkerName = Literal["cea", "ca19_9", "afp"]
"""Carcinoembryonic antigen, carbohydrate antigen 19-9, alpha-fetoprotein."""


class Marker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tumour marker as a laboratory gave it; the unit is UCUM, where the laboratory's own was one."""

    marker: MarkerName
    value: Decimal
    comparator: Literal["", "<", "<=", ">", ">="] = ""
    """The value is a bound of what could be measured."""
    unit: UcumUnit
    loinc: Identifier | None = None
    sampled_on: Day | None = None
    basis: Literal["fhir", "cda", "text", "entered"]
    """Coded by the laboratory, found in a text and confirmed by a person, or typed in by one."""


class DocumentFact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one file of a record turned out to be: format by its bytes, pages, codes of what was found."""

    sha256: Sha256
    format: Identifier
    pages: Count = 0
    findings: tuple[Identifier, ...] = ()


@register.add("record.classified.v1", subject="record")
class RecordClassified(Event, frozen=True, kw_only=True):
    """The coordinator says what kind of record this is; the newest word counts."""

    record: Identifier
    kind: RecordKind
    suggested: RecordKind | None = None
    """What the service made of it, which the coordinator saw."""
    dated_on: Day | None = None
    """Day that the document is of; for bloods, that of the sample."""
    documents: tuple[DocumentFact, ...] = ()
    markers: tuple[Marker, ...] = ()


@register.add("record.quarantined.v1", subject="case")
class RecordQuarantined(Event, frozen=True, kw_only=True):
    """Nobody may look at this record before a person has decided."""

    record: Identifier
    findings: tuple[Identifier, ...]


@register.add("record.released.v1", subject="case")
class RecordReleased(Event, frozen=True, kw_only=True):
    """A person found that the record is this patient's after all; imaging is then checked again."""

    record: Identifier
    reason: RequiredText


@register.add("imaging.checked.v1", subject="case")
class ImagingChecked(Event, frozen=True, kw_only=True):
    """The imaging check of every imaging record of the case so far."""

    records: tuple[Identifier, ...]
    verdict: Verdict
    findings: tuple[Identifier, ...]
    report_sha256: Sha256
    requirement: Identifier
    requirement_version: Count
    checker_version: Count
    checked_on: Day
    valid_until: Day | None = None
    """Last day on which the age of the images leads to the same verdict; None where it never matters."""


@register.add("imaging.verdict_overruled.v1", subject="case")
class ImagingVerdictOverruled(Event, frozen=True, kw_only=True):
    """A technician judged the imaging otherwise than the check, and says why. The check's report stays."""

    records: tuple[Identifier, ...]
    """What the check looked at."""
    report_sha256: Sha256
    was: Verdict
    verdict: PersonsVerdict
    reason: RequiredText


class RepeatAdvice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to acquire or send again, in words that can go to a hospital, and the finding that it answers."""

    finding: Identifier
    what: RequiredText
    why: RequiredText


@register.add("imaging.repeat_advised.v1", subject="case")
class RepeatImagingAdvised(Event, frozen=True, kw_only=True):
    """What has to be acquired or sent again before an opinion on this imaging is possible."""

    records: tuple[Identifier, ...]
    report_sha256: Sha256
    advice: tuple[RepeatAdvice, ...]


@register.add("imaging.accepted.v1", subject="case")
class ImagingAccepted(Event, frozen=True, kw_only=True):
    """A person took limited imaging as it is, because it cannot be repeated; the limits go into the opinion."""

    records: tuple[Identifier, ...]
    """What the check that found it limited looked at."""
    limits: tuple[Line, ...]
    reason: RequiredText


class RecordPin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record as it was: its manifest's SHA-256 pins every byte."""

    record: Identifier
    manifest_sha256: Sha256


@register.add("case.records_declared_complete.v1", subject="case")
class RecordsDeclaredComplete(Event, frozen=True, kw_only=True):
    """The records are complete; the clock starts."""

    records: tuple[RecordPin, ...]
    calendar: Identifier
    due_from: Day
    """Fifth business day: at risk after it."""
    due_by: Day
    """Seventh business day: missed after it."""


@register.add("case.routed.v1", subject="case")
class CaseRouted(Event, frozen=True, kw_only=True):
    """The case was offered to a specialist."""

    specialist: Identifier
    """Stream of the specialist."""
    specialist_actor: Identifier
    subspecialty: Subspecialty
    centre_country: Country
    yearly_volume: Count
    rule_version: Count
    decided_by: Literal["rule", "person"]
    grounds: Text = ""
    """Why a person decided so, where the rule leaves it to a person."""
    consents: tuple[Identifier, ...]


@register.add("case.review_accepted.v1", subject="case")
class ReviewAccepted(Event, frozen=True, kw_only=True):
    """The specialist took the case; due dates are counted anew by the centre's calendar."""

    calendar: Identifier
    due_from: Day
    due_by: Day


class Stated(msgspec.Struct, frozen=True, tag="stated", tag_field="answer", forbid_unknown_fields=True):
    """A part of an opinion that says something."""

    text: RequiredText


class NotApplicable(msgspec.Struct, frozen=True, tag="not_applicable", tag_field="answer", forbid_unknown_fields=True):
    """A part of an opinion that expressly does not apply."""

    why: RequiredText


Part = Stated | NotApplicable


class Opinion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A written opinion, every part filled or expressly not applicable."""

    resectability: Resectability
    surgery_recommended: bool
    surgical_approach: Part
    conversion_strategy: Part
    """Neoadjuvant or conversion treatment."""
    additional_investigations: Part
    trial_eligibility: Part
    vascular_involvement: Part
    future_liver_remnant: Part
    circumferential_resection_margin: Part
    rationale: RequiredText


@register.add("opinion.signed.v1", subject="case")
class OpinionSigned(Event, frozen=True, kw_only=True):
    """The specialist's written opinion, signed with their own key."""

    opinion: Identifier
    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    content: Opinion
    relied_on: tuple[RecordPin, ...]
    accepted_limits: tuple[Line, ...] = ()
    signer_name: Line
    """Printed name of the signer (21 CFR 11.50)."""
    meaning: Literal["authorship"]
    """What the signature means (21 CFR 11.50); required, since a default would not stand in the signed bytes."""


@register.add("opinion.delivered.v1", subject="case")
class OpinionDelivered(Event, frozen=True, kw_only=True):
    """The patient has the opinion; the clock stops."""

    opinion: Identifier
    version: Count
    channel: Literal["portal", "video_call", "in_person", "post"]


@register.add("opinion.shared.v1", subject="accountability")
class OpinionShared(Event, frozen=True, kw_only=True):
    """An opinion was made available to a recipient outside, under a consent."""

    share: Identifier
    opinion: Identifier
    version: Count
    consent: Identifier
    recipient: Recipient


@register.add("share.opened.v1", subject="accountability")
class ShareOpened(Event, frozen=True, kw_only=True):
    """The recipient opened what was shared, while the consent held."""

    share: Identifier
    opinion: Identifier
    version: Count
    consent: Identifier


@register.add("case.closed.v1", subject="case")
class CaseClosed(Event, frozen=True, kw_only=True):
    """The case is over, for a reason."""

    reason: CloseReason


@register.add("case.content_erased.v1", subject="accountability")
class ContentErased(Event, frozen=True, kw_only=True):
    """One subject's key and payloads were destroyed: that of the case, of a record, or of the patient.

    The subject stands in the statement as the object, too, in clear: it is how a verifier tells what was erased from
    what is missing.
    """

    request: Identifier
    """Stream of the privacy request."""
    scope: Literal["case", "record"]
    subject: SubjectName
    record: Identifier | None = None
    """The record, where the subject is one."""
