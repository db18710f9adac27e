"""Delivers events to a subscriber, for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from counteract.errors import ConfigurationError, StoreUnavailable
from counteract.store.connecting import Connection, async_engine, connect
from counteract.store.high_water_mark import HighWaterMark
from counteract.store.notifying import CHANNEL
from counteract.store.reading import read_events
from counteract.store.sealing import MasterKey
from counteract.store.translating import translated
from counteract.store.vault import Vault, opened_events
from counteract.subscriptions.backoff import Backoff
from counteract.subscriptions.checkpoint import Checkpoint
from counteract.subscriptions.subscriber import Subscriber

_logger = logging.getLogger("counteract.subscriptions")


@dataclass(frozen=True, slots=True)
class Polling:
    """How long a subscription with nothing to do waits before it looks again, in seconds. A notification ends the wait."""

    shortest: float = 0.05
    longest: float = 0.25
    unsettled: float = 0.005
    """The shortest while an append is under way that the next events have to wait for."""


class Subscription:
    """Reads the events between the checkpoint and the high water mark, hands them over, and moves the checkpoint.

    Processes that run the same subscription take turns; no batch is applied twice. A database that goes away is waited
    for, and a batch that fails is delivered again: nothing is skipped.
    """

    def __init__(
        self,
        url: str,
        subscriber: Subscriber,
        *,
        batch_size: int = 500,
        polling: Polling = Polling(),
        master_key: MasterKey | None = None,
    ) -> None:
        self._url = url
        self._subscriber = subscriber
        self._batch_size = batch_size
        self._polling = polling
        self._vault = Vault(master_key)

    async def run(self) -> NoReturn:
        """Until it is cancelled. Raises ConfigurationError, and handles everything else."""
        failures = Backoff(shortest=0.1, longest=5.0)
        while True:
            try:
                with translated():
                    async with self.connected() as delivery:
                        await self._follow(delivery, failures)
            except ConfigurationError:
                raise
            except Exception as error:
                self._report(error, first=failures.is_fresh)
                await asyncio.sleep(failures.next())

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Delivery]:
        """Connections of one's own, the subscriber prepared."""
        engine = async_engine(self._url, poolclass=NullPool)
        async with await connect(self._url) as reader, engine.connect() as writer:
            await reader.execute(f"listen {CHANNEL}")
            async with writer.begin():
                await self._subscriber.prepare(writer)
                checkpoint = await Checkpoint.load(writer, self._subscriber.name)
            yield Delivery(self._subscriber, self._batch_size, reader, self._vault, writer, checkpoint)

    async def _follow(self, delivery: Delivery, failures: Backoff) -> NoReturn:
        idle = Backoff(shortest=self._polling.shortest, longest=self._polling.longest)
        unsettled = Backoff(shortest=self._polling.unsettled, longest=self._polling.longest)
        while True:
            if await delivery.step():
                idle.reset()
            elif not delivery.is_settled:
                await asyncio.sleep(unsettled.next())
                continue
            else:
                await delivery.notified(timeout=idle.next())
            unsettled.reset()
            self._recovered(failures)

    def _recovered(self, failures: Backoff) -> None:
        if not failures.is_fresh:
            _logger.info("subscription %r goes on", self._subscriber.name)
        failures.reset()

    def _report(self, error: Exception, *, first: bool) -> None:
        name = self._subscriber.name
        if not first:
            _logger.debug("subscription %r still fails", name, exc_info=error)
        elif isinstance(error, StoreUnavailable):
            _logger.warning("subscription %r waits for the database: %s", name, error)
        else:
            _logger.error("subscription %r failed and tries again", name, exc_info=error)


class Delivery:
    """One subscription over one pair of connections: what it knows holds no longer than they do."""

    def __init__(
        self,
        subscriber: Subscriber,
        batch_size: int,
        reader: Connection,
        vault: Vault,
        writer: AsyncConnection,
        checkpoint: Checkpoint,
    ) -> None:
        self._subscriber = subscriber
        self._batch_size = batch_size
        self._reader = reader
        self._vault = vault
        self._writer = writer
        self._checkpoint = checkpoint
        self._mark = HighWaterMark(reader)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for but new events."""
        return self._mark.is_settled

    async def step(self) -> bool:
        """Deliver a batch; whether there was anything to do."""
        up_to = await self._mark.advance()
        if up_to <= self._checkpoint.position:
            return False
        async with self._writer.begin():
            await self._deliver(up_to)
        return True

    async def _deliver(self, up_to: int) -> None:
        stored = await read_events(
            self._reader,
            after=self._checkpoint.position,
            up_to=up_to,
            limit=self._batch_size,
            event_types=self._subscriber.event_types,
        )
        events = await opened_events(self._vault, self._reader, stored)
        is_full = len(events) == self._batch_size
        # Moved first: another process with the same batch waits here, and finds it done, instead of doing it as well.
        moved = await self._checkpoint.move(self._writer, events[-1].position if is_full else up_to)
        if moved is None:
            self._checkpoint = await Checkpoint.load(self._writer, self._subscriber.name)
        else:
            if events:
                await self._subscriber.handle(events, self._writer)
            self._checkpoint = moved

    async def notified(self, *, timeout: float) -> None:  # noqa: ASYNC109 - running out is the usual case, no error
        """Returns when something was appended, or after `timeout` seconds."""
        async for _ in self._reader.notifies(timeout=timeout, stop_after=1):
            pass
