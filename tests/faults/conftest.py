"""Fixtures of the ledger that faults strike."""

from tests.ledger_fixture import data, one, superuser

__all__ = ["data", "one", "superuser"]
