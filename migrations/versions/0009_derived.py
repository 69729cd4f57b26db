"""Records: what was worked out from one, sealed and gone with it."""

from migrations.runner import execute, sql_beside

revision = "0009_derived"
down_revision = "0008_keys"


def upgrade() -> None:
    """Add the table of derived data."""
    execute(sql_beside(__file__))
