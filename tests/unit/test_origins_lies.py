"""Changes of origin that do not hold, by an attacker or by the new log itself: each is found, and named."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.event import encode
from domain.ledger.checkpoint import Checkpoint, sign
from domain.ledger.note import VerifierKey
from tests.ledger_builder import CASE, LedgerBuilder, private_key, public_bytes, small_ledger
from tests.restored_builder import A, B, C, M, Restored, judged, on_log, restored, said_by
from tests.unit.test_succession import Rotating
from tests.verifying import BY, OWN, fails

OTHER = (private_key("mallory checkpoint"), private_key("mallory entry"))


LIES: list[tuple[str, dict[str, Any], str]] = [
    ("keys that are not the old log's", {"endorsers": OTHER}, "not endorsed"),
    ("another size", {"size": M - 1}, "behind the restored entries alone"),
    ("another root", {"root": "00" * 32}, "not those that it was made over"),
    ("another old origin", {"origin": C}, "another log"),
    ("by a person", {"statement": {"role": "administrator"}}, "by the service"),
    (
        "signed by the old log",
        {"statement": {"signatures": lambda raw: (private_key(f"{A} entry").sign(raw),)}},
        "not in place",
    ),
    ("new keys of another name", {"entry_key": str(LedgerBuilder(C).trusted_keys().entries[0])}, "not named"),
    (
        "a key that is not the new log's",
        {"entry_key": str(VerifierKey.make(f"{B}/entries", 1, public_bytes(OTHER[1])))},
        "another key than the new log's",
    ),
    ("endorsed once", {"endorsements": ()}, "2"),
]


def test_entries_of_two_origins_without_the_entry_that_permits_it() -> None:
    """Left out of the bundle, or not disclosed, the old entries are another log's."""
    ledger = restored()
    without = ledger.case_bundle(CASE)
    fails(judged(without, ledger.all_keys()), "entries", 0, "another log")
    sealed = ledger.whole_case(CASE)
    sealed = msgspec.structs.replace(sealed, openings=tuple(each for each in sealed.openings if each.index != M))
    fails(judged(sealed, ledger.all_keys()), "origins", M, "not disclosed")


def test_an_edited_succession_is_found(tmp_path: Path) -> None:
    """Another payload is not the one that was committed to, and the entry's own bytes lead to no root."""
    ledger = restored()
    said = msgspec.structs.replace(said_by(ledger), reason="exercise")
    content = ledger.whole_case(CASE)
    openings = tuple(
        msgspec.structs.replace(each, payload=encode(said)) if each.index == M else each for each in content.openings
    )
    fails(judged(msgspec.structs.replace(content, openings=openings), ledger.all_keys()), "origins", M, "not disclosed")
    opening = ledger.openings[M]
    assert opening is not None
    ledger.openings[M] = msgspec.structs.replace(opening, payload=encode(said))
    report = on_log(ledger, tmp_path, ledger.all_keys())
    assert report.failure is not None
    assert (report.failure.check, report.failure.index) == ("key histories", M)


@pytest.mark.parametrize(("lie", "how", "words"), LIES, ids=[each for each, _, _ in LIES])
def test_a_succession_that_does_not_hold(tmp_path: Path, lie: str, how: dict[str, Any], words: str) -> None:
    """Whoever holds the new log's keys cannot make it say just anything of the old one."""
    ledger = restored(**how)
    report = judged(ledger.whole_case(CASE), ledger.all_keys())
    assert report.failure is not None, lie
    assert report.failure.index == M
    assert words in report.failure.message
    log = on_log(ledger, tmp_path, ledger.all_keys())
    assert log.failure is not None
    assert log.failure.index == M


def test_a_checkpoint_that_the_old_log_never_signed_is_not_cited_as_lost() -> None:
    """A note of the old origin by another key, and one of no more entries than were restored."""
    forged = sign(Checkpoint(A, 99, bytes(32)), private_key("mallory"), 1_800_000_000_000_000).decode()
    ledger = restored(lost=(forged,))
    fails(judged(ledger.whole_case(CASE), ledger.all_keys()), "origins", M, "not signed by the old log")
    honest = LedgerBuilder(A)
    honest.entries = small_ledger().entries[:M]
    ledger = restored(lost=(honest.checkpoint().decode(),))
    fails(judged(ledger.whole_case(CASE), ledger.all_keys()), "origins", M, "nothing is lost")


class Rotated(Restored, Rotating):
    """Its keys were replaced before it was restored."""

    def retire(self) -> tuple[Any, Any]:
        """Both keys are replaced, and some entries follow; the keys of before, of checkpoints and of entries."""
        self.begin()
        retired = self.checkpoint_key, self.entry_key
        self.before = [self.trusted_keys()]
        self.rotate("entry")
        self.rotate("checkpoint")
        for _ in range(3):
            self.append(OWN, "note.made.v1", b"{}", **BY)
        return retired

    def go_on(self, **lies: Any) -> int:
        """Restored without the last entry, and gone on with."""
        first = self.before.pop()
        keys = tuple(map(str, (*first.checkpoint, *first.entries, *self._own())))
        index = self.succeed(len(self.entries) - 1, B, **{"keys": keys, **lies})
        self.append(OWN, "note.made.v1", b"{}", **BY)
        return index

    def _own(self) -> tuple[VerifierKey, ...]:
        keys = self.trusted_keys()
        return *keys.checkpoint, *keys.entries


def test_a_key_that_was_replaced_before_endorses_nothing(tmp_path: Path) -> None:
    """Nor does it sign a checkpoint that is cited as lost: whoever has come by it later speaks for no log."""
    ledger = Rotated(A)
    ledger.retire()
    index = ledger.go_on()
    report = judged(ledger.everything(), ledger.all_keys())
    assert report.ok, report.failure
    for name, words in (("endorsers", "not the old log's"), ("lost", "not signed by the old log")):
        ledger = Rotated(A)
        retired = ledger.retire()
        forged = sign(Checkpoint(A, 99, bytes(32)), retired[0], 1_800_000_000_000_000).decode()
        ledger.go_on(**{"endorsers": {"endorsers": retired}, "lost": {"lost": (forged,)}}[name])
        fails(judged(ledger.everything(), ledger.all_keys()), "origins", index, words)
        log = on_log(ledger, tmp_path / name, ledger.all_keys())
        assert log.failure is not None
        assert (log.failure.check, log.failure.index) == ("origins", index)


def test_somebody_elses_log_does_not_take_the_place_of_ours() -> None:
    """With keys of its own for ours, it passes by its own word alone, and fails as soon as our keys are given."""
    ledger = restored(
        endorsers=OTHER,
        keys=tuple(
            str(VerifierKey.make(name, 1, key.public_key().public_bytes_raw()))
            for name, key in zip((A, f"{A}/entries"), OTHER, strict=True)
        ),
    )
    report = judged(ledger.whole_case(CASE), ledger.all_keys())
    fails(report, "origins", M, "not the old log's")
    fails(judged(ledger.whole_case(CASE), ledger.trusted_keys()), "origins", M, "not signed by the old log")


def test_entries_on_the_wrong_side(tmp_path: Path) -> None:
    """Old origin behind the change, and new origin before it, are of another log."""
    ledger = restored()
    ledger.append(OWN, "note.made.v1", b"{}", **BY, origin=A)
    fails(judged(ledger.whole_case(CASE), ledger.all_keys()), "entries", M + 2, "another log")
    report = on_log(ledger, tmp_path, ledger.all_keys())
    assert report.failure is not None
    assert (report.failure.check, report.failure.index) == ("entries", M + 2)
    ledger = Restored(A)
    ledger.append(OWN, "case.opened.v1", b"{}", **BY, origin=B)
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    ledger.succeed(2, B)
    fails(judged(ledger.whole_case(CASE), ledger.all_keys()), "entries", 0, "another log")


def test_keys_count_on_their_own_side_only() -> None:
    """The old log's key signs nothing behind the change, the new one's nothing before it."""
    ledger = restored()
    ledger.append(OWN, "note.made.v1", b"{}", **BY, signatures=lambda b: (private_key(f"{A} entry").sign(b),))
    fails(judged(ledger.whole_case(CASE), ledger.all_keys()), "ledger signatures", M + 2, "not in place")
    ledger = Restored(A)
    for _ in range(2):
        ledger.append(OWN, "note.made.v1", b"{}", **BY, signatures=lambda b: (private_key(f"{B} entry").sign(b),))
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    ledger.succeed(2, B)
    fails(judged(ledger.whole_case(CASE), ledger.all_keys()), "ledger signatures", 0, "not in place")


def test_a_checkpoint_of_the_new_origin_holds_the_entry_that_says_so() -> None:
    """A tree that ends before it is not the new log's to sign."""
    ledger = restored()
    entries, ledger.entries = ledger.entries, ledger.entries[:M]
    note = ledger.checkpoint()
    ledger.entries = entries
    content = msgspec.structs.replace(ledger.whole_case(CASE), checkpoint=note)
    fails(judged(content, ledger.all_keys()), "checkpoint", None, "no known key")


def test_successions_that_do_not_follow_each_other() -> None:
    """One that takes the place of a log before the last, and a last one that leads to another log, are refused."""
    ledger = restored()
    old = (private_key(f"{A} checkpoint"), private_key(f"{A} entry"))
    keys = tuple(map(str, (*ledger.before[0].checkpoint, *ledger.before[0].entries)))
    ledger.succeed(M + 2, C, origin=A, keys=keys, lost=(ledger.released[0].decode(),), endorsers=old)
    fails(judged(ledger.whole_case(CASE), ledger.all_keys()), "origins", M + 2, "another origin than the one")
    ledger = restored()
    ledger.succeed(M + 2, C)
    content = ledger.whole_case(CASE)
    chosen = [each.index for each in content.proofs if each.index != M + 2]
    cut = ledger.bundle_of(chosen, case=CASE, revision=ledger.heads[OWN][0])
    fails(judged(cut, ledger.all_keys()), "origins", M, "leads to another origin")
