"""Witness: cosignatures and time-stamp tokens of checkpoints."""

from migrations.runner import execute, sql_beside

revision = "0005_witness"
down_revision = "0004_erasure"


def upgrade() -> None:
    """Create the tables of cosignatures and tokens, append-only like the checkpoints that they are of."""
    execute(sql_beside(__file__))
