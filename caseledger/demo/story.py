"""The demo's case, from its opening to a share that a withdrawn consent closes. Each step's outcome is checked."""

import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caseledger.demo import texts
from caseledger.demo.client import Person, Refusal, Written, files_in
from caseledger.demo.stage import Ran, Stage, elsewhere, ran
from domain.errors import CaseLedgerError
from domain.ledger.dsse import pre_authentication_encoding

_DICOM = "data/test_files/dicomdirtests"
PROJECTIONS = f"{_DICOM}/98892003/MR700"
"""A real MR series of seven images; rotating projections, as it turns out, and no slices."""
SLICES = f"{_DICOM}/98892001/CT5N"
"""Five real CT slices of the same person."""

CHECK_TIMEOUT_S = 30

Tell = Callable[[str], None]


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody, signed in."""

    patient: Person
    coordinator: Person
    surgeon: Person
    oncologist: Person
    compliance: Person
    administrator: Person


class Story:
    """One case. `tell` gets a line for each step, `folder` is the surgeon's own machine, with the key file on it."""

    def __init__(self, cast: Cast, stage: Stage, origin: str, folder: Path, tell: Tell) -> None:
        self._cast = cast
        self._stage = stage
        self._origin = origin
        self._folder = folder
        self._tell = tell
        self.case = ""
        self.revision = 0

    def play(self) -> None:
        """All of it, in order.

        Raises:
            CaseLedgerError: a step did not come out as it has to.
        """
        key, specialist = self._people()
        self._opening()
        self._gathering()
        opinion = self._review(key, specialist)
        self._release(opinion)

    def _people(self) -> tuple[str, str]:
        c = self._cast
        self._chapter("A surgeon joins")
        made = msgspec.json.decode(self._on_her_machine("key", "new", "surgeon.pem").out)
        proof = self._on_her_machine(
            "key", "prove", "surgeon.pem", "--origin", self._origin, "--owner", texts.SURGEON.subject
        )
        proposed = c.surgeon.write("POST", "/keys", msgspec.json.decode(proof.out))
        key = proposed.made["key"]
        _require(key == made["key"], "the ledger names the key as its owner does")
        self._tell(f"{c.surgeon.name} makes a key on her own machine and proves that she holds it: key {key}")
        own = c.surgeon.refused("POST", f"/keys/{key}/approval")
        self._refused(f"{c.surgeon.name} approves her own key", own, "wrong-role")
        c.compliance.write("POST", f"/keys/{key}/approval")
        self._tell(f"{c.compliance.name} (compliance) approves it: a second person, who saw her identity")
        admitted = c.administrator.write("POST", "/specialists", texts.SPECIALIST)
        self._tell(
            f"{c.administrator.name} (administrator) admits her: HPB surgeon, 140 liver operations a year, on evidence"
        )
        return key, admitted.made["specialist"]

    def _opening(self) -> None:
        c = self._cast
        self._chapter("A case is opened")
        opened = c.patient.write("POST", "/cases", {"case": texts.CASE, "patient": texts.IDENTITY})
        self.case, self.revision = opened.made["case"], opened.revision
        self._tell(f"{c.patient.name} (patient) was told: unresectable. He opens a case: {texts.CASE['diagnosis']}")
        self._act(c.coordinator, "PUT", "coordinator", {"coordinator": texts.COORDINATOR.subject})
        self._tell(f"{c.coordinator.name} becomes his coordinator, the single contact from now on")
        self._act(c.coordinator, "PUT", "original-verdict", texts.VERDICT)
        self._tell(f"The verdict so far goes on record: {texts.VERDICT['centre']}, {texts.VERDICT['decided_on']}")
        notice = {"text_sha256": texts.digest(texts.DISCLAIMER), "language": "en"}
        self._act(c.patient, "PUT", "disclaimer", notice)
        self._tell(f'{c.patient.name} acknowledges: "{texts.DISCLAIMER}"')

    def _gathering(self) -> None:
        c = self._cast
        self._chapter("Records are gathered, and the images checked")
        checklist = {"items": texts.CHECKLIST, "imaging_site": "any"}
        refusal = c.coordinator.refused("PUT", self._path("checklist"), checklist, revision=self.revision)
        self._refused("A checklist before there is any consent", refusal, "missing-consent")
        every = {"all_records": True}
        for kind, purpose, more in (
            ("process", "processing my records for a second opinion", {}),
            ("review", "review of my records by a specialist", {"covers": every}),
            (
                "transfer_to_country",
                "transfer of my records to India",
                {"covers": every, "recipient": {"country": "IN"}},
            ),
        ):
            self._act(c.patient, "POST", "consents", texts.consent(kind, purpose, **more))
            self._tell(f"{c.patient.name} consents to {purpose}")
        self._act(c.coordinator, "PUT", "checklist", checklist)
        self._tell(f"{c.coordinator.name} issues the checklist: imaging, the report on it, recent bloods with markers")
        upload = c.patient.begin_upload(self.case, "imaging")
        answer = c.patient.add_file(upload, "film.jpg", texts.NO_IMAGE)
        _require(answer.status_code == 422, "a file that is not DICOM is refused as imaging")
        self._tell(f"A file that is no image is refused: {answer.json()['title']}; nothing of it is kept")
        first = self._imaging(PROJECTIONS, "inadequate")
        self._tell(
            f"{c.patient.name} uploads a real MR series, {first} images. The check runs by itself: INADEQUATE,"
            " these are projections and no slices (not_a_volume); the original series is needed"
        )
        refusal = c.coordinator.refused("POST", self._path("completeness"), revision=self.revision)
        self._refused("Declaring the records complete now", refusal, "wrong-phase", "missing-part")
        for kind, name, content in (
            ("radiology_report", "report.txt", texts.REPORT),
            ("bloods", "bloods.txt", texts.BLOODS),
        ):
            self._moved(c.coordinator.upload(self.case, kind, [(name, content)], self.revision))
        self._tell(f"{c.coordinator.name} adds the radiologist's report and the bloods")
        second = self._imaging(SLICES, "limited")
        self._tell(f"The home hospital's CT arrives, {second} real slices: LIMITED, a stack, but a short one")
        self._act(c.coordinator, "POST", "imaging-acceptances", {"limits": texts.LIMITS, "reason": texts.WHY_ACCEPTED})
        self._tell(f"{c.coordinator.name} accepts that, with the limit in words that the opinion will carry")
        self._act(c.coordinator, "POST", "completeness")
        case = self._read(c.coordinator, "ready")
        self._tell(f"The records are complete and the clock starts: due from {case['due_from']}, by {case['due_by']}")

    def _review(self, key: str, specialist: str) -> str:
        c = self._cast
        self._chapter("The specialist reviews and signs")
        self._act(c.coordinator, "POST", "routing", {"specialist": specialist})
        self._tell(f"The rule routes it by the organ of the operation: liver, so HPB, to {c.surgeon.name} in Chennai")
        self._act(c.surgeon, "POST", "acceptance")
        self._tell(f"{c.surgeon.name} accepts; the due days are counted anew by her centre's calendar")
        case = self._read(c.surgeon, "in_review")
        pins = [{"record": r["record"], "manifest_sha256": r["manifest_sha256"]} for r in case["content"]["records"]]
        for pin in pins:
            c.surgeon.get(self._path(f"records/{pin['record']}"))
        opinion = {"content": texts.OPINION, "relied_on": pins}
        prepare = self._path("opinions/prepared")
        asked = c.surgeon.send("POST", prepare, {"key": key, "opinion": opinion}, revision=self.revision)
        _require(asked.is_success, f"the opinion is prepared for signing ({asked.status_code})")
        (self._folder / "prepared.json").write_bytes(asked.content)
        (self._folder / "opinion.json").write_bytes(msgspec.json.encode(opinion))
        self._tell(
            f"She reads all {len(pins)} records (each read is on record), writes, and asks for the statement to sign"
        )
        submit = self._path("opinions")
        refusal = c.surgeon.refused("POST", submit, _signed_by_another(asked.json()), revision=self.revision)
        self._refused("The same statement, signed with another key", refusal, "wrong-key")
        signed = self._on_her_machine("sign", "prepared.json", "--key", "surgeon.pem", "--expect", "opinion.json")
        body = msgspec.json.decode(signed.out)
        self._moved(c.surgeon.write("POST", submit, body, revision=self.revision))
        made = self._read(c.coordinator, "signed")["content"]["opinions"][-1]["opinion"]
        self._tell(
            "Her machine checks that the statement commits to what she wrote, and signs; the key never leaves it"
        )
        refusal = c.surgeon.refused("POST", submit, body, revision=self.revision)
        self._refused("The same submission once more", refusal, "preparation-replayed", "wrong-phase")
        return str(made)

    def _release(self, opinion: str) -> None:
        c = self._cast
        self._chapter("Delivered, shared, and withdrawn")
        early = c.oncologist.ask("GET", self._path(f"opinions/{opinion}"))
        _require(early.status_code == 403, "the oncologist reads nothing before it is shared")
        self._act(c.coordinator, "POST", f"opinions/{opinion}/delivery", {"channel": "portal"})
        shown = c.patient.get(self._path(f"opinions/{opinion}"))
        _require(shown["accepted_limits"] == texts.LIMITS, "the opinion carries the limits that were accepted")
        _require(bool(shown["notice"]), "the notice stands beside the opinion")
        self._tell(
            f"{c.patient.name} reads it: {shown['content']['resectability'].replace('_', ' ')}. The clock has stopped"
        )
        purpose = f"sharing this opinion with {c.oncologist.name}, my oncologist"
        consent = texts.consent("share_opinion", purpose, covers={"opinions": [opinion]}, recipient=texts.RECIPIENT)
        granted = self._act(c.patient, "POST", "consents", consent).made["consent"]
        self._tell(f"{c.patient.name} consents to {purpose}: this version, this person")
        sharing = {"opinion": opinion, "version": 1, "consent": granted, "recipient": texts.RECIPIENT}
        share = self._act(c.coordinator, "POST", "shares", sharing).made["share"]
        opened = c.oncologist.write("POST", self._path(f"shares/{share}/opened"))
        self._moved(opened)
        _require(opened.said["opinion"]["content"] == shown["content"], "the oncologist reads what the patient reads")
        self._tell(f"{c.coordinator.name} shares it; {c.oncologist.name} opens it. The disclosure was on record first")
        self._act(c.patient, "POST", f"consents/{granted}/withdrawal")
        self._tell(f"{c.patient.name} withdraws that consent: one step, no reason asked")
        refusal = c.oncologist.refused("POST", self._path(f"shares/{share}/opened"))
        self._refused(f"{c.oncologist.name} opens the share again", refusal, "missing-consent")
        case = self._read(c.patient, "follow_up")
        _require(case["revision"] == self.revision, "what was refused has changed nothing")

    def _imaging(self, folder: str, verdict: str) -> int:
        content = files_in(Path(str(files("pydicom"))) / folder)
        received = self._moved(self._cast.patient.upload(self.case, "imaging", content, self.revision))
        _require(received.said["imaging_check"] == "queued", "the service answers before it checks the images")
        found = self._checked()
        _require(found == verdict, f"the imaging check says {verdict} (it says {found})")
        return len(content)

    def _checked(self) -> str:
        """Verdict of the imaging check, which a worker makes soon after the images are in."""
        until = time.monotonic() + CHECK_TIMEOUT_S
        while True:
            case = self._cast.patient.get(f"/cases/{self.case}")
            if not case["content"]["imaging_unchecked"]:
                self.revision = case["revision"]
                return str(case["imaging_verdict"])
            _require(time.monotonic() < until, f"the images are checked within {CHECK_TIMEOUT_S} s")
            time.sleep(0.1)

    def _act(self, person: Person, method: str, what: str, body: Any = None) -> Written:
        return self._moved(person.write(method, self._path(what), body, revision=self.revision))

    def _moved(self, written: Written) -> Written:
        _require(written.revision > self.revision, "an acknowledged write moves the case")
        self.revision = written.revision
        return written

    def _read(self, person: Person, phase: str) -> dict[str, Any]:
        case: dict[str, Any] = person.get(f"/cases/{self.case}")
        _require(case["phase"] == phase, f"the case is {phase} (it is {case['phase']})")
        return case

    def _path(self, what: str) -> str:
        return f"/cases/{self.case}/{what}"

    def _on_her_machine(self, *words: str) -> Ran:
        """A command in the surgeon's folder, without any setting of the service."""
        done = ran(words, elsewhere(), self._folder)
        _require(done.status == 0, f"caseledger {words[0]} works on the surgeon's machine: {done.err.strip()}")
        return done

    def _chapter(self, title: str) -> None:
        self._tell(f"# {title}")

    def _refused(self, what: str, refusal: Refusal, *codes: str) -> None:
        _require(refusal.code in codes, f"{what}: refused as {' or '.join(codes)} (it is {refusal.code})")
        self._tell(f"! {what}: refused, {refusal.detail or refusal.title}")


def _signed_by_another(prepared: dict[str, Any]) -> dict[str, Any]:
    """The submission that somebody makes who has the statement, and a key of their own."""
    body = {name: prepared[name] for name in ("statement", "blinding", "payload", "preparation")}
    statement = msgspec.json.decode(msgspec.json.encode(body["statement"]), type=bytes)
    signature = Ed25519PrivateKey.generate().sign(pre_authentication_encoding(statement))
    return {**body, "signature": msgspec.json.decode(msgspec.json.encode(signature))}


def _require(held: bool, what: str) -> None:
    """Hold a step to its outcome.

    Raises:
        CaseLedgerError: it did not hold.
    """
    if not held:
        raise CaseLedgerError(f"this step did not hold: {what}")
