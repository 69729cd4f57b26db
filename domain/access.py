"""Who looked at what: each access is a stream of one entry, so that reading never contends with acting.

What was asked for, which version and how it ended stand in the statement, in clear and opaque; the basis is sealed.
"""

from typing import Literal

from domain.event import Event, register
from domain.values import Identifier

Basis = Literal["own_case", "assigned", "consent", "audit", "administration", "none"]


@register.add("access.recorded.v1", subject="accountability")
class AccessRecorded(Event, frozen=True, kw_only=True):
    """Somebody read something of a case, or tried to."""

    what: Identifier
    """case, trail, bundle, record, opinion."""
    basis: Basis
    consent: Identifier | None = None
    refused_because: Identifier | None = None
    """Code of the error, where the access was refused."""
