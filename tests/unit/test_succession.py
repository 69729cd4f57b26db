"""The log's own keys, judged by the log: who trusts one pair of them follows their history to every other."""

from typing import Any, Literal

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.errors import ControlCharacter
from domain.event import Event, register
from domain.ledger import bundle, dsse
from domain.ledger.checkpoint import Checkpoint, read_unverified, sign
from domain.ledger.keys import key_id
from domain.ledger.note import ED25519, Note, VerifierKey
from domain.ledger.succession import PROPOSING_ROLE, succession_message
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys
from domain.service_key import PROPOSER, ServiceKeyEnrolled, ServiceKeyProposed, ServiceKeyRotated
from domain.signing_key import KeyRevoked
from tests.ledger_builder import CASE, START, LedgerBuilder, Signer, private_key, public_bytes
from tests.verifying import BY, OWN, enrolled, fails

SERVICE = {"actor": "service", "role": "service"}
ADMINISTRATOR = {"actor": "administrator-1", "role": "administrator"}
OFFICER = {"actor": "officer-1", "role": "compliance"}
OwnPurpose = Literal["entry", "checkpoint"]


class Rotating(LedgerBuilder):
    """A ledger whose own keys have histories; each step may lie by fields of its events or statements."""

    def vkey(self, purpose: str, key: Ed25519PrivateKey) -> str:
        """Verifier key of one of its keys."""
        name = f"{self.origin}/entries" if purpose == "entry" else self.origin
        return str(VerifierKey.make(name, ED25519, public_bytes(key)))

    def key_event(self, key: Ed25519PrivateKey, event: Event, by: dict[str, str]) -> int:
        """One entry in a key's stream."""
        return self.event(bundle.key_stream(key_id(public_bytes(key))), register.of(event).topic, event, **by)

    def begin(self) -> None:
        """The first two keys are enrolled."""
        pairs: list[tuple[OwnPurpose, Ed25519PrivateKey]] = [("entry", self.entry_key)]
        pairs.append(("checkpoint", self.checkpoint_key))
        for purpose, key in pairs:
            name = key_id(public_bytes(key))
            event = ServiceKeyEnrolled(key=name, purpose=purpose, vkey=self.vkey(purpose, key))
            self.key_event(key, event, SERVICE)

    def rotate(
        self,
        purpose: OwnPurpose,
        proposer: dict[str, str] = ADMINISTRATOR,
        approver: dict[str, str] = OFFICER,
        **lies: Any,
    ) -> int:
        """Another key takes over; the index of the old one's last entry. `lies` replace fields of the two ends."""
        old = self.entry_key if purpose == "entry" else self.checkpoint_key
        new = private_key(f"{purpose} {len(self.entries)}")
        before, after = key_id(public_bytes(old)), key_id(public_bytes(new))
        vkey = self.vkey(purpose, new)
        message = succession_message(self.origin, purpose, before, vkey)
        proposed = ServiceKeyProposed(
            key=after, purpose=purpose, vkey=vkey, replaces=before, possession=new.sign(message).hex()
        )
        rotated = ServiceKeyRotated(key=before, purpose=purpose, successor=after, endorsement=old.sign(message).hex())
        for name, value in lies.items():
            if hasattr(proposed, name):
                proposed = msgspec.structs.replace(proposed, **{name: value})
            else:
                rotated = msgspec.structs.replace(rotated, **{name: value})
        self.key_event(new, proposed, proposer)
        self.key_event(new, ServiceKeyEnrolled(key=after, purpose=purpose, vkey=vkey), approver)
        last = self.key_event(old, rotated, approver)
        if purpose == "entry":
            self.entry_key = new
        else:
            self.checkpoint_key = new
        return last

    def everything(self) -> bundle.Bundle:
        """The bundle of the case, with every stream that there is."""
        return self.bundle_of(list(range(len(self.entries))), case=CASE, revision=self.heads[OWN][0])


def rotated_twice() -> tuple[Rotating, list[TrustedKeys]]:
    """A ledger whose keys were each replaced twice, entries between; and the pairs, first to last."""
    ledger = Rotating()
    ledger.begin()
    pairs = [ledger.trusted_keys()]
    for _ in range(2):
        ledger.append(OWN, "note.made.v1", b"{}", **BY)
        ledger.rotate("entry")
        ledger.append(OWN, "note.made.v1", b"{}", **BY)
        ledger.rotate("checkpoint")
        pairs.append(ledger.trusted_keys())
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    return ledger, pairs


def judged(content: bundle.Bundle, keys: TrustedKeys | None) -> Any:
    """The report."""
    return verify(bundle.write(content), keys)


@pytest.mark.parametrize("pair", [0, 1, 2])
def test_any_pair_of_keys_verifies_the_whole(pair: int) -> None:
    """The first pair leads forwards to the last, the last backwards to the first."""
    ledger, pairs = rotated_twice()
    report = judged(ledger.everything(), pairs[pair])
    assert report.ok, report.failure
    assert report.trust == "given keys"
    counts = {check.name: check.count for check in report.checks}
    assert (counts["ledger signatures"], counts["signing keys"], counts["checkpoint"]) == (len(ledger.entries), 6, 2)


def test_without_keys_the_histories_are_still_held_against_each_other() -> None:
    """A succession that either key did not sign is found with no key given."""
    ledger, _ = rotated_twice()
    assert judged(ledger.everything(), None).ok
    ledger = Rotating()
    ledger.begin()
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    last = ledger.rotate("entry", endorsement="0" * 128)
    fails(judged(ledger.everything(), None), "signing keys", last, "")


def test_a_key_that_leads_nowhere_is_not_enough() -> None:
    """Without their histories the later keys are strangers' keys."""
    ledger, pairs = rotated_twice()
    chosen = [at for at, each in enumerate(ledger.statements) if each.stream == OWN]
    report = judged(ledger.bundle_of(chosen, case=CASE, revision=5), pairs[0])
    fails(report, "checkpoint", None, "no known key")


def test_a_key_that_was_replaced_signs_no_later_entry() -> None:
    """An entry signed again by the key before fails, wherever the verifier's trust begins."""
    for pair in (0, 1, 2):
        ledger, pairs = rotated_twice()
        old = private_key(f"{ledger.origin} entry")
        ledger.append(OWN, "note.made.v1", b"{}", signatures=lambda raw, old=old: (old.sign(raw),), **BY)
        at = len(ledger.entries) - 1
        fails(judged(ledger.everything(), pairs[pair]), "ledger signatures", at, "not in place, or not any more")


def test_a_key_signs_no_entry_before_it_took_over() -> None:
    """The next key's signature below its own enrolment fails."""
    ledger = Rotating()
    ledger.begin()
    first = ledger.trusted_keys()
    new = private_key("entry 3")
    ledger.append(OWN, "note.made.v1", b"{}", signatures=lambda raw: (new.sign(raw),), **BY)
    ledger.rotate("entry")
    fails(judged(ledger.everything(), first), "ledger signatures", 2, "not in place")


def test_a_checkpoint_of_a_key_that_was_replaced_fails() -> None:
    """But for the handover, which both keys sign: who trusts the old one alone steps over by that."""
    ledger = Rotating()
    ledger.begin()
    first, old = ledger.trusted_keys(), ledger.checkpoint_key
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    last = ledger.rotate("checkpoint")
    handover = read_unverified(ledger.checkpoint())
    assert handover.size == last + 1
    notes = [Note.parse(sign(handover, key, START)) for key in (ledger.checkpoint_key, old)]
    both = Note(notes[0].text, tuple(line for each in notes for line in each.signatures)).render()
    for note, verified in ((both, 4), (notes[0].render(), 2), (notes[1].render(), 2)):
        report = judged(msgspec.structs.replace(ledger.everything(), checkpoint=note), first)
        assert (report.ok, report.checks[1].count) == (True, verified)
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    later = read_unverified(ledger.checkpoint())
    content = msgspec.structs.replace(ledger.everything(), checkpoint=sign(later, old, START))
    fails(judged(content, first), "checkpoint", None, "no known key")
    assert judged(ledger.everything(), first).ok


def test_a_later_checkpoint_key_signs_no_earlier_tree() -> None:
    """A tree from before the handover is the old key's."""
    ledger = Rotating()
    ledger.begin()
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    early = Checkpoint(ledger.origin, 3, read_unverified(ledger.checkpoint()).root)
    ledger.rotate("checkpoint")
    content = msgspec.structs.replace(ledger.everything(), checkpoint=sign(early, ledger.checkpoint_key, START))
    fails(judged(content, ledger.trusted_keys()), "checkpoint", None, "no known key")


LIES: list[tuple[dict[str, Any], str]] = [
    ({"endorsement": "0" * 128}, ""),
    ({"possession": "0" * 128}, ""),
    ({"successor": "a" * 32}, "missing"),
    ({"replaces": "a" * 32}, ""),
    ({"proposer": OFFICER}, "proposed by an administrator"),
    ({"proposer": ADMINISTRATOR, "approver": ADMINISTRATOR}, "another person"),
    ({"approver": {"actor": "coordinator-1", "role": "coordinator"}}, "was not"),
    ({"replaces": None}, "takes another's place"),
    ({"vkey": "ledger.example/other+00000000+AA=="}, "contradicts"),
]


@pytest.mark.parametrize("purpose", ["entry", "checkpoint"])
@pytest.mark.parametrize(("lies", "words"), LIES)
def test_a_succession_that_is_not_whole_is_refused(purpose: OwnPurpose, lies: dict[str, Any], words: str) -> None:
    """Two people, two signatures, two streams that name each other; whoever trusts either key sees what is missing."""
    for trusted in (0, 1):
        ledger = Rotating()
        ledger.begin()
        ledger.append(OWN, "note.made.v1", b"{}", **BY)
        pairs = [ledger.trusted_keys()]
        ledger.rotate(purpose, **lies)
        ledger.append(OWN, "note.made.v1", b"{}", **BY)
        pairs.append(ledger.trusted_keys())
        report = judged(ledger.everything(), pairs[trusted])
        assert report.failure is not None
        assert report.failure.check in ("checkpoint", "ledger signatures")
        assert report.failure.index is not None
        # Whoever trusts the later key may meet an entry of a key that is a stranger's to them before that.
        assert trusted or words in report.failure.message, report.failure


def test_the_key_of_entries_cannot_replace_that_of_checkpoints() -> None:
    """Who holds only the entry key can write any entry, and still names no new checkpoint key."""
    ledger = Rotating()
    ledger.begin()
    first, thief = ledger.trusted_keys(), ledger.entry_key
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    mine = private_key(f"checkpoint {len(ledger.entries)}")
    old = key_id(public_bytes(ledger.checkpoint_key))
    message = succession_message(ledger.origin, "checkpoint", old, ledger.vkey("checkpoint", mine))
    ledger.rotate("checkpoint", endorsement=thief.sign(message).hex())
    assert not judged(ledger.everything(), first).ok


def test_altered_or_withheld_history_is_found() -> None:
    """A payload, an envelope or an opening of a key's history that is not the log's makes the bundle fail."""
    ledger, pairs = rotated_twice()
    content = ledger.everything()
    history = [at for at, each in enumerate(ledger.statements) if each.stream.startswith("key-")]
    for at in history:
        openings = tuple(each for each in content.openings if each.index != at)
        assert not judged(msgspec.structs.replace(content, openings=openings), pairs[0]).ok, at
        openings = tuple(
            msgspec.structs.replace(each, payload=each.payload.replace(b'"purpose"', b'"Purpose"'))
            if each.index == at
            else each
            for each in content.openings
        )
        assert not judged(msgspec.structs.replace(content, openings=openings), pairs[0]).ok, at
        without = [each for each in range(len(ledger.entries)) if each != at]
        gone = ledger.bundle_of(without, case=CASE, revision=5)
        assert not judged(gone, pairs[0]).ok, at
        raw = bytearray(content.entries[at])
        raw[40] ^= 1
        entries = (*content.entries[:at], bytes(raw), *content.entries[at + 1 :])
        assert not judged(msgspec.structs.replace(content, entries=entries), pairs[0]).ok, at


def test_an_unknown_end_of_a_key_is_refused() -> None:
    """It might be a revocation."""
    ledger = Rotating()
    ledger.begin()
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    stream = bundle.key_stream(key_id(public_bytes(ledger.entry_key)))
    ledger.append(stream, "ledger.key_suspended.v1", b"{}", **OFFICER)
    fails(judged(ledger.everything(), ledger.trusted_keys()), "ledger signatures", 3, "in that order")


def test_entries_of_a_doubtful_time_are_reported() -> None:
    """What the ledger's key signed while others may have held it is named, and holds."""
    ledger = Rotating()
    ledger.begin()
    first, old = ledger.trusted_keys(), ledger.entry_key
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    since = ledger.statements[2].recorded_at
    ledger.rotate("entry")
    revoked = KeyRevoked(key=key_id(public_bytes(old)), reason="compromised", compromised_since=since)
    ledger.key_event(old, revoked, OFFICER)
    ledger.append(OWN, "note.made.v1", b"{}", **BY)
    report = judged(ledger.everything(), first)
    assert report.ok, report.failure
    assert [(each.index, each.signature) for each in report.suspects] == [(at, "ledger") for at in range(2, 6)]


def test_actors_keys_and_the_logs_keys_stand_side_by_side() -> None:
    """An opinion signed under the second entry key verifies with the first pair."""
    ledger = Rotating()
    ledger.begin()
    first = ledger.trusted_keys()
    surgeon = enrolled(ledger)
    ledger.rotate("entry")
    ledger.sign_opinion(surgeon)
    report = judged(ledger.everything(), first)
    assert report.ok, report.failure
    assert report.checks[-1].count == 1


def test_a_service_keys_signature_is_not_an_actors() -> None:
    """A service key's stream is no history of an actor's key."""
    ledger = Rotating()
    ledger.begin()
    name = key_id(public_bytes(ledger.entry_key))
    ledger.sign_opinion(Signer("surgeon-1", "specialist", ledger.entry_key, name))
    fails(judged(ledger.everything(), ledger.trusted_keys()), "signing keys", 0, "history is not")


def test_the_roles_are_the_domains() -> None:
    """The verifier's own table of who proposes keys equals the one that the service decides by."""
    assert PROPOSING_ROLE == PROPOSER


def test_the_succession_message_is_fixed_bytes() -> None:
    """Prefix, origin, purpose, old key, new key, one a line; a field that holds a line break is refused."""
    assert succession_message("ledger.example/a", "entry", "0" * 32, "ledger.example/a/entries+1+2") == (
        b"caseledger/key-succession/v1\nledger.example/a\nentry\n" + b"0" * 32 + b"\nledger.example/a/entries+1+2\n"
    )
    with pytest.raises(ControlCharacter):
        succession_message("a\nentry", "entry", "", "")
    assert not succession_message("a", "entry", "", "").startswith(dsse.pre_authentication_encoding(b"")[:6])
