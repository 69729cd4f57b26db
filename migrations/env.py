"""Alembic's environment: revisions run over the connection that the runner hands in, a transaction each."""

from alembic import context

from migrations.runner import SCHEMA, TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=TABLE,
    version_table_schema=SCHEMA,
    transaction_per_migration=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
