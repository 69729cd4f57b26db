"""What a bundle says of payloads that are not there: erased, missing, or simply not shown."""

import msgspec

from domain.case.events import ContentErased
from domain.event import encode
from domain.ledger import bundle, erasure
from domain.ledger.bundle import Bundle
from tests.ledger_builder import CASE, LedgerBuilder, small_ledger
from tests.verifying import BY, OWN, judge

SUBJECT = f"case:{CASE}"


def erased_ledger(subject: str = SUBJECT) -> tuple[LedgerBuilder, int]:
    """The small ledger, and the entry that says that a subject of its case was erased."""
    ledger = small_ledger()
    event = ContentErased(request="privacy-1", scope="case", subject=subject)
    about = {"actor": "administrator-1", "role": "administrator", "subject": f"accountability:{CASE}"}
    return ledger, ledger.append(OWN, erasure.KIND, encode(event), object=subject, **about)


def without(content: Bundle, *indexes: int) -> Bundle:
    """A bundle without some openings."""
    return msgspec.structs.replace(
        content, openings=tuple(each for each in content.openings if each.index not in indexes)
    )


def test_what_was_erased_is_said_and_is_no_hole() -> None:
    """The proofs of an erased case hold, and each payload that is gone is accounted for by a later entry."""
    ledger, index = erased_ledger()
    report = judge(without(ledger.case_bundle(), 1, 4, 5, 7, 8))
    assert report.ok
    assert (report.erased, report.holes) == ((1, 4, 5, 7, 8), ())
    assert any(each.startswith("5 payloads were erased") for each in report.statements)
    assert index == 11


def test_what_is_missing_without_an_erasure_is_a_hole() -> None:
    """Among payloads that are disclosed, one that is not is named; so is one whose erasure is of another subject."""
    report = judge(without(small_ledger().case_bundle(), 4))
    assert (report.ok, report.erased, report.holes) == (True, (), (4,))
    assert any("no erasure accounts for them: entries 4" in each for each in report.statements)
    ledger, _ = erased_ledger("record:0199aaaa-0000-7000-8000-00000000000f")
    report = judge(without(ledger.case_bundle(), 4, 5))
    assert (report.erased, report.holes) == ((), (4, 5))


def test_an_erasure_accounts_for_what_came_before_it() -> None:
    """A payload that is missing from an entry behind the erasure is a hole."""
    ledger, _ = erased_ledger()
    later = ledger.append(OWN, "case.reopened.v1", b"{}", **BY)
    report = judge(without(ledger.case_bundle(), 1, 4, 5, 7, 8, later))
    assert (report.erased, report.holes) == ((1, 4, 5, 7, 8), (later,))


def test_a_bundle_without_content_has_no_holes() -> None:
    """Its exporter may have been somebody who sees none; what was erased is told even so."""
    report = judge(small_ledger().case_bundle(disclose=lambda index: False))
    assert (report.ok, report.erased, report.holes) == (True, (), ())
    ledger, index = erased_ledger()
    report = judge(ledger.case_bundle(disclose=lambda index: False))
    assert (report.erased, report.holes) == ((1, 4, 5, 7, 8), ())
    assert judge(bundle.read(bundle.write(ledger.case_bundle(disclose=lambda each: each != index)))).holes == (index,)


def test_an_entry_that_commits_to_nothing_misses_nothing() -> None:
    """It was made after its subject was gone."""
    ledger, _ = erased_ledger()
    ledger.append(OWN, "access.recorded.v1", None, **BY)
    entries = list(enumerate(ledger.statements))
    assert erasure.erasures(entries) == {SUBJECT: 11}
    assert erasure.holes(entries, [1, 12]) == ()
