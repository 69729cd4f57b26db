"""What uploads may take up, and what they do: files that are there, transfers, and bytes on their way right now."""

import msgspec

from application.records.uploads import Connection
from domain.errors import QuotaExceeded

GIB = 1024**3
_ARRIVING_US = 120_000_000
"""Whoever takes a file in says so far more often; microseconds."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Most that an upload may hold, and a case with its records and all uploads under way; in bytes, and in files.

    The defaults leave room for several large studies: a photon-counting CT of the liver in four phases has some 20 GiB.
    """

    upload_bytes: int = 128 * GIB
    upload_files: int = 100_000
    case_bytes: int = 512 * GIB
    case_files: int = 400_000
    case_uploads: int = 100


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload takes up, and all uploads of its case together; bytes on their way are counted.

    `recorded_*` are those of the case's records.
    """

    upload_bytes: int = 0
    upload_files: int = 0
    case_bytes: int = 0
    case_files: int = 0
    case_uploads: int = 0
    recorded_bytes: int = 0
    recorded_files: int = 0

    def over(self, recorded_bytes: int, recorded_files: int) -> "Usage":
        """The same, above what the records of the case come to."""
        return msgspec.structs.replace(self, recorded_bytes=recorded_bytes, recorded_files=recorded_files)


def check(limits: Limits, used: Usage, more_bytes: int = 0, more_files: int = 0) -> None:
    """Let so much more pass.

    Raises:
        QuotaExceeded: it would be above a limit, which the message names.
    """
    case_bytes = used.recorded_bytes + used.case_bytes + more_bytes
    case_files = used.recorded_files + used.case_files + more_files
    for what, now, most in (
        ("an upload takes at most {} bytes", used.upload_bytes + more_bytes, limits.upload_bytes),
        ("an upload takes at most {} files", used.upload_files + more_files, limits.upload_files),
        ("a case holds at most {} bytes, those of uploads under way included", case_bytes, limits.case_bytes),
        ("a case holds at most {} files, those of uploads under way included", case_files, limits.case_files),
    ):
        if now > most:
            raise QuotaExceeded(what.format(most))


def arrives(database: Connection, arriving: str, upload: str, size: int) -> None:
    """So many bytes of a file have arrived, and more are on their way."""
    database.execute(
        "INSERT INTO intake.arriving (id, upload, bytes, touched_at) VALUES (%s, %s, %s, intake.now())"
        " ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, touched_at = excluded.touched_at",
        (arriving, upload, size),
    )


def arrived(database: Connection, arriving: str) -> None:
    """It is on its way no more."""
    database.execute("DELETE FROM intake.arriving WHERE id = %s", (arriving,))


def under_way(database: Connection, upload: str) -> tuple[int, int]:
    """Files of an upload that are on their way, and their bytes so far."""
    row = database.execute(
        "SELECT count(*), coalesce(sum(bytes), 0) FROM intake.arriving WHERE upload = %s"
        " AND touched_at > intake.now() - %s",
        (upload, _ARRIVING_US),
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def usage(database: Connection, upload: str, case: str) -> Usage:
    """What an upload and its case's uploads take up, transfers that are not done and files on their way included."""
    row = database.execute(
        "WITH each AS (SELECT u.id = %s AS own, u.files, u.total_bytes"
        " + (SELECT coalesce(sum(p.received), 0) FROM intake.part p WHERE p.upload = u.id AND p.state = 'open')"
        " + (SELECT coalesce(sum(a.bytes), 0) FROM intake.arriving a WHERE a.upload = u.id"
        "    AND a.touched_at > intake.now() - %s) AS bytes"
        " FROM intake.upload u WHERE u.case_id = %s AND u.state <> 'abandoned')"
        " SELECT coalesce(sum(bytes) FILTER (WHERE own), 0), coalesce(sum(files) FILTER (WHERE own), 0),"
        " coalesce(sum(bytes), 0), coalesce(sum(files), 0), count(*) FROM each",
        (upload, _ARRIVING_US, case),
    ).fetchone()
    numbers = [int(each) for each in row or (0, 0, 0, 0, 0)]
    return Usage(
        upload_bytes=numbers[0],
        upload_files=numbers[1],
        case_bytes=numbers[2],
        case_files=numbers[3],
        case_uploads=numbers[4],
    )
