"""The age key of each record, kept sealed under the record's own subject key."""

from psycopg_pool import ConnectionPool

from application.ledger.keyring import Keyring
from domain.errors import NotFound, SubjectErased


class BlobKeys:
    """Keeps and finds the age identities with which records' blobs open."""

    def __init__(self, pool: ConnectionPool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    def keep(self, record: str, identity: str) -> None:
        """Keep a record's identity; durable before the event that makes it a record."""
        sealed = self._keyring.seal(f"record:{record}", "records.blob_key", identity.encode())
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO records.blob_key (record, sealed) VALUES (%s, %s) ON CONFLICT DO NOTHING", (record, sealed)
            )

    def of(self, record: str) -> str:
        """A record's identity.

        Raises:
            NotFound: no such record.
            SubjectErased: it was erased.
        """
        with self._pool.connection() as connection:
            row = connection.execute("SELECT sealed FROM records.blob_key WHERE record = %s", (record,)).fetchone()
        if row is None:
            raise NotFound("there is no such record")
        return self._keyring.open(f"record:{record}", "records.blob_key", row[0]).decode()


class RecordSealer:
    """Seals what an upload holds under its record's subject key, which it makes at the first need."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes:
        """See `Keyring.seal`."""
        try:
            return self._keyring.seal(subject, context, plaintext)
        except SubjectErased:
            # There is no key yet; or there never will be one again, and then this says so.
            self._keyring.create(subject)
            return self._keyring.seal(subject, context, plaintext)

    def open(self, subject: str, context: str, sealed: bytes) -> bytes:
        """See `Keyring.open`."""
        return self._keyring.open(subject, context, sealed)
