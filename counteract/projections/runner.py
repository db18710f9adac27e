"""The runner, which keeps projections and materialized views up to date."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from time import monotonic

from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.errors import ConfigurationError
from counteract.projections.inline import is_inline
from counteract.projections.projection import Projection
from counteract.projections.sinks.subscriber import SinkSubscriber
from counteract.projections.table import ProjectionTable
from counteract.projections.views import LONGEST_REFRESH, MaterializedView, ViewSubscriber
from counteract.store import KeyWrapper, PostgresEventStore, StoredEvent
from counteract.subscriptions import Subscriber, Subscription, reached
from counteract.subscriptions.lease import start_over
from counteract.subscriptions.lookout import Lookout

BATCH_SIZE = 5000
"""The most events in a batch. A projection that is behind writes a row once per batch, however many
events change it.
"""


class ProjectionRunner:
    """Applies events to the tables of its projections, in batches, exactly once, whichever processes run them.

    A table that is missing is created and filled from the first event on. `master_key` is for personal data, and comes
    from COUNTERACT_MASTER_KEY by default. Raises ConfigurationError for projections that cannot run, or not together.
    """

    def __init__(
        self,
        url: str,
        projections: Sequence[Projection | MaterializedView],
        *,
        batch_size: int = BATCH_SIZE,
        master_key: KeyWrapper | None = None,
    ) -> None:
        self._url = url
        self._names = [projection.name for projection in projections]
        twice = [f"{name!r} is there twice" for name, count in Counter(self._names).items() if count > 1]
        twice += _sharing_a_table(projections)
        if twice:
            raise ConfigurationError("the projections", twice)
        views = [each for each in projections if isinstance(each, MaterializedView)]
        tables = [each for each in projections if isinstance(each, Projection)]
        if inline := [
            f"{each.name!r} is inline: give it to PostgresEventStore.open" for each in tables if each.is_inline
        ]:
            raise ConfigurationError("the projections", inline)
        for projection in tables:
            projection.check()
        self._sinks = [projection.sink for projection in tables if projection.sink]
        lookout = Lookout(url)
        self._subscriptions = [
            Subscription(
                url,
                SinkSubscriber(projection, projection.sink) if projection.sink else ProjectionSubscriber(projection),
                shards=projection.shards,
                batch_size=batch_size,
                master_key=master_key,
                within=projection.within,
                lookout=lookout,
            )
            for projection in tables
        ]
        self._subscriptions += [
            Subscription(
                url,
                ViewSubscriber(url, view),
                longest_batch=LONGEST_REFRESH,
                batch_size=batch_size,
                master_key=master_key,
                within=view.within,
                lookout=lookout,
            )
            for view in views
        ]

    async def run(self) -> None:
        """Keep the projections up to date until cancelled.

        Raises ConfigurationError; any other trouble is waited for until it is over.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for subscription in self._subscriptions:
                    tasks.create_task(subscription.run())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            for sink in self._sinks:
                await sink.close()

    async def reached(self, position: int, *, timeout: float = 10.0) -> None:  # noqa: ASYNC109 - as in reached()
        """Return once all its projections show every event up to `position`.

        Raises ProjectionBehind after `timeout` seconds.
        """
        deadline = monotonic() + timeout
        async with PostgresEventStore.open(self._url, pool_size=1) as store:
            for name in self._names:
                await reached(store, name, position, timeout=deadline - monotonic())


def _sharing_a_table(projections: Sequence[Projection | MaterializedView]) -> Iterator[str]:
    """A problem for each pair of different names that would share a table."""
    own = sorted(
        {(each.table.name, each.name) for each in projections if not isinstance(each, Projection) or not each.sink}
    )
    for (table, first), (other, second) in pairwise(own):
        if table == other:
            yield f"{first!r} and {second!r} would share the table {table}: give one another name"


class ProjectionSubscriber(Subscriber):
    """Writes a projection's rows to its table."""

    def __init__(self, projection: Projection) -> None:
        self.name = projection.name
        self.event_types = projection.decoder.event_types
        self.vocabulary = projection.vocabulary
        self._table = ProjectionTable(projection)

    async def prepare(self, connection: AsyncConnection) -> None:
        """Create the table if it is missing, and begin with the first event again, for the rows of earlier ones are
        gone.

        Rows whose checkpoint is gone are removed, or the events would count twice.
        """
        if await is_inline(connection, self.name):
            problem = (
                f"it is kept by whoever appends: `counteract projections rebuild {self.name}` makes it what it is here"
            )
            raise ConfigurationError(f"projection {self.name!r}", [problem])
        if await self._table.create(connection) or await self._table.forget(connection):
            await start_over(connection, self.name)

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        """Write what the events do to the rows."""
        await self._table.write(events, connection)
