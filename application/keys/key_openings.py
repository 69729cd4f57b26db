"""Openings of the streams of keys, as a verifier of the whole log needs them: a public key is no secret."""

from psycopg_pool import ConnectionPool

from application import sql
from application.ledger.store import Ledger
from domain.ledger import encoding
from domain.ledger.bundle import Disclosure


def key_openings(pool: ConnectionPool, ledger: Ledger) -> bytes:
    """One canonical JSON document a line, by ascending index; what was erased is left out.

    Raises:
        DatabaseUnavailable.
    """
    with sql.borrowed(pool) as connection:
        found = connection.execute("SELECT stream FROM ledger.entry WHERE stream LIKE 'key-%' AND rev = 1").fetchall()
    rows = [row for (stream,) in found for row in ledger.recorder.rows(stream, None, None, desc=False, limit=None)]
    lines = []
    for row in sorted(rows, key=lambda row: row.index):
        opening = ledger.events.reader.opening_at(row)
        if opening is not None:
            disclosed = Disclosure(index=row.index, blinding=opening.blinding, payload=opening.payload)
            lines.append(encoding.encode(disclosed) + b"\n")
    return b"".join(lines)
