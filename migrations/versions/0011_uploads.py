"""Intake: uploads that become several records, files under an id of their sender's, and what is arriving right now."""

from migrations.runner import execute, sql_beside

revision = "0011_uploads"
down_revision = "0010_origins"


def upgrade() -> None:
    """Add the records beside an upload's first one, the ids of files, and the bytes that are on their way."""
    execute(sql_beside(__file__))
