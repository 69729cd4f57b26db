"""Keys by log: what a key signed, and the log's own keys, are found without reading every entry."""

from migrations.runner import execute, sql_beside

revision = "0008_keys"
down_revision = "0007_jobs"


def upgrade() -> None:
    """Add two partial indexes on entries."""
    execute(sql_beside(__file__))
