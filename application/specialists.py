"""Specialists: admitted on evidence, so that routing has something to rely on."""

import msgspec
from uuid_utils import uuid7

from application.ledger.keyring import Keyring
from application.ledger.store import Ledger
from application.ledger.streams import Loaded, NewEvent
from application.outcome import Outcome, earlier_outcome, settled_outcome
from application.request import Request
from domain.case.calendar import CALENDARS, Calendars
from domain.errors import MalformedBody, Misconfigured, SpecialistNotFound, WrongRole
from domain.specialist import Specialist, SpecialistRegistered, Volume, evolve
from domain.values import Country, Identifier, Line, Sha256, Subspecialty


class SpecialistInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the specialist is, and what shows it; `actor` is the id under which they sign in."""

    actor: Identifier
    name: Line
    centre: Line
    country: Country
    calendar: Identifier
    subspecialty: Subspecialty
    subspecialty_evidence_sha256: Sha256
    volumes: tuple[Volume, ...]


class Specialists:
    """Registration of specialists, each a stream of its own."""

    def __init__(self, ledger: Ledger, keyring: Keyring, calendars: Calendars = CALENDARS) -> None:
        self._ledger = ledger
        self._keyring = keyring
        self._calendars = calendars

    def load(self, specialist: str) -> Loaded[Specialist]:
        """A specialist's state; `specialist` is the stream ("specialist-...").

        Raises:
            SpecialistNotFound: no such specialist.
        """
        loaded = self._ledger.load(specialist, evolve) if specialist.startswith("specialist-") else None
        if loaded is None:
            raise SpecialistNotFound
        return loaded

    def register(self, request: Request, sent: SpecialistInput) -> Outcome:
        """Admit a specialist.

        Raises:
            WrongRole: not an administrator.
            MalformedBody: the centre's calendar is unknown.
        """
        if (earlier := earlier_outcome(self._ledger, request.idempotency, "specialist")) is not None:
            return earlier
        if request.role != "administrator":
            raise WrongRole("an administrator admits specialists")
        try:
            self._calendars.named(sent.calendar)
        except Misconfigured:
            raise MalformedBody("calendar: there is no calendar of that name") from None
        made = str(uuid7())
        stream = f"specialist-{made}"
        event = SpecialistRegistered(specialist=stream, **msgspec.structs.asdict(sent))
        self._keyring.create(f"specialist:{made}")
        new = NewEvent(originator_id=stream, originator_version=1, event=event, case=None, subject=f"specialist:{made}")
        recordings = self._ledger.append([new], request.act(request.id), idempotency=request.idempotency)
        return settled_outcome(self._ledger, request.idempotency, stream, recordings)
