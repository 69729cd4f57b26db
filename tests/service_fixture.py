"""All use cases on a test's own database, and the whole of a case in small steps."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from obstore.store import MemoryStore

from application.cases import PatientInput
from application.ledger.entries import Guard
from application.outcome import Outcome
from application.records.vault import Vault
from application.request import Request
from application.service import Service, assemble
from application.specialists import SpecialistInput
from caseledger import signing
from domain.case import commands as c
from domain.case import events as e
from domain.records import RecordKind
from domain.specialist import Volume
from domain.values import Role
from tests.conftest import Database
from tests.ledger_fixture import open_ledger

ZERO = "0" * 64
CT = "98892001/CT5N"
"""Five real axial slices of one person: limited."""
MR_PROJECTIONS = "98892003/MR700"
"""Seven real pictures of a rotating projection: no stack."""


def dicom(folder: str) -> list[bytes]:
    """Real DICOM files that pydicom's package carries."""
    root = files("pydicom") / "data" / "test_files" / "dicomdirtests"
    for part in folder.split("/"):
        root = root / part
    return [each.read_bytes() for each in sorted(root.iterdir(), key=lambda each: each.name)]


@contextmanager
def open_service(database: Database, data: Path) -> Iterator[Service]:
    """Every use case, with an object store in memory."""
    with open_ledger(database, data) as one:
        yield assemble(one.keys, one.pool, one.appender, one.checkpoints, Vault(MemoryStore()))


def request(role: Role, name: str, expected: int | None = None) -> Request:
    """A request of somebody, now."""
    return Request(id=name, role=role, cause=str(uuid4()), now=time.time_ns() // 1000, expected=expected)


PATIENT = ("patient", "account-1")
COORDINATOR = ("coordinator", "coordinator-1")
SURGEON = ("specialist", "surgeon-1")
ONCOLOGIST = ("oncologist", "oncologist-1")
COMPLIANCE = ("compliance", "compliance-1")
ADMINISTRATOR = ("administrator", "administrator-1")

CONTENT = e.Opinion(
    resectability="potentially_resectable_after_conversion",
    surgery_recommended=True,
    surgical_approach=e.Stated(text="Two-stage resection."),
    conversion_strategy=e.Stated(text="Four cycles, then restaging."),
    additional_investigations=e.Stated(text="Contrast MRI of the liver."),
    trial_eligibility=e.NotApplicable(why="No trial is open."),
    vascular_involvement=e.Stated(text="The right hepatic vein is abutted."),
    future_liver_remnant=e.Stated(text="Segments 2 and 3 suffice after growth."),
    circumferential_resection_margin=e.NotApplicable(why="Not rectal."),
    rationale="The inflow of the remnant is free.",
)


class Walk(msgspec.Struct):
    """One case, step by step; each step is a method that asks what its actor would ask."""

    service: Service
    case: str = ""
    key: Ed25519PrivateKey | None = None
    key_id: str = ""
    specialist: str = ""
    opinion: str = ""

    def act(self, who: tuple[Role, str], command: c.Command) -> Outcome:
        """One command."""
        return self.service.cases.act(request(*who), self.case, lambda state: command)

    def open(self) -> Outcome:
        """The patient opens the case."""
        sent = c.OpenCaseInput(
            reason="told_unresectable", diagnosis="Colorectal liver metastases", organ="liver", home_country="GB"
        )
        patient = PatientInput(name="Peter Doe Marker-Name", born_on="1961-02-03")
        outcome = self.service.cases.open(request(*PATIENT), sent, patient)
        self.case = outcome.stream.removeprefix("case-")
        return outcome

    def consent(self, kind: e.ConsentKind, **more: object) -> str:
        """The patient consents; the consent's id."""
        made = f"consent-{kind.replace('_', '-')}"
        sent = c.GrantConsent(
            consent=made,
            kind=kind,
            purpose="second opinion",
            language="en",
            text_sha256=ZERO,
            **more,  # type: ignore[arg-type]
        )
        self.act(PATIENT, sent)
        return made

    def prepare(self) -> None:
        """Everything before records arrive."""
        everything = e.Coverage(all_records=True)
        india = e.Recipient(country="IN")
        self.act(PATIENT, c.AcknowledgeDisclaimer(text_sha256=ZERO, language="en"))
        self.act(COORDINATOR, c.AssignCoordinator(coordinator=COORDINATOR[1]))
        self.consent("process")
        self.consent("review", recipient=india, covers=everything)
        self.consent("transfer_to_country", recipient=india, covers=everything)
        item = e.ChecklistItem(item="imaging", kind="imaging", description="CT or MR of the liver")
        self.act(COORDINATOR, c.IssueChecklist(items=(item,), imaging_site="any"))

    def upload(self, folder: str, *, check: bool = True) -> Outcome:
        """The patient uploads real DICOM, which is checked at once, unless that is for a worker."""
        receiving, who = self.service.receiving, request(*PATIENT)
        upload = receiving.begin(who, self.case, RecordKind.IMAGING).upload
        for number, content in enumerate(dicom(folder)):
            digest = hashlib.sha256(content).hexdigest()
            receiving.add_file(who, self.case, upload, f"IM{number}", [content], len(content), digest)
        received = receiving.finish(who, self.case, upload)
        if check:
            self.service.imaging_checks.run(who, self.case)
        return received

    def enrol(self) -> None:
        """The surgeon is admitted and enrols a key, which compliance approves."""
        volume = Volume(organ="liver", operations_a_year=160, evidence_sha256=ZERO)
        sent = SpecialistInput(
            actor=SURGEON[1],
            name="Dr. Asha Example",
            centre="Example Centre",
            country="IN",
            calendar="india",
            subspecialty="hpb",
            subspecialty_evidence_sha256=ZERO,
            volumes=(volume,),
        )
        self.specialist = self.service.specialists.register(request(*ADMINISTRATOR), sent).stream
        self.key = Ed25519PrivateKey.generate()
        proof = signing.prove_possession(self.key, self.service.keys.origin, SURGEON[1])
        requested = self.service.signing_keys.request(request(*SURGEON), **proof)
        self.key_id = requested.stream.removeprefix("key-")
        self.service.signing_keys.approve(request(*COMPLIANCE), self.key_id)

    def route(self) -> None:
        """The short stack is accepted as it is, the records declared complete, the case routed and taken."""
        self.act(COORDINATOR, c.AcceptLimitedImaging(limits=("12.5 mm only",), reason="It cannot be repeated."))
        self.act(COORDINATOR, c.DeclareRecordsComplete())
        loaded = self.service.specialists.load(self.specialist)
        guards = (Guard(loaded.id, loaded.head),)
        route = c.RouteCase(specialist=loaded.state)
        self.service.cases.act(request(*COORDINATOR), self.case, lambda state: route, guards)
        accept = c.AcceptReview(specialist=loaded.state)
        self.service.cases.act(request(*SURGEON), self.case, lambda state: accept, guards)

    def sign(self) -> Outcome:
        """The surgeon has the opinion prepared, signs it with their own key, and submits it."""
        state = self.service.cases.load(self.case).state
        pins = tuple(e.RecordPin(record=r.record, manifest_sha256=r.manifest_sha256) for r in state.usable())
        sent = c.SignOpinionInput(content=CONTENT, relied_on=pins)
        prepared = self.service.opinions.prepare(request(*SURGEON), self.case, self.key_id, sent)
        if self.key is None:
            raise ValueError("enrol first")
        submission = signing.sign(prepared, self.key, sent)
        outcome = self.service.opinions.submit(request(*SURGEON), self.case, submission)
        (signed,) = outcome.events
        self.opinion = signed.opinion  # type: ignore[union-attr]
        return outcome

    def share(self) -> str:
        """Delivered, shared with the oncologist at home; the share's id."""
        self.act(COORDINATOR, c.DeliverOpinion(opinion=self.opinion, channel="portal"))
        recipient = e.Recipient(country="GB", organisation="Example Hospital", actor=ONCOLOGIST[1])
        covers = e.Coverage(opinions=(self.opinion,))
        consent = self.consent("share_opinion", recipient=recipient, covers=covers)
        share = c.ShareOpinion(share="share-1", opinion=self.opinion, consent=consent, recipient=recipient)
        self.act(PATIENT, share)
        return "share-1"
