"""Closing, legal holds, and erasure: asked for, decided on, carried out by three different people."""

from collections.abc import Callable
from typing import TypeVar

from litestar import Response, get, post
from litestar.params import JSONBody

from api.answers import Written, etag, on_case, written
from api.ask import Ask, Asked
from api.clock import instant, instant_or_none
from api.paths import Id
from api.routes.spec import READ, WRITE
from api.shown import ErasureRequestShown, ErasureStep, HoldShown, HoldsShown
from application.privacy.holds import HoldInput, ReleaseInput
from application.privacy.requests import ErasureInput, RefusalInput, Story
from domain.case.calendar import utc_day
from domain.case.commands import CloseCase
from domain.errors import Refused

T = TypeVar("T")


def on_request(ask: Ask, erasure: str, what: str, do: Callable[[str], T]) -> T:
    """Do something to an erasure request; where that is refused, the log says so before the caller hears it."""
    stream = f"privacy-{erasure}"
    case = ask.service.privacy.load(stream).state.case
    return _beside(ask, case, what, lambda: do(stream))


def _beside(ask: Ask, case: str, what: str, do: Callable[[], T]) -> T:
    """As `on_case`, for streams beside the case's own, whose revisions are not the case's."""
    try:
        return do()
    except Refused as refusal:
        ask.service.accesses.refused(ask.by, case, what, refusal)
        raise


@post("/cases/{case:str}/closure", operation_id="closeCase", tags=["Cases"], status_code=200, **WRITE)
def close_case(changing: Asked, case: Id, data: JSONBody[CloseCase]) -> Response[Written]:
    """End the case, for a reason; by its coordinator."""
    return written(
        on_case(changing, case, "closure", lambda: changing.service.cases.act(changing.by, case, lambda _: data))
    )


@post("/cases/{case:str}/holds", operation_id="placeHold", tags=["Privacy"], **WRITE)
def place_hold(making: Asked, case: Id, data: JSONBody[HoldInput]) -> Response[Written]:
    """Keep the case from being erased; by compliance, who names no revision, since a hold waits for nothing."""
    outcome = _beside(making, case, "hold", lambda: making.service.holds.place(making.by, case, data))
    return written(outcome, status=201)


# Not under /holds: Litestar 2.25 wraps a synchronous handler once more when a second method joins it on its path.
@get("/cases/{case:str}/legal-hold", operation_id="getLegalHold", tags=["Privacy"], **READ)
def get_legal_hold(reading: Asked, case: Id) -> Response[HoldsShown]:
    """Whether a legal hold stands, and every hold of the case; for compliance."""
    revision, holds, position = reading.service.holds.of_case(reading.by, case)
    shown = HoldsShown(
        case=case,
        revision=revision,
        position=position,
        stands=any(each.released_at is None for each in holds),
        holds=tuple(
            HoldShown(
                hold=each.hold,
                reason=each.reason,
                authority=each.authority,
                placed_by=each.placed_by,
                placed_at=instant(each.placed_at),
                released_at=instant_or_none(each.released_at),
            )
            for each in holds
        ),
    )
    return Response(shown, headers={"ETag": etag(revision)} if revision else {})


@post(
    "/cases/{case:str}/holds/{hold:str}/release", operation_id="releaseHold", tags=["Privacy"], status_code=200, **WRITE
)
def release_hold(changing: Asked, case: Id, hold: Id, data: JSONBody[ReleaseInput]) -> Response[Written]:
    """End a hold; by compliance. The revision is that of the case's holds."""
    return written(
        _beside(changing, case, "hold-release", lambda: changing.service.holds.release(changing.by, case, hold, data))
    )


@post("/cases/{case:str}/erasure-requests", operation_id="requestErasure", tags=["Privacy"], **WRITE)
def request_erasure(making: Asked, case: Id, data: JSONBody[ErasureInput]) -> Response[Written]:
    """Ask for the case, or for one record of it, to be erased; by the patient or the coordinator."""
    outcome = _beside(making, case, "erasure-request", lambda: making.service.privacy.request(making.by, case, data))
    return written(outcome, status=201, location=f"/erasure-requests/{outcome.stream.removeprefix('privacy-')}")


@get("/erasure-requests/{erasure:str}", operation_id="getErasureRequest", tags=["Privacy"], **READ)
def get_erasure_request(reading: Asked, erasure: Id) -> Response[ErasureRequestShown]:
    """What became of an erasure request; it can be asked after the erasure, too."""
    story = reading.service.privacy.story(reading.by, f"privacy-{erasure}")
    checkpoint = reading.service.bundles.checkpoint().decode()
    shown = _shown(story, utc_day(reading.by.now), checkpoint)
    return Response(shown, headers={"ETag": etag(story.request.version)})


@post(
    "/erasure-requests/{erasure:str}/approval",
    operation_id="approveErasure",
    tags=["Privacy"],
    status_code=200,
    **WRITE,
)
def approve_erasure(changing: Asked, erasure: Id) -> Response[Written]:
    """Approve an erasure; by compliance, and not by who asked for it."""
    service = changing.service
    return written(
        on_request(changing, erasure, "erasure-approval", lambda stream: service.privacy.approve(changing.by, stream))
    )


@post(
    "/erasure-requests/{erasure:str}/refusal", operation_id="refuseErasure", tags=["Privacy"], status_code=200, **WRITE
)
def refuse_erasure(changing: Asked, erasure: Id, data: JSONBody[RefusalInput]) -> Response[Written]:
    """Refuse an erasure, on a ground; by compliance."""
    service = changing.service
    return written(
        on_request(
            changing, erasure, "erasure-refusal", lambda stream: service.privacy.refuse(changing.by, stream, data)
        )
    )


@post(
    "/erasure-requests/{erasure:str}/execution",
    operation_id="executeErasure",
    tags=["Privacy"],
    status_code=200,
    **WRITE,
)
def execute_erasure(changing: Asked, erasure: Id) -> Response[Written]:
    """Carry an erasure out; by an administrator who neither asked for it nor approved it.

    When it is answered, keys and payloads are gone from the database; docs/erasure.md says when the rest is.
    """
    service = changing.service
    return written(
        on_request(changing, erasure, "erasure-execution", lambda stream: service.erasures.execute(changing.by, stream))
    )


def _shown(story: Story, today: str, checkpoint: str) -> ErasureRequestShown:
    state = story.request.state
    return ErasureRequestShown(
        request=state.request.removeprefix("privacy-"),
        case=state.case,
        scope=state.scope,
        record=state.record,
        reason=state.reason,
        status=state.status,
        due_by=state.due_by,
        overdue=state.status in ("requested", "approved") and today > state.due_by,
        ground=state.ground,
        explanation=state.explanation,
        steps=tuple(
            ErasureStep(
                index=each.index,
                kind=each.statement.kind,
                actor=each.statement.actor,
                role=each.statement.role,
                recorded_at=instant(each.statement.recorded_at),
            )
            for each in story.steps
        ),
        revision=story.request.version,
        position=story.position,
        checkpoint=checkpoint,
    )


HANDLERS = [
    close_case,
    place_hold,
    get_legal_hold,
    release_hold,
    request_erasure,
    get_erasure_request,
    approve_erasure,
    refuse_erasure,
    execute_erasure,
]
