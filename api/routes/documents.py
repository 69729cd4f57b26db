"""Documents: what a record's files were found to be, and what kind of record the coordinator says it is."""

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody

from api.answers import Written, on_case, written
from api.ask import Asked
from api.paths import Id
from api.routes.spec import DERIVED, WRITE
from application.documents.documents import FileFacts
from domain.case.commands import ClassifyRecordInput
from domain.case.events import Marker, RecordKind


class DocumentsShown(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a record come to together: a suggestion, which a coordinator confirms or changes.

    A marker whose basis is `text` was found in words and may be misread; `fhir` and `cda` are as a laboratory coded it.
    """

    record: str
    suggested: RecordKind | None
    dated_on: str | None
    markers: tuple[Marker, ...]
    files: tuple[FileFacts, ...]


@get("/cases/{case:str}/records/{record:str}/documents", operation_id="getDocuments", tags=["Records"], **DERIVED)
def get_documents(reading: Asked, case: Id, record: Id) -> DocumentsShown:
    """What the documents of a record were found to be; the read is on record first."""
    facts = reading.service.documents.facts(reading.by, case, record)
    shown = {name: getattr(facts, name) for name in ("suggested", "dated_on", "markers", "files")}
    return DocumentsShown(record=record, **shown)


@post(
    "/cases/{case:str}/records/{record:str}/classification",
    operation_id="classifyRecord",
    tags=["Records"],
    **WRITE,
)
def classify_record(changing: Asked, case: Id, record: Id, data: JSONBody[ClassifyRecordInput]) -> Response[Written]:
    """Say what kind of record this is; by the coordinator, who may say so again."""
    outcome = on_case(
        changing, case, "classification", lambda: changing.service.documents.classify(changing.by, case, record, data)
    )
    return written(outcome, status=201)


ANSWERS = (DocumentsShown,)
HANDLERS = [get_documents, classify_record]
