"""Keys by log, on a real database: enrolled, replaced and revoked by entries, and every signature judged by those."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from application.ledger import keyfiles
from application.ledger.bulk import Bulk, Import
from application.ledger.entries import Appended
from application.ledger.key_rotation import make_next
from application.ledger.keyfiles import raw_public
from application.ledger.store import Ledger
from application.ledger.streams import NewEvent
from application.opinions import Submission
from application.outcome import Outcome
from application.service import Service
from caseledger import cli, signing
from domain.case import commands as c
from domain.case import events as e
from domain.errors import (
    AlreadyDone,
    BadPublicKey,
    EntryAltered,
    GuardBroken,
    KeyNotFound,
    MalformedBody,
    Misconfigured,
    MissingPart,
    WrongKey,
    WrongRole,
)
from domain.ledger import bundle, dsse
from domain.ledger.checkpoint import open_checkpoint, verifier_keys
from domain.ledger.keys import key_id
from domain.ledger.note import COSIGNATURE_V1, VerifierKey
from domain.ledger.report import Report
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys, render_trusted_keys
from tests import independent_verifier
from tests.conftest import Database
from tests.service_fixture import (
    ADMINISTRATOR,
    COMPLIANCE,
    CONTENT,
    COORDINATOR,
    CT,
    PATIENT,
    SURGEON,
    Walk,
    open_service,
    request,
)


@contextmanager
def begun(database: Database, data: Path) -> Iterator[Service]:
    """A process of the service, whose ledger has begun."""
    with open_service(database, data) as service:
        service.service_keys.begin(request(*COMPLIANCE).now)
        yield service


@pytest.fixture
def service(database: Database, tmp_path: Path) -> Iterator[Service]:
    """A ledger that has begun."""
    with begun(database, tmp_path / "data") as service:
        yield service


@pytest.fixture
def walk(service: Service) -> Walk:
    """A case in review, and a surgeon with an enrolled key."""
    walk = Walk(service)
    walk.open()
    walk.prepare()
    walk.upload(CT)
    walk.enrol()
    walk.route()
    return walk


def enrol(service: Service, who: Any = SURGEON) -> tuple[Ed25519PrivateKey, str]:
    """Another key of somebody's, approved."""
    key = Ed25519PrivateKey.generate()
    proof = signing.prove_possession(key, service.keys.origin, who[1])
    name = service.signing_keys.request(request(*who), **proof).stream.removeprefix("key-")
    service.signing_keys.approve(request(*(COMPLIANCE if who != COMPLIANCE else ADMINISTRATOR)), name)
    return key, name


def signed(walk: Walk) -> Submission:
    """An opinion, prepared and signed by the surgeon's key."""
    state = walk.service.cases.load(walk.case).state
    pins = tuple(e.RecordPin(record=r.record, manifest_sha256=r.manifest_sha256) for r in state.usable())
    sent = c.SignOpinionInput(content=CONTENT, relied_on=pins)
    prepared = walk.service.opinions.prepare(request(*SURGEON), walk.case, walk.key_id, sent)
    assert walk.key is not None
    return signing.sign(prepared, walk.key)


def propose(service: Service, purpose: Any) -> str:
    """An administrator proposes the log's next key; its id."""
    made = make_next(service.checkpoints.live.files.again(), purpose)
    outcome = service.service_keys.propose(request(*ADMINISTRATOR), purpose, made.vkey, made.replaces, made.possession)
    return outcome.stream.removeprefix("key-")


def rotate(service: Service, purpose: Any) -> Outcome:
    """The log's next key of a purpose is proposed and approved."""
    return service.service_keys.approve(request(*COMPLIANCE), propose(service, purpose))


def trusted(service: Service) -> TrustedKeys:
    """The present pair alone."""
    files = service.checkpoints.live.files
    return TrustedKeys(files.origin, (files.checkpoint_verifier(),), (files.entry_verifier(),))


def report(walk: Walk, keys: TrustedKeys | None) -> Report:
    """The case's bundle, verified."""
    return verify(walk.service.bundles.export(request(*COMPLIANCE), walk.case), keys)


_numbers = itertools.count(1)


def note(walk: Walk) -> None:
    """One more entry of the case."""
    consent = c.GrantConsent(
        consent=f"consent-{next(_numbers)}", kind="process", purpose="more", language="en", text_sha256="0" * 64
    )
    walk.act(PATIENT, consent)


def size(service: Service) -> int:
    """Entries in the log."""
    return service.ledger.recorder.max_notification_id() or 0


# Actors' keys


def test_a_replaced_key_signs_nothing_more(walk: Walk) -> None:
    """The successor has to be enrolled, the owner's, and only the owner puts it in place; what was signed stays."""
    service, keys = walk.service, walk.service.signing_keys
    walk.sign()
    _, successor = enrol(service)
    _, foreign = enrol(service, COORDINATOR)
    for who, other, kind in (
        (COMPLIANCE, successor, WrongRole),
        (SURGEON, foreign, WrongKey),
        (SURGEON, walk.key_id, WrongKey),
        (SURGEON, "0" * 32, KeyNotFound),
    ):
        with pytest.raises(kind):
            keys.rotate(request(*who), walk.key_id, other)
    keys.rotate(request(*SURGEON), walk.key_id, successor)
    state = keys.load(walk.key_id).state
    assert (state.status, state.successor, state.enrolled) == ("rotated", successor, False)
    with pytest.raises(AlreadyDone):
        keys.rotate(request(*SURGEON), walk.key_id, successor)
    with pytest.raises(AlreadyDone):
        keys.approve(request(*COMPLIANCE), walk.key_id)
    judged = report(walk, trusted(service))
    assert (judged.ok, judged.suspects) == (True, ())


@pytest.mark.parametrize("who", [SURGEON, COMPLIANCE, ADMINISTRATOR])
def test_a_revoked_key_signs_nothing_more(walk: Walk, who: Any) -> None:
    """Prepared before or not, an opinion under it is refused; its owner, compliance and administrators revoke."""
    keys, one = walk.service.signing_keys, signed(walk)
    for stranger in (COORDINATOR, PATIENT, ("specialist", "surgeon-2")):
        with pytest.raises(WrongRole):
            keys.revoke(request(*stranger), walk.key_id, "lost")
    with pytest.raises(MalformedBody):
        keys.revoke(request(*who), walk.key_id, "lost", request(*who).now + 10**9)
    keys.revoke(request(*who), walk.key_id, "lost")
    with pytest.raises(AlreadyDone):
        keys.revoke(request(*who), walk.key_id, "lost")
    with pytest.raises(WrongKey):
        walk.service.opinions.submit(request(*SURGEON), walk.case, one)
    with pytest.raises(WrongKey):
        signed(walk)


def test_a_proposal_that_was_revoked_is_never_approved(service: Service) -> None:
    """Saying no to a key is final."""
    key = Ed25519PrivateKey.generate()
    proof = signing.prove_possession(key, service.keys.origin, SURGEON[1])
    name = service.signing_keys.request(request(*SURGEON), **proof).stream.removeprefix("key-")
    service.signing_keys.revoke(request(*COMPLIANCE), name, "enrolled_in_error")
    with pytest.raises(AlreadyDone):
        service.signing_keys.approve(request(*COMPLIANCE), name)


@pytest.mark.parametrize("end", ["revoked", "rotated"])
def test_a_key_that_ends_between_decision_and_append_signs_nothing(
    walk: Walk, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's stream is a guard of the append: the end that commits first wins, under the head lock."""
    service, one = walk.service, signed(walk)
    _, successor = enrol(service)
    append, entered = Ledger.append, threading.Event()

    def late(self: Ledger, events: Any, act: Any, **more: Any) -> Any:
        if more.get("signed") is not None:
            entered.set()
            if end == "revoked":
                service.signing_keys.revoke(request(*COMPLIANCE), walk.key_id, "compromised")
            else:
                service.signing_keys.rotate(request(*SURGEON), walk.key_id, successor)
        return append(self, events, act, **more)

    monkeypatch.setattr(Ledger, "append", late)
    before = walk.service.cases.load(walk.case).revision
    with pytest.raises(GuardBroken):
        service.opinions.submit(request(*SURGEON), walk.case, one)
    assert entered.is_set()
    assert walk.service.cases.load(walk.case).revision == before


def test_opinions_of_the_doubtful_time_are_found_and_flagged(walk: Walk) -> None:
    """Compliance is given each, the verifier says so, it stays valid; that they were asked for is on record."""
    keys, service = walk.service.signing_keys, walk.service
    before = request(*COMPLIANCE).now
    walk.sign()
    index = service.ledger.stream(f"case-{walk.case}")[-1].index
    assert keys.suspects(request(*COMPLIANCE), walk.key_id) == ()
    keys.revoke(request(*COMPLIANCE), walk.key_id, "compromised", before)
    (found,) = keys.suspects(request(*COMPLIANCE), walk.key_id)
    assert (found.index, found.case, found.kind, found.actor) == (index, walk.case, "opinion.signed.v1", SURGEON[1])
    last = service.ledger.read(size(service) - 1, size(service))[0].statement
    assert (last.kind, last.object, last.outcome) == ("access.recorded.v1", walk.key_id, "allowed")
    with pytest.raises(WrongRole):
        keys.suspects(request(*ADMINISTRATOR), walk.key_id)
    last = service.ledger.read(size(service) - 1, size(service))[0].statement
    assert (last.object, last.outcome) == (walk.key_id, "refused")
    judged = report(walk, trusted(service))
    assert judged.ok
    assert [(each.index, each.signature, each.since) for each in judged.suspects] == [(index, "actor", before)]


def test_nothing_is_in_doubt_before_the_instant(walk: Walk) -> None:
    """A signature that could only be made before is none of them, though the key was revoked."""
    walk.sign()
    later = request(*COMPLIANCE, None).now + 11 * 60 * 1_000_000
    asked = msgspec.structs.replace(request(*COMPLIANCE), now=later)
    walk.service.signing_keys.revoke(asked, walk.key_id, "compromised", later)
    assert walk.service.signing_keys.suspects(request(*COMPLIANCE), walk.key_id) == ()
    assert report(walk, trusted(walk.service)).suspects == ()


# The log's own keys


def test_a_ledger_begins_with_its_own_keys(service: Service, database: Database, tmp_path: Path) -> None:
    """Two entries, made once, by whichever process comes first; they name the keys of the key files."""
    files = service.checkpoints.live.files
    found = [each.statement for each in service.ledger.read(0, size(service))]
    assert [(each.kind, each.role) for each in found] == [("ledger.key_enrolled.v1", "service")] * 2
    names = [key_id(raw_public(key)) for key in (files.entry, files.checkpoint)]
    assert [each.stream for each in found] == [f"key-{name}" for name in names]
    service.service_keys.begin(1)
    with begun(database, tmp_path / "data") as other:
        assert size(other) == 2
    assert [(each.purpose, each.status) for each in service.service_keys.all()] == [
        ("entry", "enrolled"),
        ("checkpoint", "enrolled"),
    ]


@pytest.mark.parametrize("purpose", ["entry", "checkpoint"])
def test_a_key_of_the_log_is_replaced_by_two_people(service: Service, purpose: Any) -> None:
    """An administrator proposes, somebody else approves; nobody does both, nor anybody with another key's proof."""
    own, made = service.service_keys, make_next(service.checkpoints.live.files, purpose)
    assert make_next(service.checkpoints.live.files.again(), purpose) == made
    for who in (COMPLIANCE, COORDINATOR, SURGEON):
        with pytest.raises(WrongRole):
            own.propose(request(*who), purpose, made.vkey, made.replaces, made.possession)
    other = "checkpoint" if purpose == "entry" else "entry"
    for lie, kind in (
        ({"possession": "0" * 128}, WrongKey),
        ({"possession": None}, WrongKey),
        ({"replaces": "0" * 32}, WrongKey),
        ({"purpose": other}, BadPublicKey),
        ({"vkey": "nonsense+00000000+AA=="}, BadPublicKey),
    ):
        with pytest.raises(kind):
            own.propose(request(*ADMINISTRATOR), **(msgspec.structs.asdict(made) | lie))
    before = size(service)
    key = own.propose(request(*ADMINISTRATOR), **msgspec.structs.asdict(made)).stream.removeprefix("key-")
    assert size(service) == before + 1
    for who in (ADMINISTRATOR, COORDINATOR):
        with pytest.raises(WrongRole):
            own.approve(request(*who), key)
    with pytest.raises(AlreadyDone):
        own.propose(request(*ADMINISTRATOR), **msgspec.structs.asdict(made))
    own.approve(request(*COMPLIANCE), key)
    with pytest.raises(AlreadyDone):
        own.approve(request(*COMPLIANCE), key)
    assert (own.load(key).state.status, own.load(made.replaces).state.status) == ("enrolled", "rotated")
    assert key_id(raw_public(service.checkpoints.live.private(purpose))) == key


def test_a_key_whose_private_half_is_elsewhere_is_not_proposed(service: Service, tmp_path: Path) -> None:
    """Nobody could sign with it: the log would be stopped by its own entry."""
    made = make_next(service.checkpoints.live.files, "entry")
    for path in (tmp_path / "data" / "keys").glob("entry.next.*"):
        path.rename(tmp_path / "elsewhere")
    with pytest.raises(MissingPart):
        service.service_keys.propose(request(*ADMINISTRATOR), **msgspec.structs.asdict(made))


def test_a_bundle_over_rotations_verifies_with_any_pair(walk: Walk, tmp_path: Path) -> None:
    """Each key replaced twice, with entries between: the first pair, the middle and the last verify the whole."""
    service, pairs = walk.service, [trusted(walk.service)]
    walk.sign()
    for purpose in ("entry", "checkpoint", "entry", "checkpoint"):
        rotate(service, purpose)
        note(walk)
        pairs.append(trusted(service))
    for pair in (*pairs, service.checkpoints.live.files.trusted()):
        judged = report(walk, pair)
        assert judged.ok, judged.failure
    assert len({str(each.entries[0]) for each in pairs}) == 3
    assert report(walk, None).ok
    # A second verifier, which follows no succession, is given all keys.
    (tmp_path / "bundle").write_bytes(service.bundles.export(request(*COMPLIANCE), walk.case))
    lines = render_trusted_keys(service.checkpoints.live.files.trusted()).decode().splitlines()
    assert independent_verifier.verify(str(tmp_path / "bundle"), lines)[0] == report(walk, None).entries


def test_an_entry_signed_again_by_a_key_that_was_replaced_fails(walk: Walk) -> None:
    """Though that key is trusted, and the envelope is right in every other way."""
    service = walk.service
    first, old = trusted(service), service.keys.entry
    rotate(service, "entry")
    note(walk)
    raw = service.bundles.export(request(*COMPLIANCE), walk.case)
    assert verify(raw, first).ok
    content = bundle.read(raw)
    entries = list(content.entries)
    entry = dsse.parse(entries[-1])
    again = old.sign(dsse.pre_authentication_encoding(entry.statement))
    entries[-1] = dsse.render(entry.statement, (*entry.signatures[:-1], again))
    judged = verify(bundle.write(msgspec.structs.replace(content, entries=tuple(entries))), first)
    assert judged.failure is not None
    assert (judged.failure.check, judged.failure.index) == ("ledger signatures", content.proofs[-1].index)
    assert "not in place, or not any more" in judged.failure.message


def test_a_follower_who_trusts_the_old_checkpoint_key_steps_over(service: Service) -> None:
    """The first tree with the new key in it is signed by both, those before and behind by one."""
    files = service.checkpoints.live.files
    old = verifier_keys(files.origin, raw_public(files.checkpoint))
    rotate(service, "checkpoint")
    new = verifier_keys(files.origin, raw_public(service.checkpoints.live.files.checkpoint))
    handover = size(service)
    with service.pool.connection() as connection:
        both = service.checkpoints.signed(connection, handover)
    for keys in (old, new, (*old, *new)):
        assert open_checkpoint(both, keys).checkpoint.size == handover
    enrol(service)
    later = service.bundles.checkpoint()
    assert open_checkpoint(later, new).checkpoint.size > handover
    assert later.count("—".encode()) == 2
    with service.pool.connection() as connection:
        earlier = service.checkpoints.signed(connection, handover - 2)
    assert open_checkpoint(earlier, old).checkpoint.size == handover - 2
    assert earlier.count("—".encode()) == 2


@pytest.mark.parametrize("purpose", ["entry", "checkpoint"])
def test_another_process_takes_the_new_key_up(database: Database, tmp_path: Path, purpose: Any) -> None:
    """What it sealed before is sealed again, under the head lock's guards; all of it verifies with the first pair."""
    data = tmp_path / "data"
    with begun(database, data) as one, begun(database, data) as two:
        first = trusted(one)
        walk = Walk(two)
        walk.open()
        rotate(one, purpose)
        walk.prepare()
        assert trusted(two) == trusted(one) != first
        rotate(two, purpose)
        enrol(one)
        judged = verify(one.bundles.export(request(*COMPLIANCE), walk.case), first)
        assert judged.ok, judged.failure


def test_many_writers_and_a_rotation_leave_no_entry_under_the_wrong_key(database: Database, tmp_path: Path) -> None:
    """Two processes write while both keys are replaced; every write is answered, and the whole log holds."""
    data = tmp_path / "data"
    with begun(database, data) as one, begun(database, data) as two:
        first, stop, walks, failures = trusted(one), threading.Event(), [Walk(one), Walk(two), Walk(two)], []
        for walk in walks:
            walk.open()

        def write(walk: Walk) -> None:
            try:
                while not stop.is_set():
                    note(walk)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                failures.append(error)

        threads = [threading.Thread(target=write, args=(walk,)) for walk in walks]
        for thread in threads:
            thread.start()
        try:
            for service, purpose in ((one, "entry"), (two, "checkpoint"), (two, "entry"), (one, "checkpoint")):
                rotate(service, purpose)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        for walk in walks:
            judged = verify(walk.service.bundles.export(request(*COMPLIANCE), walk.case), first)
            assert judged.ok, judged.failure


def test_a_process_that_comes_late_to_the_pin_knows_the_new_key(database: Database, tmp_path: Path) -> None:
    """Another process replaced the key and pinned while this one stood still: the pin holds, and stays ahead."""
    data = tmp_path / "data"
    with begun(database, data) as one, begun(database, data) as two:
        with two.pool.connection() as connection:
            note = two.checkpoints.latest(connection)[1]
        rotate(one, "checkpoint")
        for _ in range(2):
            enrol(one)
        ahead = size(one)
        pin = two.checkpoints._pin
        pin.advance(note)
        pinned = pin.read()
        assert pinned is not None
        assert pinned.size == ahead


def test_a_process_without_the_new_key_stops(database: Database, tmp_path: Path) -> None:
    """It says which key it lacks, and signs nothing with the old one."""
    data = tmp_path / "data"
    with begun(database, data) as one:
        rotate(one, "entry")
    keys = data / "keys"
    earlier = next(path for path in keys.glob("entry.public.*"))
    (keys / "entry").unlink()
    earlier.unlink()
    keyfiles.write_private(keys / "entry", Ed25519PrivateKey.generate().private_bytes_raw())
    with open_service(database, data) as two, pytest.raises(Misconfigured):
        two.service_keys.begin(1)


@pytest.mark.parametrize("done", [(), ("public",), ("public", "old")])
@pytest.mark.parametrize("purpose", ["entry", "checkpoint"])
def test_a_crash_after_the_commit_is_made_up_for_at_the_next_start(
    database: Database, tmp_path: Path, purpose: Any, done: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the new key, the files the old one, and any number of the steps between: the start does the rest."""
    data, keys = tmp_path / "data", tmp_path / "data" / "keys"
    with begun(database, data) as one:
        first, key = trusted(one), propose(one, purpose)

        def crash(*_: Any) -> None:
            raise RuntimeError("the process died here")

        with monkeypatch.context() as patched:
            patched.setattr("application.ledger.live_keys.put_in_place", crash)
            with pytest.raises(Exception, match=r"append failed|died here"):
                one.service_keys.approve(request(*COMPLIANCE), key)
        rows = one.ledger.recorder.rows(f"key-{key}", None, None, desc=False, limit=None)
        assert [row.statement().kind for row in rows] == ["ledger.key_proposed.v1", "ledger.key_enrolled.v1"]
        handover = rows[-1].index + 2
    assert (keys / f"{purpose}.next.{key}").exists()
    before = raw_public(getattr(keyfiles.load(data), purpose))
    if "public" in done:
        keyfiles.write_private(keys / f"{purpose}.public.{key_id(before)}", before)
    if "old" in done and purpose == "checkpoint":
        (keys / f"{purpose}.old.{key_id(before)}").hardlink_to(keys / purpose)
    with begun(database, data) as two:
        assert key_id(raw_public(two.checkpoints.live.private(purpose))) == key
        expected = [purpose, f"{purpose}.public.{key_id(before)}"]
        expected += [f"{purpose}.old.{key_id(before)}"] if purpose == "checkpoint" else []
        assert sorted(each.name for each in keys.glob(f"{purpose}*") if "mldsa" not in each.name) == sorted(expected)
        walk = Walk(two)
        walk.open()
        judged = verify(two.bundles.export(request(*COMPLIANCE), walk.case), first)
        assert judged.ok, judged.failure
        with two.pool.connection() as connection:
            note = two.checkpoints.signed(connection, handover)
        assert open_checkpoint(note, verifier_keys(first.origin, first.checkpoint[0].public_key)).checkpoint.size


def test_a_key_of_the_log_is_revoked_after_it_was_replaced(walk: Walk) -> None:
    """Not while the log signs with it; entries of the doubtful time are then reported, and hold."""
    service, own = walk.service, walk.service.service_keys
    first = trusted(service)
    name = key_id(first.entries[0].public_key)
    with pytest.raises(AlreadyDone):
        own.revoke(request(*COMPLIANCE), name, "compromised")
    since = request(*COMPLIANCE).now
    walk.sign()
    rotate(service, "entry")
    with pytest.raises(WrongRole):
        own.revoke(request(*COORDINATOR), name, "compromised", since)
    own.revoke(request(*COMPLIANCE), name, "compromised", since)
    judged = report(walk, first)
    assert judged.ok, judged.failure
    assert judged.suspects
    assert {each.signature for each in judged.suspects} == {"ledger"}


# Witnesses' keys


def test_a_witness_is_enrolled_by_two_people_under_a_name_of_its_own(service: Service) -> None:
    """Its key is in the log before its cosignatures count; it replaces nothing, and is revoked like any other."""
    own, origin = service.service_keys, service.keys.origin
    raw = raw_public(Ed25519PrivateKey.generate())
    for name in (origin, f"{origin}/entries"):
        with pytest.raises(BadPublicKey):
            own.propose(request(*ADMINISTRATOR), "witness", str(VerifierKey.make(name, COSIGNATURE_V1, raw)))
    vkey = str(VerifierKey.make("witness.example/w1", COSIGNATURE_V1, raw))
    with pytest.raises(WrongKey):
        own.propose(request(*ADMINISTRATOR), "witness", vkey, replaces="0" * 32)
    with pytest.raises(WrongRole):
        own.enrol_service_key(request(*COMPLIANCE), "witness", vkey)
    key = own.enrol_service_key(request(*ADMINISTRATOR), "witness", vkey).stream.removeprefix("key-")
    assert own.witnesses() == ()
    own.approve(request(*COMPLIANCE), key)
    assert own.witnesses() == (VerifierKey.parse(vkey),)
    own.revoke(request(*ADMINISTRATOR), key, "compromised", 1)
    assert own.witnesses() == ()
    with pytest.raises(KeyNotFound):
        service.signing_keys.load(key)


def test_no_key_serves_two_purposes(service: Service) -> None:
    """An actor's key is no witness's, and the log's own are nobody's."""
    key, _ = enrol(service)
    vkey = str(VerifierKey.make("witness.example/w1", COSIGNATURE_V1, raw_public(key)))
    with pytest.raises(AlreadyDone):
        service.service_keys.propose(request(*ADMINISTRATOR), "witness", vkey)
    proof = signing.prove_possession(service.keys.entry, service.keys.origin, SURGEON[1])
    with pytest.raises(AlreadyDone):
        service.signing_keys.request(request(*SURGEON), **proof)


def test_a_key_history_that_was_edited_in_the_database_is_found(walk: Walk, database: Database) -> None:
    """A superuser who switches the triggers off and puts another approver in is caught when the history is read."""
    service = walk.service
    key = key_id(trusted(service).entries[0].public_key)
    rotate(service, "entry")
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("ALTER TABLE ledger.entry DISABLE TRIGGER ALL")
        changed = superuser.execute(
            "UPDATE ledger.entry SET statement = replace(statement::text, 'compliance-1', 'compliance-2')::json"
            " WHERE kind = 'ledger.key_rotated.v1'"
        ).rowcount
    assert changed == 1
    with pytest.raises(EntryAltered):
        service.service_keys.load(key)
    with pytest.raises(EntryAltered):
        service.bundles.export(request(*COMPLIANCE), walk.case)


def test_the_command_makes_the_next_key_and_uses_nothing(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it prints is what an administrator proposes; beside it only the new file has come about."""
    monkeypatch.setenv("CASELEDGER_DATA", str(tmp_path / "data"))
    before = sorted((tmp_path / "data" / "keys").iterdir())
    assert cli.main(["key", "rotate", "entry"]) == 0
    said = capsys.readouterr()
    body = msgspec.json.decode(said.out)
    (made,) = set((tmp_path / "data" / "keys").iterdir()) - set(before)
    key = made.name.removeprefix("entry.next.")
    assert key in said.err
    assert service.service_keys.propose(request(*ADMINISTRATOR), **body).stream == f"key-{key}"
    assert service.ledger.read(size(service) - 1, size(service))[0].statement.kind == "ledger.key_proposed.v1"
    monkeypatch.setenv("CASELEDGER_DATA", str(tmp_path / "none"))
    assert cli.main(["key", "rotate", "checkpoint"]) == 1


def test_a_bulk_that_met_a_rotation_goes_on_with_the_new_key(database: Database, tmp_path: Path) -> None:
    """What was sealed under the old key does not go in; the bulk's next batch is sealed with the one in use."""
    data = tmp_path / "data"
    with begun(database, data) as one, begun(database, data) as two:
        two.keyring.create("case:bulk")
        act = request(*ADMINISTRATOR).act(ADMINISTRATOR[1])
        with Bulk(database.service_url, two.keys.origin, two.checkpoints, two.keyring, processes=1) as bulk:

            def add(stream: str) -> Any:
                event = e.CoordinatorAssigned(coordinator="coordinator-1")
                new = NewEvent(originator_id=stream, originator_version=1, event=event, case=None, subject="case:bulk")
                return bulk.append([Import(events=(new,), act=act)])[0]

            assert isinstance(add("case-a"), Appended)
            rotate(one, "entry")
            assert isinstance(add("case-b"), GuardBroken)
            assert isinstance(add("case-b"), Appended)
