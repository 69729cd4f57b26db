import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import (
    CheckViolation,
    DataError,
    GeneratedAlways,
    InsufficientPrivilege,
    UniqueViolation,
    UntranslatableCharacter,
)

from domain.errors import MalformedStatement
from domain.ledger.statement import encode_statement
from tests.conftest import Database
from tests.ledger_fixture import ACT, OpenLedger, new_event

APPEND_ONLY = ("entry", "root", "checkpoint", "tile", "idempotency", "cosignature", "time_stamp")
COLUMNS = "index, statement, ledger_signature, leaf, committed_at"
STATEMENT = '{"stream":"s-%d","rev":1,"kind":"k","case":"c-1"}'


@pytest.fixture
def rows(database: Database) -> None:
    """A row in each table, put there by the service itself, so that it may."""
    with psycopg.connect(database.service_url) as connection:
        connection.execute("INSERT INTO ledger.head (origin, size, frontier, committed_at) VALUES ('o', 1, '\\x01', 5)")
        insert(connection, 0, STATEMENT % 0)
        connection.execute("INSERT INTO ledger.root VALUES (1, %s, 5)", (b"\1" * 32,))
        connection.execute("INSERT INTO ledger.checkpoint VALUES (1, 'note')")
        connection.execute("INSERT INTO ledger.cosignature VALUES (1, 'name', %s, 1, 'line')", (b"\1" * 4,))
        connection.execute("INSERT INTO ledger.time_stamp VALUES (1, 1, 'response')")
        connection.execute("INSERT INTO ledger.tile VALUES (0, 0, %s, %s)", (b"\1" * 8192, b"\1" * 32))
        connection.execute("INSERT INTO ledger.idempotency VALUES ('a', 'k', %s, 0, 1)", (b"\1" * 32,))
        connection.execute("INSERT INTO ledger.subject_key (subject, wrapped, kek) VALUES ('s', '', 'k')")


def insert(connection: psycopg.Connection, index: int, statement: str) -> None:
    """An entry's row, with whatever statement."""
    connection.execute(
        f"INSERT INTO ledger.entry ({COLUMNS}) VALUES (%s, %s::text::json, %s, %s, 5)",
        (index, statement, b"\1" * 64, b"\1" * 32),
    )


def url(database: Database, role: str) -> str:
    """The database's URL as a role's."""
    return {"service": database.service_url, "owner": database.owner_url}.get(role, database.superuser_url)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("role", ["service", "owner", "superuser", "superuser as a replica"])
@pytest.mark.parametrize("table", APPEND_ONLY)
def test_append_only(database: Database, role: str, table: str) -> None:
    """No role updates, deletes or truncates a row, not even a superuser in a session that plays the replica."""
    name = sql.Identifier("ledger", table)
    with psycopg.connect(url(database, role), autocommit=True) as connection:
        if role == "superuser as a replica":
            connection.execute("SET session_replication_role = replica")
        described = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(name)).description
        assert described is not None
        column = described[0].name
        update = sql.SQL("UPDATE {} SET {} = {}").format(name, sql.Identifier(column), sql.Identifier(column))
        for statement in (update, sql.SQL("DELETE FROM {}").format(name), sql.SQL("TRUNCATE {} CASCADE").format(name)):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement)
        assert connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone() == (1,)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("role", ["service", "owner", "superuser", "superuser as a replica"])
def test_head_moves_forward_only(database: Database, role: str) -> None:
    """No role sets the head back in size or time, changes it in place, renames it, deletes it or makes a second one."""
    with psycopg.connect(url(database, role), autocommit=True) as connection:
        if role == "superuser as a replica":
            connection.execute("SET session_replication_role = replica")
        for change in (
            "UPDATE ledger.head SET size = 0",
            "UPDATE ledger.head SET committed_at = 4",
            "UPDATE ledger.head SET frontier = '\\x02'",
            "UPDATE ledger.head SET origin = 'p'",
            "DELETE FROM ledger.head",
            "TRUNCATE ledger.head",
        ):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(change)
        with pytest.raises(UniqueViolation):
            connection.execute("INSERT INTO ledger.head VALUES (true, 'p', 0, '', 0)")
        with pytest.raises(CheckViolation):
            connection.execute("INSERT INTO ledger.head VALUES (false, 'p', 0, '', 0)")
        connection.execute("UPDATE ledger.head SET size = 2, frontier = '\\x02', committed_at = 5")


@pytest.mark.usefixtures("rows")
def test_service_has_no_more_than_it_needs(database: Database) -> None:
    """The service is no superuser, owns nothing, and can neither create, alter, disable a trigger nor drop."""
    with psycopg.connect(database.service_url, autocommit=True) as connection:
        role = "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication FROM pg_roles"
        assert connection.execute(f"{role} WHERE rolname = current_user").fetchone() == (False,) * 5
        assert connection.execute(
            "SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole"
        ).fetchone() == (0,)
        assert connection.execute(
            "SELECT count(*) FROM pg_auth_members WHERE member = current_user::regrole"
        ).fetchone() == (0,)
        for statement in (
            "CREATE TABLE ledger.mine (a int)",
            "CREATE TABLE public.mine (a int)",
            "CREATE SCHEMA mine",
            "CREATE TEMP TABLE mine (a int)",
            "ALTER TABLE ledger.entry DISABLE TRIGGER append_only",
            "CREATE OR REPLACE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE sql AS 'SELECT NULL'",
            "DROP TABLE ledger.entry",
            "SET session_replication_role = replica",
            "UPDATE ledger.subject_key SET wrapped = ''",
            "DELETE FROM ledger.subject_key",
        ):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement)


def test_generated_columns_and_verbatim_statements(one: OpenLedger, database: Database) -> None:
    """What queries use equals the signed statement, which comes back byte for byte; nothing writes it directly."""
    one.ledger.append([new_event("case-a", 1), new_event("case-a", 2), new_event("key-b", 1)], ACT)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for row in one.recorder.range(0, 3):
            statement = row.statement()
            assert encode_statement(statement) == row.raw
            assert connection.execute(
                "SELECT stream, rev, case_id, kind FROM ledger.entry WHERE index = %s", (row.index,)
            ).fetchone() == (statement.stream, statement.rev, statement.case, statement.kind)
        with pytest.raises(GeneratedAlways):
            connection.execute("UPDATE ledger.entry SET rev = 9")
        # White space, order and escapes are kept: jsonb would keep none of them.
        odd = '{ "rev":1 , "kind":"k","stream":"s-odd", "x":"\\u0041" }'
        insert(connection, 7, odd)
        assert connection.execute("SELECT statement::text FROM ledger.entry WHERE index = 7").fetchone() == (odd,)


def test_copy_encodes_json_twice(database: Database) -> None:
    """A binary COPY that declares the column json stores a string; declared text, the bytes arrive as they are."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for index, type_ in ((0, "text"), (1, "json")):
            value = STATEMENT % index if type_ == "text" else psycopg.types.json.Json(STATEMENT % index)

            def load(index: int = index, type_: str = type_, value: object = value) -> None:
                statement = f"COPY ledger.entry ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
                with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.set_types(["int8", type_, "bytea", "bytea", "int8"])
                    copy.write_row((index, value, b"\1" * 64, b"\1" * 32, 5))

            if type_ == "text":
                load()
            else:
                # Encoded twice it is a JSON string, of which no stream or kind can be generated.
                with pytest.raises(psycopg.errors.NotNullViolation):
                    load()
        stored = connection.execute("SELECT statement::text FROM ledger.entry").fetchall()
        assert stored == [(STATEMENT % 0,)]


def test_nul_cannot_enter(one: OpenLedger, database: Database) -> None:
    r"""A \\u0000 fails in the database, and no field of a statement lets one through to it."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        with pytest.raises(UntranslatableCharacter):
            insert(connection, 0, '{"stream":"s\\u0000","rev":1,"kind":"k"}')
        with pytest.raises(DataError):
            insert(connection, 0, '{"stream":"s\0","rev":1,"kind":"k"}')
    new = new_event("case-a", 1)
    good = one.ledger.events.statement_of(new, ACT, None, one.ledger.events.opening_of(new))
    text = [field for field in good.__struct_fields__ if isinstance(getattr(good, field), str)]
    assert len(text) >= 9
    for field in text:
        values = {name: getattr(good, name) for name in good.__struct_fields__}
        with pytest.raises(MalformedStatement):
            encode_statement(type(good)(**values | {field: values[field] + "\0"}))


def test_only_the_listed_tables(database: Database) -> None:
    """Every table of the ledger is guarded; one that is added must be listed here, or say why it may change."""
    with psycopg.connect(database.superuser_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'ledger'").fetchall()
        always = connection.execute(
            "SELECT relname, count(*) FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE relnamespace = 'ledger'::regnamespace AND tgenabled = 'A' GROUP BY relname"
        ).fetchall()
    guarded = dict.fromkeys(APPEND_ONLY, 2) | {"head": 3}
    assert {table: count for table, count in always if table in guarded} == guarded
    # Deleting a subject's key is what erases; the service may not.
    assert {*guarded, "subject_key"} <= {table for (table,) in tables}


def test_sql_has_no_comment_that_binds() -> None:
    """No remark in the ledger's SQL holds a percent sign, which the driver would read as a parameter."""
    for path in (Path(__file__).parents[2] / "application/ledger").glob("*.sql"):
        for line in path.read_text("utf-8").splitlines():
            assert not re.search(r"--.*%", line), line
