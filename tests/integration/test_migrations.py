"""The migration runner against throw-away revisions, and the real ones through the template."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from caseledger.embedded.embedded import EmbeddedPostgres
from caseledger.embedded.roles import OWNER, SERVICE, SUPERUSER
from migrations import runner
from tests.conftest import Database

REVISION = """
from migrations.runner import execute, sql_beside
revision = "{name}"
down_revision = {parent!r}
def upgrade() -> None:
    execute(sql_beside(__file__))
"""
AWKWARD = "CREATE TABLE public.t AS SELECT '100 %'::text AS a, '%s %(x)s'::text AS b, ':x :y'::text AS c; SELECT 5 % 3;"


def revisions(folder: Path, *statements: str) -> Path:
    """A version directory `a %d dir` whose revisions r1, r2, ... each run one text of SQL."""
    versions = folder / "a %d dir"
    versions.mkdir()
    for number, text in enumerate(statements, 1):
        parent = f"r{number - 1}" if number > 1 else None
        (versions / f"r{number}.py").write_text(REVISION.format(name=f"r{number}", parent=parent), "utf-8")
        (versions / f"r{number}.sql").write_text(text, "utf-8")
    return versions


@pytest.fixture
def empty(server: EmbeddedPostgres) -> Iterator[str]:
    """Name of a database without any revision."""
    server.bootstrap("empty")
    yield "empty"
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE empty WITH (FORCE)")


def test_sql_runs_verbatim(server: EmbeddedPostgres, empty: str, tmp_path: Path) -> None:
    """Percent signs and colons in a revision are SQL, several statements run, and a second upgrade runs nothing."""
    url = server.url(OWNER, empty)
    versions = revisions(tmp_path, AWKWARD, "ALTER TABLE public.t ADD d int")
    assert runner.current(url) is None
    runner.upgrade(url, "r1", versions=versions)
    assert runner.current(url) == "r1"
    runner.upgrade(url, versions=versions)
    runner.upgrade(url, versions=versions)
    assert runner.current(server.url(SERVICE, empty)) == "r2"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT * FROM public.t").fetchall() == [("100 %", "%s %(x)s", ":x :y", None)]


def test_a_failing_revision_leaves_its_predecessors_only(server: EmbeddedPostgres, empty: str, tmp_path: Path) -> None:
    """Each revision is one transaction: what failed is gone whole, what came before stays."""
    url = server.url(OWNER, empty)
    versions = revisions(tmp_path, "CREATE TABLE public.a ()", "CREATE TABLE public.b (); SELECT 1 / 0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        runner.upgrade(url, versions=versions)
    assert runner.current(url) == "r1"
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regclass('public.a')::text, to_regclass('public.b')::text").fetchone()
    assert found == ("a", None)


def test_a_revision_that_commits_by_itself_is_refused(server: EmbeddedPostgres, empty: str, tmp_path: Path) -> None:
    """SQL that ends the transaction would break the rule of one transaction a revision."""
    with pytest.raises(psycopg.errors.InvalidTransactionTermination):
        runner.upgrade(server.url(OWNER, empty), versions=revisions(tmp_path, "COMMIT"))


def test_concurrent_upgrades_wait_for_each_other(server: EmbeddedPostgres, empty: str, tmp_path: Path) -> None:
    """Several upgrades of one database at once succeed, and each revision runs once."""
    url = server.url(OWNER, empty)
    versions = revisions(tmp_path, "SELECT pg_sleep(0.3); CREATE TABLE public.a ()", "CREATE TABLE public.b ()")
    failures: list[Exception] = []

    def run() -> None:
        try:
            runner.upgrade(url, versions=versions)
        except Exception as error:  # noqa: BLE001 - the main thread looks at it
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert runner.current(url) == "r2"


@pytest.mark.parametrize("role", [SERVICE, SUPERUSER])
def test_only_the_owner_migrates(server: EmbeddedPostgres, empty: str, tmp_path: Path, role: str) -> None:
    """What a revision makes belongs to the database's owner, so no other role may run one."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="owns the database"):
        runner.upgrade(server.url(role, empty), versions=revisions(tmp_path, "SELECT 1"))
    assert runner.current(server.url(OWNER, empty)) is None


def test_a_test_database_is_at_head_and_owned_by_the_owner(database: Database) -> None:
    """The copy of the template has every revision, nothing of the service's, and admits each role as itself."""
    for url, role in (
        (database.owner_url, OWNER),
        (database.service_url, SERVICE),
        (database.superuser_url, SUPERUSER),
    ):
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT current_user, current_database()").fetchone()
        assert row == (role, database.name)
    assert runner.current(database.service_url) == runner.current(database.owner_url)
    with psycopg.connect(database.owner_url) as connection:
        foreign = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'"
            " AND relnamespace <> 'information_schema'::regnamespace AND relowner <> %s::regrole",
            (OWNER,),
        ).fetchone()
    assert foreign == (0,)
