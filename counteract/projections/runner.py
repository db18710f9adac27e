"""Keeps projections up to date."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from time import monotonic

from sqlalchemy import Connection, Inspector, Table, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import SetTableComment
from sqlalchemy.sql.dml import UpdateBase

from counteract.errors import ConfigurationError
from counteract.projections.coalescing import coalesce, runs
from counteract.projections.projection import Projection
from counteract.projections.writing import TableWriter
from counteract.store import MasterKey, PostgresEventStore, StoredEvent
from counteract.subscriptions import Subscriber, Subscription, reached
from counteract.subscriptions.lease import start_over

_logger = logging.getLogger("counteract.projections")

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
        for projection in projections:
            projection.check()
        self._subscriptions = [
            Subscription(
                url,
                ProjectionSubscriber(projection),
                batch_size=batch_size,
                master_key=master_key,
                within=projection.within,
            )
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

    def __init__(self, projection: Projection, *, start_over_if_changed: bool = False) -> None:
        self.name = projection.name
        self.event_types = projection.decoder.event_types
        self._projection = projection
        self._writer = TableWriter(projection.table)
        # Statements name the table as it is declared, this one may be in another schema.
        self._where = {"schema_translate_map": {None: projection.table.schema}}
        self._starts_over = start_over_if_changed
        self._has_reported = False

    async def prepare(self, connection: AsyncConnection) -> None:
        """Create the table if it is missing; then the events begin anew, because the rows of the earlier ones are gone."""
        await connection.execute(_LOCK)
        if await connection.run_sync(self._create):
            await start_over(connection, self.name)

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        effects = self._projection.operations_of(events)
        for run in runs(effects):
            if isinstance(run, UpdateBase):
                await connection.execute(run, execution_options=self._where)
            else:
                await self._writer.write(connection, coalesce(run, self._writer.blank))

    def _create(self, connection: Connection) -> bool:
        table, inspector = self._projection.table, inspect(connection)
        # Where it would be created, which for the application's role is a schema of its own. One of that name that the
        # owner made elsewhere could be read, but not written.
        schema = table.schema or inspector.default_schema_name
        fingerprint = self._projection.fingerprint
        if inspector.has_table(table.name, schema):
            is_changed = inspector.get_table_comment(table.name, schema)["text"] not in (None, fingerprint)
            if not (is_changed and self._starts_over):
                self._check(inspector, schema, is_changed=is_changed)
                return False
            table.drop(connection)
        table.create(connection)
        set_comment(connection, table, fingerprint)
        return True

    def _check(self, inspector: Inspector, schema: str | None, *, is_changed: bool) -> None:
        name = self._projection.table.name
        actual = {column["name"] for column in inspector.get_columns(name, schema)}
        if actual != set(self._projection.table.columns.keys()):
            problem = f"the table has other columns than are declared: `counteract projections rebuild {self.name}`"
            raise ConfigurationError(f"projection table {name!r}", [problem])
        if is_changed and not self._has_reported:
            self._has_reported = True
            _logger.warning(
                "projection %r: its code has changed since its rows were made; `counteract projections rebuild %s` "
                "makes them anew, while the present ones are read",
                self.name,
                self.name,
            )


def set_comment(connection: Connection, table: Table, fingerprint: str) -> None:
    """What made the rows of a table is written on the table itself, and so goes where it goes."""
    table.comment = fingerprint
    connection.execute(SetTableComment(table))
