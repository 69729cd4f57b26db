"""Records: the sealed age key of each record's blobs."""

from migrations.runner import execute, sql_beside

revision = "0003_records"
down_revision = "0002_intake"


def upgrade() -> None:
    """Create the schema `records`."""
    execute(sql_beside(__file__))
