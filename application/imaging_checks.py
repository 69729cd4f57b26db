"""The imaging check of a case: runs by itself on everything that has arrived, and puts its verdict on record."""

from datetime import date

import msgspec

from application.cases import Cases
from application.outcome import Outcome
from application.records.blob_keys import BlobKeys
from application.records.intake import read_manifest
from application.records.requirements import requirement
from application.records.vault import Vault
from application.request import Request
from domain.case.actor import SERVICE, is_coordinator
from domain.case.calendar import utc_day
from domain.case.commands import RecordImagingCheck
from domain.case.state import CaseState, Record
from domain.errors import AlreadyDone, WrongRole
from domain.imaging.check import check, encode
from domain.imaging.findings import Report
from domain.imaging.model import Instance
from domain.records import FileEntry

CHECKER_VERSION = 1
"""Goes up whenever the same files could get another report."""


class ImagingChecks:
    """Checks a case's imaging from the header facts that were read when it came in; no file is read again."""

    def __init__(self, cases: Cases, vault: Vault, blob_keys: BlobKeys) -> None:
        self._cases = cases
        self._vault = vault
        self._blob_keys = blob_keys

    def ask(self, request: Request, case: str) -> Outcome:
        """Check because somebody asks for it: the case's coordinator, or a technician.

        Raises:
            WrongRole: somebody else asks.
            StaleRevision: the case has moved since the caller saw it.
            AlreadyDone: every imaging record has been checked.
            And what `run` raises.
        """
        if (earlier := self._cases.earlier(request)) is not None:
            return earlier
        loaded = self._cases.load(case)
        actor = request.actor()
        if actor.role != "technician" and not is_coordinator(loaded.state, actor):
            raise WrongRole("the assigned coordinator or a technician asks for an imaging check")
        outcome = self._run(request, case)
        if outcome is None:
            raise AlreadyDone("every imaging record has been checked")
        return outcome

    def run(self, request: Request, case: str) -> Outcome | None:
        """Check all usable imaging of a case, as the service; None where nothing is unchecked.

        The report is stored as a blob of the newest record that it is about, before the event that names it.

        Raises:
            CaseNotFound, BlobAltered, and whatever the decision refuses with.
        """
        return self._run(msgspec.structs.replace(request, expected=None, idempotency=None), case)

    def _run(self, request: Request, case: str) -> Outcome | None:
        loaded = self._cases.load(case)
        if not loaded.state.unchecked_imaging():
            return None
        records = loaded.state.usable_imaging()
        report = self._report(loaded.state, records, date.fromisoformat(utc_day(request.now)))
        newest = max(records, key=lambda each: each.received_index)
        blob = self._vault.put(newest.record, self._blob_keys.of(newest.record), [encode(report)])
        service = msgspec.structs.replace(request, id=SERVICE.id, role=SERVICE.role)
        command = RecordImagingCheck(
            records=tuple(each.record for each in records),
            verdict=report.verdict,
            findings=tuple(code.lower() for code in report.codes()),
            report_sha256=blob.sha256,
            requirement=report.site,
            requirement_version=report.requirement,
            checker_version=CHECKER_VERSION,
        )
        return self._cases.act(service, case, lambda state: command)

    def _report(self, state: CaseState, records: tuple[Record, ...], on: date) -> Report:
        instances: list[Instance] = []
        for record in records:
            identity = self._blob_keys.of(record.record)
            manifest = read_manifest(self._vault, record.record, identity, record.manifest_sha256)
            instances.extend(_instance(file) for file in manifest.files)
        return check(instances, requirement(state.imaging_site or "any"), on, None)


def _instance(file: FileEntry) -> Instance:
    return Instance(
        name=file.name,
        sha256=file.sha256,
        size=file.bytes,
        header=file.header,
        problem="" if file.header is not None else "unreadable-dicom",
        reason=file.reason or "",
    )
