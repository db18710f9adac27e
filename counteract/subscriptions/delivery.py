"""One shard of a subscription, being delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from time import monotonic
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.messages import StreamId
from counteract.store import StoredEvent
from counteract.store.postgres.read import read_events_at
from counteract.store.postgres.vault import Vault, opened_events
from counteract.subscriptions.backoff import Backoff, spread
from counteract.subscriptions.faults import EverythingFails, fail_alike, is_outage, is_waited_for, reason
from counteract.subscriptions.health import Health
from counteract.subscriptions.lag import Lag
from counteract.subscriptions.lease import Lease
from counteract.subscriptions.pace import Pace
from counteract.subscriptions.pairs import Pair
from counteract.subscriptions.parking import Parking, parked_streams, streams_to_redrive
from counteract.subscriptions.reading_ahead import ReadingAhead
from counteract.subscriptions.subscriber import Subscriber, prepare

_REDRIVEN_AT_ONCE = 20
"""However large each is, they are in memory together. Who acts elsewhere gets them one by one: what is shown there
must not be parked again because a later one of the same transaction has failed.
"""


@dataclass(frozen=True, slots=True)
class Polling:
    """How long subscriptions with nothing to do wait before they look again, in seconds. A notification ends the wait."""

    longest: float = 0.25
    unsettled: float = 0.005
    """The shortest while an append is under way that the next events have to wait for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How events are delivered."""

    attempts: int
    """Of a batch as a whole, before its events are handled one by one and those that fail are parked."""
    polling: Polling


class Redriving:
    """When all that is parked is tried again without being asked for: when a process takes it up, whose code may be another,
    and then ever less often."""

    def __init__(self) -> None:
        self._pauses = Backoff(shortest=60.0, longest=3600.0)
        self._next = 0.0

    @property
    def is_near(self) -> bool:
        return monotonic() >= self._next

    def is_due(self) -> bool:
        """Whether it is time; from then on it is not, for longer than before."""
        if not self.is_near:
            return False
        self._next = monotonic() + self._pauses.next()
        return True


@dataclass(slots=True)
class Tries:
    """What one pair of connections hands on to the next, of the batch that comes next."""

    pace: Pace
    failed: int = 0
    alone_until: int = 0
    """The position up to which the events are handled one by one."""
    waits: bool = False
    """It was no event's fault. Those before the one that it was met at need not wait: they are handled one by one."""
    redriving: Redriving = field(default_factory=Redriving)


class LeaseLost(Exception):
    """Another process has it, or it is paused, or has started over."""


class Delivery:
    """A lease over one pair of connections: what is known holds no longer than they do."""

    def __init__(
        self,
        subscriber: Subscriber,
        terms: Terms,
        lease: Lease,
        pair: Pair,
        vault: Vault,
        health: Health,
        lag: Lag,
        tries: Tries,
    ) -> None:
        self._subscriber = subscriber
        self._terms = terms
        self._lease = lease
        self._reader = pair.reader
        self._writer = pair.writer
        self._vault = vault
        self._health = health
        self._lag = lag
        self._log = ReadingAhead(
            pair.reader,
            pace=tries.pace,
            event_types=subscriber.event_types,
            vocabulary=subscriber.vocabulary,
            condition=lease.condition,
        )
        self._parking = Parking(lease.name, pair.writer)
        self._tries = tries
        self._renew_at = monotonic() + spread(lease.seconds / 3)

    async def run(self, *, up_to: int | None = None, redrive: bool = True) -> Lease | None:
        """Until there is nothing to do: the lease as it is then; None where it is somebody else's, or the position is reached.

        With `redrive` also what is parked. Raises whatever goes wrong.
        """
        async with self._log.until_done():
            if redrive:
                # Before the first batch: what this process parks itself has been tried by its code.
                with suppress(LeaseLost):
                    await self._redrive_streams()
            return await self._run(up_to)

    async def _run(self, up_to: int | None) -> Lease | None:
        polling = self._terms.polling
        unsettled = Backoff(shortest=polling.unsettled, longest=polling.longest)
        while up_to is None or self._lease.position < up_to:
            try:
                if await self._step():
                    unsettled.reset()
                elif not self._log.mark.is_settled:
                    await asyncio.sleep(unsettled.next())
                    continue
                else:
                    return self._lease
                if monotonic() > self._renew_at:
                    await self._renew()
            except LeaseLost:
                try:
                    await self._renew()
                except LeaseLost:
                    return None
        return None

    async def _step(self) -> bool:
        """Deliver a batch; whether there was anything to do."""
        if self._subscriber.is_resting:
            return False
        page = await self._log.page(self._lease.position)
        if is_new := page.position > page.after:
            if page.events:
                self._lag.waits(self._lease.shard, page.events[0].recorded_at, page.end - page.after)
            await self._deliver(page.events, page.position)
            self._tries.failed = 0
            self._tries.waits = False
        if self._tries.failed == 0:
            self._health.well()
        if self._lease.position >= page.end:
            self._lag.is_done(self._lease.shard)
        return is_new

    async def _deliver(self, events: Sequence[StoredEvent], position: int) -> None:
        async with self._writer.begin():
            # Moved first: whoever would take the lease over waits here, and finds the batch done, instead of doing it too.
            moved = await self._move(position)
            if events and moved.has_discarded:
                events = await self._parking.kept(events)
            parked = await self._parking.streams(events) if events and moved.has_parked else set[StreamId]()
            if self._subscriber.is_elsewhere and len(part := self._part(events, parked)) < len(events):
                events, moved = part, await self._cut_short(moved, part[-1].position)
            with self._tries.pace.measured(len(events)):
                if self._goes_one_by_one():
                    if (handled := await self._handle_each(events, parked)) < len(events):
                        moved = await self._cut_short(moved, events[handled - 1].position)
                elif others := await self._without_parked(events, parked):
                    await _apart(self._subscriber.handle(await self._opened(others), self._writer))
        self._lease = moved

    async def _without_parked(self, events: Sequence[StoredEvent], parked: set[StreamId]) -> Sequence[StoredEvent]:
        if not parked:
            return events
        await self._parking.park([event for event in events if event.stream in parked])
        return [event for event in events if event.stream not in parked]

    async def _opened(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        return await opened_events(self._vault, self._reader, events)

    async def _move(self, position: int) -> Lease:
        moved = await self._lease.move(self._writer, position)
        if moved is None:
            raise LeaseLost
        return moved

    def _goes_one_by_one(self) -> bool:
        is_suspect = self._tries.waits or self._tries.failed >= self._terms.attempts
        return is_suspect or self._lease.position < self._tries.alone_until

    def _part(self, events: Sequence[StoredEvent], parked: set[StreamId]) -> Sequence[StoredEvent]:
        """The first events, so that either all of them are handled or all are parked: who does something elsewhere must not do it
        for an event while it may yet be forgotten that an earlier one was parked.
        """
        if not events:
            return events
        if self._tries.failed >= self._terms.attempts:
            self._tries.alone_until = max(self._tries.alone_until, events[-1].position)
        if self._goes_one_by_one():
            return events[:1]
        first = events[0].stream in parked
        return list(takewhile(lambda event: (event.stream in parked) == first, events))

    async def _cut_short(self, moved: Lease, position: int) -> Lease:
        cut = await moved.move(self._writer, position)
        if cut is None:
            raise LeaseLost
        return cut

    async def _handle_each(self, events: Sequence[StoredEvent], parked: set[StreamId]) -> int:
        """Those that fail are parked, and with them what comes later in their streams. How many it has come to, before one that
        is to be waited for. Raises what is no fault of an event's.
        """
        failed: list[tuple[StoredEvent, Exception]] = []
        behind: list[StoredEvent] = []
        handled = 0
        for place, event in enumerate(events):
            if event.stream in parked:
                behind.append(event)
                continue
            error = await self._handle_alone(event, self._handle_one)
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

    @property
    def _sees_more_than_one(self) -> bool:
        """Whether what comes later will show that others can be handled."""
        return not self._subscriber.is_elsewhere and self._tries.pace.size > 1

    async def _park(self, failed: Sequence[tuple[StoredEvent, Exception]], behind: Sequence[StoredEvent]) -> None:
        for event, error in failed:
            await self._parking.park([event], reason(error))
            self._health.parked(event.stream, event.position, error)
        await self._parking.park(behind)

    async def _handle_one(self, event: StoredEvent, connection: AsyncConnection) -> None:
        await self._subscriber.handle(await self._opened([event]), connection)

    async def _redrive_one(self, event: StoredEvent, connection: AsyncConnection) -> None:
        (opened,) = await self._opened([event])
        await self._subscriber.redrive(opened, connection)

    async def _handle_alone(
        self, event: StoredEvent, handle: Callable[[StoredEvent, AsyncConnection], Coroutine[Any, Any, None]]
    ) -> Exception | None:
        """What it failed with, all that it did through the connection undone. Raises for an outage."""
        try:
            async with self._writer.begin_nested():
                await _apart(handle(event, self._writer))
        except Exception as error:
            if is_outage(error):
                raise
            return error
        return None

    async def _renew(self) -> None:
        renewed = await self._lease.renewed(self._reader)
        if renewed is None:
            raise LeaseLost
        if renewed.epoch != self._lease.epoch:
            # Somebody has started it over, or put other rows in its place.
            await prepare(self._subscriber, self._writer)
        self._lease = renewed
        self._renew_at = monotonic() + spread(renewed.seconds / 3)
        await self._subscriber.watch()
        await self._redrive_streams()

    async def _redrive_streams(self) -> None:
        """Those that somebody has asked for, and now and then all. For as long as a renewal may wait: the others have their turn at
        another time."""
        asked = await streams_to_redrive(self._reader, self._lease)
        others = await parked_streams(self._reader, self._lease) if self._tries.redriving.is_due() else ()
        until = monotonic() + self._lease.seconds / 3
        for stream in dict.fromkeys([*asked, *others]):
            while await self._redrive(stream, is_asked_for=stream in asked):
                pass
            if stream not in asked and monotonic() > until:
                return

    async def _redrive(self, stream: StreamId, *, is_asked_for: bool) -> bool:
        """Hand over a batch of the stream's parked events; whether there may be more, and none has failed."""
        async with self._writer.begin():
            # It moves nothing, but as long as this goes on nobody else delivers the shard.
            moved = await self._move(self._lease.position)
            size = 1 if self._subscriber.is_elsewhere else min(self._tries.pace.size, _REDRIVEN_AT_ONCE)
            positions = await self._parking.positions(stream, size)
            handled = []
            with self._tries.pace.measured(len(positions)):
                for event in await read_events_at(self._reader, positions):
                    if error := await self._handle_alone(event, self._redrive_one):
                        await self._parking.failed_again(stream, event.position, reason(error))
                        if is_asked_for:
                            self._health.parked(stream, event.position, error)
                        break
                    handled.append(event.position)
            await self._parking.unpark(handled)
        self._lease = moved
        return len(handled) == len(positions) == size


async def _apart(work: Coroutine[Any, Any, None]) -> None:
    """In a task of its own: one in which a TaskGroup has failed counts as being cancelled ever after, in Python before 3.13."""
    await asyncio.create_task(work)
