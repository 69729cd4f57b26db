"""The ledger: a restored database goes on under another origin, by the entry that says so and not otherwise."""

from migrations.runner import execute, sql_beside

revision = "0010_origins"
down_revision = "0009_derived"


def upgrade() -> None:
    """Let the head's origin follow such an entry, and find these entries at once."""
    execute(sql_beside(__file__))
