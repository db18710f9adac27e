"""The handover of a batch to the subscriber, within one transaction of a pair of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.messages import StreamId
from counteract.store import StoredEvent
from counteract.store.postgres.read import read_events_at
from counteract.store.postgres.vault import opened_events
from counteract.subscriptions.faults import EverythingFails, fail_alike, is_outage, is_waited_for, reason
from counteract.subscriptions.pairs import Pair
from counteract.subscriptions.parking import Parking
from counteract.subscriptions.terms import Terms
from counteract.subscriptions.tries import Tries

_REDRIVEN_AT_ONCE = 20
"""Events of one transaction: however large each is, they are in memory together. A subscriber that acts elsewhere gets
them one by one: what is shown there must not be parked again because a later one of the same transaction has failed.
"""


class Handover:
    """Hands events to the subscriber, and parks those that it cannot handle.

    Whoever calls it has begun a transaction of the writer, and moved the lease in it.
    """

    def __init__(self, terms: Terms, tries: Tries, pair: Pair, parking: Parking) -> None:
        self._subscriber = terms.subscriber
        self._vault = terms.vault
        self._health = terms.health
        self._tries = tries
        self._reader = pair.reader
        self._writer = pair.writer
        self._parking = parking

    async def together(self, events: Sequence[StoredEvent], parked: set[StreamId]) -> None:
        """Park the events of parked streams, and hand over the others at once. Raises what the subscriber does."""
        if others := await self._without_parked(events, parked):
            await _apart(self._subscriber.handle(await self._opened(others), self._writer))

    async def one_by_one(self, events: Sequence[StoredEvent], parked: set[StreamId]) -> int:
        """Hand over each by itself, and park those that fail, with what comes later in their streams.

        Returns how many events it has come to, before one that is to be waited for.
        Raises what no event is to blame for.
        """
        failed: list[tuple[StoredEvent, Exception]] = []
        behind: list[StoredEvent] = []
        handled = 0
        for place, event in enumerate(events):
            if event.stream in parked:
                behind.append(event)
                continue
            error = await self._alone(event, self._handle)
            if error is None:
                handled += 1
            elif not is_waited_for(error):
                parked.add(event.stream)
                failed.append((event, error))
            elif place == 0:
                raise error
            else:
                events = events[:place]
                break
        if not handled and self._sees_more_than_one and fail_alike(failed):
            raise EverythingFails(len(failed), failed[0][1])
        await self._park(failed, behind)
        return len(events)

    async def redrive(self, stream: StreamId, *, is_asked_for: bool) -> bool:
        """Hand over the first of the stream's parked events, up to one that fails again.

        Returns whether there may be more, and none has failed.
        """
        size = 1 if self._subscriber.is_elsewhere else min(self._tries.pace.size, _REDRIVEN_AT_ONCE)
        positions = await self._parking.positions(stream, size)
        handled = []
        with self._tries.pace.measured(len(positions)):
            for event in await read_events_at(self._reader, positions):
                if error := await self._alone(event, self._redrive):
                    await self._parking.failed_again(stream, event.position, reason(error))
                    if is_asked_for:
                        self._health.parked(stream, event.position, error)
                    break
                handled.append(event.position)
        await self._parking.unpark(handled)
        return len(handled) == len(positions) == size

    async def _without_parked(self, events: Sequence[StoredEvent], parked: set[StreamId]) -> Sequence[StoredEvent]:
        if not parked:
            return events
        await self._parking.park([event for event in events if event.stream in parked])
        return [event for event in events if event.stream not in parked]

    @property
    def _sees_more_than_one(self) -> bool:
        """Whether what comes later will show that others can be handled."""
        return not self._subscriber.is_elsewhere and self._tries.pace.size > 1

    async def _park(self, failed: Sequence[tuple[StoredEvent, Exception]], behind: Sequence[StoredEvent]) -> None:
        for event, error in failed:
            await self._parking.park([event], reason(error))
            self._health.parked(event.stream, event.position, error)
        await self._parking.park(behind)

    async def _alone(
        self, event: StoredEvent, handle: Callable[[StoredEvent, AsyncConnection], Coroutine[Any, Any, None]]
    ) -> Exception | None:
        """The error that the event failed with, all that it did through the connection undone. Raises for an outage."""
        try:
            async with self._writer.begin_nested():
                await _apart(handle(event, self._writer))
        except Exception as error:
            if is_outage(error):
                raise
            return error
        return None

    async def _handle(self, event: StoredEvent, connection: AsyncConnection) -> None:
        await self._subscriber.handle(await self._opened([event]), connection)

    async def _redrive(self, event: StoredEvent, connection: AsyncConnection) -> None:
        (opened,) = await self._opened([event])
        await self._subscriber.redrive(opened, connection)

    async def _opened(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        return await opened_events(self._vault, self._reader, events)


async def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Run it in a task of its own: before Python 3.13 a task in which a TaskGroup has failed counts as cancelled."""
    await asyncio.create_task(work)
