"""Counteract's store, as an application uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from benchmarks.stores.boundaries_on_counteract import decide
from benchmarks.stores.projection_on_counteract import project
from benchmarks.stores.workload import (
    EVENT,
    METADATA,
    PAGE,
    POOL_SIZE,
    Answer,
    accounts,
    chosen,
    line,
    repeated,
    spread,
    streams,
    written,
)
from counteract.store import NO_STREAM, ExactVersion, PostgresEventStore, StoredEvent
from counteract.store.transfer.bulk_import import import_events
from counteract.subscriptions import Subscriber, Subscription

CONDITIONS: dict[str, dict[str, Any]] = {
    "cold": {"cached_states": 0, "snapshot_every": 0},
    "with snapshot": {"cached_states": 0},
    "cached": {},
}
"""A load's: options of the store."""


class _Counting(Subscriber):
    """A subscriber that counts, until it has seen the end of the log that was there at its start."""

    def __init__(self) -> None:
        # A new name each time, which begins with the first event.
        self.name = f"counting-{uuid4().hex}"
        self.count, self.end = 0, 0
        self.stopped = asyncio.Event()

    async def prepare(self, connection: AsyncConnection) -> None:
        self.end = (await connection.execute(text("select max(position) from events"))).scalar_one()

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        self.count += len(events)
        if events[-1].position >= self.end:
            self.stopped.set()


class OnCounteract:
    def __init__(self, url: str, owner_url: str) -> None:
        self._url = url
        self._owner_url = owner_url
        self._streams: dict[int, list[str]] = {}

    @classmethod
    @asynccontextmanager
    async def running(cls, env: Any) -> AsyncIterator[OnCounteract]:
        yield cls(env["DATABASE_URL"], env["OWNER_URL"])

    async def append(self, *, writers: int, events: int, appends: int) -> Answer:
        async with PostgresEventStore.open(self._url, pool_size=POOL_SIZE) as store:

            async def write(stream: UUID, version: int) -> None:
                await store.append(
                    accounts.stream(str(stream)), [EVENT] * events, expect=ExactVersion(version), metadata=METADATA
                )

            await written(write, writers=writers, events=events, appends=20 * writers)
            return await written(write, writers=writers, events=events, appends=appends)

    async def decide(self, *, what: str, writers: int, decisions: int) -> Answer:
        return await decide(self._url, what=what, writers=writers, decisions=decisions)

    async def stamped(self, *, writers: int, appends: int) -> list[tuple[int, float]]:
        """The position of each event, and when its writer knew of it, by a clock that all processes share."""
        stamps = []
        async with PostgresEventStore.open(self._url, pool_size=POOL_SIZE) as store:

            async def write(stream: UUID, version: int) -> None:
                appended = await store.append(
                    accounts.stream(str(stream)), [EVENT], expect=ExactVersion(version), metadata=METADATA
                )
                stamps.append((appended.position, time.monotonic()))

            await written(write, writers=writers, events=1, appends=appends)
        return stamps

    async def paced(self, *, rate: int, seconds: float) -> list[tuple[int, float]]:
        """Append as `stamped` does, one event after another, so many a second, each to a stream of its own."""
        stamps = []
        async with PostgresEventStore.open(self._url, pool_size=1) as store:
            began = time.monotonic()
            for number in range(int(rate * seconds)):
                await asyncio.sleep(began + number / rate - time.monotonic())
                appended = await store.append(accounts.stream(str(uuid7())), [EVENT], expect=NO_STREAM)
                stamps.append((appended.position, time.monotonic()))
        return stamps

    async def fill(self, *, number: int, events: int) -> None:
        """Add streams of so many events each."""
        await import_events(self._owner_url, (line(stream) for stream, _ in streams(number, events)))

    async def spread(self, *, number: int, events: int) -> None:
        await import_events(self._owner_url, (line(stream) for stream in spread(number, events)))

    async def project(self) -> Answer:
        return await project(self._url)

    async def choose(self, *, number: int, events: int) -> None:
        self._streams[events] = await chosen(self._url, number, events)

    async def load(self, *, events: int, loads: int, condition: str = "cold") -> Answer:
        """Load streams of so many events, of those chosen."""
        names = cycle(self._streams[events])
        async with PostgresEventStore.open(self._url, pool_size=1, **CONDITIONS[condition]) as store:

            async def load() -> None:
                assert (await store.load(accounts, next(names))).version == events

            await repeated(load, len(self._streams[events]))
            return await repeated(load, loads)

    async def read(self) -> Answer:
        """Read the whole log, in its order."""
        async with PostgresEventStore.open(self._url, pool_size=1) as store:
            began, count, after = time.perf_counter(), 0, 0
            end = await store.high_water_mark()
            while events := await store.read(after=after, up_to=end, limit=PAGE):
                count += len(events)
                after = events[-1].position
            return {"elapsed": time.perf_counter() - began, "each": [], "count": count}

    async def subscribe(self) -> Answer:
        """Hand the whole log to a subscriber whose checkpoint is kept."""
        counting = _Counting()
        began = time.perf_counter()
        subscription = asyncio.create_task(Subscription(self._url, counting, batch_size=PAGE).run())
        await counting.stopped.wait()
        elapsed = time.perf_counter() - began
        subscription.cancel()
        await asyncio.wait([subscription])
        return {"elapsed": elapsed, "each": [], "count": counting.count}

    async def bulk(self, *, number: int, events: int) -> Answer:
        lines = [line(stream) for stream, _ in streams(number, events)]
        began = time.perf_counter()
        done = await import_events(self._owner_url, lines)
        return {"elapsed": time.perf_counter() - began, "each": [], "count": done.stored}
