"""The log as such: tiles (C2SP tlog-tiles), proofs, readiness and metrics.

Hashes and proofs are everybody's. Entries are pseudonymous timelines of patients, so bundles of them, unlike in C2SP
logs, are for compliance and for witnesses with a token, and are kept by no cache.
"""

import gzip
from typing import Annotated, Any

import structlog
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter

from api.ask import Asked, Http
from api.clock import server_clock
from api.condition import Readiness, Watched, metrics, readiness
from api.routes.spec import PUBLIC_READ, READ
from application.keys.key_openings import key_openings
from application.ledger.tiles import Tiles
from application.proofs import ConsistencyProof, InclusionProof, Proofs
from application.service import Service
from domain.ledger.tile import TileAddress, parse_path
from domain.ledger.tree import TILE_WIDTH

TILE = "application/octet-stream"
# Litestar puts `; charset=utf-8` behind both.
PROOF = "text/plain"
METRICS = "text/plain; version=0.0.4"
FULL = "public, max-age=31536000, immutable"
PARTIAL = "public, max-age=3600"
"""A partial tile never changes either, but is soon of no use."""
NEVER = "private, no-store"

# Public, with something in the query that may be wrong.
ASKED: dict[str, Any] = {**PUBLIC_READ, "responses": {**PUBLIC_READ["responses"], 400: READ["responses"][400]}}

log = structlog.get_logger(__name__)

Size = Annotated[int | None, QueryParameter(ge=1, lt=2**53, description="Tree size; the committed one by default.")]
Index = Annotated[int, QueryParameter(ge=0, lt=2**53, description="Index of the entry in the log.")]
From = Annotated[int, QueryParameter(name="from", ge=1, lt=2**53, description="The smaller tree size.")]
Accept = Annotated[
    str | None,
    HeaderParameter(name="Accept", description="`text/plain` asks for a C2SP tlog-proof file.", max_length=500),
]
AcceptEncoding = Annotated[str | None, HeaderParameter(name="Accept-Encoding", max_length=500)]


@get("/tile/{level:str}/{tile:path}", operation_id="getTile", tags=["Log"], media_type=TILE, **PUBLIC_READ)
def get_tile(service: NamedDependency[Service], request: Http, level: FromPath[str]) -> Response[bytes]:
    """A tile of the Merkle tree: up to 256 hashes, `<level>/<index>[.p/<width>]` (C2SP tlog-tiles)."""
    address = _address(request)
    content = Tiles(service.pool).hashes(address)
    cached = FULL if address.width == TILE_WIDTH else PARTIAL
    return Response(content, media_type=TILE, headers={"Cache-Control": cached})


@get("/tile/entries/{tile:path}", operation_id="getEntryBundle", tags=["Log"], media_type=TILE, **READ)
def get_entries(following: Asked, request: Http, accept_encoding: AcceptEncoding = None) -> Response[bytes]:
    """An entry bundle: up to 256 entries, each behind its length in two bytes. For compliance and witnesses.

    The first read of 65,536 entries that somebody makes on a day is on record before it is shown, and covers the rest.
    """
    service, address = following.service, _address(request)
    content = service.log_accesses.read(
        following.by, "entries", lambda: Tiles(service.pool).entries(address), address.start
    )
    log.info("log.entries_read", actor=following.by.id, first=address.start, count=address.width)
    headers = {"Cache-Control": NEVER, "Vary": "Accept-Encoding"}
    if "gzip" in (accept_encoding or ""):
        content = gzip.compress(content, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(content, media_type=TILE, headers=headers)


@get("/key-openings", operation_id="getKeyOpenings", tags=["Log"], media_type=PROOF, **READ)
def get_key_openings(following: Asked) -> Response[bytes]:
    """What the histories of keys say, as `caseledger verify --log` needs it. For compliance and witnesses.

    Somebody's first read on a day is on record before it is shown, and covers the rest.
    """
    service = following.service
    content = service.log_accesses.read(
        following.by, "key-openings", lambda: key_openings(service.pool, service.ledger)
    )
    log.info("log.key_openings_read", actor=following.by.id)
    return Response(content, media_type=PROOF, headers={"Cache-Control": NEVER})


@get("/proofs/inclusion", operation_id="proveInclusion", tags=["Log"], **ASKED)
def prove_inclusion(
    service: NamedDependency[Service], index: Index, size: Size = None, accept: Accept = None
) -> Response[InclusionProof] | Response[bytes]:
    """That an entry is in the tree of a size, which has a signed checkpoint where a batch ended there.

    With `Accept: text/plain` a C2SP tlog-proof file, which only such a size has.
    """
    proofs = Proofs(service.pool, service.checkpoints)
    headers = {"Vary": "Accept"}
    if (accept or "").partition(",")[0].partition(";")[0].strip() == "text/plain":
        return Response(proofs.tlog_proof(index, size), media_type=PROOF, headers=headers)
    return Response(proofs.inclusion(index, size), headers=headers)


@get("/proofs/consistency", operation_id="proveConsistency", tags=["Log"], **ASKED)
def prove_consistency(service: NamedDependency[Service], from_: From, to: Size = None) -> ConsistencyProof:
    """That the tree of one size extends the tree of a smaller one."""
    return Proofs(service.pool, service.checkpoints).consistency(from_, to)


@get(
    "/ready",
    operation_id="getReadiness",
    tags=["Ledger"],
    **{**PUBLIC_READ, "responses": {503: ResponseSpec(Readiness, description="Send no requests here, and why not.")}},
)
def get_ready(service: NamedDependency[Service], watched: NamedDependency[Watched]) -> Response[Readiness]:
    """Whether to send requests here: database, head against pin, views, the monitor's verdict."""
    found = readiness(service.pool, service.checkpoints, watched)
    return Response(found, status_code=200 if found.ready else 503, headers={"Cache-Control": "no-store"})


@get("/metrics", operation_id="getMetrics", tags=["Ledger"], media_type=METRICS, **PUBLIC_READ)
def get_metrics(service: NamedDependency[Service], watched: NamedDependency[Watched]) -> Response[bytes]:
    """The same in numbers, as Prometheus reads them. Nothing in them is about a person."""
    found = readiness(service.pool, service.checkpoints, watched)
    text = metrics(found, watched.monitor(), server_clock())
    return Response(text.encode(), media_type=METRICS, headers={"Cache-Control": "no-store"})


def _address(request: Http) -> TileAddress:
    """From the path as it was sent: the router takes several spellings for one."""
    sent = request.scope["raw_path"].partition(b"?")[0].decode("ascii", "replace")
    return parse_path(sent.rpartition("/tile/")[2])


HANDLERS = [
    get_tile,
    get_entries,
    get_key_openings,
    prove_inclusion,
    prove_consistency,
    get_ready,
    get_metrics,
]
ANSWERS = (InclusionProof, ConsistencyProof)
"""What these answer with, for the API's description."""
