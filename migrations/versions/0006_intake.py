"""Intake: uploads that go on where they broke, and the lease under which one is committed."""

from migrations.runner import execute, sql_beside

revision = "0006_intake"
down_revision = "0005_witness"


def upgrade() -> None:
    """Add the parts of an upload and their segments."""
    execute(sql_beside(__file__))
