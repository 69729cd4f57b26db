"""What is on record beside the cases: who read the log as such, and what was refused that concerns no case.

A read of the log is put on the log that it reads. If each of a mirror's thousands of requests had an entry, the log
would double, and who follows its end would never come to it: each entry read would make another to be read. So there is
one entry for a reader, a day (UTC) and a stretch of `STRETCH` entries; whatever else they read of that stretch on that
day is covered by it. Who read what, and when first, is answered; how often is in the service's log.

The stream of such an entry is named by reader, day and stretch, under a secret, since a patient's account stands
nowhere in clear: that there is only one is the ledger's own rule, over restarts and several processes.
"""

import hmac
from collections.abc import Callable
from typing import Final, Literal

from uuid_utils import uuid7

from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from application.ledger.streams import Act, NewEvent
from application.request import Request
from domain.access import AccessRecorded
from domain.case.calendar import utc_day
from domain.errors import CaseLedgerError, KeyNotFound, StaleRevision, WrongRole
from domain.ids import is_id

STRETCH: Final = 65_536
"""Entries, 256 full bundles: reading a whole log adds one entry to every 65,536."""
SUBJECT: Final = "accountability:log"
"""Whose key seals them: no case's, so no erasure reaches it."""
READERS: Final = ("compliance", "witness")
"""Roles that may read the log's entries as such."""
_KNOWN: Final = 4096


class LogAccesses:
    """Puts on record what no case is named by; safe to use from many threads."""

    def __init__(self, ledger: Ledger, keyring: Keyring, secret: bytes) -> None:
        self._ledger = ledger
        self._keyring = keyring
        self._secret = secret
        self._known: set[str] = set()
        """Streams that are there already; forgotten now and then, which costs one refused append each."""

    def read(
        self, request: Request, what: Literal["entries", "key-openings"], content: Callable[[], bytes], start: int = 0
    ) -> bytes:
        """Let somebody read the log's `content`, which begins at index `start`; it is on record when this returns.

        Raises:
            WrongRole: neither compliance nor a witness; on record, too, once a day.
            QueueFull, DatabaseUnavailable, IntegrityFailure; and what `content` raises: then nothing was read.
        """
        refusal = None if request.role in READERS else WrongRole(f"the log's {what} are for compliance and witnesses")
        if refusal is not None:
            self._once(request, what, what, refusal)
            raise refusal
        read = content()
        first = start - start % STRETCH
        self._once(request, what, f"entries:{first}-{first + STRETCH - 1}" if what == "entries" else what, None)
        return read

    def refused(self, request: Request, what: str, item: str | None, refusal: CaseLedgerError) -> None:
        """Record that something was refused which concerns no case, such as a change of a key; one entry each.

        Raises:
            KeyNotFound: `item` cannot be the id of a key; nothing is recorded.
        """
        if item is not None and not is_id("key", item):
            raise KeyNotFound
        self._record(request.act(request.id), what, item, refusal, None)

    def _once(self, request: Request, what: str, item: str, refusal: CaseLedgerError | None) -> None:
        parts = (request.role, request.id, item, "refused" if refusal else "allowed", utc_day(request.now))
        digest = hmac.digest(self._secret, b"log access\0" + chr(0).join(parts).encode(), "sha256")
        stream = f"access-{digest.hex()[:32]}"
        if stream not in self._known:
            self._record(request.act(request.id), what, item, refusal, stream)

    def _record(
        self, act: Act, what: str, item: str | None, refusal: CaseLedgerError | None, stream: str | None
    ) -> None:
        self._keyring.create(SUBJECT)
        event = AccessRecorded(
            what=what,
            basis="audit" if refusal is None else "none",
            refused_because=None if refusal is None else refusal.code,
        )
        new = NewEvent(
            originator_id=stream or f"access-{uuid7()}",
            originator_version=1,
            event=event,
            case=None,
            subject=SUBJECT,
            object=item,
            outcome="allowed" if refusal is None else "refused",
        )
        try:
            self._ledger.append([new], act)
        except StaleRevision:
            if stream is None:
                raise
        if stream is not None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known.add(stream)
