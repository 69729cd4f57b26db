"""Reading: allowed or refused by one rule, and recorded either way before anything is shown."""

import msgspec
from uuid_utils import uuid7

from application.cases import Cases, LoadedCase
from application.ledger.entries import Guard
from application.ledger.store import Ledger
from application.ledger.streams import NewEvent
from application.request import UNKNOWN_PATIENT, Request
from domain.access import AccessRecorded, Basis
from domain.case.access import NO_OPINION, NO_RECORD, Permission, What, may_read
from domain.case.actor import acting_id, is_patient
from domain.errors import CaseLedgerError, GuardBroken, NotFound, Refused, SubjectErased, Unavailable
from domain.event import Event
from domain.ids import is_id

_TRIES = 5


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """A read that was allowed and is recorded."""

    case: LoadedCase
    permission: Permission
    index: int
    """Log index of the entry that records it."""


class Accesses:
    """Who may read what, and the record of everybody who did or tried."""

    def __init__(self, ledger: Ledger, cases: Cases) -> None:
        self._ledger = ledger
        self._cases = cases

    def read(self, request: Request, case: str, what: What, item: str | None = None) -> Access:
        """Let the caller read something of a case, or refuse; the log says so first.

        `item` is the record or opinion, where it is one.

        Raises:
            CaseNotFound, NotFound: no such case, or what cannot be the id of an item; nothing is recorded.
            Refused, SubjectErased, NotFound: not for this caller, and recorded.
        """
        _require_form(what, item)
        for _ in range(_TRIES):
            try:
                return self._read(request, case, what, item)
            except GuardBroken:
                # The case moved between the decision and its record: a withdrawal, perhaps. It is decided anew.
                continue
        raise Unavailable("the case is changing too fast to be read")

    def require_still(self, request: Request, case: str, what: What, item: str | None = None) -> None:
        """Let a read go on that was allowed and is on record; only a refusal is recorded now.

        Raises:
            Refused, NotFound, SubjectErased: no more for this caller.
        """
        _require_form(what, item)
        loaded = self._cases.load(case)
        try:
            may_read(loaded.state, request.actor(), what, request.now, item)
        except (Refused, NotFound, SubjectErased) as refusal:
            self._refuse(request, loaded, what, item, refusal)
            raise

    def _read(self, request: Request, case: str, what: What, item: str | None) -> Access:
        loaded = self._cases.load(case)
        version = str(loaded.revision)
        try:
            permission = may_read(loaded.state, request.actor(), what, request.now, item)
        except (Refused, NotFound, SubjectErased) as refusal:
            self._refuse(request, loaded, what, item, refusal)
            raise
        event = AccessRecorded(what=what, basis=permission.basis, consent=permission.consent)
        guards = (Guard(loaded.stream, loaded.head),)
        index = self._record(request, loaded, event, item or case, version, "allowed", guards)
        return Access(case=loaded, permission=permission, index=index)

    def _refuse(
        self, request: Request, loaded: LoadedCase, what: What, item: str | None, refusal: CaseLedgerError
    ) -> None:
        event = AccessRecorded(what=what, basis="none", refused_because=_because(refusal))
        self._record(request, loaded, event, item or loaded.case, str(loaded.revision), "refused")

    def refused(self, request: Request, case: str, what: str, refusal: CaseLedgerError) -> None:
        """Record that something was refused that is not a plain read, such as opening a share."""
        loaded = self._cases.load(case)
        event = AccessRecorded(what=what, basis="none", refused_because=refusal.code)
        self._record(request, loaded, event, case, str(loaded.revision), "refused")

    def allowed(
        self, request: Request, case: str, what: str, basis: Basis, item: str, version: int, actor_id: str | None = None
    ) -> int:
        """Record a read that another rule than `may_read` allowed; the log index of the entry that says so.

        `item` is an id that was found. `actor_id` is who the log knows the caller as, where the case itself does not
        tell any more.
        """
        event = AccessRecorded(what=what, basis=basis)
        return self._record(request, self._cases.load(case), event, item, str(version), "allowed", actor_id=actor_id)

    def _record(
        self,
        request: Request,
        loaded: LoadedCase,
        event: Event,
        item: str,
        version: str,
        outcome: str,
        guards: tuple[Guard, ...] = (),
        actor_id: str | None = None,
    ) -> int:
        actor = request.actor()
        if actor_id is None:
            known = actor.role != "patient" or is_patient(loaded.state, actor)
            # Another patient has no id in this case, and their account stands nowhere in clear.
            actor_id = acting_id(loaded.state, actor) if known else UNKNOWN_PATIENT
        new = NewEvent(
            originator_id=f"access-{uuid7()}",
            originator_version=1,
            event=event,
            case=loaded.case,
            subject=f"accountability:{loaded.case}",
            object=item,
            version=version,
            outcome=outcome,
        )
        act = request.act(actor_id)
        try:
            return self._ledger.append([new], act, guards=guards)[0].receipt.index
        except SubjectErased:
            # That it happened is said even so; on what basis is not, since there is no key left to seal it under.
            unsealed = msgspec.structs.replace(new, subject=None)
            return self._ledger.append([unsealed], act, guards=guards)[0].receipt.index


def _require_form(what: What, item: str | None) -> None:
    """Let pass what could be an id, since it comes to stand in the log in clear.

    Raises:
        NotFound: in the words for one that is not there.
    """
    match what:
        case _ if item is None:
            return
        case "record":
            good, words = is_id("record", item), NO_RECORD
        case "opinion":
            good, words = is_id("opinion", item), NO_OPINION
        case _:
            raise NotFound
    if not good:
        raise NotFound(words)


def _because(refusal: CaseLedgerError) -> str:
    """Code of the real reason: what does not exist for a caller may have a cause that only the log is told."""
    return refusal.__cause__.code if isinstance(refusal.__cause__, CaseLedgerError) else refusal.code
