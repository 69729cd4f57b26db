"""What decisions, and the rule of who may read what, need to know of a case; folded from its events."""

from collections.abc import Sequence

import msgspec

from domain.case.events import (
    ChecklistItem,
    ConsentKind,
    Coverage,
    Phase,
    Recipient,
    RecordKind,
    Verdict,
)
from domain.values import Organ, Resectability


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """One consent; it holds from `valid_from` until, and not at, `ends_at` (microseconds UTC)."""

    consent: str
    kind: ConsentKind
    recipient: Recipient | None
    covers: Coverage
    valid_from: int
    ends_at: int | None
    """The earlier of its own end and that of the representative's authority."""
    ended: bool = False
    """Withdrawn, or superseded by another."""

    def active(self, now: int) -> bool:
        """Say whether it holds at that instant."""
        return not self.ended and self.valid_from <= now and (self.ends_at is None or now < self.ends_at)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record: its manifest pins every byte."""

    record: str
    kind: RecordKind
    manifest_sha256: str
    uploader: str
    """Who acted, as the log names them."""
    received_index: int
    """The how-manieth record of the case, from 0."""
    bytes: int = 0
    files: int = 0
    quarantined: bool = False
    released: bool = False
    """A person took it out of quarantine, and so answers for whose it is."""


def newest(records: Sequence[Record]) -> Record:
    """The one that came in last."""
    return max(records, key=lambda each: each.received_index)


class Imaging(msgspec.Struct, frozen=True, kw_only=True):
    """The latest imaging check: what it looked at, what it found, and the limits that a person accepted."""

    verdict: Verdict
    records: tuple[str, ...]
    report_sha256: str
    report_in: str | None
    """The record under whose key the report is: the newest that it is about; None where that was erased."""
    valid_until: str | None = None
    """Last UTC day on which the verdict holds as far as age goes; None where age does not matter any more."""
    accepted_limits: tuple[str, ...] = ()

    def stale(self, today: str) -> bool:
        """Say whether the images have grown older since than the verdict allows for."""
        return self.valid_until is not None and today > self.valid_until

    def suffices(self) -> bool:
        """Say whether a case may be reviewed on it: adequate, or limited and accepted."""
        return self.verdict == "adequate" or (self.verdict == "limited" and bool(self.accepted_limits))


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """The time to result. Days are UTC, instants microseconds."""

    started_at: int
    running_since: str | None
    """Day from which business days are counted; None while the clock is paused."""
    ran: tuple[tuple[str, str], ...] = ()
    """Earlier stretches, from the day it ran to the day it was paused."""
    due_from: str
    due_by: str
    stopped_at: int | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The specialist to whom the case was routed."""

    specialist: str
    actor: str
    country: str


class SignedOpinion(msgspec.Struct, frozen=True, kw_only=True):
    """An opinion that exists; what it says is read from the log."""

    opinion: str
    version: int
    delivered: bool = False


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One opinion version, for one recipient, under one consent."""

    share: str
    opinion: str
    version: int
    consent: str
    recipient: Recipient


class CaseState(msgspec.Struct, frozen=True, kw_only=True):
    """A case as it stands. The mappings are keyed by id, in order of arrival, and are never changed in place."""

    phase: Phase = "intake"
    round: int = 1
    patient_account: str | None = None
    """None where the opening was erased: nobody acts on such a case."""
    patient_actor: str | None = None
    organ: Organ = "other"
    original_verdict: Resectability | None = None
    disclaimer: bool = False
    coordinator: str | None = None
    consents: dict[str, Consent] = {}
    checklist: tuple[ChecklistItem, ...] = ()
    imaging_site: str | None = None
    records: dict[str, Record] = {}
    imaging: Imaging | None = None
    declared: tuple[str, ...] = ()
    """Records that were there when they were declared complete; whatever came later is newer material."""
    clock: Clock | None = None
    assignment: Assignment | None = None
    opinions: dict[str, SignedOpinion] = {}
    shares: dict[str, Share] = {}
    gone: tuple[str, ...] = ()
    """Topics of the events whose payloads were erased, in order."""

    def usable(self) -> tuple[Record, ...]:
        """Records that are not quarantined."""
        return tuple(each for each in self.records.values() if not each.quarantined)

    def usable_imaging(self) -> tuple[Record, ...]:
        """Imaging records that are not quarantined."""
        return tuple(each for each in self.usable() if each.kind == "imaging")

    def unchecked_imaging(self) -> tuple[Record, ...]:
        """Imaging that the latest check did not look at."""
        seen = self.imaging.records if self.imaging else ()
        return tuple(each for each in self.usable_imaging() if each.record not in seen)
