"""Jobs: procrastinate's tables in a schema of their own, and how far each automation has read the log."""

from migrations.runner import execute, sql_beside

revision = "0007_jobs"
down_revision = "0006_intake"


def upgrade() -> None:
    """Create the schema `jobs`."""
    execute(sql_beside(__file__))
