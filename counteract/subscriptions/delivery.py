"""The delivery of one shard over one pair of connections, batch after batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from time import monotonic

from counteract.messages import StreamId
from counteract.store import StoredEvent
from counteract.subscriptions.backoff import Backoff, spread
from counteract.subscriptions.handover import Handover
from counteract.subscriptions.lease import Lease
from counteract.subscriptions.pairs import Pair
from counteract.subscriptions.parking import Parking, parked_streams, streams_to_redrive
from counteract.subscriptions.reading_ahead import ReadingAhead
from counteract.subscriptions.subscriber import prepare
from counteract.subscriptions.terms import Terms
from counteract.subscriptions.tries import Tries


class _LeaseLost(Exception):
    """Another process has the lease, or the subscription is paused, or has started over."""


class Delivery:
    """Delivers a shard for as long as it has the pair: what it knows, such as the high water mark, holds no longer.

    Where anything goes wrong its lease is lost with it: only the database knows whether the last move was committed.
    """

    def __init__(self, terms: Terms, lease: Lease, tries: Tries, pair: Pair) -> None:
        self._subscriber = terms.subscriber
        self._polling = terms.polling
        self._health = terms.health
        self._lag = terms.lag
        self._lease = lease
        self._tries = tries
        self._reader = pair.reader
        self._writer = pair.writer
        self._log = ReadingAhead(
            pair.reader,
            pace=tries.pace,
            event_types=terms.subscriber.event_types,
            vocabulary=terms.subscriber.vocabulary,
            condition=lease.condition,
        )
        self._parking = Parking(lease.name, pair.writer)
        self._handover = Handover(terms, tries, pair, self._parking)
        self._renew_at = monotonic() + spread(lease.seconds / 3)

    async def run(self, *, up_to: int | None = None, redrive: bool = True) -> Lease | None:
        """Deliver until there is nothing to do, with `redrive` also what is parked.

        Returns the lease as it is then; None where another process has it, or the position `up_to` is reached.
        Raises whatever goes wrong.
        """
        async with self._log.until_done():
            if redrive:
                # Before the first batch: what this process parks itself has been tried by its code.
                with suppress(_LeaseLost):
                    await self._redrive_streams()
            return await self._run(up_to)

    async def _run(self, up_to: int | None) -> Lease | None:
        unsettled = Backoff(shortest=self._polling.unsettled, longest=self._polling.longest)
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
            except _LeaseLost:
                try:
                    await self._renew()
                except _LeaseLost:
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
            self._tries.succeed()
        if self._tries.has_not_failed:
            self._health.well()
        if self._lease.position >= page.end:
            self._lag.is_done(self._lease.shard)
        return is_new

    async def _deliver(self, events: Sequence[StoredEvent], position: int) -> None:
        async with self._writer.begin():
            # Moved first: a process that takes the lease over waits here, and finds the batch done, so that it does it
            # not too.
            moved = await self._moved(self._lease, position)
            if events and moved.has_discarded:
                events = await self._parking.kept(events)
            parked = await self._parking.streams(events) if events and moved.has_parked else set[StreamId]()
            if self._subscriber.is_elsewhere and len(part := self._part(events, parked)) < len(events):
                events, moved = part, await self._moved(moved, part[-1].position)
            with self._tries.pace.measured(len(events)):
                if self._tries.goes_one_by_one(self._lease.position):
                    if (handled := await self._handover.one_by_one(events, parked)) < len(events):
                        moved = await self._moved(moved, events[handled - 1].position)
                else:
                    await self._handover.together(events, parked)
        self._lease = moved

    def _part(self, events: Sequence[StoredEvent], parked: set[StreamId]) -> Sequence[StoredEvent]:
        """The first events, so that either all of them are handled or all are parked: a subscriber that does something
        elsewhere must not do it for an event while it may yet be forgotten that an earlier one was parked.
        """
        if not events:
            return events
        self._tries.keep_alone_until(events[-1].position)
        if self._tries.goes_one_by_one(self._lease.position):
            return events[:1]
        first = events[0].stream in parked
        return list(takewhile(lambda event: (event.stream in parked) == first, events))

    async def _moved(self, lease: Lease, position: int) -> Lease:
        """The lease at another position, as of this transaction. Raises _LeaseLost."""
        moved = await lease.move(self._writer, position)
        if moved is None:
            raise _LeaseLost
        return moved

    async def _renew(self) -> None:
        renewed = await self._lease.renewed(self._reader)
        if renewed is None:
            raise _LeaseLost
        if renewed.epoch != self._lease.epoch:
            # Somebody has started it over, or put other rows in its place.
            await prepare(self._subscriber, self._writer)
        self._lease = renewed
        self._renew_at = monotonic() + spread(renewed.seconds / 3)
        await self._subscriber.watch()
        await self._redrive_streams()

    async def _redrive_streams(self) -> None:
        """Redrive the streams that somebody has asked for, and now and then all, for as long as a renewal may wait.

        The others have their turn at another time.
        """
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
            moved = await self._moved(self._lease, self._lease.position)
            goes_on = await self._handover.redrive(stream, is_asked_for=is_asked_for)
        self._lease = moved
        return goes_on
