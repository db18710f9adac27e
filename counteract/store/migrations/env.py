"""Run by Alembic for every command; the connection and its transaction are `counteract.store.migrate`'s."""

from __future__ import annotations

from alembic import context

from counteract.store.migrate import VERSION_TABLE
from counteract.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
