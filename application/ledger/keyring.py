"""Subjects' keys: made once, kept wrapped in the database, unwrapped in memory for a short while.

Deleting a wrapped key is what erases a subject. A process may hold an unwrapped one for up to `CACHE_S`; nothing that
it holds longer can open a payload.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg_pool import ConnectionPool

from application import sql
from domain.errors import Misconfigured, PayloadAltered, SubjectErased
from domain.ledger.sealing import KEY_BYTES, NONCE_BYTES

CACHE_S = 30.0
_CACHE_KEYS = 20_000
_REWRAPPED = 500
"""Keys that are rewrapped in one transaction."""


def kek_name(kek: bytes) -> str:
    """What the database calls a key-encryption key."""
    return hashlib.sha256(b"caseledger/kek\0" + kek).hexdigest()[:16]


class Keyring:
    """Keys of subjects, by subject id; thread-safe.

    `reread` gives the key-encryption keys that there are at this moment, for when another process has rotated them.
    """

    def __init__(self, pool: ConnectionPool, kek: bytes, reread: Callable[[], Sequence[bytes]] | None = None) -> None:
        self._pool = pool
        self._reread = reread
        self._keks = {kek_name(kek): kek}
        self._current = kek_name(kek)
        self._cache: dict[str, tuple[float, bytes]] = {}
        # Derived from keys in the cache, and gone with them: to derive one takes longer than to seal a column.
        self._columns: dict[str, tuple[bytes, AESSIV]] = {}
        self._cleared = 0
        self._caching = True
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
            cleared = self._cleared
            for subject in dict.fromkeys(subjects):
                until, key = self._cache.get(subject, (0.0, b""))
                if until > now:
                    found[subject] = key
                else:
                    missing.append(subject)
        if missing:
            with sql.borrowed(self._pool) as connection:
                rows = connection.execute(
                    "SELECT subject, wrapped, kek FROM ledger.subject_key WHERE subject = ANY(%s)", (missing,)
                ).fetchall()
            for subject, wrapped, kek in rows:
                found[subject] = self._unwrap(subject, bytes(wrapped), kek)
                self._remember(subject, found[subject], cleared)
        return found

    def fenced(self, subjects: tuple[str, ...]) -> set[str]:
        """Those among the subjects that were erased; never from memory."""
        with sql.borrowed(self._pool) as connection:
            rows = connection.execute("SELECT subject FROM ledger.fence WHERE subject = ANY(%s)", (list(subjects),))
            return {subject for (subject,) in rows}

    def create(self, *subjects: str) -> None:
        """Make keys for subjects that have none. Durable before anything is sealed under them.

        For a subject that was erased none is made: asking for it then raises SubjectErased.
        """
        try:
            self._create(subjects)
        except psycopg.errors.IntegrityConstraintViolation:
            self._turn()
            self._create(subjects)

    def forget(self, subject: str) -> None:
        """Drop a key from memory at once."""
        with self._lock:
            self._cleared += 1
            self._cache.pop(subject, None)
            self._columns.pop(subject, None)

    def clear(self) -> None:
        """Drop every key from memory at once, those too that are being read at this moment."""
        with self._lock:
            self._cleared += 1
            self._cache.clear()
            self._columns.clear()

    def cache(self, *, allowed: bool) -> None:
        """Hold keys in memory, or, while this process might not hear of an erasure, hold none."""
        with self._lock:
            self._caching = allowed
            self._cleared += 1
            self._cache.clear()
            self._columns.clear()

    def rewrap(self, kek: bytes) -> int:
        """Put every living subject's key under another key-encryption key, from now on the one in use; how many went.

        Keys are readable meanwhile, under either. Ended at any point and called again, it goes on where it was.

        Warning: destroy the old one only after this has returned.
        """
        name = kek_name(kek)
        with self._lock:
            self._keks[name] = kek
        with sql.borrowed(self._pool) as connection:
            # Whoever is about to make a key under the old one has done so, or will be refused.
            connection.execute("SELECT ledger.turn_kek(%s)", (name,))
        with self._lock:
            self._current = name
        changed, last = 0, ""
        while True:
            with sql.borrowed(self._pool) as connection:
                rows = connection.execute(
                    "SELECT subject, wrapped, kek FROM ledger.subject_key WHERE kek <> %s AND subject > %s"
                    " ORDER BY subject LIMIT %s",
                    (name, last, _REWRAPPED),
                ).fetchall()
                if not rows:
                    return changed
                last = rows[-1][0]
                fresh = [self._wrap(subject, self._unwrap(subject, bytes(old), by)) for subject, old, by in rows]
                row = connection.execute(
                    "SELECT ledger.rewrap(%s, %s, %s, %s)",
                    ([each[0] for each in rows], [bytes(each[1]) for each in rows], fresh, name),
                ).fetchone()
                changed += row[0] if row else 0

    def current(self) -> str:
        """Name of the key-encryption key that new keys are wrapped under, as far as this process knows."""
        with self._lock:
            return self._current

    def seal(self, subject: str, context: str, plaintext: bytes) -> bytes:
        """Seal something that is stored outside the log (a view's column, a draft) under the subject's key.

        Deterministic (AES-SIV, RFC 5297): equal content in an equal context gives equal bytes, so that a view folded
        anew compares equal to the live one. `context` says where it stands, and binds it there.
        """
        return self._column(subject).encrypt(plaintext, [context.encode()])

    def open(self, subject: str, context: str, sealed: bytes) -> bytes:
        """Open what `seal` gave.

        Raises:
            SubjectErased: the subject's key is gone.
            PayloadAltered: other bytes, another context or another subject.
        """
        try:
            return self._column(subject).decrypt(sealed, [context.encode()])
        except InvalidTag:
            raise PayloadAltered("a sealed value does not open where it stands") from None

    def _column(self, subject: str) -> AESSIV:
        with self._lock:
            until, key = self._cache.get(subject, (0.0, b""))
            derived, cipher = self._columns.get(subject, (b"", None))
        if cipher is not None and derived == key and until > monotonic():
            return cipher
        key = self.get(subject)
        with self._lock:
            derived, cipher = self._columns.get(subject, (b"", None))
        if cipher is None or derived != key:
            cipher = _siv(key)
            with self._lock:
                if subject in self._cache:
                    self._columns[subject] = (key, cipher)
        return cipher

    def _create(self, subjects: tuple[str, ...]) -> None:
        name = self.current()
        rows = [(subject, self._wrap(subject, secrets.token_bytes(KEY_BYTES), name), name) for subject in subjects]
        with sql.borrowed(self._pool) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ledger.subject_key (subject, wrapped, kek) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                rows,
            )

    def _remember(self, subject: str, key: bytes, cleared: int) -> None:
        with self._lock:
            if not self._caching or cleared != self._cleared:
                # It may have been erased while it was on its way here.
                return
            now = monotonic()
            # In the order of their ends, since all live equally long: what is over goes first, then the oldest.
            self._cache.pop(subject, None)
            while self._cache:
                oldest = next(iter(self._cache))
                if self._cache[oldest][0] > now and len(self._cache) < _CACHE_KEYS:
                    break
                del self._cache[oldest]
                self._columns.pop(oldest, None)
            self._cache[subject] = (now + CACHE_S, key)

    def _turn(self) -> None:
        """Another process has rotated the key-encryption key: take the one that is in use."""
        self._read_files()
        with sql.borrowed(self._pool) as connection:
            row = connection.execute("SELECT name FROM ledger.kek").fetchone()
        with self._lock:
            if row is None or row[0] not in self._keks:
                raise Misconfigured("the key-encryption key that the database names is not in the data directory")
            self._current = row[0]

    def _read_files(self) -> None:
        found = self._reread() if self._reread is not None else ()
        with self._lock:
            self._keks |= {kek_name(each): each for each in found}

    def _wrap(self, subject: str, key: bytes, kek: str | None = None) -> bytes:
        name = self.current() if kek is None else kek
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._keks[name]).encrypt(nonce, key, _bound(subject, name))

    def _unwrap(self, subject: str, wrapped: bytes, kek: str) -> bytes:
        if kek not in self._keks:
            self._read_files()
        if kek not in self._keks:
            raise PayloadAltered("a subject's key does not unwrap under this ledger's key-encryption key")
        try:
            return AESGCM(self._keks[kek]).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(subject, kek))
        except InvalidTag:
            raise PayloadAltered("a subject's key does not unwrap under this ledger's key-encryption key") from None


def _bound(subject: str, kek: str) -> bytes:
    return f"caseledger/subject-key/v1\0{kek}\0{subject}".encode()


def _siv(key: bytes) -> AESSIV:
    return AESSIV(HKDF(SHA256(), 64, None, b"caseledger/column/v1").derive(key))
