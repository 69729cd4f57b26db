"""A log's change of name after a restore: the one event of the stream `key-origins`."""

from typing import Annotated, Literal

import msgspec

from domain.event import Event, register
from domain.ledger.statement import Origin, Sha256Hex
from domain.service_key import VerifierKeyText
from domain.signing_key import SignatureHex
from domain.values import Identifier

Reason = Literal["disaster_recovery", "operator_error", "attack", "exercise"]
MAX_NOTE_TEXT = 4096


class Endorsement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one of the old log's keys, named by its id, signed: see `domain.ledger.origins.origin_message`."""

    purpose: Literal["checkpoint", "entry"]
    key: Identifier
    signature: SignatureHex


@register.add("ledger.origin_succeeded.v1", subject="key")
class OriginSucceeded(Event, frozen=True, kw_only=True):
    """The log goes on under another origin, because what the old one released behind `size` is lost.

    It is the first entry of the new origin, and stands at index `size` of the tree that it takes over.
    """

    reason: Reason
    origin: Origin
    """The old one; that of the restored entries' end."""
    size: Annotated[int, msgspec.Meta(ge=1)]
    """Entries that were restored."""
    root: Sha256Hex
    """Root of the restored tree."""
    lost: tuple[Annotated[str, msgspec.Meta(max_length=MAX_NOTE_TEXT)], ...]
    """The last released checkpoint of the old origin, as a signed note; then those of origins that are lost whole."""
    keys: tuple[VerifierKeyText, ...]
    """The old log's public keys, earlier ones too: those of checkpoints, then those of entries."""
    checkpoint_key: VerifierKeyText
    """The new origin's first checkpoint key,"""
    entry_key: VerifierKeyText
    """and its first key of entries, which signs this entry."""
    endorsements: tuple[Endorsement, ...]
    """By the old log's last checkpoint key and its last key of entries, in this order."""
