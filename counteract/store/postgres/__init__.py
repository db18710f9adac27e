"""The event store on PostgreSQL: everything that runs SQL for it stands here.

`migrate` prepares a database, and `append` has the statements for round trips of one's own.
"""

from counteract.store.postgres.event_store import PostgresEventStore

__all__ = ["PostgresEventStore"]
