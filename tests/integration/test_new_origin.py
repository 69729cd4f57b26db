"""A database is restored to a point before the pin, and by command gone on with under a new origin."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from application.ledger.entries import IdempotencyKey
from application.ledger.keylock import is_locked
from application.service import Service
from caseledger import cli, new_origin_command, signing
from caseledger.settings import Settings, read
from domain.case import commands as c
from domain.case import events as e
from domain.errors import (
    AlreadyDone,
    HeadBehindPin,
    Misconfigured,
    SignatureRefused,
    WrongOrigin,
)
from domain.ledger.checkpoint import read_unverified
from domain.ledger.keys import key_id
from domain.ledger.origins import STREAM, SUCCEEDED
from domain.ledger.verify import verify
from projections.registry import PROJECTIONS
from tests.conftest import Database
from tests.restored_fixture import (
    Scene,
    go_on,
    opened_case,
    report,
    running,
    size_of,
)
from tests.restoring import back_up, put_back
from tests.service_fixture import COMPLIANCE, CONTENT, COORDINATOR, CT, PATIENT, SURGEON, request

INDEPENDENT = Path(__file__).resolve().parents[1] / "independent_origins.py"


def test_a_restored_ledger_is_refused_and_then_goes_on(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old and new cases are appended to, every proof holds, and both verifiers' reports say what was lost."""
    settings, walk = scene.settings, scene.walk
    with pytest.raises(HeadBehindPin), running(settings):
        pass
    assert go_on(settings, "--reason", "operator-error") == 0
    said = capsys.readouterr().out
    assert f"{scene.size} entries of {scene.keys.origin}, which released {scene.released}" in said
    assert f"entries {scene.size} to {scene.released - 1} are LOST" in said
    with running(settings) as service:
        walk.service = service
        origin = service.keys.origin
        assert origin != scene.keys.origin
        assert [each.statement.kind for each in service.ledger.stream(STREAM)] == [SUCCEEDED]
        assert service.ledger.stream(STREAM)[0].index == scene.size
        walk.share()
        new = opened_case(service)
        note = read_unverified(service.bundles.checkpoint())
        assert (note.origin, note.size) == (origin, size_of(service))
        keys = msgspec.structs.replace(service.keys.trusted(), others=(scene.keys,))
        for case in (walk.case, new.case):
            found = report(service, case, keys)
            assert found.ok, found.failure
            [told] = found.restored
            assert (told.index, told.old, told.new) == (scene.size, scene.keys.origin, origin)
            assert (told.released, told.reason, told.judged) == (scene.released, "operator_error", True)
        alone = msgspec.structs.replace(keys, others=())
        assert [each.judged for each in report(service, walk.case, alone).restored] == [False]
        assert not report(service, walk.case, scene.keys).ok
        (tmp_path / "bundle").write_bytes(service.bundles.export(request(*PATIENT), walk.case))
        # What was lost can still be proven by whoever was given it.
        old = verify(scene.lost, scene.keys)
        assert old.ok
        assert old.size is not None
        assert old.size > scene.size
        # A receipt of before is under the old origin's checkpoint, which stays as evidence.
        receipt = service.bundles.receipt(scene.size - 1)
        assert read_unverified(receipt.checkpoint.encode()).origin == scene.keys.origin
    assert cli.main(["verify", "--log", "--json", "--keys", str(settings.data / "public-keys.txt")]) == 0
    log = json.loads(capsys.readouterr().out)
    assert [(each["index"], each["old"]) for each in log["restored"]] == [(scene.size, scene.keys.origin)]
    assert any("RESTORED" in each for each in log["statements"])
    assert cli.main(["replay", "--check"]) == 0
    assert capsys.readouterr().out.count(" equal") == len(PROJECTIONS)
    assert cli.main(["monitor", "--once"]) == 0
    bare = [sys.executable, "-I", str(INDEPENDENT), str(tmp_path / "bundle"), str(settings.data / "public-keys.txt")]
    done = subprocess.run(bare, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert f"restored at {scene.size}" in done.stdout


def test_restored_again_and_to_before_the_first_restore(settings: Settings, database: Database) -> None:
    """A to B to C; then an even older copy, of A: the log that was B and C is lost whole, and the report says so."""
    with running(settings) as service:
        opened_case(service)
        first = service.keys.trusted()
    oldest = back_up(database, "oldest")
    with running(settings) as service:
        case, size = opened_case(service), size_of(service)
    second_night = back_up(database, "second")
    with running(settings) as service:
        opened_case(service)
    put_back(database, second_night)
    assert go_on(settings) == 0
    with running(settings) as service:
        between, second = size_of(service), service.keys.trusted()
    copy = back_up(database, "third")
    with running(settings) as service:
        opened_case(service)
    put_back(database, copy)
    # The first origin's private keys are away: they are needed for a copy of its time alone.
    [kept] = (settings.data / "origins").glob("*/keys")
    kept.rename(settings.data / "kept")
    assert go_on(settings) == 0
    with running(settings) as service:
        case.service = service
        case.act(COORDINATOR, c.AssignCoordinator(coordinator=COORDINATOR[1]))
        found = report(service, case.case, service.keys.trusted())
        assert found.ok, found.failure
        assert [(each.index, each.old) for each in found.restored] == [(size, first.origin), (between, second.origin)]
        assert [each.origin for each in service.keys.before] == [first.origin, second.origin]
        third = service.keys.origin
    put_back(database, oldest)
    with pytest.raises(WrongOrigin, match="caseledger new-origin"), running(settings):
        pass
    with pytest.raises(Misconfigured, match="restore them"):
        new_origin_command.run(settings, "exercise", yes=True)
    (settings.data / "kept").rename(kept)
    assert go_on(settings, "--reason", "exercise") == 0
    with running(settings) as service:
        new = opened_case(service)
        keys = service.keys.trusted()
        found = report(service, new.case, keys)
        assert found.ok, found.failure
        [told] = found.restored
        assert (told.old, told.lost) == (first.origin, (second.origin, third))
        assert [each.origin for each in keys.others] == [first.origin, second.origin, third]
    assert cli.main(["verify", "--log", "--keys", str(settings.data / "public-keys.txt")]) == 0


def test_an_actor_s_key_of_before_signs_on(settings: Settings, database: Database) -> None:
    """Enrolled under the old origin, it signs under the new one; what was prepared under the old one does not count."""
    with running(settings) as service:
        walk = opened_case(service)
        walk.prepare()
        walk.upload(CT)
        walk.enrol()
        walk.route()
    copy = back_up(database, "night")
    with running(settings) as service:
        sent = c.SignOpinionInput(content=CONTENT, relied_on=_pins(service, walk.case))
        prepared = service.opinions.prepare(request(*SURGEON), walk.case, walk.key_id, sent)
        assert walk.key is not None
        submission = signing.sign(prepared, walk.key, sent)
        opened_case(service)
    put_back(database, copy)
    assert go_on(settings) == 0
    with running(settings) as service:
        walk.service = service
        with pytest.raises(SignatureRefused):
            service.opinions.submit(request(*SURGEON), walk.case, submission)
        walk.sign()
        walk.share()
        found = report(service, walk.case, service.keys.trusted())
        assert found.ok, found.failure
        assert {each.name: each.count for each in found.checks}["actor signatures"] == 1


def _pins(service: Service, case: str) -> tuple[e.RecordPin, ...]:
    state = service.cases.load(case).state
    return tuple(e.RecordPin(record=each.record, manifest_sha256=each.manifest_sha256) for each in state.usable())


def test_locked_key_files_and_a_repeated_request(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new keys are locked as the old ones; a request of before is answered as it was, under the old checkpoint."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple")
    passphrase.chmod(0o600)
    monkeypatch.setenv("CASELEDGER_KEY_PASSPHRASE_FILE", str(passphrase))
    settings = read()
    key = IdempotencyKey(actor=COORDINATOR[1], key="once", request_digest=bytes(32))
    again = msgspec.structs.replace(request(*COORDINATOR), idempotency=key)
    with running(settings) as service:
        case = opened_case(service).case
        assign = c.AssignCoordinator(coordinator=COORDINATOR[1])
        first = service.cases.act(again, case, lambda state: assign)
        old, size = service.keys.origin, size_of(service)
    copy = back_up(database, "locked")
    with running(settings) as service:
        opened_case(service)
    put_back(database, copy)
    assert go_on(settings) == 0
    names = ["entry", "checkpoint", "checkpoint-mldsa"]
    places = [settings.data / "keys", *(each / "keys" for each in (settings.data / "origins").iterdir())]
    for path in (place / name for place in places for name in names):
        assert is_locked(path.read_bytes()), path
        assert path.stat().st_mode & 0o077 == 0
    with running(settings) as service:
        repeated = service.cases.act(again, case, lambda state: assign)
        assert (repeated.stream, repeated.revision, repeated.replayed) == (first.stream, first.revision, True)
        assert {read_unverified(each.checkpoint.encode()).origin for each in repeated.receipts} == {old}
        before = size_of(service)
        assert before == size + 3  # the succession, and the two keys' enrolments


def test_a_leaked_key_of_the_old_origin_is_revoked(scene: Scene) -> None:
    """Under the new origin, though nothing replaced it: what it signed since then is suspect, and holds."""
    assert go_on(scene.settings) == 0
    with running(scene.settings) as service:
        since = service.ledger.stream(f"case-{scene.walk.case}")[3].statement.recorded_at
        [old] = scene.keys.entries
        present = service.keys.entry_verifier()
        officer = request(*COMPLIANCE)
        with pytest.raises(AlreadyDone):
            service.service_keys.revoke(officer, key_id(present.public_key), "compromised", since)
        service.service_keys.revoke(officer, key_id(old.public_key), "compromised", since)
        found = verify(service.bundles.export(request(*COMPLIANCE), scene.walk.case), service.keys.trusted())
        assert found.ok, found.failure
        assert {each.signature for each in found.suspects} == {"ledger"}
        assert max(each.index for each in found.suspects) < scene.size
