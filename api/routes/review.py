"""The review: routed, accepted, an opinion prepared, signed and read."""

from typing import Literal

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody
from uuid_utils import uuid7

from api.answers import Written, on_case, telling_what_moved, written
from api.ask import Asked
from api.clock import instant
from api.paths import Id
from api.routes.spec import READ, WRITE
from api.showing import opinion_shown
from api.shown import OpinionShown, PreparedShown
from application.ledger.entries import Guard
from application.opinions import Submission
from application.outcome import Outcome
from domain.case.commands import (
    AcceptReview,
    Command,
    DeliverOpinion,
    RouteCase,
    ShareOpinion,
    ShareOpinionInput,
    SignOpinionInput,
    completed,
)
from domain.case.state import CaseState
from domain.errors import WrongRole
from domain.values import Identifier, Text


class RouteBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To whom, and on what grounds where the rule leaves it to a person."""

    specialist: Identifier
    grounds: Text = ""


class PrepareBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The opinion, and the enrolled key that will sign it."""

    key: Identifier
    opinion: SignOpinionInput


class DeliverBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the patient gets it."""

    channel: Literal["portal", "video_call", "in_person", "post"]


class SubmitBody(Submission, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What preparing gave, and the signature over the statement's DSSE PAE. Bytes are base64."""


class ShareOpened(Written, frozen=True, kw_only=True, omit_defaults=True):
    """A share that was opened: the disclosure is in the log, and this is what was disclosed."""

    opinion: OpinionShown


@post("/cases/{case:str}/routing", operation_id="routeCase", tags=["Review"], status_code=200, **WRITE)
def route_case(changing: Asked, case: Id, data: JSONBody[RouteBody]) -> Response[Written]:
    """Offer the case to a specialist."""

    def route() -> Outcome:
        specialist = changing.service.specialists.load(data.specialist)
        command = RouteCase(specialist=specialist.state, grounds=data.grounds)
        guards = [Guard(specialist.id, specialist.head)]
        return changing.service.cases.act(changing.by, case, lambda _: command, guards=guards)

    return written(on_case(changing, case, "routing", route))


@post("/cases/{case:str}/acceptance", operation_id="acceptReview", tags=["Review"], status_code=200, **WRITE)
def accept_review(changing: Asked, case: Id) -> Response[Written]:
    """Take the case; by the specialist to whom it was routed."""

    def accept() -> Outcome:
        service = changing.service
        assignment = service.cases.load(case).state.assignment
        if assignment is None:
            # A repetition has its answer even where the assignment has ended since.
            return service.cases.act(changing.by, case, _with_nobody)
        specialist = service.specialists.load(assignment.specialist)
        command = AcceptReview(specialist=specialist.state)
        guards = [Guard(specialist.id, specialist.head)]
        return service.cases.act(changing.by, case, lambda _: command, guards=guards)

    return written(on_case(changing, case, "acceptance", accept))


@post("/cases/{case:str}/opinions/prepared", operation_id="prepareOpinion", tags=["Review"], status_code=200, **WRITE)
def prepare_opinion(preparing: Asked, case: Id, data: JSONBody[PrepareBody]) -> PreparedShown:
    """Decide on an opinion and make the statement to sign. Nothing is appended."""
    prepared = on_case(
        preparing,
        case,
        "opinion",
        lambda: preparing.service.opinions.prepare(preparing.by, case, data.key, data.opinion),
    )
    return PreparedShown(
        statement=prepared.statement,
        blinding=prepared.blinding,
        payload=prepared.payload,
        expires_at=instant(prepared.expires_at),
        preparation=prepared.preparation,
    )


@post("/cases/{case:str}/opinions", operation_id="submitOpinion", tags=["Review"], **WRITE)
def submit_opinion(changing: Asked, case: Id, data: JSONBody[SubmitBody]) -> Response[Written]:
    """Submit an opinion that its specialist has signed with their own key."""
    outcome = on_case(changing, case, "opinion", lambda: changing.service.opinions.submit(changing.by, case, data))
    answer = written(outcome, status=201)
    if (opinion := answer.content.made.opinion) is not None:
        answer.headers["Location"] = f"/cases/{case}/opinions/{opinion}"
    return answer


@get("/cases/{case:str}/opinions/{opinion:str}", operation_id="getOpinion", tags=["Review"], **READ)
def get_opinion(reading: Asked, case: Id, opinion: Id) -> OpinionShown:
    """An opinion, with the notice; the read is on record before it is shown."""
    return opinion_shown(reading.service.reading.opinion(reading.by, case, opinion))


@post(
    "/cases/{case:str}/opinions/{opinion:str}/delivery",
    operation_id="deliverOpinion",
    tags=["Release"],
    status_code=200,
    **WRITE,
)
def deliver_opinion(changing: Asked, case: Id, opinion: Id, data: JSONBody[DeliverBody]) -> Response[Written]:
    """Hand the opinion to the patient: the clock stops."""
    command = DeliverOpinion(opinion=opinion, channel=data.channel)
    return written(
        on_case(changing, case, "delivery", lambda: changing.service.cases.act(changing.by, case, lambda _: command))
    )


@post("/cases/{case:str}/shares", operation_id="shareOpinion", tags=["Release"], **WRITE)
def share_opinion(changing: Asked, case: Id, data: JSONBody[ShareOpinionInput]) -> Response[Written]:
    """Share an opinion version with a recipient outside, under a consent."""
    command = completed(ShareOpinion, data, share=f"share-{uuid7()}")
    outcome = on_case(changing, case, "share", lambda: changing.service.cases.act(changing.by, case, lambda _: command))
    return written(outcome, status=201)


@post(
    "/cases/{case:str}/shares/{share:str}/opened",
    operation_id="openShare",
    tags=["Release"],
    status_code=200,
    **WRITE,
)
def open_share(making: Asked, case: Id, share: Id) -> Response[ShareOpened]:
    """Open what was shared; by its recipient, who sees nothing of the case beside it and so names no revision."""
    outcome, text = telling_what_moved(making, case, lambda: making.service.shares.open(making.by, case, share))
    answer = written(outcome)
    said = msgspec.structs.asdict(answer.content)
    return Response(ShareOpened(**said, opinion=opinion_shown(text)), status_code=200, headers=answer.headers)


def _with_nobody(state: CaseState) -> Command:
    raise WrongRole("only the specialist to whom this case was routed does this")


HANDLERS = [
    route_case,
    accept_review,
    prepare_opinion,
    submit_opinion,
    get_opinion,
    deliver_opinion,
    share_opinion,
    open_share,
]
