"""Which kinds of entry count only with an actor's own signature, and by which role.

Compiled in, here and in whoever verifies: an entry of such a kind that carries only the ledger's signature is
a forgery.
"""

REQUIRED_ROLE: dict[str, str] = {"opinion.signed.v1": "specialist"}
"""Topic -> the role whose signature it needs."""

PREPARED_FOR_US = 10 * 60 * 1_000_000
"""How long a prepared statement may be signed and submitted, in microseconds."""
