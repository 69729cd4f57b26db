"""The API's description, at /schema/openapi.json: Litestar's, put right where it says less, or other, than is true.

No page that shows it is served, since all of them load their programs from elsewhere.
"""

import re
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from api.answers import Written
from api.auth import SCHEMA
from api.json_body import StrictJson
from api.problems import Problem
from api.routes import documents, log, pictures
from api.routes.records import Received
from api.routes.review import ShareOpened
from api.shown import Shown
from domain.imaging.findings import Report
from domain.ledger.receipt import Receipt

ANSWERS = (
    Written,
    Received,
    ShareOpened,
    Receipt,
    Problem,
    Report,
    *log.ANSWERS,
    *pictures.ANSWERS,
    *documents.ANSWERS,
    *Shown.__subclasses__(),
)
"""What answers hold. With the bodies that handlers take, that is every schema."""

_REQUIRED = {"If-Match", "Idempotency-Key", "Content-Disposition"}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_FILE = {"application/octet-stream": _BYTES}
_TEXT = {"schema": {"type": "string"}}


class FinishedJson(JsonRenderPlugin):
    """Serves the finished description, which is made once."""

    _rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The description as JSON."""
        if self._rendered is None:
            self._rendered = super().render(request, finished(openapi_schema))
        return self._rendered


def finished(document: dict[str, Any]) -> dict[str, Any]:
    """A copy whose schemas are msgspec's, by which bodies are decoded; required headers are required in it."""
    copy: dict[str, Any] = _walked(document)
    for path in copy["paths"].values():
        for operation in path.values():
            _finish(operation)
    types = (*StrictJson.types(), *ANSWERS)
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    copy["components"]["schemas"] = _walked(schemas)
    return copy


def _finish(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "header":
            parameter["required"] = parameter["name"] in _REQUIRED
            parameter["schema"] = {"type": "string"}
    if "401" not in operation["responses"]:
        operation["security"] = []
    match operation["operationId"]:
        case "addFile":
            operation["requestBody"] = {"required": True, "content": _FILE}
        case "addArchive":
            operation["requestBody"] = {"required": True, "content": {"application/zip": _BYTES}}
        case "continueTransfer":
            operation["requestBody"] = {"required": True, "content": {"application/partial-upload": _BYTES}}
        case "storeInstances" | "storeStudy" | "storeInstancesInUpload" | "storeStudyInUpload":
            related = 'multipart/related; type="application/dicom"'
            operation["requestBody"] = {"required": True, "content": {related: _BYTES}}
        case "getFile":
            operation["responses"]["200"]["content"] = _FILE
        case "getPicture":
            operation["responses"]["200"]["content"] = {"image/png": _BYTES}
        case "getImagingReport":
            operation["responses"]["200"]["content"] = {"text/html": _TEXT}
        case "withdrawConsent":
            operation["requestBody"]["required"] = False
        case "getTile" | "getEntryBundle":
            operation["responses"]["200"]["content"] = _FILE
        case "proveInclusion":
            proof = {"schema": {"$ref": "#/components/schemas/InclusionProof"}}
            operation["responses"]["200"]["content"] = {"application/json": proof, "text/plain": _TEXT}
        case "getCheckpoint" | "getVerifierKeys" | "getKeyOpenings" | "getMetrics":
            operation["responses"]["200"]["content"] = {"text/plain": _TEXT}


def _walked(value: Any) -> Any:
    """A copy, in which patterns are those of ECMA-262."""
    match value:
        case dict():
            walked = {key: _walked(each) for key, each in value.items()}
            if isinstance(pattern := walked.get("pattern"), str):
                walked["pattern"] = re.sub(r"\\Z$", "$", re.sub(r"^\\A", "^", pattern))
            return walked
        case list() | tuple():
            return [_walked(each) for each in value]
    return value


CONFIG = OpenAPIConfig(
    title="Case Ledger",
    version="1",
    description=(
        "The system of record of a remote surgical second-opinion service. Every write is an immutable, signed entry of"
        " a log, and its answer carries the receipt. Problems are RFC 9457 documents. Information only: nothing here is"
        " medical advice, and nothing guarantees an outcome."
    ),
    path=SCHEMA,
    render_plugins=[FinishedJson(path="/openapi.json")],
    components=Components(
        security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
    ),
    security=[{"bearer": []}],
    use_handler_docstrings=True,
)
