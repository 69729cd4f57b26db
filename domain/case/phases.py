"""Which command each phase allows. What is not listed is refused, and changes nothing."""

from domain.case import commands as c
from domain.case.events import Phase
from domain.case.state import CaseState
from domain.errors import WrongPhase

OPEN: tuple[Phase, ...] = (
    "intake",
    "gathering",
    "imaging_check",
    "ready",
    "routed",
    "in_review",
    "signed",
    "delivered",
    "follow_up",
)
"""From opening until closing."""

WITH_MATERIAL: tuple[Phase, ...] = ("ready", "routed", "in_review")
"""The records were declared complete; newer material may still come in, and the phase stays."""

ALLOWED: dict[type[c.Command], tuple[Phase, ...]] = {
    c.RecordOriginalVerdict: OPEN,
    c.AcknowledgeDisclaimer: OPEN[: OPEN.index("delivered")],
    c.AssignCoordinator: OPEN,
    c.GrantConsent: OPEN,
    # Withdrawal must never be harder than granting: it works on a closed or merged case, too, whose shares still open.
    c.WithdrawConsent: (*OPEN, "closed", "merged"),
    c.IssueChecklist: ("intake",),
    c.ReceiveRecord: ("gathering", "imaging_check", *WITH_MATERIAL),
    c.ClassifyRecord: ("gathering", "imaging_check", *WITH_MATERIAL),
    # In gathering only while there is imaging that no check has seen: a case came back with it, or another was stopped.
    c.RecordImagingCheck: ("gathering", "imaging_check", *WITH_MATERIAL),
    c.ReleaseRecord: ("gathering", "imaging_check", *WITH_MATERIAL),
    c.OverruleImagingVerdict: ("gathering", "imaging_check", *WITH_MATERIAL),
    c.AdviseRepeatImaging: ("gathering", "imaging_check", *WITH_MATERIAL),
    c.AcceptLimitedImaging: ("imaging_check", *WITH_MATERIAL),
    # From gathering only where a case came back to it with imaging that is still adequate.
    c.DeclareRecordsComplete: ("gathering", "imaging_check"),
    c.RouteCase: ("ready",),
    c.AcceptReview: ("routed",),
    c.SignOpinion: ("in_review",),
    c.DeliverOpinion: ("signed",),
    c.ShareOpinion: ("delivered", "follow_up"),
    c.OpenShare: ("delivered", "follow_up", "closed"),
    c.CloseCase: OPEN,
}


def require_phase(state: CaseState, command: c.Command) -> None:
    """Let a command pass that the phase allows.

    Raises:
        WrongPhase: it does not.
    """
    require_phase_for(state, type(command))


def require_phase_for(state: CaseState, command: type[c.Command]) -> None:
    """Let commands of this kind pass that the phase allows.

    Raises:
        WrongPhase: it does not.
    """
    allowed = ALLOWED.get(command, ())
    if state.phase not in allowed:
        raise WrongPhase(f"{command.__name__} is for {', '.join(allowed)}; the case is {state.phase}")
