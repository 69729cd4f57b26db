"""Whole cases in a test's log: real events, each sealed under the subject that its topic names."""

from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.cases import new_events
from application.ledger.streams import Act, ActorSigned, NewEvent, ReceiptedRecording
from domain.access import AccessRecorded
from domain.case import events as e
from domain.event import Event
from domain.ledger.dsse import pre_authentication_encoding
from domain.ledger.statement import encode_statement
from tests.ledger_fixture import ACT, OpenLedger

DIGEST = "ab" * 32
DIAGNOSIS = "colorectal liver metastases, segments four and eight"
SECRETS = ("colorectal", "segments four", "Grieshaber", "patient-account-7", "Heimatklinik")
"""Words of the events below that may stand nowhere in clear."""


def opened(number: int = 0) -> e.CaseOpened:
    """The opening of a case."""
    return e.CaseOpened(
        patient=f"patient-{number}",
        patient_account="patient-account-7",
        patient_actor=f"p-{number}",
        reason="told_unresectable",
        diagnosis=DIAGNOSIS,
        organ="liver",
        home_country="AT",
    )


def consent(kind: e.ConsentKind, number: int = 0) -> e.ConsentGranted:
    """A consent of one kind, to somebody with a name."""
    return e.ConsentGranted(
        consent=f"consent-{kind.replace('_', '-')}-{number}",
        kind=kind,
        recipient=e.Recipient(country="IN", person="Dr Grieshaber"),
        purpose="second opinion",
        valid_from=0,
        language="de",
        text_sha256=DIGEST,
    )


def record(name: str) -> e.RecordReceived:
    """An imaging record that arrived."""
    return e.RecordReceived(record=name, kind="imaging", manifest_sha256=DIGEST, files=7, bytes=4_096)


def up_to_accepted(number: int = 0) -> list[Event]:
    """Everything that happens to a case before its opinion, twelve events."""
    name = f"record-{number}"
    return [
        opened(number),
        e.OriginalVerdictRecorded(verdict="unresectable", centre="Heimatklinik", decided_on="2026-01-05"),
        e.DisclaimerAcknowledged(text_sha256=DIGEST, language="de"),
        e.CoordinatorAssigned(coordinator="coordinator-1"),
        consent("process", number),
        consent("review", number),
        e.ChecklistIssued(
            items=(e.ChecklistItem(item="ct", kind="imaging", description="CT of the liver"),), imaging_site="any"
        ),
        record(name),
        e.ImagingChecked(
            records=(name,),
            verdict="adequate",
            findings=(),
            report_sha256=DIGEST,
            requirement="any",
            requirement_version=1,
            checker_version=1,
            checked_on="2026-01-06",
        ),
        e.RecordsDeclaredComplete(
            records=(e.RecordPin(record=name, manifest_sha256=DIGEST),),
            calendar="service",
            due_from="2026-01-13",
            due_by="2026-01-15",
        ),
        e.CaseRouted(
            specialist="specialist-1",
            specialist_actor="surgeon-1",
            subspecialty="hpb",
            centre_country="IN",
            yearly_volume=180,
            rule_version=1,
            decided_by="rule",
            consents=(f"consent-review-{number}",),
        ),
        e.ReviewAccepted(calendar="india", due_from="2026-01-14", due_by="2026-01-16"),
    ]


def opinion(name: str = "opinion-1") -> e.OpinionSigned:
    """An opinion with every part."""
    part = e.Stated("resect after conversion")
    return e.OpinionSigned(
        opinion=name,
        version=1,
        content=e.Opinion(
            resectability="resectable",
            surgery_recommended=True,
            surgical_approach=part,
            conversion_strategy=part,
            additional_investigations=part,
            trial_eligibility=part,
            vascular_involvement=part,
            future_liver_remnant=part,
            circumferential_resection_margin=e.NotApplicable("not the rectum"),
            rationale="every lesion can be reached",
        ),
        relied_on=(e.RecordPin(record="record-0", manifest_sha256=DIGEST),),
        signer_name="Dr Grieshaber",
        meaning="authorship",
    )


def new_case(case: str, events: Sequence[Event]) -> list[NewEvent]:
    """A case's first events, as they are appended."""
    return new_events(f"case-{case}", 0, case, events)


def add_cases(one: OpenLedger, cases: Sequence[str], events: Sequence[Event] | None = None) -> int:
    """Append whole cases, made up unless events are given; returns the size of the log after the last."""
    size = 0
    for number, case in enumerate(cases):
        new = new_case(case, up_to_accepted(number) if events is None else events)
        one.keyring.create(*{each.subject for each in new}, f"accountability:{case}")
        size = one.ledger.append(new, ACT)[-1].receipt.index + 1
    return size


def add_more(one: OpenLedger, case: str, *events: Event) -> list[ReceiptedRecording]:
    """Append events to a case that exists."""
    last = one.recorder.rows(f"case-{case}", None, None, True, 1)[0]
    new = new_events(f"case-{case}", last.statement().rev, case, events)
    one.keyring.create(*{each.subject for each in new})
    return one.ledger.append(new, ACT, heads={f"case-{case}": last.leaf.hex()})


def add_access(one: OpenLedger, case: str, number: int) -> ReceiptedRecording:
    """Append an entry that says that somebody read the case."""
    new = NewEvent(
        originator_id=f"access-{number}",
        originator_version=1,
        event=AccessRecorded(what="case", basis="assigned"),
        case=case,
        subject=f"accountability:{case}",
        object=case,
        version="1",
        outcome="allowed",
    )
    return one.ledger.append([new], ACT)[0]


def add_opinion(one: OpenLedger, case: str, event: e.OpinionSigned) -> ReceiptedRecording:
    """Append an opinion that its surgeon signed; the key is in no stream, which is for others to mind."""
    last = one.recorder.rows(f"case-{case}", None, None, True, 1)[0]
    new = new_events(f"case-{case}", last.statement().rev, case, [event])[0]
    act = Act(actor="surgeon-1", role="specialist", purpose="TREAT", cause="cause-2", recorded_at=ACT.recorded_at + 1)
    opening = one.ledger.events.opening_of(new)
    statement = msgspec.structs.replace(
        one.ledger.events.statement_of(new, act, last.leaf.hex(), opening),
        key_id="0" * 32,
        key_head=DIGEST,
        expires_at=act.recorded_at + 1,
    )
    raw = encode_statement(statement)
    signature = Ed25519PrivateKey.generate().sign(pre_authentication_encoding(raw))
    signed = ActorSigned(statement=raw, signature=signature, opening=opening)
    return one.ledger.append([new], act, heads={f"case-{case}": last.leaf.hex()}, signed=signed)[0]
