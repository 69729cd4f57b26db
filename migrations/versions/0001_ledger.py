"""The ledger: head, entries, roots, checkpoints, tiles, idempotency, subject keys."""

from migrations.runner import execute, sql_beside

revision = "0001_ledger"
down_revision = None


def upgrade() -> None:
    """Create the schema `ledger` with its triggers and rights."""
    execute(sql_beside(__file__))
