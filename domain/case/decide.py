"""What a command does to a case: the events that follow from it, or the reason why not. Pure.

Every decision asks in the same order: who asks (role, and relation to this case), whether the phase allows it, and
then what was done before and what is missing. So an outsider learns nothing about a case from a refusal.
"""

from typing import assert_never

from domain.case import closing, consent, judging, material, opening, release, review
from domain.case import commands as c
from domain.case.actor import Actor
from domain.case.calendar import Calendars
from domain.case.state import CaseState
from domain.errors import CaseNotFound, SubjectErased
from domain.event import Event


def decide(
    state: CaseState | None, command: c.Command, actor: Actor, now: int, calendars: Calendars
) -> tuple[Event, ...]:
    """Decide on a command at an instant (microseconds UTC), which must be the events' `recorded_at`.

    Raises:
        Refused, InvalidInput: as the decision on each command says.
        CaseNotFound, ShareNotFound: there is no such case, or share.
        SubjectErased: the case's data was erased; nothing happens to it any more.
    """
    if isinstance(command, c.OpenCase):
        return opening.open_case(state, command, actor)
    if state is None:
        raise CaseNotFound
    if state.patient_account is None:
        raise SubjectErased
    match command:
        case c.RecordOriginalVerdict():
            return (opening.record_original_verdict(state, command, actor, now),)
        case c.AcknowledgeDisclaimer():
            return (opening.acknowledge_disclaimer(state, command, actor),)
        case c.AssignCoordinator():
            return (opening.assign_coordinator(state, command, actor),)
        case c.GrantConsent():
            return (consent.grant(state, command, actor, now),)
        case c.WithdrawConsent():
            return (consent.withdraw(state, command, actor),)
        case c.IssueChecklist():
            return (opening.issue_checklist(state, command, actor, now),)
        case c.ReceiveRecord():
            return material.receive_record(state, command, actor, now)
        case c.ClassifyRecord():
            return (material.classify_record(state, command, actor),)
        case c.RecordImagingCheck():
            return material.record_imaging_check(state, command, actor, now)
        case c.AcceptLimitedImaging():
            return (material.accept_limited_imaging(state, command, actor, now),)
        case c.ReleaseRecord():
            return (judging.release_record(state, command, actor),)
        case c.OverruleImagingVerdict():
            return (judging.overrule_imaging_verdict(state, command, actor),)
        case c.AdviseRepeatImaging():
            return (judging.advise_repeat_imaging(state, command, actor),)
        case c.DeclareRecordsComplete():
            return (material.declare_records_complete(state, command, actor, now, calendars),)
        case c.RouteCase():
            return (review.route_case(state, command, actor, now),)
        case c.AcceptReview():
            return (review.accept_review(state, command, actor, now, calendars),)
        case c.SignOpinion():
            return (review.sign_opinion(state, command, actor, now),)
        case c.DeliverOpinion():
            return (release.deliver_opinion(state, command, actor),)
        case c.ShareOpinion():
            return (release.share_opinion(state, command, actor, now),)
        case c.OpenShare():
            return (release.open_share(state, command, actor, now),)
        case c.CloseCase():
            return (closing.close_case(state, command, actor),)
    assert_never(command)
