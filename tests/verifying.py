"""What tests of the verifier share: an honest ledger and its bundle, and how a report is judged."""

import msgspec

from domain.ledger import bundle
from domain.ledger.report import Report
from domain.ledger.verify import STEPS, verify
from domain.ledger.verify_trust import TrustedKeys
from tests.ledger_builder import CASE, LedgerBuilder, Signer, small_ledger

OWN = bundle.case_stream(CASE)
LEDGER = small_ledger()
KEYS = LEDGER.trusted_keys()
CONTENT = LEDGER.case_bundle()
BY = {"actor": "coordinator-1", "role": "coordinator"}


def judge(content: bundle.Bundle, keys: TrustedKeys | None = KEYS) -> Report:
    """The report on a bundle."""
    return verify(bundle.write(content), keys)


def changed(**fields: object) -> bundle.Bundle:
    """The honest bundle with other parts."""
    return msgspec.structs.replace(CONTENT, **fields)


def fails(report: Report, check: str, index: int | None, words: str) -> None:
    """Holds that a report names this failure first, and judges nothing after it."""
    assert not report.ok
    assert report.failure is not None
    assert (report.failure.check, report.failure.index) == (check, index), report.failure
    assert words in report.failure.message
    names = [name for name, _, _ in STEPS]
    assert [each.ok for each in report.checks][names.index(check) :] == [False] + [None] * (
        len(names) - names.index(check) - 1
    )


def enrolled(ledger: LedgerBuilder, actor: str = "surgeon-1", role: str = "specialist") -> Signer:
    """An actor with an approved key."""
    signer = ledger.request_key(actor, role)
    ledger.approve_key(signer)
    return signer
