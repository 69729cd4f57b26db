"""Who may sign, and who may be routed to: keys, those of the log and its witnesses too, and specialists."""

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody

from api.answers import Written, beside_cases, written
from api.ask import Asked
from api.clock import Instant, instant, instant_or_none, micros
from api.paths import Id
from api.routes.spec import READ, WRITE
from api.shown import KeyShown, ServiceKeyShown, SuspectShown
from application.specialists import SpecialistInput
from domain.errors import KeyNotFound
from domain.service_key import Purpose, VerifierKeyText
from domain.signing_key import PublicKeyHex, RevocationReason, SignatureHex
from domain.values import Identifier


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One's own Ed25519 public key, and its signature over (origin, owner, key id, public key). Both hex."""

    public_key: PublicKeyHex
    possession: SignatureHex


class RotationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another key of the caller's that is enrolled."""

    successor: Identifier


class RevocationBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why, and since when the key may have been in other hands."""

    reason: RevocationReason
    compromised_since: Instant | None = None


class ServiceKeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A witness's key, or, as `caseledger key rotate` prints it, one that is to replace a key of the log's own."""

    purpose: Purpose
    vkey: VerifierKeyText
    replaces: Identifier | None = None
    possession: SignatureHex | None = None


@post("/keys", operation_id="proposeKey", tags=["People"], **WRITE)
def propose_key(making: Asked, data: JSONBody[KeyBody]) -> Response[Written]:
    """Propose one's own signing key, with proof that one holds it."""
    keys = making.service.signing_keys
    outcome = beside_cases(
        making, "key-proposal", None, lambda: keys.request(making.by, data.public_key, data.possession)
    )
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
        status=loaded.state.status,
        successor=loaded.state.successor,
        stopped_at=loaded.state.stopped_at,
        compromised_since=instant_or_none(loaded.state.compromised_since),
        revision=loaded.version,
    )


@post("/keys/{key:str}/approval", operation_id="approveKey", tags=["People"], status_code=200, **WRITE)
def approve_key(making: Asked, key: Id) -> Response[Written]:
    """Approve somebody else's key; by compliance or an administrator. A key of the log's own is in use from then on."""
    keys = making.service.service_keys if _is_service_key(making, key) else making.service.signing_keys
    return written(beside_cases(making, "key-approval", key, lambda: keys.approve(making.by, key)))


@post("/keys/{key:str}/rotation", operation_id="rotateKey", tags=["People"], status_code=200, **WRITE)
def rotate_key(making: Asked, key: Id, data: JSONBody[RotationBody]) -> Response[Written]:
    """Put another enrolled key of one's own in place of this one, which signs nothing from then on."""
    keys = making.service.signing_keys
    return written(beside_cases(making, "key-rotation", key, lambda: keys.rotate(making.by, key, data.successor)))


@post("/keys/{key:str}/revocation", operation_id="revokeKey", tags=["People"], status_code=200, **WRITE)
def revoke_key(making: Asked, key: Id, data: JSONBody[RevocationBody]) -> Response[Written]:
    """Revoke a key: its owner, compliance or an administrator. What it signed in the doubtful time is flagged."""
    since = None if data.compromised_since is None else micros(data.compromised_since)
    keys = making.service.service_keys if _is_service_key(making, key) else making.service.signing_keys
    return written(beside_cases(making, "key-revocation", key, lambda: keys.revoke(making.by, key, data.reason, since)))


@get("/keys/{key:str}/suspects", operation_id="getSuspects", tags=["People"], **READ)
def get_suspects(reading: Asked, key: Id) -> list[SuspectShown]:
    """The entries that the key signed since it may have been in other hands; for compliance."""
    return [
        SuspectShown(
            index=each.index, case=each.case, kind=each.kind, actor=each.actor, recorded_at=instant(each.recorded_at)
        )
        for each in reading.service.signing_keys.suspects(reading.by, key)
    ]


@post("/service-keys/proposals", operation_id="proposeServiceKey", tags=["People"], **WRITE)
def propose_service_key(making: Asked, data: JSONBody[ServiceKeyBody]) -> Response[Written]:
    """Propose a witness's key, or one to replace a key of the log's own; by an administrator."""
    keys = making.service.service_keys
    outcome = beside_cases(
        making,
        "key-proposal",
        None,
        lambda: keys.propose(making.by, data.purpose, data.vkey, data.replaces, data.possession),
    )
    return written(outcome, status=201, location=f"/keys/{outcome.stream.removeprefix('key-')}")


@get("/service-keys", operation_id="getServiceKeys", tags=["People"], **READ)
def get_service_keys(reading: Asked) -> list[ServiceKeyShown]:
    """The log's own keys and its witnesses', past and present, in the order in which they came up."""
    return [
        ServiceKeyShown(
            key=each.key, purpose=each.purpose, vkey=each.vkey, status=each.status, replaces=each.replaces,
            successor=each.successor,
        )
        for each in reading.service.service_keys.all()
    ]  # fmt: skip


def _is_service_key(asked: Asked, key: str) -> bool:
    try:
        asked.service.service_keys.load(key)
    except KeyNotFound:
        return False
    return True


@post("/specialists", operation_id="registerSpecialist", tags=["People"], **WRITE)
def register_specialist(making: Asked, data: JSONBody[SpecialistInput]) -> Response[Written]:
    """Admit a specialist on evidence; by an administrator."""
    specialists = making.service.specialists
    return written(beside_cases(making, "specialist", None, lambda: specialists.register(making.by, data)), status=201)


HANDLERS = [
    propose_key,
    get_key,
    approve_key,
    rotate_key,
    revoke_key,
    get_suspects,
    propose_service_key,
    get_service_keys,
    register_specialist,
]
