"""The ledger itself: what anybody may hold us to. Nothing here is about a person."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.ask import Asked
from api.routes.spec import PUBLIC_READ, READ
from api.shown import Health
from application.service import Service
from domain.ledger.receipt import Receipt
from domain.ledger.verify_trust import TrustedKeys, render_trusted_keys

TEXT = "text/plain; charset=utf-8"
_PATIENCE_S = 2.0


@get("/checkpoint", operation_id="getCheckpoint", tags=["Ledger"], media_type=TEXT, **PUBLIC_READ)
def get_checkpoint(service: NamedDependency[Service]) -> Response[bytes]:
    """The newest signed checkpoint: a C2SP signed note."""
    return Response(service.bundles.checkpoint(), media_type=TEXT)


@get("/keys.txt", operation_id="getVerifierKeys", tags=["Ledger"], media_type=TEXT, **PUBLIC_READ)
def get_verifier_keys(service: NamedDependency[Service]) -> Response[bytes]:
    """The public keys that verify checkpoints and entries, as `caseledger verify` takes them.

    Warning: who trusts the keys that a ledger hands out with its proofs trusts the ledger. Compare them with those that
    its operator published elsewhere.
    """
    keys = service.keys
    trusted = TrustedKeys(keys.origin, (keys.checkpoint_verifier(),), (keys.entry_verifier(),))
    return Response(render_trusted_keys(trusted), media_type=TEXT)


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
