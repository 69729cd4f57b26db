"""The imaging check of a case: runs by itself on everything that has arrived, and puts its verdict on record."""

import hashlib
from datetime import date, timedelta

import msgspec

from application.accesses import Accesses
from application.cases import Cases, LoadedCase
from application.ledger.store import Ledger
from application.ledger.streams import LoggedEvent
from application.outcome import Outcome
from application.records.blob_keys import BlobKeys
from application.records.intake import read_manifest
from application.records.media import DICOM
from application.records.requirements import requirement
from application.records.vault import Vault
from application.request import Request
from domain.case.actor import SERVICE, is_coordinator
from domain.case.calendar import utc_day
from domain.case.commands import RecordImagingCheck
from domain.case.events import CaseOpened, RepeatAdvice
from domain.case.state import Record, newest
from domain.errors import AlreadyDone, Conflict, Refused, SubjectErased, WrongRole
from domain.event import Erased, Event
from domain.imaging.check import check, encode
from domain.imaging.findings import CODES, Finding, Report, amount
from domain.imaging.model import Instance, PatientIdentity
from domain.imaging.requirement import Requirement
from domain.patient import PatientRegistered
from domain.records import FileEntry

CHECKER_VERSION = 3
"""Goes up whenever the same files could get another report."""
REPORT_BYTES = 64 * 1024 * 1024
MOST_ADVICE = 50
_TRIES = 5
"""How often a check is made when the case moves while it is made; each time on the case as it then stands."""


class ImagingChecks:
    """Checks a case's imaging from the header facts that were read when it came in; no file is read again."""

    def __init__(self, ledger: Ledger, cases: Cases, accesses: Accesses, vault: Vault, blob_keys: BlobKeys) -> None:
        self._ledger = ledger
        self._cases = cases
        self._accesses = accesses
        self._vault = vault
        self._blob_keys = blob_keys

    def ask(self, request: Request, case: str) -> Outcome:
        """Check because somebody asks for it: the case's coordinator, or a technician.

        Raises:
            WrongRole: somebody else asks.
            StaleRevision: the case has moved since the caller saw it.
            AlreadyDone: every imaging record has been checked, and is no older than the verdict allows for.
            And what `run` raises.
        """
        if (earlier := self._cases.earlier(request)) is not None:
            return earlier
        loaded = self._cases.load(case)
        state, actor = loaded.state, request.actor()
        if actor.role != "technician" and not is_coordinator(state, actor):
            raise WrongRole("the assigned coordinator or a technician asks for an imaging check")
        stale = state.imaging is not None and state.imaging.stale(utc_day(request.now))
        if not state.unchecked_imaging() and not (stale and state.usable_imaging()):
            raise AlreadyDone("every imaging record has been checked")
        return self._checked(request, loaded)

    def run(self, request: Request, case: str) -> Outcome | None:
        """Check all usable imaging of a case, as the service; None where nothing is unchecked.

        Whoever runs it, however often and at once: one verdict comes of it, since a check that the case has outrun
        is made again, and then finds nothing unchecked.

        Raises:
            CaseNotFound, BlobAltered, and whatever the decision refuses with.
            StaleRevision: the case kept moving.
        """
        request = msgspec.structs.replace(request, expected=None, idempotency=None)
        for left in reversed(range(_TRIES)):
            loaded = self._cases.load(case)
            if not loaded.state.unchecked_imaging():
                return None
            try:
                return self._checked(request, loaded)
            except (Conflict, Refused, SubjectErased):
                # More imaging, an erasure: what was refused was a check of the case as it no longer stands.
                if not left or self._cases.load(case).revision == loaded.revision:
                    raise
        return None

    def report(self, request: Request, case: str) -> bytes:
        """The newest check's report, canonical JSON; the read is on record first.

        Raises:
            CaseNotFound, NotFound, SubjectErased, BlobAltered; WrongRole, MissingConsent, WrongPhase: refused, and
            recorded.
        """
        imaging = self._accesses.read(request, case, "imaging_report").case.state.imaging
        if imaging is None or imaging.report_in is None:
            raise SubjectErased
        identity = self._blob_keys.of(imaging.report_in)
        return self._vault.read_bytes(imaging.report_in, identity, imaging.report_sha256, limit=REPORT_BYTES)

    def _checked(self, request: Request, loaded: LoadedCase) -> Outcome:
        """The report is stored as a blob of the newest record that it is about, before the event that names it.

        The case has to be still where it was loaded: of two checks at once, only one is on record.
        """
        case, state = loaded.case, loaded.state
        records = state.usable_imaging()
        asked = requirement(state.imaging_site or "any")
        on = date.fromisoformat(utc_day(request.now))
        patient = self._patient(case)
        report = check(self._instances(records, patient), asked, on, patient)
        holder = newest(records).record
        blob = self._vault.put(holder, self._blob_keys.of(holder), [encode(report)])
        command = RecordImagingCheck(
            records=tuple(each.record for each in records),
            verdict=report.verdict,
            findings=tuple(code.lower() for code in report.codes()),
            report_sha256=blob.sha256,
            requirement=asked.site,
            requirement_version=asked.version,
            checker_version=CHECKER_VERSION,
            valid_until=valid_until(report, asked),
            advice=advice(report),
        )
        expected = loaded.revision if request.expected is None else request.expected
        service = msgspec.structs.replace(request, id=SERVICE.id, role=SERVICE.role, expected=expected)
        return self._cases.act(service, case, lambda state: command)

    def _instances(self, records: tuple[Record, ...], patient: PatientIdentity | None) -> list[Instance]:
        instances: list[Instance] = []
        for record in records:
            identity = self._blob_keys.of(record.record)
            manifest = read_manifest(self._vault, record.record, identity, record.manifest_sha256)
            # Of a released record a person has said whose it is; what its headers say about that counts no more.
            confirmed = (patient or PatientIdentity()) if record.released else None
            instances.extend(_instance(file, confirmed) for file in manifest.files)
        return instances

    def _patient(self, case: str) -> PatientIdentity | None:
        """Who the case's patient is, as image headers are compared with it; None where that was erased."""
        opened = self._first(f"case-{case}")
        registered = self._first(opened.patient) if isinstance(opened, CaseOpened) else None
        return identity_of(registered) if isinstance(registered, PatientRegistered) else None

    def _first(self, stream: str) -> Event | Erased | None:
        logged: LoggedEvent | None = next(self._ledger.events.get(stream, lte=1), None)
        return None if logged is None else logged.event


def identity_of(patient: PatientRegistered) -> PatientIdentity:
    """A registered patient as a header would say it. The order of a name's words does not count in comparing."""
    birth_date = patient.born_on.replace("-", "")
    digest = hashlib.sha256(f"{patient.name}\0{birth_date}".encode()).hexdigest()
    return PatientIdentity(name=patient.name, birth_date=birth_date, digest=digest)


def valid_until(report: Report, asked: Requirement) -> str | None:
    """Last day on which the age of the images leads to no worse verdict than on the day of the report.

    The oldest stack that the verdict rests on decides. None where no limit is still ahead.
    """
    used = next((each for each in asked.one_of if each.site == report.site), asked)
    days = [date.fromisoformat(row.date) for row in report.series if row.used_for and row.date]
    on = date.fromisoformat(report.on)
    limits = [limit.value for limit in (used.age_limited_above, used.age_inadequate_above) if limit is not None]
    ahead = [min(days) + timedelta(days=int(limit)) for limit in limits] if days and min(days) <= on else []
    return min((day.isoformat() for day in ahead if day >= on), default=None)


def advice(report: Report) -> tuple[RepeatAdvice, ...]:
    """What to acquire or send again, finding by finding: all that stands between these images and an opinion."""
    wanted = [each for each in report.findings if each.severity != "note"]
    return tuple(
        RepeatAdvice(finding=each.code.lower(), what=each.message, why=_why(each)) for each in wanted[:MOST_ADVICE]
    )


def _why(finding: Finding) -> str:
    """What the finding means, with what was measured and where the limit comes from."""
    measured = f": {amount(finding.value, finding.unit)}" if finding.value else ""
    source = f", {finding.source}" if finding.source else ""
    limit = f" (limit {amount(finding.limit, finding.unit)}{source})" if finding.limit else ""
    return f"{CODES.get(finding.code, finding.code)}{measured}{limit}"


def _instance(file: FileEntry, confirmed: PatientIdentity | None) -> Instance:
    header = file.header
    problem = "" if header is not None else "unreadable-dicom" if file.media_type == DICOM else "not-dicom"
    if header is not None and confirmed is not None:
        header = msgspec.structs.replace(header, patient=confirmed)
    return Instance(
        name=file.name, sha256=file.sha256, size=file.bytes, header=header, problem=problem, reason=file.reason or ""
    )
