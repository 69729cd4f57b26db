"""The rows of the schema `intake`: an upload while it is under way. The caller owns the transaction."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from domain.errors import DatabaseUnavailable, QuotaExceeded, UploadNotFound
from domain.records import RecordKind

IDS_PER_FILE = 16
"""Under how many ids a sender may send the same bytes with the same name: a client that lost its own makes new ones."""
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
    """How far an upload is: files and their bytes so far, times in microseconds UTC.

    `arriving_*` are the files, and their bytes, that are on their way right now; small ones come and go unseen.
    """

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
    arriving_files: int = 0
    arriving_bytes: int = 0


class Upload(UploadStatus, frozen=True, kw_only=True):
    """An upload with what only intake sees: the record's sealed key, and the digest (hex) once finished.

    While it is `committing`, its event may be on its way into the ledger. `tag` says of which study or document the
    upload's own record is, once one has arrived.
    """

    sealed_key: bytes | None
    tag: bytes | None
    digest: str | None
    committing: bool

    def status(self) -> UploadStatus:
        """The part that may be shown."""
        return UploadStatus(**{field: getattr(self, field) for field in UploadStatus.__struct_fields__})


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """A further record of an upload: of which study or document (`tag`), its kind, its age key, sealed."""

    record: str
    tag: bytes
    kind: RecordKind
    sealed_key: bytes


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an upload names: its SHA-256 (hex), name tag, sealed entry, and the record that it is of."""

    sha256: str
    name_tag: bytes
    sealed: bytes
    record: str


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
        " encode(digest, 'hex'), files, total_bytes, committing_until > intake.now(), tag"
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
        tag=row[13],
    )


def touch(database: Connection, upload: str) -> None:
    """Say that the upload lives."""
    database.execute("UPDATE intake.upload SET touched_at = intake.now() WHERE id = %s", (upload,))


def add_file(
    database: Connection, upload: str, record: str | None, sha256: str, name_tag: bytes, size: int, sealed: bytes
) -> None:
    """Name a stored file; nothing changes when it is named already. The upload is locked by `load`.

    `record` is that of a `Beside`; None for the upload's own.
    """
    database.execute(
        "WITH added AS (INSERT INTO intake.file (upload, record_id, sha256, name_tag, bytes, sealed)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING bytes)"
        " UPDATE intake.upload SET touched_at = intake.now(), files = files + (SELECT count(*) FROM added),"
        " total_bytes = total_bytes + (SELECT coalesce(sum(bytes), 0) FROM added) WHERE id = %s",
        (upload, record, bytes.fromhex(sha256), name_tag, size, sealed, upload),
    )


def files(database: Connection, upload: str) -> list[Named]:
    """Every file of an upload."""
    rows = database.execute(
        "SELECT encode(f.sha256, 'hex'), f.name_tag, f.sealed, coalesce(f.record_id, u.record_id)::text"
        " FROM intake.file f JOIN intake.upload u ON u.id = f.upload WHERE f.upload = %s",
        (upload,),
    )
    return [Named(sha256=row[0], name_tag=row[1], sealed=row[2], record=row[3]) for row in rows]


def files_of(database: Connection, upload: str, record: str | None) -> int:
    """How many files of an upload are of this record; None is the upload's own."""
    query = "SELECT count(*) FROM intake.file WHERE upload = %s AND record_id IS NOT DISTINCT FROM %s"
    row = database.execute(query, (upload, record)).fetchone()
    return int(row[0]) if row else 0


def names(database: Connection, upload: str, record: str | None, sha256: str) -> bool:
    """Whether some file of that record of the upload has these bytes."""
    query = "SELECT FROM intake.file WHERE upload = %s AND sha256 = %s AND record_id IS NOT DISTINCT FROM %s LIMIT 1"
    return database.execute(query, (upload, bytes.fromhex(sha256), record)).fetchone() is not None


def sent(database: Connection, upload: str, file: str) -> Named | None:
    """The file that came under this id of its sender's, if one has."""
    row = database.execute(
        "SELECT encode(f.sha256, 'hex'), f.name_tag, f.sealed, coalesce(f.record_id, u.record_id)::text"
        " FROM intake.sent s JOIN intake.file f USING (upload, sha256, name_tag)"
        " JOIN intake.upload u ON u.id = f.upload"
        " WHERE s.upload = %s AND s.id = %s",
        (upload, file),
    ).fetchone()
    return None if row is None else Named(sha256=row[0], name_tag=row[1], sealed=row[2], record=row[3])


def mark_sent(database: Connection, upload: str, file: str, sha256: str, name_tag: bytes) -> None:
    """Say under which new id a file came. The upload is locked by `load`.

    Raises:
        QuotaExceeded: the same file has come under many ids already, and no other limit would end that.
    """
    named = (upload, bytes.fromhex(sha256), name_tag)
    row = database.execute(
        "INSERT INTO intake.sent (upload, sha256, name_tag, id) SELECT %s, %s, %s, %s"
        " WHERE (SELECT count(*) FROM intake.sent WHERE (upload, sha256, name_tag) = (%s, %s, %s)) < %s RETURNING 1",
        (*named, file, *named, IDS_PER_FILE),
    ).fetchone()
    if row is None:
        raise QuotaExceeded(f"one file may be sent under at most {IDS_PER_FILE} ids")


def one_by_one(database: Connection, case: str) -> None:
    """Let nobody else begin an upload for this case before the transaction ends."""
    database.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"uploads of {case}",))


def claim(database: Connection, upload: str, tag: bytes) -> None:
    """Let the upload's own record be of this study or document. The upload is locked by `load`."""
    database.execute("UPDATE intake.upload SET tag = %s WHERE id = %s AND tag IS NULL", (tag, upload))


def beside(database: Connection, upload: str, tag: bytes) -> Beside | None:
    """The further record of an upload that is of this study or document."""
    return next((each for each in all_beside(database, upload) if each.tag == tag), None)


def all_beside(database: Connection, upload: str) -> list[Beside]:
    """The further records of an upload that was not abandoned, in the order of their beginnings."""
    rows = database.execute(
        "SELECT record_id::text, tag, kind, sealed_key FROM intake.beside"
        " WHERE upload = %s AND sealed_key IS NOT NULL ORDER BY record_id",
        (upload,),
    )
    return [Beside(record=row[0], tag=row[1], kind=RecordKind(row[2]), sealed_key=row[3]) for row in rows]


def add_beside(database: Connection, upload: str, new: Beside) -> None:
    """Begin a further record, unless its study or document has one. The upload is locked by `load`."""
    database.execute(
        "INSERT INTO intake.beside (upload, tag, record_id, kind, sealed_key) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (upload, new.tag, new.record, new.kind.value, new.sealed_key),
    )


def records(database: Connection, upload: str) -> list[str]:
    """Every record of an upload, its own first."""
    rows = database.execute(
        "SELECT record_id::text, 0 AS further FROM intake.upload WHERE id = %s"
        " UNION ALL SELECT record_id::text, 1 FROM intake.beside WHERE upload = %s ORDER BY further, record_id",
        (upload, upload),
    )
    return [row[0] for row in rows]


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
    database.execute("UPDATE intake.beside SET sealed_key = NULL WHERE upload = %s", (upload,))
    database.execute(
        "UPDATE intake.upload SET state = 'abandoned', sealed_key = NULL, digest = NULL,"
        " touched_at = intake.now() WHERE id = %s",
        (upload,),
    )


def lock_untouched(database: Connection, older_than_s: float) -> list[tuple[str, str]]:
    """Upload and state of what nothing has touched for so many seconds, unless finished or in use."""
    return database.execute(
        "SELECT id::text, state FROM intake.upload"
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
        " AND NOT EXISTS (SELECT FROM intake.beside WHERE record_id = candidate::uuid)"
        " AND NOT EXISTS (SELECT FROM records.blob_key WHERE record = candidate)",
        (sorted(records),),
    ).fetchall()
    return {row[0] for row in rows}


def delete(database: Connection, upload: str) -> None:
    """Drop the upload and its files' rows; content in the vault is not touched."""
    database.execute("DELETE FROM intake.upload WHERE id = %s", (upload,))


def came_late(database: Connection, record: str, case: str, sha256: str) -> None:
    """Remember bytes below a record that were stored when its upload was settled already."""
    database.execute(
        "INSERT INTO intake.late (record_id, case_id, sha256) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (record, case, bytes.fromhex(sha256)),
    )


def late(database: Connection) -> list[tuple[str, str, str]]:
    """Record, case and SHA-256 (hex) of what came late."""
    return database.execute("SELECT record_id::text, case_id, encode(sha256, 'hex') FROM intake.late").fetchall()


def forget_late(database: Connection, record: str, sha256: str) -> None:
    """It is dealt with."""
    database.execute("DELETE FROM intake.late WHERE record_id = %s AND sha256 = %s", (record, bytes.fromhex(sha256)))
