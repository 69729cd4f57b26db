"""People with tokens, who take a case through the API as the service's users do."""

import base64
import hashlib
import itertools
import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import Litestar
from litestar.testing import TestClient

from api.tokens import issue
from application.request import Request
from application.service import Service
from caseledger import signing
from tests.service_fixture import CONTENT, CT, ZERO, dicom

PATIENT, OTHER_PATIENT = ("patient", "account-1"), ("patient", "account-2")
COORDINATOR, OTHER_COORDINATOR = ("coordinator", "coordinator-1"), ("coordinator", "coordinator-2")
SURGEON = ("specialist", "surgeon-1")
ONCOLOGIST = ("oncologist", "oncologist-1")
TECHNICIAN = ("technician", "technician-1")
COMPLIANCE = ("compliance", "compliance-1")
ADMINISTRATOR = ("administrator", "administrator-1")
Who = tuple[str, str]

MARKERS = (
    "Markerwoman",
    "Markerdiagnosis",
    "Markercentre",
    "Markerwords",
    "Markerfile",
    "Markergrounds",
    "1961-02-03",
    "account-1",
)
"""What may stand in no log and no problem."""

OPEN = {
    "case": {
        "reason": "told_unresectable",
        "diagnosis": "Markerdiagnosis of the liver",
        "organ": "liver",
        "home_country": "GB",
    },
    "patient": {"name": "Peter Doe Markerwoman", "born_on": "1961-02-03"},
}
SPECIALIST = {
    "actor": SURGEON[1],
    "name": "Dr. Asha Example",
    "centre": "Example Centre",
    "country": "IN",
    "calendar": "india",
    "subspecialty": "hpb",
    "subspecialty_evidence_sha256": ZERO,
    "volumes": [{"organ": "liver", "operations_a_year": 160, "evidence_sha256": ZERO}],
}
RECIPIENT = {"country": "GB", "organisation": "Example Hospital", "actor": ONCOLOGIST[1]}

_numbers = itertools.count(1)


class Clock:
    """A clock that a test may put forward, in seconds."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def __call__(self) -> int:
        """Microseconds since 1970 UTC."""
        return time.time_ns() // 1000 + self.ahead_s * 1_000_000


class Stage(msgspec.Struct):
    """One API, and what a case has come to so far."""

    app: Litestar
    client: TestClient[Litestar]
    service: Service
    clock: Clock
    case: str = ""
    key: Ed25519PrivateKey | None = None
    key_id: str = ""
    specialist: str = ""
    record: str = ""
    opinion: str = ""
    share: str = ""
    answers: list[httpx.Response] = []

    def token(self, who: Who) -> str:
        """A good token."""
        keys = self.service.keys
        return issue(keys.token, keys.origin, who[1], who[0], 3600, self.clock() // 1_000_000)

    def revision(self) -> int:
        """Where the case stands."""
        return self.service.cases.load(self.case).revision

    def size(self) -> int:
        """Entries in the log."""
        return self.service.ledger.recorder.max_notification_id() or 0

    def ask(self, who: Who | None, method: str, path: str, **more: Any) -> httpx.Response:
        """A request with a token; `{case}` in the path stands for the case."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            headers.setdefault("Authorization", f"Bearer {self.token(who)}")
        answer = self.client.request(method, path.replace("{case}", self.case), headers=headers, **more)
        self.answers.append(answer)
        return answer

    def write(
        self,
        who: Who,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        revision: int | None = None,
        raw: bytes | None = None,
        **headers: str,
    ) -> httpx.Response:
        """A write as a careful client sends it: a new Idempotency-Key, and the case's revision if there is a case."""
        given = {"Idempotency-Key": key or f"key-{next(_numbers)}", "Content-Type": "application/json", **headers}
        if "{case}" in path:
            given.setdefault("If-Match", f'"{self.revision() if revision is None else revision}"')
        content = raw if raw is not None else None if body is None else msgspec.json.encode(body)
        return self.ask(who, method, path, headers=given, content=content)

    def done(self, *asked: Any, **more: Any) -> Any:
        """A write that has to succeed."""
        answer = self.write(*asked, **more)
        assert answer.is_success, (asked[:3], answer.status_code, answer.text)
        return answer.json()

    def open(self) -> Any:
        """The patient opens the case."""
        said = self.done(PATIENT, "POST", "/cases", OPEN)
        self.case = said["case"]
        return said

    def consent(self, kind: str, **more: Any) -> str:
        """The patient consents; the consent's id."""
        body = {"kind": kind, "purpose": "second opinion", "language": "en", "text_sha256": ZERO, **more}
        made: str = self.done(PATIENT, "POST", "/cases/{case}/consents", body)["made"]["consent"]
        return made

    def prepare(self) -> None:
        """Everything before records arrive."""
        verdict = {
            "verdict": "unresectable",
            "centre": "Markercentre",
            "decided_on": "2026-01-05",
            "words": "Markerwords",
        }
        self.done(PATIENT, "PUT", "/cases/{case}/original-verdict", verdict)
        self.done(PATIENT, "PUT", "/cases/{case}/disclaimer", {"text_sha256": ZERO, "language": "en"})
        self.done(COORDINATOR, "PUT", "/cases/{case}/coordinator", {"coordinator": COORDINATOR[1]})
        self.consent("process")
        everything = {"covers": {"all_records": True}, "recipient": {"country": "IN"}}
        self.consent("review", **everything)
        self.consent("transfer_to_country", **everything)
        item = {"item": "imaging", "kind": "imaging", "description": "CT or MR of the liver"}
        self.done(COORDINATOR, "PUT", "/cases/{case}/checklist", {"items": [item], "imaging_site": "any"})

    def begin(self, who: Who = PATIENT, kind: str = "imaging") -> str:
        """A new upload's path."""
        answer = self.ask(who, "POST", "/cases/{case}/uploads", json={"kind": kind})
        assert answer.status_code == 201, answer.text
        return f"/cases/{self.case}/uploads/{answer.json()['upload']}"

    def add(self, upload: str, name: str, content: Any, who: Who = PATIENT, **headers: str) -> httpx.Response:
        """A file of an upload."""
        given = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}", **headers}
        return self.ask(who, "POST", f"{upload}/files", content=content, headers=given)

    def upload(self, folder: str = CT) -> Any:
        """The patient uploads real DICOM, which is then checked as a worker would."""
        upload = self.begin()
        for number, content in enumerate(dicom(folder)):
            digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
            answer = self.add(upload, f"Markerfile ö{number}", content, **{"Content-Digest": f"sha-256=:{digest}:"})
            assert answer.status_code == 201, answer.text
        answer = self.write(PATIENT, "POST", upload.replace(self.case, "{case}") + "/record")
        assert answer.status_code == 201, answer.text
        said = answer.json()
        self.record = said["made"]["record"]
        self.check()
        return said

    def check(self) -> None:
        """What a worker does with the job that a record leads to."""
        service = Request(id="service", role="service", cause=str(uuid4()), now=self.clock())
        self.service.imaging_checks.run(service, self.case)

    def enrol(self) -> None:
        """The surgeon is admitted and enrols a key, which compliance approves."""
        self.specialist = self.done(ADMINISTRATOR, "POST", "/specialists", SPECIALIST)["made"]["specialist"]
        self.key = Ed25519PrivateKey.generate()
        proof = signing.prove_possession(self.key, self.service.keys.origin, SURGEON[1])
        self.key_id = self.done(SURGEON, "POST", "/keys", proof)["made"]["key"]
        self.done(COMPLIANCE, "POST", f"/keys/{self.key_id}/approval")

    def route(self) -> None:
        """Its limits accepted, complete, routed, accepted."""
        limits = {"limits": ["five slices of 5 mm"], "reason": "It cannot be repeated before the decision."}
        self.done(COORDINATOR, "POST", "/cases/{case}/imaging-acceptances", limits)
        self.done(COORDINATOR, "POST", "/cases/{case}/completeness")
        self.done(
            COORDINATOR, "POST", "/cases/{case}/routing", {"specialist": self.specialist, "grounds": "Markergrounds"}
        )
        self.done(SURGEON, "POST", "/cases/{case}/acceptance")

    def draft(self) -> dict[str, Any]:
        """The body that prepares the opinion."""
        case = self.ask(SURGEON, "GET", "/cases/{case}").json()
        pins = [
            {"record": each["record"], "manifest_sha256": each["manifest_sha256"]}
            for each in case["content"]["records"]
            if not each["quarantined"]
        ]
        return {"key": self.key_id, "opinion": {"content": CONTENT, "relied_on": pins}}

    def signed(self) -> dict[str, Any]:
        """An opinion, prepared and signed, not submitted."""
        prepared = self.done(SURGEON, "POST", "/cases/{case}/opinions/prepared", self.draft())
        given = msgspec.convert({name: prepared[name] for name in signing.Prepared.__struct_fields__}, signing.Prepared)
        assert self.key is not None
        submission = signing.sign(given, self.key, now=self.clock())
        body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(submission))
        return body

    def sign(self) -> Any:
        """The opinion is on record."""
        said = self.done(SURGEON, "POST", "/cases/{case}/opinions", self.signed())
        self.opinion = said["made"]["opinion"]
        return said

    def deliver_and_share(self) -> str:
        """Delivered, and shared with the oncologist at home; the consent's id."""
        self.done(COORDINATOR, "POST", f"/cases/{{case}}/opinions/{self.opinion}/delivery", {"channel": "portal"})
        consent = self.consent("share_opinion", recipient=RECIPIENT, covers={"opinions": [self.opinion]})
        body = {"opinion": self.opinion, "consent": consent, "recipient": RECIPIENT}
        self.share = self.done(PATIENT, "POST", "/cases/{case}/shares", body)["made"]["share"]
        return consent

    def until_routed(self) -> None:
        """Up to a case in review."""
        self.open()
        self.prepare()
        self.upload()
        self.enrol()
        self.route()

    def until_shared(self) -> str:
        """The whole way; the id of the consent to share."""
        self.until_routed()
        self.sign()
        return self.deliver_and_share()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, of that status and code."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said: dict[str, Any] = answer.json()
    assert (answer.status_code, said["status"], said["type"]) == (status, status, f"urn:caseledger:problem:{code}"), (
        said
    )
    assert said["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    assert said["title"]
    assert not [each for each in MARKERS if each in answer.text]
    return said
