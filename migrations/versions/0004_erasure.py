"""Erasure: the fence, the one function that destroys payloads, and the key-encryption key's rotation."""

from migrations.runner import execute, sql_beside

revision = "0004_erasure"
down_revision = "0003_records"


def upgrade() -> None:
    """Let payloads of fenced subjects go, through one function and in no other way."""
    execute(sql_beside(__file__))
