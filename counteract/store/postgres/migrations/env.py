"""The environment in which Alembic runs every command, on a connection of `counteract.store.postgres.migrate`."""

from __future__ import annotations

from alembic import context

from counteract.store.postgres.migrate import VERSION_TABLE
from counteract.store.postgres.schema import metadata

# Each revision has a transaction of its own: no lock is kept for longer than that takes.
context.configure(
    connection=context.config.attributes["connection"],
    dialect_name="postgresql",
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
