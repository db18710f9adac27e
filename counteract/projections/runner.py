"""Keeps projections up to date."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from time import monotonic

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.errors import ConfigurationError
from counteract.projections.coalescing import coalesce
from counteract.projections.projection import Projection
from counteract.projections.writing import TableWriter
from counteract.store import MasterKey, PostgresEventStore, StoredEvent
from counteract.subscriptions import Subscriber, Subscription, reached
from counteract.subscriptions.lease import start_over

# Two processes that start at once must not both create a table.
_LOCK = text("select pg_advisory_xact_lock(7203480153)")


class ProjectionRunner:
    """Applies events to the tables of its projections, in batches, exactly once, whichever processes run them.

    A table that is missing is created and filled from the first event on. `master_key` is for personal data
    and comes from COUNTERACT_MASTER_KEY by default.
    """

    def __init__(
        self,
        url: str,
        projections: Sequence[Projection],
        *,
        batch_size: int = 500,
        master_key: MasterKey | None = None,
    ) -> None:
        self._url = url
        self._names = [projection.name for projection in projections]
        twice = [f"{name!r} is there twice" for name, count in Counter(self._names).items() if count > 1]
        if twice:
            raise ConfigurationError("the projections", twice)
        self._subscriptions = [
            Subscription(url, ProjectionSubscriber(projection), batch_size=batch_size, master_key=master_key)
            for projection in projections
        ]

    async def run(self) -> None:
        """Until it is cancelled. Raises ConfigurationError; waits for everything else to get better."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for subscription in self._subscriptions:
                    tasks.create_task(subscription.run())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def reached(self, position: int, *, timeout: float = 10.0) -> None:  # noqa: ASYNC109 - as in reached()
        """Return once all its projections show every event up to `position`.

        Raises ProjectionBehind after `timeout` seconds.
        """
        deadline = monotonic() + timeout
        async with PostgresEventStore.open(self._url, pool_size=1) as store:
            for name in self._names:
                await reached(store, name, position, timeout=deadline - monotonic())


class ProjectionSubscriber(Subscriber):
    """Writes what a projection says."""

    def __init__(self, projection: Projection) -> None:
        self.name = projection.name
        self.event_types = projection.decoder.event_types
        self._projection = projection
        self._writer = TableWriter(projection.table)

    async def prepare(self, connection: AsyncConnection) -> None:
        """Create the table if it is missing; then the events begin anew, because the rows of the earlier ones are gone."""
        await connection.execute(_LOCK)
        if await connection.run_sync(_create, self._projection.table):
            await start_over(connection, self.name)

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        operations = self._projection.operations_of(events)
        await self._writer.write(connection, coalesce(operations, self._writer.blank))


def _create(connection: Connection, table: Table) -> bool:
    inspector = inspect(connection)
    # Where it would be created, which for the application's role is a schema of its own. One of that name that the
    # owner made elsewhere could be read, but not written.
    schema = inspector.default_schema_name
    if not inspector.has_table(table.name, schema):
        table.create(connection)
        return True
    actual = {column["name"] for column in inspector.get_columns(table.name, schema)}
    if actual != set(table.columns.keys()):
        problem = "the table has other columns than are declared: drop it, and it is built anew"
        raise ConfigurationError(f"projection table {table.name!r}", [problem])
    return False
