"""Looking for words in everything that a ledger keeps: tables, the cluster's own files, the data directory."""

import base64
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from tests.conftest import Database


def forms(word: str) -> set[bytes]:
    """A word as it is, and as hex or base64 would hold it, whatever stands around it."""
    raw = word.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw)
        # The first and the last quantum depend on the neighbours.
        found.add(encoded[4 if before else 0 : -4])
    return {each for each in found if len(each) >= 6}


def tables(database: Database) -> Iterator[tuple[str, bytes]]:
    """Every table of every schema of the ledger, as a dump would have it, and its binary columns as they are."""
    with psycopg.connect(database.superuser_url) as connection:
        names = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname <> 'information_schema'"
            " AND (schemaname <> 'pg_catalog' OR tablename = 'pg_statistic')"
        ).fetchall()
        for schema, table in names:
            name = sql.Identifier(schema, table)
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(name)) as copy:
                yield f"{schema}.{table}", b"".join(bytes(each) for each in copy)
            if schema == "pg_catalog":
                continue
            columns = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND atttypid = 'bytea'::regtype"
                " AND attnum > 0 AND NOT attisdropped",
                (name.as_string(),),
            ).fetchall()
            for (column,) in columns:
                query = sql.SQL("SELECT string_agg({0}, '\\x00') FROM {1}").format(sql.Identifier(column), name)
                row = connection.execute(query, binary=True).fetchone()
                yield f"{schema}.{table}.{column}", bytes(row[0] or b"") if row else b""


def cluster(database: Database) -> Path:
    """The directory of the whole cluster, write-ahead log and server's own logs included, with everything written."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    return Path(row[0])


def found_in_tables(database: Database, words: Iterable[str]) -> set[tuple[str, str]]:
    """Which words stand where in the tables."""
    wanted = {word: forms(word) for word in words}
    return {
        (word, place)
        for place, content in tables(database)
        for word, variants in wanted.items()
        if any(each in content for each in variants)
    }


def found_in_files(directory: Path, words: Iterable[str]) -> set[str]:
    """Files below a directory, hidden ones included, in which any of the words stands."""
    patterns = sorted({form.decode() for word in words for form in forms(word)})
    command = ["grep", "-rlaF", *(f"--regexp={each}" for each in patterns), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Files that end while it reads are the server's own; everything else has to be read.
    faults = [line for line in done.stderr.splitlines() if "No such file" not in line]
    assert done.returncode in (0, 1, 2), done.stderr
    assert not faults, faults
    return set(done.stdout.splitlines())
