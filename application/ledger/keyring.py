"""Subjects' keys: made once, kept wrapped in the database, unwrapped in memory for a short while.

Deleting a wrapped key is what erases a subject. A process may hold an unwrapped one for up to `CACHE_S`; nothing that
it holds longer can open a payload.
"""

import hashlib
import secrets
from threading import Lock
from time import monotonic

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg_pool import ConnectionPool

from application import sql
from domain.errors import PayloadAltered, SubjectErased
from domain.ledger.sealing import KEY_BYTES, NONCE_BYTES

CACHE_S = 30.0
_CACHE_KEYS = 20_000


class Keyring:
    """Keys of subjects, by subject id; thread-safe."""

    def __init__(self, pool: ConnectionPool, kek: bytes) -> None:
        self._pool = pool
        self._kek = AESGCM(kek)
        self._kek_name = hashlib.sha256(b"caseledger/kek\0" + kek).hexdigest()[:16]
        self._cache: dict[str, tuple[float, bytes]] = {}
        self._lock = Lock()

    def get(self, subject: str) -> bytes:
        """The subject's 32-byte key.

        Raises:
            SubjectErased: there is no key of that subject, because it was erased.
            PayloadAltered: the stored key does not unwrap.
        """
        return self.get_many((subject,))[subject]

    def get_many(self, subjects: tuple[str, ...]) -> dict[str, bytes]:
        """Keys of several subjects, in one query at most; those that were erased raise as in `get`."""
        found = self.find_many(subjects)
        for subject in subjects:
            if subject not in found:
                raise SubjectErased("the data of this subject was erased")
        return found

    def find_many(self, subjects: tuple[str, ...]) -> dict[str, bytes]:
        """Keys of those among the subjects that still have one."""
        now = monotonic()
        found: dict[str, bytes] = {}
        missing: list[str] = []
        with self._lock:
            for subject in dict.fromkeys(subjects):
                until, key = self._cache.get(subject, (0.0, b""))
                if until > now:
                    found[subject] = key
                else:
                    missing.append(subject)
        if missing:
            with sql.borrowed(self._pool) as connection:
                rows = connection.execute(
                    "SELECT subject, wrapped FROM ledger.subject_key WHERE subject = ANY(%s)", (missing,)
                ).fetchall()
            for subject, wrapped in rows:
                found[subject] = self._unwrap(subject, bytes(wrapped))
                self._remember(subject, found[subject])
        return found

    def create(self, *subjects: str) -> None:
        """Make keys for subjects that have none. Durable before anything is sealed under them."""
        rows = [(subject, self._wrap(subject, secrets.token_bytes(KEY_BYTES)), self._kek_name) for subject in subjects]
        with sql.borrowed(self._pool) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ledger.subject_key (subject, wrapped, kek) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                rows,
            )

    def forget(self, subject: str) -> None:
        """Drop a key from memory at once."""
        with self._lock:
            self._cache.pop(subject, None)

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes:
        """Seal something that is stored outside the log (a view's column, a draft) under the subject's key.

        Deterministic (AES-SIV, RFC 5297): equal content in an equal context gives equal bytes, so that a view folded
        anew compares equal to the live one. `context` says where it stands, and binds it there.
        """
        return _siv(self.get(subject)).encrypt(plaintext, [context.encode()])

    def open(self, subject: str, context: str, sealed: bytes) -> bytes:
        """Open what `seal` gave.

        Raises:
            SubjectErased: the subject's key is gone.
            PayloadAltered: other bytes, another context or another subject.
        """
        try:
            return _siv(self.get(subject)).decrypt(sealed, [context.encode()])
        except InvalidTag:
            raise PayloadAltered("a sealed value does not open where it stands") from None

    def _remember(self, subject: str, key: bytes) -> None:
        with self._lock:
            now = monotonic()
            # In the order of their ends, since all live equally long: what is over goes first, then the oldest.
            self._cache.pop(subject, None)
            while self._cache:
                oldest = next(iter(self._cache))
                if self._cache[oldest][0] > now and len(self._cache) < _CACHE_KEYS:
                    break
                del self._cache[oldest]
            self._cache[subject] = (now + CACHE_S, key)

    def _wrap(self, subject: str, key: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._kek.encrypt(nonce, key, self._bound(subject))

    def _unwrap(self, subject: str, wrapped: bytes) -> bytes:
        try:
            return self._kek.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], self._bound(subject))
        except InvalidTag:
            raise PayloadAltered("a subject's key does not unwrap under this ledger's key-encryption key") from None

    def _bound(self, subject: str) -> bytes:
        return f"caseledger/subject-key/v1\0{self._kek_name}\0{subject}".encode()


def _siv(key: bytes) -> AESSIV:
    return AESSIV(HKDF(SHA256(), 64, None, b"caseledger/column/v1").derive(key))
