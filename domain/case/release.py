"""Decisions of release: delivered to the patient, shared with a recipient outside, opened there."""

from domain.case.actor import Actor, require_coordinator, require_patient_or_coordinator
from domain.case.commands import DeliverOpinion, OpenShare, ShareOpinion
from domain.case.consent import require_share
from domain.case.events import OpinionDelivered, OpinionShared, ShareOpened
from domain.case.phases import require_phase
from domain.case.state import CaseState, Share, SignedOpinion
from domain.errors import AlreadyDone, MissingPart, ShareNotFound, WrongRole


def deliver_opinion(state: CaseState, command: DeliverOpinion, actor: Actor) -> OpinionDelivered:
    """The patient gets the opinion, once they have acknowledged what it is not.

    Raises:
        WrongRole, WrongPhase: not the assigned coordinator, or nothing signed.
        MissingPart: no such opinion, or the disclaimer is not acknowledged.
    """
    require_coordinator(state, actor)
    require_phase(state, command)
    opinion = _opinion(state, command.opinion)
    if not state.disclaimer:
        raise MissingPart("the patient has not acknowledged the disclaimer")
    return OpinionDelivered(opinion=opinion.opinion, version=opinion.version, channel=command.channel)


def share_opinion(state: CaseState, command: ShareOpinion, actor: Actor, now: int) -> OpinionShared:
    """An opinion becomes available to one recipient who signs in, under a consent that is active now.

    Raises:
        WrongRole, WrongPhase: neither the patient nor the assigned coordinator, or not delivered yet.
        MissingPart: no such opinion version, or a recipient without a sign-in id.
        MissingConsent: the consent does not cover this, now.
        AlreadyDone: shared so before.
    """
    require_patient_or_coordinator(state, actor)
    require_phase(state, command)
    opinion = _opinion(state, command.opinion)
    if not opinion.delivered or command.version != opinion.version:
        raise MissingPart(f"opinion {opinion.opinion} has not been delivered in that version")
    if command.recipient.actor is None:
        raise MissingPart("a share names the sign-in id of its recipient")
    require_share(
        state,
        command.consent,
        opinion=command.opinion,
        version=command.version,
        recipient=command.recipient,
        now=now,
    )
    share = Share(
        share=command.share,
        opinion=command.opinion,
        version=command.version,
        consent=command.consent,
        recipient=command.recipient,
    )
    for other in state.shares.values():
        if other.share == share.share or (
            (other.opinion, other.version, other.consent, other.recipient)
            == (share.opinion, share.version, share.consent, share.recipient)
        ):
            raise AlreadyDone(f"share {other.share} exists already")
    return OpinionShared(
        share=share.share,
        opinion=share.opinion,
        version=share.version,
        consent=share.consent,
        recipient=share.recipient,
    )


def open_share(state: CaseState, command: OpenShare, actor: Actor, now: int) -> ShareOpened:
    """The recipient opens a share; the consent is asked again, each time.

    Raises:
        WrongRole: not an oncologist, or not the recipient.
        ShareNotFound: no such share.
        WrongPhase, MissingConsent: the case no longer allows it, or the consent does not hold at this instant.
    """
    if actor.role != "oncologist":
        raise WrongRole("a share is opened by its recipient")
    share = state.shares.get(command.share)
    if share is None:
        raise ShareNotFound
    if actor.id != share.recipient.actor:
        raise WrongRole("a share is opened by its recipient")
    require_phase(state, command)
    require_share(
        state,
        share.consent,
        opinion=share.opinion,
        version=share.version,
        recipient=share.recipient,
        now=now,
    )
    return ShareOpened(share=share.share, opinion=share.opinion, version=share.version, consent=share.consent)


def _opinion(state: CaseState, opinion: str) -> SignedOpinion:
    found = state.opinions.get(opinion)
    if found is None:
        raise MissingPart("the case has no such opinion")
    return found
