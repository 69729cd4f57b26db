"""Who acts, and what they are to a case.

A patient signs in under an account and acts under a random id that only this case knows; everybody else acts
under the id that they sign in with.
"""

import msgspec

from domain.case.state import CaseState
from domain.errors import WrongRole
from domain.values import Role


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a command, as their token says. Only a patient's `account` is ever compared."""

    id: str
    role: Role
    account: str = ""


SERVICE = Actor(id="service", role="service")
"""The service itself: automatic checks and timers."""


def acting_id(state: CaseState | None, actor: Actor) -> str:
    """The id that stands in the log for this actor; for an opening, pass the state after it.

    Raises:
        WrongRole: a patient, but not this case's.
    """
    if actor.role != "patient":
        return actor.id
    if state is None or state.patient_actor is None or not is_patient(state, actor):
        raise WrongRole("a patient acts on their own case only")
    return state.patient_actor


def is_patient(state: CaseState, actor: Actor) -> bool:
    """Say whether this is the patient of the case, acting as such."""
    return actor.role == "patient" and bool(actor.account) and actor.account == state.patient_account


def is_coordinator(state: CaseState, actor: Actor) -> bool:
    """Say whether this is the one coordinator who is assigned."""
    return actor.role == "coordinator" and actor.id == state.coordinator


def is_assignee(state: CaseState, actor: Actor) -> bool:
    """Say whether the case is with this specialist."""
    return actor.role == "specialist" and state.assignment is not None and actor.id == state.assignment.actor


def require_patient(state: CaseState, actor: Actor) -> None:
    """Let the case's patient pass.

    Raises:
        WrongRole: anybody else.
    """
    if not is_patient(state, actor):
        raise WrongRole("only the patient of this case does this")


def require_coordinator(state: CaseState, actor: Actor) -> None:
    """Let the assigned coordinator pass.

    Raises:
        WrongRole: anybody else.
    """
    if not is_coordinator(state, actor):
        raise WrongRole("only the coordinator who is assigned to this case does this")


def require_patient_or_coordinator(state: CaseState, actor: Actor) -> None:
    """Let the case's patient and the assigned coordinator pass.

    Raises:
        WrongRole: anybody else.
    """
    if not (is_patient(state, actor) or is_coordinator(state, actor)):
        raise WrongRole("only the patient, or the coordinator who is assigned to this case, does this")


def require_assignee(state: CaseState, actor: Actor) -> None:
    """Let the specialist pass to whom the case was routed; never its coordinator, whatever the role of the day.

    Raises:
        WrongRole: anybody else.
    """
    if not is_assignee(state, actor) or actor.id == state.coordinator:
        raise WrongRole("only the specialist to whom this case was routed does this")
