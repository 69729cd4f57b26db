"""The ledger itself: what anybody may hold us to. Nothing here is about a person."""

from typing import Annotated, Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.ask import Asked
from api.routes.spec import PUBLIC_READ, READ
from api.shown import Health
from application.service import Service
from domain.errors import EntryNotFound
from domain.ledger.receipt import Receipt
from domain.ledger.verify_trust import render_trusted_keys

# Litestar puts `; charset=utf-8` behind it.
TEXT = "text/plain"
Witnessed = Annotated[
    Literal["any", "quorum", "post-quantum"],
    QueryParameter(description="Whose cosignature it has: a quorum of witnesses', or the log's own post-quantum one."),
]
_PATIENCE_S = 2.0


@get("/checkpoint", operation_id="getCheckpoint", tags=["Ledger"], media_type=TEXT, **PUBLIC_READ)
def get_checkpoint(service: NamedDependency[Service], witnessed: Witnessed = "any") -> Response[bytes]:
    """The newest signed checkpoint: a C2SP signed note, with the cosignatures that it has by now.

    With `witnessed=quorum` the newest one that a quorum of witnesses has cosigned, with `post-quantum` the newest one
    that the log's post-quantum key has, which signs on a period.
    """
    if witnessed == "post-quantum":
        with service.pool.connection() as connection:
            own = service.cosignatures.own_keys()
            last = service.cosignatures.last_by(connection, own) if own else None
            if last is None:
                raise EntryNotFound("no checkpoint has a post-quantum cosignature yet")
            cosigned = service.cosignatures.note(connection, last[0])
        return Response(cosigned, media_type=TEXT, headers={"Cache-Control": "no-cache"})
    note = service.bundles.checkpoint(quorum=witnessed == "quorum")
    return Response(note, media_type=TEXT, headers={"Cache-Control": "no-cache"})


@get("/keys.txt", operation_id="getVerifierKeys", tags=["Ledger"], media_type=TEXT, **PUBLIC_READ)
def get_verifier_keys(service: NamedDependency[Service]) -> Response[bytes]:
    """The public keys that verify checkpoints and entries, as `caseledger verify` takes them.

    Warning: who trusts the keys that a ledger hands out with its proofs trusts the ledger. Compare them with those that
    its operator published elsewhere.
    """
    trusted = service.checkpoints.live.files.trusted()
    own = service.cosignatures.own_keys()
    return Response(render_trusted_keys(msgspec.structs.replace(trusted, post_quantum=own)), media_type=TEXT)


@get("/entries/{index:int}/receipt", operation_id="getReceipt", tags=["Ledger"], **READ)
def get_receipt(reading: Asked, index: FromPath[int]) -> Receipt:
    """The receipt of an entry: its leaf, inclusion proof and checkpoint."""
    return reading.service.bundles.receipt(index)


@get("/health", operation_id="getHealth", tags=["Ledger"], **PUBLIC_READ)
def get_health(service: NamedDependency[Service]) -> Health:
    """Whether the service and its database answer."""
    with service.pool.connection(timeout=_PATIENCE_S) as connection:
        connection.execute("SELECT 1")
    return Health(status="ok")


HANDLERS = [get_checkpoint, get_verifier_keys, get_receipt, get_health]
