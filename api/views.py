"""What the API reads from the read models; the composition root hands it in."""

from collections.abc import Callable
from typing import Any

import msgspec
from psycopg_pool import ConnectionPool

from application.ledger.keyring import Keyring
from projections import case_view, trail
from projections.case_view import CaseView
from projections.trail import TrailRow


class Views(msgspec.Struct, frozen=True, kw_only=True):
    """The read models of one database, and how to wait for them."""

    pool: ConnectionPool[Any]
    keyring: Keyring
    wait_for: Callable[[int], None]
    """Returns once the views hold the first `n` entries of the log; raises Unavailable where that takes too long."""

    def case(self, case: str, position: int) -> CaseView | None:
        """A case, as it stands after the log's first `position` entries or later."""
        self.wait_for(position)
        return case_view.get(self.pool, self.keyring, case)

    def trail(self, case: str, position: int, *, content: bool, after: int | None, limit: int) -> list[TrailRow]:
        """A page of a case's trail, by entries whose index is greater than `after`, as `case`."""
        self.wait_for(position)
        return trail.of_case(self.pool, self.keyring, case, content=content, after=after, limit=limit)
