"""The imaging check of a case: asked for, read, accepted, overruled; and records out of quarantine."""

from typing import Any, cast

from litestar import Response, get, post
from litestar.params import JSONBody

from api.answers import Written, etag, on_case, written
from api.ask import Ask, Asked
from api.paths import Id
from api.routes.spec import READ, WRITE
from application.work.jobs import forget_failed
from domain.case.commands import (
    AcceptLimitedImaging,
    AdviseRepeatImaging,
    OverruleImagingVerdict,
    ReleaseRecord,
    ReleaseRecordInput,
    completed,
)
from domain.imaging.findings import Report


@post("/cases/{case:str}/imaging-checks", operation_id="checkImaging", tags=["Imaging"], **WRITE)
def check_imaging(changing: Asked, case: Id) -> Response[Written]:
    """Have the service check imaging that no check has seen, or that has aged; by the coordinator or a technician."""
    outcome = on_case(changing, case, "imaging-check", lambda: changing.service.imaging_checks.ask(changing.by, case))
    with changing.service.pool.connection() as connection:
        forget_failed(connection, case)
    return written(outcome, status=201)


@get("/cases/{case:str}/imaging-report", operation_id="readImagingReport", tags=["Imaging"], **READ)
def read_imaging_report(reading: Asked, case: Id) -> Response[Report]:
    """The newest check's report, byte for byte what its digest in the log is of; the read is on record first."""
    report = reading.service.imaging_checks.report(reading.by, case)
    # Whoever judges by it says which state of the case they saw; a technician has it from nowhere else.
    headers = {"ETag": etag(reading.service.cases.load(case).revision)}
    return Response(cast(Any, report), media_type="application/json", headers=headers)


@post("/cases/{case:str}/imaging-acceptances", operation_id="acceptLimitedImaging", tags=["Imaging"], **WRITE)
def accept_limited_imaging(changing: Asked, case: Id, data: JSONBody[AcceptLimitedImaging]) -> Response[Written]:
    """Take limited imaging as it is, with limits that the opinion will carry; by the coordinator or the specialist."""
    return _act(changing, case, "imaging-acceptance", data)


@post("/cases/{case:str}/imaging-verdicts", operation_id="overruleImagingVerdict", tags=["Imaging"], **WRITE)
def overrule_imaging_verdict(changing: Asked, case: Id, data: JSONBody[OverruleImagingVerdict]) -> Response[Written]:
    """Judge the imaging otherwise than the check, and say why; by a technician who uploaded none of it."""
    return _act(changing, case, "imaging-verdict", data)


@post("/cases/{case:str}/imaging-advice", operation_id="adviseRepeatImaging", tags=["Imaging"], **WRITE)
def advise_repeat_imaging(changing: Asked, case: Id, data: JSONBody[AdviseRepeatImaging]) -> Response[Written]:
    """Say what has to be acquired or sent again, beside what the check says by itself; by a technician."""
    return _act(changing, case, "imaging-advice", data)


@post("/cases/{case:str}/records/{record:str}/release", operation_id="releaseRecord", tags=["Imaging"], **WRITE)
def release_record(changing: Asked, case: Id, record: Id, data: JSONBody[ReleaseRecordInput]) -> Response[Written]:
    """Take a record out of quarantine; by a technician or compliance. Imaging is then checked again."""
    return _act(changing, case, "release", completed(ReleaseRecord, data, record=record))


def _act(
    changing: Ask,
    case: str,
    what: str,
    command: AcceptLimitedImaging | OverruleImagingVerdict | AdviseRepeatImaging | ReleaseRecord,
) -> Response[Written]:
    outcome = on_case(changing, case, what, lambda: changing.service.cases.act(changing.by, case, lambda _: command))
    return written(outcome, status=201)


HANDLERS = [
    check_imaging,
    read_imaging_report,
    accept_limited_imaging,
    overrule_imaging_verdict,
    advise_repeat_imaging,
    release_record,
]
