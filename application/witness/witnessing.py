"""Rounds: on a period the newest checkpoint is shown to the witnesses, stamped, and cosigned with the second key.

Nothing here stands in the way of an append. A round takes the newest checkpoint only; one witness that is away, or
refuses, holds up neither the others nor the log.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Literal

import msgspec
import psycopg
import structlog
from psycopg_pool import ConnectionPool

from application.ledger.nodes import Nodes
from application.witness.cosignatures import Cosignatures, Standing
from application.witness.timestamps import REQUEST_TYPE, Authorities, ask
from domain.errors import CaseLedgerError, EntryNotFound, IntegrityFailure, MalformedNote, SplitView, Unavailable
from domain.ledger.checkpoint import Checkpoint
from domain.ledger.cosignature import Cosignature, cosignatures, parse_lines, released
from domain.ledger.cosignature_policy import Witness
from domain.ledger.cosignature_witness import MAX_PROOF_LINES, SIZE_TYPE, AddCheckpoint, parse_size
from domain.ledger.note import Note, VerifierKey, verify
from domain.ledger.tree import consistency_proof, root_at

REFRESH_S = 3600
"""A checkpoint that does not grow is shown again after this long: the age of a cosignature says that the log lives."""
MAX_PAUSE_S = 3600.0
"""The longest that a witness, or an authority, that fails is left alone."""
_TRIES = 3
_LOCK = "caseledger/witnessing"
_TEXT = "text/plain; charset=utf-8"

log = structlog.get_logger(__name__)


class Reply(msgspec.Struct, frozen=True):
    """What came back over HTTP: status, media type, and a body within bounds."""

    status: int
    media_type: str
    body: bytes


Send = Callable[[str, bytes | None, str], Reply]
"""Sends a body of a media type to a URL (GET without a body). Raises: Unavailable when nothing comes back in time."""

Problem = Literal["away", "ahead", "refused", "malformed", "split"]


class Standpoint(msgspec.Struct, kw_only=True):
    """Where one witness, or the authority, stands: for logs and readiness."""

    name: str
    size: int = 0
    """The largest size that it answered for."""
    at_s: float | None = None
    """When it last did, POSIX seconds by our clock."""
    problem: Problem | None = None
    failures: int = 0
    """In a row."""
    retry_at: float = 0.0
    """By the monotonic clock."""

    def done(self, size: int) -> None:
        """It answered."""
        self.size, self.at_s, self.problem, self.failures, self.retry_at = size, time.time(), None, 0, 0.0

    def failed(self, problem: Problem, period_s: float) -> None:
        """It did not; it is left alone for twice as long each time."""
        pause = min(MAX_PAUSE_S, period_s * 2 ** min(self.failures, 12))
        self.problem, self.failures, self.retry_at = problem, self.failures + 1, time.monotonic() + pause


class _Place:
    """One URL, and the witnesses' keys that answer there."""

    def __init__(self, url: str, witnesses: Sequence[Witness]) -> None:
        self.url = url
        self.keys = tuple(each.key for each in witnesses)
        self.standpoint = Standpoint(name=", ".join(each.name for each in witnesses))


class Stamping(msgspec.Struct, frozen=True, kw_only=True):
    """The time-stamping authority: where it is, whom it is trusted by, and how often it is asked, in seconds."""

    url: str
    send: Send
    authorities: Authorities
    period_s: float


class Condition(msgspec.Struct, frozen=True):
    """How far others have followed the log, when the last round was over, and what became of each."""

    standing: Standing
    standpoints: tuple[Standpoint, ...]


class Witnessing:
    """Shows checkpoints of one log to its witnesses. Of several processes one does a round at a time."""

    def __init__(
        self,
        pool: ConnectionPool[Any],
        cosignatures: Cosignatures,
        origin: str,
        log_keys: Callable[[], Sequence[VerifierKey]],
        send: Send,
        *,
        revoked: Callable[[], Iterable[VerifierKey]] = tuple,
        stamping: Stamping | None = None,
        period_s: float = 60.0,
    ) -> None:
        self._pool = pool
        self._cosignatures = cosignatures
        self._origin = origin
        self._log_keys = log_keys
        self._send = send
        self._revoked = revoked
        self._stamping = stamping
        self._period_s = period_s
        self._stamper = Standpoint(name="time stamps")
        by_url: dict[str, list[Witness]] = {}
        for witness in cosignatures.policy.witnesses if cosignatures.policy is not None else ():
            if witness.url is not None:
                by_url.setdefault(witness.url, []).append(witness)
        self._standing: Standing | None = None
        self._places = [_Place(url, witnesses) for url, witnesses in by_url.items()]

    def standpoints(self) -> tuple[Standpoint, ...]:
        """Where each witness stands, and the time-stamping authority if there is one, as this process saw them."""
        stamper = () if self._stamping is None else (self._stamper,)
        return tuple(msgspec.structs.replace(each) for each in (*(p.standpoint for p in self._places), *stamper))

    def condition(self) -> Condition | None:
        """What the last round left; None before the first is over."""
        return None if self._standing is None else Condition(self._standing, self.standpoints())

    def round(self) -> None:
        """Cosign, show and stamp the newest checkpoint; does nothing while another process is at it.

        Raises:
            psycopg.Error, CaseLedgerError: the database did not answer, or contradicts itself. What a witness or the
                authority does is noted, and not raised.
        """
        with self._pool.connection() as connection:
            lock = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_LOCK,)).fetchone()
            if lock != (True,):
                self._standing = self._cosignatures.standing(connection)
                return
            try:
                self._round(connection)
                self._standing = self._cosignatures.standing(connection)
            finally:
                connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_LOCK,))

    def _round(self, connection: psycopg.Connection[Any]) -> None:
        try:
            size, note = self._cosignatures.checkpoints.latest(connection)
        except EntryNotFound:
            return
        self._cosignatures.revoked = frozenset(self._revoked())
        self._cosignatures.cosign(connection, size)
        due = [place for place in self._places if self._due(connection, place, size)]
        if due:
            # Each shows on a connection of its own, and holds none while it waits for the witness.
            with ThreadPoolExecutor(min(8, len(due)), "witness") as threads:
                list(threads.map(lambda place: self._show(place, size, note), due))
        self._stamp(connection, size, note)

    def _due(self, connection: psycopg.Connection[Any], place: _Place, size: int) -> bool:
        if time.monotonic() < place.standpoint.retry_at:
            return False
        keys = self._live(place)
        if not keys:
            return False
        last = self._cosignatures.last_by(connection, keys)
        return last is None or last[0] < size or last[1] + REFRESH_S <= time.time()

    def _live(self, place: _Place) -> tuple[VerifierKey, ...]:
        return tuple(key for key in place.keys if key not in self._cosignatures.revoked)

    def _show(self, place: _Place, size: int, note: bytes) -> None:
        at = place.standpoint
        try:
            found = self._submit(place, size, note)
            with self._pool.connection() as connection:
                self._cosignatures.add(connection, size, found)
        except Unavailable as error:
            at.failed("away", self._period_s)
            log.warning("witness.away", witness=at.name, failures=at.failures, reason=str(error))
        except _Refused as refused:
            at.failed(refused.problem, self._period_s)
            log.error("witness.refused", witness=at.name, problem=refused.problem, status=refused.status, size=size)
        except SplitView:
            at.failed("split", self._period_s)
            log.critical("witness.split", witness=at.name, size=size)
        except CaseLedgerError as error:
            at.failed("malformed", self._period_s)
            log.error("witness.malformed", witness=at.name, error=type(error).__name__, size=size)
        except psycopg.Error as error:
            log.error("witness.database", witness=at.name, error=type(error).__name__)
        else:
            at.done(size)
            log.info("witness.cosigned", witness=at.name, size=size)

    def _submit(self, place: _Place, size: int, note: bytes) -> tuple[Cosignature, ...]:
        """The witness's cosignatures of a checkpoint, checked.

        Where the witness says that it is at another size than was thought, the proof is sent from there.
        """
        with self._pool.connection() as connection:
            last = self._cosignatures.last_by(connection, place.keys)
        old = 0 if last is None else min(last[0], size)
        for _ in range(_TRIES):
            request = AddCheckpoint(old, self._proof(old, size), note)
            reply = self._send(f"{place.url}/add-checkpoint", request.render(), _TEXT)
            if reply.status == 200:
                return cosignatures(Note.parse(note).text, parse_lines(reply.body), self._live(place))
            if reply.status != 409:
                break
            if reply.media_type.partition(";")[0].strip() != SIZE_TYPE:
                raise MalformedNote("a conflict comes with a size")
            old = parse_size(reply.body)
            if old > size:
                self.examine(place.url, place.keys)
                raise _Refused("ahead", 409)
        else:
            raise _Refused("refused", 409)
        if reply.status == 422:
            self.examine(place.url, place.keys)
        if reply.status >= 500 or reply.status == 429:
            raise Unavailable(f"status {reply.status}")
        raise _Refused("refused", reply.status)

    def _proof(self, old: int, size: int) -> tuple[bytes, ...]:
        if not 0 < old < size:
            return ()
        with self._pool.connection() as connection:
            proof = consistency_proof(old, size, Nodes(connection, size))
        if len(proof) > MAX_PROOF_LINES:
            raise MalformedNote("the protocol carries at most 63 hashes")
        return tuple(proof)

    def examine(self, url: str, keys: Sequence[VerifierKey]) -> Checkpoint | None:
        """Hold the checkpoint that a witness shows of this log against our own tree; None where it cannot be had.

        One that is larger than our tree, with the log's good signature, is what a database put back from an older copy
        looks like, as is one of a size that we have and another root.

        Raises:
            SplitView: it is of another history, and signed by this log's key.
        """
        own = tuple(self._log_keys())
        try:
            reply = self._send(f"{url}/{sha256(self._origin.encode()).hexdigest()}/checkpoint", None, _TEXT)
            if reply.status != 200:
                return None
            note = Note.parse(reply.body)
            shown = Checkpoint.parse(note.text)
            # A witness that made it up has no signature of the log's: only the log's own key convicts.
            verify(note, own)
            verify(note, (*own, *keys))
        except (Unavailable, MalformedNote, IntegrityFailure):
            return None
        if shown.origin != self._origin:
            return None
        with self._pool.connection() as connection:
            size, _ = self._cosignatures.checkpoints.latest(connection)
            if shown.size > size or root_at(shown.size, Nodes(connection, size)) != shown.root:
                raise SplitView(note=reply.body)
        return shown

    def _stamp(self, connection: psycopg.Connection[Any], size: int, note: bytes) -> None:
        stamping, at = self._stamping, self._stamper
        if stamping is None or time.monotonic() < at.retry_at:
            return
        standing = self._cosignatures.standing(connection)
        if standing.stamped == size:
            return
        if standing.stamped_at is not None and time.time() < standing.stamped_at / 1e6 + stamping.period_s:
            return
        try:
            message = released(note)
            query = ask(message)
            reply = stamping.send(stamping.url, query.body, REQUEST_TYPE)
            if reply.status != 200:
                raise Unavailable(f"status {reply.status}")
            stamped = stamping.authorities.judge(reply.body, message, query.nonce)
        except Unavailable as error:
            at.failed("away", self._period_s)
            log.warning("timestamp.away", failures=at.failures, reason=str(error))
        except CaseLedgerError as error:
            at.failed("refused", self._period_s)
            log.error("timestamp.refused", failures=at.failures, reason=str(error))
        else:
            self._cosignatures.add_time_stamp(connection, size, stamped, reply.body)
            at.done(size)
            log.info("timestamp.stored", size=size)


class _Refused(Exception):
    """A witness said no; never leaves this module."""

    def __init__(self, problem: Problem, status: int) -> None:
        super().__init__(problem)
        self.problem: Problem = problem
        self.status = status
