"""The rows of transfers that can go on where they broke: parts of an upload, and their segments in the vault."""

import re
from typing import Literal

import msgspec

from application.records.uploads import Connection
from domain.errors import UploadNotFound

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

PartKind = Literal["file", "archive"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A file, or an archive, that arrives piece by piece: bytes received, and of the whole once announced.

    `sealed` holds its name and announced digest, `answer` what became of it.
    """

    part: str
    upload: str
    kind: PartKind
    state: Literal["open", "done"]
    received: int
    length: int | None
    sealed: bytes
    answer: bytes | None


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Bytes `starts` to `starts + bytes` of a part, which stand under `id` in the vault and have this SHA-256 (hex)."""

    starts: int
    bytes: int
    id: str
    sha256: str


_COLUMNS = "id::text, upload::text, kind, state, received, length, sealed, answer"


def insert(database: Connection, part: str, upload: str, kind: PartKind, length: int | None, sealed: bytes) -> None:
    """A new open part."""
    database.execute(
        "INSERT INTO intake.part (id, upload, kind, state, length, sealed) VALUES (%s, %s, %s, 'open', %s, %s)",
        (part, upload, kind, length, sealed),
    )


def load(database: Connection, upload: str, part: str, *, lock: bool = False) -> Part:
    """One part of an upload; with `lock`, nobody else changes it before the transaction ends.

    Raises: UploadNotFound.
    """
    if not _UUID.fullmatch(part):
        raise UploadNotFound
    if lock:
        database.execute("SELECT FROM intake.part WHERE id = %s FOR UPDATE", (part,))
    row = database.execute(
        f"SELECT {_COLUMNS} FROM intake.part WHERE upload = %s AND id = %s",  # noqa: S608 - a constant
        (upload, part),
    ).fetchone()
    if row is None:
        raise UploadNotFound
    return _part(row)


def of_upload(database: Connection, upload: str) -> list[Part]:
    """Every part of an upload, in the order of their beginnings."""
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM intake.part WHERE upload = %s ORDER BY id",  # noqa: S608 - a constant
        (upload,),
    )
    return [_part(row) for row in rows]


def count(database: Connection, upload: str) -> int:
    """How many parts an upload has that are not done."""
    row = database.execute(
        "SELECT count(*) FROM intake.part WHERE upload = %s AND state = 'open'", (upload,)
    ).fetchone()
    return int(row[0]) if row else 0


def count_segments(database: Connection, part: str) -> int:
    """How many segments a part has."""
    row = database.execute("SELECT count(*) FROM intake.segment WHERE part = %s", (part,)).fetchone()
    return int(row[0]) if row else 0


def announce(database: Connection, part: str, length: int) -> None:
    """Fix the length of the whole."""
    database.execute("UPDATE intake.part SET length = %s WHERE id = %s", (length, part))


def add_segment(database: Connection, part: str, segment: Segment) -> bool:
    """Name a stored segment at the end of what has been received; False when the part has moved, or is done."""
    moved = database.execute(
        "UPDATE intake.part SET received = received + %s"
        " WHERE id = %s AND state = 'open' AND received = %s AND busy_until <= intake.now()",
        (segment.bytes, part, segment.starts),
    )
    if moved.rowcount != 1:
        return False
    database.execute(
        "INSERT INTO intake.segment (part, starts, bytes, id, sha256) VALUES (%s, %s, %s, %s, %s)",
        (part, segment.starts, segment.bytes, segment.id, bytes.fromhex(segment.sha256)),
    )
    return True


def segments(database: Connection, part: str) -> list[Segment]:
    """The segments of a part, in order."""
    rows = database.execute(
        "SELECT starts, bytes, id::text, encode(sha256, 'hex') FROM intake.segment WHERE part = %s ORDER BY starts",
        (part,),
    )
    return [Segment(*row) for row in rows]


def claim(database: Connection, part: str, seconds: float) -> bool:
    """Become the one who assembles a part, for so many seconds from now; False where somebody else is at it."""
    claimed = database.execute(
        "UPDATE intake.part SET busy_until = intake.now() + %s"
        " WHERE id = %s AND state = 'open' AND busy_until <= intake.now()",
        (int(seconds * 1_000_000), part),
    )
    return claimed.rowcount == 1


def prolong(database: Connection, part: str, seconds: float) -> None:
    """Stay the one who assembles a part for so many seconds from now; 0 lets go of it."""
    database.execute(
        "UPDATE intake.part SET busy_until = intake.now() + %s WHERE id = %s", (int(seconds * 1_000_000), part)
    )


def finish(database: Connection, part: str, answer: bytes) -> None:
    """Keep what became of a part, and forget its segments."""
    database.execute("DELETE FROM intake.segment WHERE part = %s", (part,))
    database.execute("UPDATE intake.part SET state = 'done', answer = %s WHERE id = %s", (answer, part))


def delete(database: Connection, part: str) -> None:
    """Drop a part and its segments' rows; content in the vault is not touched."""
    database.execute("DELETE FROM intake.part WHERE id = %s", (part,))


def _part(row: tuple[object, ...]) -> Part:
    return msgspec.convert(dict(zip(Part.__struct_fields__, row, strict=True)), Part)
