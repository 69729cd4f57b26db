"""Sharing with somebody outside: opened by the recipient, under a consent that is asked again each time."""

from application.accesses import Accesses
from application.cases import Cases
from application.ledger.store import Ledger
from application.outcome import Outcome
from application.reading import SignedOpinionText, read_opinion
from application.request import Request
from domain.case.commands import OpenShare
from domain.errors import Refused, ShareNotFound
from domain.event import Event


class Shares:
    """Opening shares."""

    def __init__(self, ledger: Ledger, cases: Cases, accesses: Accesses) -> None:
        self._ledger = ledger
        self._cases = cases
        self._accesses = accesses

    def open(self, request: Request, case: str, share: str) -> tuple[Outcome, SignedOpinionText]:
        """Open a share: the disclosure is in the log, under a consent active at that instant, before content is shown.

        Raises:
            CaseNotFound, ShareNotFound.
            WrongRole, WrongPhase, MissingConsent: refused, and recorded.
        """
        try:
            outcome = self._cases.act(request, case, lambda state: OpenShare(share=share))
        except (Refused, ShareNotFound) as refusal:
            self._accesses.refused(request, case, "share", refusal)
            raise
        opened = _opened(outcome.events)
        if outcome.replayed:
            # The consent held when the first request came; whether it holds now is asked anew, and the read recorded.
            self._accesses.read(request, case, "opinion", opened)
        return outcome, read_opinion(self._ledger, case, opened)


def _opened(events: tuple[object, ...]) -> str:
    for event in events:
        if isinstance(event, Event) and (opinion := getattr(event, "opinion", None)):
            return str(opinion)
    raise ShareNotFound
