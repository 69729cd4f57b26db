"""A process that dies at any step of an erasure: nothing is half erased, and whoever comes next finishes it."""

import subprocess
import sys
from pathlib import Path

import msgspec
import psycopg
import pytest

from application.ledger.keks import Keks
from application.ledger.keyring import kek_name
from application.privacy.fence import FenceFile, reapply
from domain.errors import SubjectErased
from domain.event import Erased
from domain.ledger.verify import verify
from domain.ledger.verify_trust import TrustedKeys
from projections import rebuild
from tests.conftest import Database
from tests.erasure_fixture import MARKERS, Erasable, Marked, erasable, marked
from tests.faults.erasure_child import KILLED
from tests.searching import cluster, found_in_files, found_in_tables
from tests.service_fixture import ADMINISTRATOR, COMPLIANCE, request

ROOT = Path(__file__).parents[2]

BEFORE_THE_COMMIT = (
    "application.ledger.batch:write:before:1",
    "application.ledger.batch:_insert:after:1",
    "application.ledger.batch:_erase:after:1",
)
AFTER_THE_COMMIT = (
    "application.ledger.batch:write:after:1",
    "application.ledger.checkpoints:Checkpoints.release:after:1",
    "application.privacy.erasure:Erasures.execute:after:1",
    "application.privacy.fence:FenceFile.add:before:1",
    "os:write:before:1",
    "application.privacy.fence:FenceFile.add:after:1",
    "application.records.vault:Vault.delete_record:after:1",
    "obstore:delete:after:1",
    "caseledger.clearing:refold:before:1",
    "projections.refold:_refold_case:after:1",
    "caseledger.clearing:refold:after:1",
    "caseledger.clearing:vacuum:before:1",
    "caseledger.clearing:vacuum:after:1",
    "application.ledger.keks:write_private:after:1",
    "application.ledger.keks:Keyring.rewrap:before:1",
    "application.ledger.keyring:Keyring._wrap:before:2",
    "application.ledger.keks:Keyring.rewrap:after:1",
    "os:link:after:1",
    "application.ledger.keks:Keks._shred_old:before:2",
    "os:fsync:before:7",
    "application.ledger.keks:Keks._shred_old:after:2",
    "application.privacy.erasure:Clearing._complete:before:1",
    "application.privacy.erasure:Clearing._complete:after:1",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def approved(database: Database, data: Path) -> tuple[str, str]:
    """A whole case that is closed, its erasure approved, its views folded, and no process on it: case and request."""
    with erasable(database, data) as one:
        walk = marked(one)
        walk.close()
        stream = walk.approved()
        one.follow()
        return walk.case, stream


def die(database: Database, data: Path, stream: str, point: str) -> None:
    """Let a process carry it out and die there."""
    urls = msgspec.json.encode(database).decode()
    command = [sys.executable, "-m", "tests.faults.erasure_child", urls, str(data), stream, point]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == KILLED, (point, done.stdout[-500:], done.stderr[-2000:])


def finish(one: Erasable, case: str, stream: str) -> None:
    """What the next process does: fence, execution if it did not happen, clearing away."""
    reapply(one.database.owner_url, FenceFile(one.data / "fence"))
    if one.service.privacy.load(stream).state.status == "approved":
        one.service.erasures.execute(request(*ADMINISTRATOR), stream)
    one.clearing.run()
    one.follow()
    # Once more finds nothing to do.
    assert (one.clearing.pending(), one.clearing.run()) == ([], [])
    state = one.service.privacy.load(stream).state
    assert state.status == "completed"
    kinds = [each.statement.kind for each in one.service.ledger.stream(stream)]
    assert len(kinds) == len(set(kinds)) == 4


def whole(one: Erasable, case: str, stream: str) -> None:
    """Everything that holds after an erasure."""
    subjects = set(one.service.privacy.load(stream).state.subjects)
    assert FenceFile(one.data / "fence").read() == subjects
    assert [each for each in (one.data / "vault").rglob("*") if each.is_file()] == []
    with psycopg.connect(one.database.superuser_url) as connection:
        keys = connection.execute("SELECT subject, kek FROM ledger.subject_key").fetchall()
        left = connection.execute(
            "SELECT count(*) FROM ledger.entry WHERE sealed IS NOT NULL AND statement ->> 'subject' = ANY(%s)",
            (list(subjects),),
        ).fetchone()
    assert left == (0,)
    assert subjects.isdisjoint({subject for subject, _ in keys})
    (kek,) = Keks(one.data / "keys").read()
    assert {name for _, name in keys} == {kek_name(kek)}
    assert [each.name for each in sorted((one.data / "keys").iterdir()) if each.name.startswith("kek")] == ["kek"]
    assert all(each.equal for each in rebuild.check(one.service.ledger, one.service.pool, one.service.keyring))
    service = one.service
    trusted = TrustedKeys(service.keys.origin, (service.keys.checkpoint_verifier(),), (service.keys.entry_verifier(),))
    report = verify(service.bundles.export(request(*COMPLIANCE), case), trusted)
    assert report.ok, report.failure
    assert report.erased
    assert found_in_tables(one.database, MARKERS.values()) == set()


@pytest.mark.parametrize("point", BEFORE_THE_COMMIT)
def test_death_before_the_commit_erases_nothing(
    database: Database, data: Path, approved: tuple[str, str], point: str
) -> None:
    """Keys, payloads, views and objects are all there, and nothing says that they went; then it is done as if anew."""
    case, stream = approved
    die(database, data, stream, point)
    with erasable(database, data) as one:
        assert one.service.privacy.load(stream).state.status == "approved"
        assert one.clearing.pending() == []
        log = one.service.ledger.stream(f"case-{case}")
        assert not any(isinstance(each.event, Erased) for each in log)
        state = one.service.cases.load(case).state
        assert state.phase == "closed"
        assert all(one.service.reading._blob_keys.of(record) for record in state.records)
        finish(one, case, stream)
        whole(one, case, stream)


@pytest.mark.parametrize("point", AFTER_THE_COMMIT)
def test_death_after_the_commit_leaves_it_erased_and_resumable(
    database: Database, data: Path, approved: tuple[str, str], point: str
) -> None:
    """From the commit on nothing opens it, at whatever step the rest broke off; the next process does the rest."""
    case, stream = approved
    die(database, data, stream, point)
    with erasable(database, data) as one:
        assert one.service.privacy.load(stream).state.status in ("executed", "completed")
        with pytest.raises(SubjectErased):
            one.service.keyring.get(f"case:{case}")
        finish(one, case, stream)
        whole(one, case, stream)


def test_two_deaths_in_a_row(database: Database, data: Path, approved: tuple[str, str]) -> None:
    """Who goes on may die, too: in the middle of the rotation, and again before the old key is gone."""
    case, stream = approved
    die(database, data, stream, "application.ledger.keyring:Keyring._wrap:before:2")
    with erasable(database, data) as one:
        assert len(Keks(one.data / "keys").read()) == 2
        # Keys are read under either, and made under the one that is in use.
        assert one.service.keyring.get(f"accountability:{case}")
        one.service.keyring.create("case:meanwhile")
        assert one.service.keyring.get("case:meanwhile")
        other = Marked(service=one.service)
        other.open()
    die_clearing(database, data, "application.ledger.keks:Keks._shred_old:before:2")
    with erasable(database, data) as one:
        assert one.service.keyring.get("case:meanwhile")
        finish(one, case, stream)
        whole(one, case, stream)
        assert one.service.cases.load(other.case).state.phase == "intake"


def die_clearing(database: Database, data: Path, point: str) -> None:
    """Let a process clear away and die there."""
    program = (
        "import sys, msgspec; from pathlib import Path; from tests.conftest import Database\n"
        "from tests.erasure_fixture import erasable_at; from tests.faults.erasure_child import arm\n"
        "urls, data, point = sys.argv[1:]\n"
        "with erasable_at(msgspec.json.decode(urls, type=Database), Path(data), settle_s=0.0, install=False) as one:\n"
        "    arm(point); one.clearing.run()\n"
    )
    command = [sys.executable, "-c", program, msgspec.json.encode(database).decode(), str(data), point]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == KILLED, (point, done.stdout[-500:], done.stderr[-2000:])


def test_no_marker_in_any_file_after_a_death(database: Database, data: Path, approved: tuple[str, str]) -> None:
    """What a process leaves behind that dies in the middle holds ciphertext only."""
    _, stream = approved
    die(database, data, stream, "application.ledger.batch:_erase:after:1")
    die(database, data, stream, "application.records.vault:Vault.delete_record:after:1")
    assert found_in_files(cluster(database), MARKERS.values()) == set()
    assert found_in_files(data, MARKERS.values()) == set()
