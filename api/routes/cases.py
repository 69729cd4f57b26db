"""A case from its opening to its checklist, and as it stands."""

from typing import Annotated

import msgspec
from litestar import Response, get, post, put
from litestar.params import JSONBody, QueryParameter

from api.answers import Written, beside_cases, etag, on_case, written
from api.ask import Asked
from api.paths import Id
from api.problems import Told
from api.routes.spec import READ, WRITE
from api.showing import case_shown, trail_entry
from api.shown import CaseShown, TrailShown
from application.cases import PatientInput
from application.records.requirements import sites
from application.work.jobs import given_up
from domain.case.commands import (
    AcknowledgeDisclaimer,
    AssignCoordinator,
    DeclareRecordsComplete,
    IssueChecklist,
    OpenCaseInput,
    RecordOriginalVerdict,
)
from domain.errors import CaseNotFound, MalformedBody
from domain.ledger.bundle import case_stream


class OpenCaseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case, and whose it is."""

    case: OpenCaseInput
    patient: PatientInput


@post("/cases", operation_id="openCase", tags=["Cases"], **WRITE)
def open_case(making: Asked, data: JSONBody[OpenCaseBody]) -> Response[Written]:
    """Open a case: by its patient, or by a coordinator for them."""
    opening = making.service.cases.open
    outcome = beside_cases(making, "case", None, lambda: opening(making.by, data.case, data.patient))
    return written(outcome, status=201, location=f"/cases/{outcome.stream.removeprefix('case-')}")


@put("/cases/{case:str}/original-verdict", operation_id="recordOriginalVerdict", tags=["Cases"], **WRITE)
def record_original_verdict(changing: Asked, case: Id, data: JSONBody[RecordOriginalVerdict]) -> Response[Written]:
    """Record what the first centre said."""
    return written(
        on_case(
            changing, case, "original-verdict", lambda: changing.service.cases.act(changing.by, case, lambda _: data)
        )
    )


@put("/cases/{case:str}/disclaimer", operation_id="acknowledgeDisclaimer", tags=["Cases"], **WRITE)
def acknowledge_disclaimer(changing: Asked, case: Id, data: JSONBody[AcknowledgeDisclaimer]) -> Response[Written]:
    """Acknowledge that an opinion is information only; by the patient."""
    return written(
        on_case(changing, case, "disclaimer", lambda: changing.service.cases.act(changing.by, case, lambda _: data))
    )


@put("/cases/{case:str}/coordinator", operation_id="assignCoordinator", tags=["Cases"], **WRITE)
def assign_coordinator(changing: Asked, case: Id, data: JSONBody[AssignCoordinator]) -> Response[Written]:
    """Make somebody the single contact, or hand over to them."""
    return written(
        on_case(changing, case, "coordinator", lambda: changing.service.cases.act(changing.by, case, lambda _: data))
    )


@put("/cases/{case:str}/checklist", operation_id="issueChecklist", tags=["Cases"], **WRITE)
def issue_checklist(changing: Asked, case: Id, data: JSONBody[IssueChecklist]) -> Response[Written]:
    """Say which records the case needs; gathering begins."""
    if data.imaging_site not in sites():
        told = f"imaging_site: there are requirement sets for {', '.join(sites())}"
        raise Told(MalformedBody(told), field="/imaging_site")
    return written(
        on_case(changing, case, "checklist", lambda: changing.service.cases.act(changing.by, case, lambda _: data))
    )


@post(
    "/cases/{case:str}/completeness", operation_id="declareRecordsComplete", tags=["Records"], status_code=200, **WRITE
)
def declare_records_complete(changing: Asked, case: Id) -> Response[Written]:
    """Declare the records complete: the clock starts."""
    command = DeclareRecordsComplete()
    return written(
        on_case(
            changing, case, "completeness", lambda: changing.service.cases.act(changing.by, case, lambda _: command)
        )
    )


@get("/cases/{case:str}", operation_id="getCase", tags=["Cases"], **READ)
def get_case(reading: Asked, case: Id) -> Response[CaseShown]:
    """The case as it stands; the read is on record before it is shown."""
    service = reading.service
    service.accesses.read(reading.by, case, "case")
    (last,) = service.ledger.recorder.rows(case_stream(case), None, None, desc=True, limit=1)
    view = reading.views.case(case, last.index + 1)
    if view is None:
        raise CaseNotFound
    state = None if view.content is None else view.content.state
    failed = False
    if state is not None and state.unchecked_imaging():
        with service.pool.connection() as connection:
            failed = given_up(connection, case)
    position = view.last_index + 1
    shown = case_shown(view, position, reading.by.actor(), reading.by.now, "failed" if failed else None)
    return Response(shown, headers={"ETag": etag(view.revision)})


@get("/cases/{case:str}/trail", operation_id="getTrail", tags=["Audit"], **READ)
def get_trail(
    reading: Asked,
    case: Id,
    after: Annotated[int, QueryParameter(ge=-1, lt=2**53, description="Index behind which the page begins.")] = -1,
    limit: Annotated[int, QueryParameter(ge=1, le=1000, description="Entries of the page.")] = 1000,
) -> TrailShown:
    """Every entry that names the case, this read included; summaries only for who may read content."""
    access = reading.service.accesses.read(reading.by, case, "trail")
    position = access.index + 1
    rows = reading.views.trail(case, position, content=access.permission.content, after=after, limit=limit + 1)
    page = rows[:limit]
    return TrailShown(
        case=case,
        position=position,
        checkpoint=reading.service.bundles.checkpoint().decode(),
        entries=tuple(trail_entry(row) for row in page),
        next=page[-1].index if len(rows) > limit else None,
    )


@get("/cases/{case:str}/bundle", operation_id="getBundle", tags=["Audit"], media_type="application/zip", **READ)
def get_bundle(reading: Asked, case: Id) -> Response[bytes]:
    """The case's bundle, to be verified offline; openings of content only for who may read it."""
    bundle = reading.service.bundles.export(reading.by, case)
    headers = {"Content-Disposition": f'attachment; filename="case-{case}.zip"'}
    return Response(bundle, media_type="application/zip", headers=headers)


HANDLERS = [
    open_case,
    record_original_verdict,
    acknowledge_disclaimer,
    assign_coordinator,
    issue_checklist,
    declare_records_complete,
    get_case,
    get_trail,
    get_bundle,
]
