"""The API's description, at /schema/openapi.json: Litestar's, put right where it says less than is true.

No page that shows it is served, since all of them load their programs from elsewhere.
"""

import re
from typing import Any

from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from api.auth import SCHEMA

_REQUIRED = {"If-Match", "Idempotency-Key", "Content-Disposition"}


class FinishedJson(JsonRenderPlugin):
    """Serves the finished description."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The description as JSON."""
        return super().render(request, finished(openapi_schema))


def finished(document: dict[str, Any]) -> dict[str, Any]:
    """A copy in which required headers are required, and patterns are ECMA-262's."""
    copy: dict[str, Any] = _walked(document)
    for path in copy["paths"].values():
        for operation in path.values():
            if not isinstance(operation, dict):
                continue
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in _REQUIRED:
                    parameter["required"] = True
                    parameter["schema"] = {"type": "string"}
    return copy


def _walked(value: Any) -> Any:
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
