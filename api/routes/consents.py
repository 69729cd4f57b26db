"""Consents: granted, and withdrawn in no more steps than that."""

import msgspec
from litestar import Response, post
from litestar.params import JSONBody
from uuid_utils import uuid7

from api.answers import Written, on_case, written
from api.ask import Asked
from api.clock import Instant, micros
from api.paths import Id
from api.routes.spec import WRITE
from domain.case.commands import GrantConsent, WithdrawConsent
from domain.case.events import ConsentKind, Coverage, Recipient, Representative
from domain.errors import MalformedBody
from domain.values import Identifier, Language, Line, Sha256


class GrantConsentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Consent to one thing; from now on where `valid_from` is absent."""

    kind: ConsentKind
    recipient: Recipient | None = None
    covers: Coverage = Coverage()
    purpose: Line
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    language: Language
    text_sha256: Sha256
    representative: Representative | None = None
    evidence_sha256: Sha256 | None = None
    supersedes: Identifier | None = None


class WithdrawConsentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shows that the patient withdrew it, where a coordinator records that."""

    evidence_sha256: Sha256 | None = None


@post("/cases/{case:str}/consents", operation_id="grantConsent", tags=["Consents"], **WRITE)
def grant_consent(changing: Asked, case: Id, data: JSONBody[GrantConsentBody]) -> Response[Written]:
    """Consent to one thing; by the patient, or recorded by the coordinator with evidence."""
    fields = msgspec.structs.asdict(data)
    for name in ("valid_from", "valid_until"):
        if fields[name] is not None:
            fields[name] = micros(fields[name])
            if fields[name] < 0:
                raise MalformedBody(f"{name} is before 1970")
    command = GrantConsent(consent=f"consent-{uuid7()}", **fields)
    outcome = on_case(
        changing, case, "consent", lambda: changing.service.cases.act(changing.by, case, lambda _: command)
    )
    return written(outcome, status=201)


@post(
    "/cases/{case:str}/consents/{consent:str}/withdrawal",
    operation_id="withdrawConsent",
    tags=["Consents"],
    status_code=200,
    **WRITE,
)
def withdraw_consent(
    changing: Asked, case: Id, consent: Id, data: JSONBody[WithdrawConsentBody | None] = None
) -> Response[Written]:
    """End a consent, at once and without a reason."""
    command = WithdrawConsent(consent=consent, evidence_sha256=data.evidence_sha256 if data else None)
    return written(
        on_case(changing, case, "withdrawal", lambda: changing.service.cases.act(changing.by, case, lambda _: command))
    )


HANDLERS = [grant_consent, withdraw_consent]
