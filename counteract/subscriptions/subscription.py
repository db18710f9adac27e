"""Delivers events to a subscriber, for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import NoReturn

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from counteract.errors import ConfigurationError
from counteract.store.connecting import Connection, async_engine, connect, connect_directly
from counteract.store.reading import READS_IN_ORDER
from counteract.store.sealing import KeyWrapper
from counteract.store.translating import translated
from counteract.store.vault import Vault
from counteract.subscriptions import sharding
from counteract.subscriptions.backoff import spread
from counteract.subscriptions.delivery import Delivery, Polling, Redriving, Terms, Tries
from counteract.subscriptions.faults import is_outage, is_waited_for
from counteract.subscriptions.health import Health
from counteract.subscriptions.lag import Lag
from counteract.subscriptions.lease import Lease
from counteract.subscriptions.membership import Membership
from counteract.subscriptions.pace import Pace
from counteract.subscriptions.subscriber import Subscriber

_POLLING = Polling()
# Before PostgreSQL 17 there is no limit to a whole transaction. One whose process stands still is idle, and ended for that; one that
# waits for a statement has a limit for that statement.
_LIMITS = text("""
    select set_config(name, given.value, false)
    from (values
        ('idle_in_transaction_session_timeout', :idle),
        (case when exists (select from pg_settings where name = 'transaction_timeout') then 'transaction_timeout'
              else 'statement_timeout' end, :whole)
    ) as given (name, value)
""")

_logger = logging.getLogger("counteract.subscriptions")


class Subscription:
    """Reads the events between the checkpoint and the high water mark, hands them over, and moves the checkpoint.

    Each of its shards belongs to one process at a time, and the events of one stream to one shard, in order. Another
    process goes on where one ends, at once where it died, and after `lease` seconds where it stands still.

    A database that goes away is waited for. A batch that fails is delivered again; after `attempts` its events are
    handled one by one, and those that fail are parked with all that comes later in their streams. Nothing is skipped.
    A batch has `batch_size` events at the most, and fewer where they take long to handle. It says so when it is further behind than `within`. A process that stands still in the middle of a batch keeps it for as long
    as three leases, or three times `longest_batch` seconds where more must be allowed.
    """

    def __init__(
        self,
        url: str,
        subscriber: Subscriber,
        *,
        shards: int = 1,
        lease: float = 10.0,
        batch_size: int = 500,
        attempts: int = 5,
        polling: Polling = _POLLING,
        within: timedelta | None = None,
        longest_batch: float | None = None,
        master_key: KeyWrapper | None = None,
    ) -> None:
        if shards < 1:
            raise ConfigurationError(
                f"subscription {subscriber.name!r}", [f"it has {shards} shards: give it one or more"]
            )
        self._url = url
        self._subscriber = subscriber
        self._purpose = f"the subscription {subscriber.name!r}"
        self._shards = shards
        self._seconds = lease
        self._longest = longest_batch or lease
        self._batch_size = batch_size
        self._terms = Terms(attempts, polling)
        self._vault = Vault(master_key)
        self._health = Health(subscriber.name)
        self._lag = Lag(subscriber.name, within)
        # A shard that comes back to this process finds the same code.
        self._redriving = defaultdict[int, Redriving](Redriving)
        self._within = within

    async def run(self) -> NoReturn:
        """Until it is cancelled. Raises ConfigurationError, and handles everything else."""
        while True:
            try:
                with translated():
                    await self._take_part()
            except ConfigurationError:
                raise
            except Exception as error:
                _stop_if_cancelled(error)
                await asyncio.sleep(self._health.failed(error))

    async def _take_part(self) -> NoReturn:
        async with await connect_directly(self._url, self._purpose) as connection:
            await connection.execute(f"listen {connection.store.leases}")
            member = Membership(connection, self._subscriber.name, self._shards, self._seconds)
            await self._set_up(connection, member)
            serving: dict[Lease, asyncio.Task[None]] = {}
            try:
                while True:
                    await self._take_share(member, serving)
                    await self._news(connection, serving)
            finally:
                await _stopped(*serving.values())
                # The connection may have been interrupted at anything; and if the database is gone, so are the leases.
                with suppress(psycopg.Error):
                    async with await connect(self._url) as last:
                        await member.leave(last)

    async def _set_up(self, connection: Connection, member: Membership) -> None:
        name = self._subscriber.name
        await sharding.set_up(connection, name, self._shards)
        async with self._writer():
            pass
        waits = False
        while await sharding.number_of_shards(connection, name) != self._shards:
            uneven = await sharding.resharded(connection, name, self._shards, member.me, self._seconds)
            for lease in uneven or ():
                await self._serve(lease, up_to=max(each.position for each in uneven or ()))
            if uneven is None:
                if not waits:
                    _logger.warning("subscription %r waits until no process has it in another number of shards", name)
                waits = True
                await asyncio.sleep(spread(self._seconds / 10))
        await sharding.declare(connection, name, self._within)

    async def _take_share(self, member: Membership, serving: dict[Lease, asyncio.Task[None]]) -> None:
        for lease, task in [(lease, task) for lease, task in serving.items() if task.done()]:
            del serving[lease]
            task.result()
        mine = await member.join()
        for lease in list(serving)[mine:]:
            await _stopped(serving.pop(lease))
            await member.release(lease)
        if len(serving) < mine:
            for lease in await member.take(mine - len(serving)):
                serving[lease] = asyncio.create_task(self._serve(lease))

    async def _news(self, connection: Connection, serving: dict[Lease, asyncio.Task[None]]) -> None:
        """Until a lease may be free, one of ours is not any more, or it is time to show that we are here."""

        async def notified() -> None:
            async for _ in connection.notifies(timeout=spread(self._seconds / 3), stop_after=1):
                pass

        waiting = asyncio.create_task(notified())
        try:
            await asyncio.wait([waiting, *serving.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _stopped(waiting)

    async def _serve(self, lease: Lease, *, up_to: int | None = None) -> None:
        """Until it is another's, or a position is reached. After whatever goes wrong it goes on as soon as it can."""
        tries = Tries(Pace(self._batch_size, seconds=self._longest / 4), redriving=self._redriving[lease.shard])
        try:
            await self._deliver(lease, tries, up_to)
        finally:
            self._lag.is_done(lease.shard)

    async def _deliver(self, lease: Lease, tries: Tries, up_to: int | None) -> None:
        while True:
            try:
                with translated():
                    async with self._writer() as writer, await connect_directly(self._url, self._purpose) as reader:
                        await reader.execute(f"listen {reader.store.channel}")
                        await reader.execute(READS_IN_ORDER)
                        delivery = Delivery(
                            self._subscriber,
                            self._terms,
                            lease,
                            reader,
                            writer,
                            self._vault,
                            self._health,
                            self._lag,
                            tries,
                        )
                        return await delivery.run(up_to=up_to)
            except Exception as error:
                _stop_if_cancelled(error)
                tries.failed += not is_waited_for(error)
                tries.waits = is_waited_for(error) and not is_outage(error)
                await asyncio.sleep(self._health.failed(error))

    @asynccontextmanager
    async def _writer(self) -> AsyncIterator[AsyncConnection]:
        """A connection of its own, the subscriber prepared."""
        engine = async_engine(self._url, directly_for=self._purpose, poolclass=NullPool)
        async with engine.connect() as writer:
            async with writer.begin():
                # A process that stands still in the middle of a batch must not keep the shard for longer than its lease.
                await writer.execute(_LIMITS, {"idle": f"{self._longest:.3f}s", "whole": f"{3 * self._longest:.3f}s"})
                await self._subscriber.prepare(writer)
            yield writer


async def _stopped(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _stop_if_cancelled(error: Exception) -> None:
    """A cancelled transaction whose connection is lost fails to roll back, and that error takes the cancellation's place."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError from error
