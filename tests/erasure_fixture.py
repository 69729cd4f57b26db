"""A case whose every personal word is a marker, on a service with files, views and everything that clears away."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pydicom
from obstore.store import LocalStore

from application.cases import PatientInput
from application.outcome import Outcome
from application.privacy.erasure import Clearing
from application.privacy.holds import HoldInput
from application.privacy.requests import ErasureInput
from application.records.vault import Vault
from application.service import Service, assemble
from caseledger import signing
from caseledger.clearing import FENCE, clearing
from domain.case import commands as c
from domain.case import events as e
from domain.privacy import Scope
from domain.records import RecordKind
from projections import schema
from projections.follower import Followers
from projections.registry import PROJECTIONS
from tests.conftest import Database
from tests.ledger_fixture import opened
from tests.service_fixture import (
    ADMINISTRATOR,
    COMPLIANCE,
    CONTENT,
    COORDINATOR,
    CT,
    PATIENT,
    SURGEON,
    Walk,
    dicom,
    request,
)

MARKERS = {
    "patient name": "Zyxmarker Patientname",
    "birth date": "1931-07-19",
    "diagnosis": "Zyxdiagnosis of the liver",
    "first centre": "Zyxcentre",
    "words of the verdict": "Zyxverdict words",
    "file name": "Zyxfilename",
    "DICOM patient name": "Patientname^Zyxmarker",
    "report": "Zyxreport text",
    "opinion": "Zyxopinion rationale",
    "account": "zyxaccount-77",
}
"""What may stand nowhere in clear, before an erasure or after it; and behind no key after it."""
HOLD = HoldInput(reason="A claim is pending.", authority="Court of Example")
REPORT = (MARKERS["report"] + ". Segments 6 and 7. ").encode() * 40


class Erasable(msgspec.Struct):
    """One ledger with a data directory, its database, and what clears away after erasures."""

    database: Database
    data: Path
    service: Service
    clearing: Clearing

    def follow(self) -> None:
        """Fold everything into the live views, then stop."""
        size = self.service.ledger.recorder.max_notification_id() or 0
        followers = Followers(self.service.ledger, self.service.keyring, self.database.service_url)
        followers.start()
        try:
            assert all(followers.wait_for(each.name, size, 20.0) >= size for each in PROJECTIONS)
        finally:
            followers.stop()


@contextmanager
def erasable(database: Database, data: Path, *, settle_s: float = 0.0) -> Iterator[Erasable]:
    """A service whose objects are files, as in production; the data directory may be one that was used before."""
    with erasable_at(database, data, settle_s=settle_s, install=True) as one:
        yield one


@contextmanager
def erasable_at(database: Database, data: Path, *, settle_s: float, install: bool) -> Iterator[Erasable]:
    """The same, in a process that a test starts."""
    if install:
        schema.install(database.owner_url)
    with opened(database.service_url, data) as one:
        vault = data / "vault"
        vault.mkdir(exist_ok=True)
        service = assemble(one.keys, one.pool, one.appender, one.checkpoints, Vault(LocalStore(prefix=vault)))
        yield Erasable(database, data, service, clearing(data, database.owner_url, service, settle_s=settle_s))


class Marked(Walk):
    """A whole case in which every personal word is a marker."""

    report: str = ""

    def open(self) -> Outcome:
        """The patient opens the case."""
        sent = c.OpenCaseInput(
            reason="told_unresectable", diagnosis=MARKERS["diagnosis"], organ="liver", home_country="GB"
        )
        patient = PatientInput(name=MARKERS["patient name"], born_on=MARKERS["birth date"])
        outcome = self.service.cases.open(request(*MARKED_PATIENT), sent, patient)
        self.case = outcome.stream.removeprefix("case-")
        return outcome

    def act(self, who: Any, command: c.Command) -> Outcome:
        """One command."""
        return super().act(MARKED_PATIENT if who == PATIENT else who, command)

    def upload(self, folder: str) -> Outcome:
        """The patient uploads DICOM with their name in it, which is checked at once."""
        received = self.put(RecordKind.IMAGING, [(f"{MARKERS['file name']} {i}", each) for i, each in named(folder)])
        self.service.imaging_checks.run(request(*MARKED_PATIENT), self.case)
        return received

    def put(self, kind: RecordKind, parts: list[tuple[str, bytes]]) -> Outcome:
        """The patient uploads files as one record."""
        receiving, who = self.service.receiving, request(*MARKED_PATIENT)
        upload = receiving.begin(who, self.case, kind).upload
        for name, content in parts:
            receiving.add_file(
                who, self.case, upload, name, [content], len(content), hashlib.sha256(content).hexdigest()
            )
        return receiving.finish(who, self.case, upload)

    def sign(self) -> Outcome:
        """The surgeon signs an opinion whose words are markers."""
        state = self.service.cases.load(self.case).state
        pins = tuple(e.RecordPin(record=r.record, manifest_sha256=r.manifest_sha256) for r in state.usable())
        content = msgspec.structs.replace(CONTENT, rationale=MARKERS["opinion"])
        sent = c.SignOpinionInput(content=content, relied_on=pins)
        prepared = self.service.opinions.prepare(request(*SURGEON), self.case, self.key_id, sent)
        assert self.key is not None
        outcome = self.service.opinions.submit(request(*SURGEON), self.case, signing.sign(prepared, self.key, sent))
        (signed,) = outcome.events
        self.opinion = signed.opinion  # type: ignore[union-attr]
        return outcome

    def whole(self) -> None:
        """From the opening to a share that was opened, and closed."""
        self.open()
        self.act(
            PATIENT,
            c.RecordOriginalVerdict(
                verdict="unresectable",
                centre=MARKERS["first centre"],
                decided_on="2026-01-05",
                words=MARKERS["words of the verdict"],
            ),
        )
        self.prepare()
        self.upload(CT)
        report = self.put(RecordKind.RADIOLOGY_REPORT, [(f"{MARKERS['file name']}.txt", REPORT)])
        (received,) = [each for each in report.events if isinstance(each, e.RecordReceived)]
        self.report = received.record
        self.enrol()
        self.route()
        self.sign()
        self.share()
        self.service.reading.opinion(request(*MARKED_PATIENT), self.case, self.opinion)
        self.service.reading.manifest(request(*COORDINATOR), self.case, self.report)

    def close(self) -> Outcome:
        """The coordinator closes the case."""
        return self.act(COORDINATOR, c.CloseCase(reason="completed"))

    def ask(self, scope: Scope = "case", record: str | None = None) -> str:
        """The patient asks for an erasure; the request's stream."""
        sent = ErasureInput(scope=scope, record=record, reason="consent_withdrawn")
        return self.service.privacy.request(request(*MARKED_PATIENT), self.case, sent).stream

    def approved(self, scope: Scope = "case", record: str | None = None) -> str:
        """The patient asks, compliance approves; the request's stream."""
        stream = self.ask(scope, record)
        self.service.privacy.approve(request(*COMPLIANCE), stream)
        return stream

    def execute(self, stream: str) -> Outcome:
        """The administrator carries it out."""
        return self.service.erasures.execute(request(*ADMINISTRATOR), stream)


MARKED_PATIENT: Any = ("patient", MARKERS["account"])


def named(folder: str) -> list[tuple[int, bytes]]:
    """Real DICOM files with a marker for the patient's name."""
    found = []
    for number, content in enumerate(dicom(folder)):
        data = pydicom.dcmread(io.BytesIO(content))
        data.PatientName = MARKERS["DICOM patient name"]
        data.PatientBirthDate = MARKERS["birth date"].replace("-", "")
        target = io.BytesIO()
        data.save_as(target)
        found.append((number, target.getvalue()))
    return found


def marked(one: Erasable) -> Marked:
    """A whole case, from the opening to an opinion that was shared."""
    walk = Marked(service=one.service)
    walk.whole()
    return walk


def fence_of(one: Erasable) -> set[str]:
    """What stands in the fence outside the database."""
    return set((one.data / FENCE).read_text("ascii").split())


def new_id() -> str:
    """A UUID that nothing has."""
    return str(uuid4())


def sealed(database: Database) -> int:
    """How many payloads there are."""
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute("SELECT count(*) FROM ledger.entry WHERE sealed IS NOT NULL").fetchone()
    return row[0] if row else 0
