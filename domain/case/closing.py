"""The end of a case."""

from domain.case.actor import Actor, require_coordinator
from domain.case.commands import CloseCase
from domain.case.events import CaseClosed
from domain.case.phases import require_phase
from domain.case.state import CaseState


def close_case(state: CaseState, command: CloseCase, actor: Actor) -> CaseClosed:
    """A case ends in whatever phase it is, by its one coordinator.

    Raises:
        WrongRole: not the assigned coordinator.
        WrongPhase: it has ended already.
    """
    require_coordinator(state, actor)
    require_phase(state, command)
    return CaseClosed(reason=command.reason)
