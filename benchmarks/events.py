"""What is written in benchmarks: small events in streams, as a coordinator's action gives them."""

from uuid import uuid4

import msgspec

from application.ledger.bulk import Bulk, Import
from application.ledger.entries import Appended
from application.ledger.store import Ledger
from application.ledger.streams import Act, NewEvent
from benchmarks.ground import Opened
from domain.case.events import CaseOpened, CoordinatorAssigned

ACT = Act(
    actor="coordinator-1",
    role="coordinator",
    purpose="TREAT",
    cause="0199c0de-0000-7000-8000-000000000002",
    recorded_at=1_700_000_000_000_000,
)
_LENGTH = 20
SUBJECT = "case:0199c0de-0000-7000-8000-000000000001"


def new_case() -> str:
    """Id of a case that nothing was written to."""
    return str(uuid4())


def new_event(case: str, rev: int, subject: str = SUBJECT) -> NewEvent:
    """A small event at its place in a case's stream."""
    return NewEvent(
        originator_id=f"case-{case}",
        originator_version=rev,
        event=CoordinatorAssigned(coordinator="coordinator-1"),
        case=case,
        subject=subject,
    )


def fill(ledger: Ledger, case: str, events: int) -> None:
    """Append so many events to a new case, each in an append of its own, each answered with a receipt."""
    heads: dict[str, str] = {}
    for rev in range(1, events + 1):
        (recorded,) = ledger.append([new_event(case, rev)], ACT, heads=heads)
        heads = {f"case-{case}": recorded.receipt.leaf}


def populate(opened: Opened, entries: int) -> None:
    """Cases of 20 events each, until the log has grown by that many entries."""
    with bulk_of(opened) as bulk:
        assert all(isinstance(each, Appended) for each in bulk.append(imports(opened, entries)))


def bulk_of(opened: Opened) -> Bulk:
    """The bulk path of an open ledger."""
    service = opened.service
    return Bulk(opened.service_url, service.keys.origin, service.checkpoints, service.keyring)


def imports(opened: Opened, events: int) -> list[Import]:
    """So many events, in new cases of 20 each; each case has its own key, which is made here."""
    sizes = [min(_LENGTH, events - at) for at in range(0, events, _LENGTH)]
    cases = [new_case() for _ in sizes]
    opened.service.keyring.create(*(f"case:{case}" for case in cases))
    return [
        Import(events=tuple(case_events(case, size, f"case:{case}")), act=ACT)
        for case, size in zip(cases, sizes, strict=True)
    ]


def case_events(case: str, length: int, subject: str = SUBJECT) -> list[NewEvent]:
    """A case that is opened, and then changes hands."""
    opening = CaseOpened(
        patient="patient-0199c0de-0000-7000-8000-000000000003",
        patient_account="account-1",
        patient_actor="0199c0de00007000800000000004",
        reason="told_unresectable",
        diagnosis="Colorectal liver metastases",
        organ="liver",
        home_country="GB",
    )
    first = msgspec.structs.replace(new_event(case, 1, subject), event=opening)
    return [first, *(new_event(case, rev, subject) for rev in range(2, length + 1))]
