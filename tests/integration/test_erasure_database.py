"""The database's own rules: no payload goes but with the entry that says so, and no key comes back."""

import threading
from pathlib import Path
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from application.ledger.entries import Append, Erase
from application.privacy.requests import new_event
from domain.case.events import ContentErased
from domain.errors import (
    DatabaseUnavailable,
    SubjectErased,
)
from domain.ledger.erasure import KIND
from domain.ledger.receipt import verify
from tests.conftest import Database
from tests.erasure_fixture import Erasable, Marked, sealed
from tests.ledger_fixture import ACT, OpenLedger, open_ledger
from tests.ledger_fixture import new_event as plain_event
from tests.service_fixture import COMPLIANCE, request


@pytest.mark.parametrize("role", ["service", "owner", "superuser", "superuser as a replica"])
def test_no_payload_goes_but_through_the_function(site: Erasable, case: Marked, role: str) -> None:
    """Whoever updates an entry directly is refused, even of a subject that is fenced, even for `sealed` alone."""
    case.execute(case.approved())
    url = {"service": site.database.service_url, "owner": site.database.owner_url}.get(
        role, site.database.superuser_url
    )
    with psycopg.connect(url, autocommit=True) as connection:
        if role == "superuser as a replica":
            connection.execute("SET session_replication_role = replica")
        for change in (
            "UPDATE ledger.entry SET sealed = NULL",
            "UPDATE ledger.entry SET sealed = NULL WHERE statement ->> 'subject' IN (SELECT subject FROM ledger.fence)",
            "UPDATE ledger.entry SET sealed = 'x' WHERE sealed IS NULL",
            "UPDATE ledger.entry SET committed_at = committed_at WHERE sealed IS NULL",
            "DELETE FROM ledger.entry",
            "TRUNCATE ledger.entry",
            "UPDATE ledger.fence SET subject = 'case:other'",
            "DELETE FROM ledger.fence",
            "TRUNCATE ledger.fence",
        ):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(change)


def test_the_function_changes_nothing_but_the_payload(site: Erasable, case: Marked, database: Database) -> None:
    """Every other column of every entry is the same before and after, and rows of other subjects wholly so."""
    columns = (
        "index, statement::text, actor_signature, ledger_signature, leaf, committed_at, stream, rev, case_id, kind"
    )
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        before = connection.execute(f"SELECT {columns} FROM ledger.entry ORDER BY index").fetchall()
        stream = case.approved()
        case.execute(stream)
        after = connection.execute(f"SELECT {columns} FROM ledger.entry ORDER BY index").fetchall()
        assert after[: len(before)] == before
        subjects = list(site.service.privacy.load(stream).state.subjects)
        rows = connection.execute("SELECT statement ->> 'subject' = ANY(%s), sealed IS NULL FROM ledger.entry",
                                  (subjects,)).fetchall()  # fmt: skip
    assert {erased == gone for erased, gone in rows} == {True}
    assert {erased for erased, _ in rows} == {True, False}


@pytest.mark.parametrize("said", ["nothing", "another subject", "in another transaction"])
def test_the_service_erases_nothing_without_the_entry_that_says_so(
    site: Erasable, case: Marked, database: Database, said: str
) -> None:
    """The function that it may call refuses subjects of which no entry of the same transaction speaks."""
    before = sealed(database)
    subject = f"case:{case.case}"
    if said != "nothing":
        about = subject if said == "in another transaction" else f"record:{uuid4()}"
        event = ContentErased(request="privacy-1", scope="case", subject=about)
        loaded = site.service.cases.load(case.case)
        new = new_event(loaded.stream, loaded.revision + 1, event, case.case, about)
        site.service.ledger.append([new], ACT, heads={loaded.stream: loaded.head})
        before += 1
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        for call in (
            "SELECT ledger.erase(ARRAY[%s], ARRAY[%s], ARRAY[]::text[], 'privacy-1')",
            "SELECT ledger.erase(ARRAY[%s], ARRAY[%s], NULL, NULL)",
        ):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(call, (subject, case.case))
        for call in (
            "SELECT ledger.erase(NULL, NULL, NULL, NULL)",
            "SELECT ledger.destroy(ARRAY['case:x'], NULL, NULL, NULL)",
            "INSERT INTO ledger.fence (subject) VALUES ('case:x')",
            "INSERT INTO ledger.kek (name) VALUES ('x')",
            "UPDATE ledger.subject_key SET wrapped = ''",
        ):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(call)
    assert sealed(database) == before
    assert site.service.keyring.get(subject)


def test_a_search_path_leads_the_function_nowhere(site: Erasable, case: Marked, database: Database) -> None:
    """Every function with its owner's rights has its search path pinned, and nobody but the service may call it."""
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute(
            "SELECT proname, prosecdef, proconfig, proacl::text FROM pg_proc"
            " WHERE pronamespace IN ('ledger'::regnamespace, 'records'::regnamespace)"
        ).fetchall()
    assert len(rows) >= 9
    for name, definer, settings, rights in rows:
        assert settings == ["search_path=pg_catalog"], name
        if definer and not name.startswith("admit"):
            assert rights is not None, name
            assert "=X/caseledger_owner" not in rights.replace("caseledger_owner=X/", "").replace(
                "caseledger_service=X/caseledger_owner", ""
            ), name


def test_a_fenced_subject_gets_no_key_again(site: Erasable, case: Marked, database: Database) -> None:
    """Neither a key nor a blob's key is made for it, by whoever; sealing for it is refused."""
    record = next(iter(site.service.cases.load(case.case).state.records))
    held = site.service.keyring.get(f"record:{record}")
    assert held
    case.execute(case.approved())
    for subject in (f"case:{case.case}", f"record:{record}"):
        site.service.keyring.create(subject)
        with pytest.raises(SubjectErased):
            site.service.keyring.seal(subject, "x", b"y")
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("INSERT INTO ledger.subject_key (subject, wrapped, kek) VALUES (%s, 'x', 'k')",
                           (f"case:{case.case}",))  # fmt: skip
        connection.execute("INSERT INTO records.blob_key VALUES (%s, 'x')", (record,))
        assert connection.execute(
            "SELECT count(*) FROM ledger.subject_key WHERE subject IN (SELECT subject FROM ledger.fence)"
        ).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM records.blob_key").fetchone() == (0,)


def test_who_makes_a_key_and_who_fences_wait_for_each_other(site: Erasable, database: Database) -> None:
    """A key that is being made when its subject is fenced goes, too, and one that comes later is not made."""
    made = threading.Event()
    with (
        psycopg.connect(database.service_url) as maker,
        psycopg.connect(database.owner_url) as owner,
    ):
        maker.execute("INSERT INTO ledger.subject_key (subject, wrapped, kek) VALUES ('case:x', 'w', 'k')")

        def destroy() -> None:
            owner.execute("SELECT ledger.destroy(ARRAY['case:x'], NULL, NULL, NULL)")
            owner.commit()
            made.set()

        thread = threading.Thread(target=destroy)
        thread.start()
        assert not made.wait(0.3)
        maker.commit()
        assert made.wait(10)
        thread.join()
        maker.execute("INSERT INTO ledger.subject_key (subject, wrapped, kek) VALUES ('case:x', 'w', 'k')")
        maker.commit()
        assert maker.execute("SELECT count(*) FROM ledger.subject_key WHERE subject = 'case:x'").fetchone() == (0,)


def erase_of(subject: str, stream: str) -> Erase:
    """An erasure of one subject, in a case of the stream's name."""
    return Erase(subjects=(subject,), cases=(stream,), streams=(), request="privacy-1")


def saying(one: OpenLedger, subject: str, stream: str, rev: int, prev: str | None) -> Append:
    """The append that erases a subject and says so."""
    event = ContentErased(request="privacy-1", scope="case", subject=subject)
    new = msgspec.structs.replace(plain_event(stream, rev, event), object=subject)
    heads = {} if prev is None else {stream: prev}
    return Append(entries=tuple(one.ledger.events._sealed([new], ACT, heads, None)), erase=erase_of(subject, stream))


def test_in_one_batch_what_comes_before_goes_and_what_comes_after_is_refused(
    database: Database, tmp_path: Path
) -> None:
    """Entries under the erased subject in the erasure's own batch leave no payload, before it or behind it."""
    with open_ledger(database, tmp_path / "data") as one:
        one.keyring.create("case:gone")
        first = one.sealed("case-a", subject="case:gone")
        says = saying(one, "case:gone", "case-a", 2, first.entries[0].leaf.hex())
        after = one.sealed("case-b", subject="case:gone")
        other = one.sealed("case-c")
        answers = one.appender._writer.commit([first, says, after, other])
        assert [type(each).__name__ for each in answers] == ["Appended", "Appended", "SubjectErased", "Appended"]
        assert [row.sealed is None for row in one.recorder.range(0, 9)] == [True, False, False]
        with pytest.raises(SubjectErased):
            one.recorder.append(one.sealed("case-b", subject="case:other"))
        verify(one.checkpoints.receipts(one.appender._writer._connected(), 0, 1).receipts[0], one.verifiers())


def test_an_erasure_that_is_repeated_is_recognised(database: Database, tmp_path: Path) -> None:
    """The same append again erases nothing again, and is answered as before."""
    with open_ledger(database, tmp_path / "data") as one:
        one.keyring.create("case:gone")
        says = saying(one, "case:gone", "case-a", 1, None)
        assert one.recorder.append(says) == one.recorder.append(says)
        assert one.recorder.max_notification_id() == 1


def test_an_erasure_that_does_not_say_what_it_erases_appends_nothing(database: Database, tmp_path: Path) -> None:
    """The database refuses it, and the entries with it; whoever else was in the batch goes on."""
    with open_ledger(database, tmp_path / "data") as one:
        one.keyring.create("case:gone")
        bad = msgspec.structs.replace(one.sealed("case-a"), erase=erase_of("case:gone", "case-a"))
        with pytest.raises(DatabaseUnavailable):
            one.recorder.append(bad)
        assert one.recorder.max_notification_id() is None
        assert one.keyring.get("case:gone")
        assert one.add("case-b")[0].receipt.index == 0


def test_an_entry_about_an_erased_subject_has_neither_subject_nor_commitment(
    site: Erasable, case: Marked, database: Database
) -> None:
    """An access to a case whose accountability key is gone, too, is on record, and says nothing more."""
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("SELECT ledger.destroy(ARRAY[%s], NULL, NULL, NULL)", (f"accountability:{case.case}",))
    site.service.keyring.clear()
    index = site.service.accesses.read(request(*COMPLIANCE), case.case, "trail").index
    (logged,) = site.service.ledger.read(index, index + 1)
    assert (logged.statement.subject, logged.statement.commitment) == (None, None)
    assert (logged.statement.kind, logged.statement.outcome) == ("access.recorded.v1", "allowed")
    site.follow()
    with psycopg.connect(database.superuser_url) as connection:
        assert connection.execute("SELECT subject, sealed FROM views.trail WHERE index = %s", (index,)).fetchone() == (
            None,
            None,
        )


def test_the_kind_is_the_one_that_the_database_asks_for() -> None:
    """Verifier, domain and migration mean the same entry."""
    from domain.event import register

    sql = (Path(__file__).parents[2] / "migrations/versions/0004_erasure.sql").read_text("utf-8")
    assert f"e.kind = '{KIND}'" in sql
    assert register.named(KIND).type is ContentErased
