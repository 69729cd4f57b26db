"""What was worked out from a record and is kept with it: sealed under the record's own key, gone when that goes."""

from typing import Any, Literal

from psycopg_pool import ConnectionPool

from application.ledger.keyring import Keyring

Kind = Literal["pictures", "documents"]


class Derived:
    """One small thing of each kind for a record. It can always be made again, so the last writer wins."""

    def __init__(self, pool: ConnectionPool[Any], keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    def load(self, record: str, kind: Kind) -> bytes | None:
        """What is kept; None where nothing is.

        Raises:
            SubjectErased: the record was erased.
        """
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT sealed FROM records.derived WHERE record = %s AND kind = %s", (record, kind)
            ).fetchone()
        return None if row is None else self._keyring.open(f"record:{record}", f"records.derived/{kind}", row[0])

    def keep(self, record: str, kind: Kind, content: bytes) -> None:
        """Keep something in place of what was kept.

        Raises:
            SubjectErased: the record was erased.
        """
        sealed = self._keyring.seal(f"record:{record}", f"records.derived/{kind}", content)
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO records.derived (record, kind, sealed) VALUES (%s, %s, %s)"
                " ON CONFLICT (record, kind) DO UPDATE SET sealed = excluded.sealed",
                (record, kind, sealed),
            )
