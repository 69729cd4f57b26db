"""Intake: uploads under way, before they become records."""

from migrations.runner import execute, sql_beside

revision = "0002_intake"
down_revision = "0001_ledger"


def upgrade() -> None:
    """Create the schema `intake` and its rights."""
    execute(sql_beside(__file__))
