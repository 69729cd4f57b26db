"""The rows of the schema `intake`: an upload while it is under way. The caller owns the transaction."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from domain.errors import DatabaseUnavailable, UploadNotFound
from domain.records import RecordKind

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Connection = psycopg.Connection[Any]


@contextmanager
def transaction(pool: ConnectionPool[Any]) -> Iterator[Connection]:
    """A transaction on a connection of the pool.

    Raises: DatabaseUnavailable.
    """
    try:
        with pool.connection() as connection, connection.transaction():
            yield connection
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise DatabaseUnavailable from error


class UploadStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far an upload is: files and their bytes so far, times in microseconds UTC."""

    upload: str
    record: str
    case: str
    actor: str
    kind: RecordKind
    state: Literal["open", "finished", "abandoned"]
    files: int
    total_bytes: int
    opened_at: int
    touched_at: int


class Upload(UploadStatus, frozen=True, kw_only=True):
    """An upload with what only intake sees: the record's sealed key, and the digest (hex) once finished.

    While it is `committing`, its event may be on its way into the ledger.
    """

    sealed_key: bytes | None
    digest: str | None
    committing: bool

    def status(self) -> UploadStatus:
        """The part that may be shown."""
        return UploadStatus(**{field: getattr(self, field) for field in UploadStatus.__struct_fields__})


def insert(
    database: Connection, upload: str, case: str, actor: str, kind: RecordKind, record: str, sealed_key: bytes
) -> None:
    """A new open upload."""
    database.execute(
        "INSERT INTO intake.upload"
        " (id, case_id, actor, kind, record_id, state, sealed_key, opened_at, touched_at)"
        " SELECT %s, %s, %s, %s, %s, 'open', %s, now, now FROM intake.now() AS now",
        (upload, case, actor, kind.value, record, sealed_key),
    )


def load(database: Connection, upload: str, *, lock: bool = False) -> Upload:
    """One upload; with `lock`, nobody else changes it or its files before the transaction ends.

    Raises: UploadNotFound.
    """
    if not _UUID.fullmatch(upload):
        raise UploadNotFound
    if lock:
        # Its own statement: the next one must see what was committed while this one waited.
        database.execute("SELECT FROM intake.upload WHERE id = %s FOR UPDATE", (upload,))
    row = database.execute(
        "SELECT id::text, record_id::text, case_id, actor, kind, state, opened_at, touched_at, sealed_key,"
        " encode(digest, 'hex'), files, total_bytes, committing_until > intake.now()"
        " FROM intake.upload WHERE id = %s",
        (upload,),
    ).fetchone()
    if row is None:
        raise UploadNotFound
    return Upload(
        upload=row[0],
        record=row[1],
        case=row[2],
        actor=row[3],
        kind=RecordKind(row[4]),
        state=row[5],
        opened_at=row[6],
        touched_at=row[7],
        sealed_key=row[8],
        digest=row[9],
        files=row[10],
        total_bytes=row[11],
        committing=row[12],
    )


def touch(database: Connection, upload: str) -> None:
    """Say that the upload lives."""
    database.execute("UPDATE intake.upload SET touched_at = intake.now() WHERE id = %s", (upload,))


def add_file(database: Connection, upload: str, sha256: str, name_tag: bytes, size: int, sealed: bytes) -> None:
    """Name a stored file; nothing changes when it is named already. The upload is locked by `load`."""
    database.execute(
        "WITH added AS (INSERT INTO intake.file (upload, sha256, name_tag, bytes, sealed) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING bytes)"
        " UPDATE intake.upload SET touched_at = intake.now(), files = files + (SELECT count(*) FROM added),"
        " total_bytes = total_bytes + (SELECT coalesce(sum(bytes), 0) FROM added) WHERE id = %s",
        (upload, bytes.fromhex(sha256), name_tag, size, sealed, upload),
    )


def files(database: Connection, upload: str) -> list[tuple[str, bytes, bytes]]:
    """SHA-256 (hex), name tag and sealed entry of every file."""
    query = "SELECT encode(sha256, 'hex'), name_tag, sealed FROM intake.file WHERE upload = %s"
    return database.execute(query, (upload,)).fetchall()


def names(database: Connection, upload: str, sha256: str) -> bool:
    """Whether some file of the upload has these bytes."""
    query = "SELECT FROM intake.file WHERE upload = %s AND sha256 = %s LIMIT 1"
    return database.execute(query, (upload, bytes.fromhex(sha256))).fetchone() is not None


def mark_finished(database: Connection, upload: str, digest: str) -> None:
    """Close the upload with the digest of its manifest."""
    database.execute(
        "UPDATE intake.upload SET state = 'finished', digest = %s, touched_at = intake.now() WHERE id = %s",
        (bytes.fromhex(digest), upload),
    )


def mark_abandoned(database: Connection, upload: str) -> None:
    """Forget the upload's files and key; the row stays, so that a writer that comes late finds it ended."""
    database.execute("DELETE FROM intake.file WHERE upload = %s", (upload,))
    database.execute("DELETE FROM intake.part WHERE upload = %s", (upload,))
    database.execute(
        "UPDATE intake.upload SET state = 'abandoned', sealed_key = NULL, digest = NULL,"
        " touched_at = intake.now() WHERE id = %s",
        (upload,),
    )


def lock_untouched(database: Connection, older_than_s: float) -> list[tuple[str, str, str]]:
    """Upload, record and state of what nothing has touched for so many seconds, unless finished or in use."""
    return database.execute(
        "SELECT id::text, record_id::text, state FROM intake.upload"
        " WHERE state <> 'finished' AND touched_at <= intake.now() - %s FOR UPDATE SKIP LOCKED",
        (int(older_than_s * 1_000_000),),
    ).fetchall()


def arriving(database: Connection, upload: str) -> bool:
    """Whether some part of the upload has begun to arrive and is not done."""
    query = "SELECT FROM intake.part WHERE upload = %s AND state = 'open' LIMIT 1"
    return database.execute(query, (upload,)).fetchone() is not None


def lease(database: Connection, upload: str, seconds: float) -> None:
    """Keep a finished upload from being ended by anybody else, for so many seconds from now; 0 lets go of it."""
    database.execute(
        "UPDATE intake.upload SET committing_until = intake.now() + %s WHERE id = %s",
        (int(seconds * 1_000_000), upload),
    )


def finished(database: Connection, older_than_s: float) -> list[tuple[str, str, str, bool]]:
    """Upload, case and record of every finished upload that nobody is committing, and whether it is that old."""
    return database.execute(
        "SELECT id::text, case_id, record_id::text, touched_at <= intake.now() - %s FROM intake.upload"
        " WHERE state = 'finished' AND committing_until <= intake.now()",
        (int(older_than_s * 1_000_000),),
    ).fetchall()


def unknown(database: Connection, records: set[str]) -> set[str]:
    """Those of these record ids that neither an upload nor a record has."""
    rows = database.execute(
        "SELECT candidate FROM unnest(%s::text[]) AS candidate"
        " WHERE NOT EXISTS (SELECT FROM intake.upload WHERE record_id = candidate::uuid)"
        " AND NOT EXISTS (SELECT FROM records.blob_key WHERE record = candidate)",
        (sorted(records),),
    ).fetchall()
    return {row[0] for row in rows}


def delete(database: Connection, upload: str) -> None:
    """Drop the upload and its files' rows; content in the vault is not touched."""
    database.execute("DELETE FROM intake.upload WHERE id = %s", (upload,))
