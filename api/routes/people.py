"""Who may sign, and who may be routed to: keys and specialists."""

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody

from api.answers import Written, written
from api.ask import Asked
from api.paths import Id
from api.routes.spec import READ, WRITE
from api.shown import KeyShown
from application.specialists import SpecialistInput
from domain.signing_key import PublicKeyHex, SignatureHex


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One's own Ed25519 public key, and its signature over (origin, owner, key id, public key). Both hex."""

    public_key: PublicKeyHex
    possession: SignatureHex


@post("/keys", operation_id="proposeKey", tags=["People"], **WRITE)
def propose_key(making: Asked, data: JSONBody[KeyBody]) -> Response[Written]:
    """Propose one's own signing key, with proof that one holds it."""
    outcome = making.service.signing_keys.request(making.by, data.public_key, data.possession)
    return written(outcome, status=201, location=f"/keys/{outcome.stream.removeprefix('key-')}")


@get("/keys/{key:str}", operation_id="getKey", tags=["People"], **READ)
def get_key(reading: Asked, key: Id) -> KeyShown:
    """A signing key. It is public, and so is whose it is: signatures are judged by it."""
    loaded = reading.service.signing_keys.load(key)
    return KeyShown(
        key=loaded.state.key,
        algorithm="ed25519",
        public_key=loaded.state.public_key,
        owner=loaded.state.owner,
        owner_role=loaded.state.owner_role,
        enrolled=loaded.state.enrolled,
        revision=loaded.version,
    )


@post("/keys/{key:str}/approval", operation_id="approveKey", tags=["People"], status_code=200, **WRITE)
def approve_key(making: Asked, key: Id) -> Response[Written]:
    """Approve somebody else's key; by compliance or an administrator."""
    return written(making.service.signing_keys.approve(making.by, key))


@post("/specialists", operation_id="registerSpecialist", tags=["People"], **WRITE)
def register_specialist(making: Asked, data: JSONBody[SpecialistInput]) -> Response[Written]:
    """Admit a specialist on evidence; by an administrator."""
    return written(making.service.specialists.register(making.by, data), status=201)


HANDLERS = [propose_key, get_key, approve_key, register_specialist]
