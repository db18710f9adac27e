"""Measures how long after its commit an event reaches a subscriber, and shows in a row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import psycopg
from sqlalchemy import BigInteger, Column, Index, Text
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.stores.workload import Deposited
from counteract import Recorded
from counteract.projections import Projection, ProjectionRunner, Put, reached
from counteract.projections.rebuild import drop
from counteract.store import PostgresEventStore, StoredEvent
from counteract.subscriptions import Subscriber, Subscription


@dataclass(frozen=True, slots=True)
class Delays:
    """Delays in seconds, from the writer's answer until the subscriber has the event; 0 where that was first."""

    each: Sequence[float]
    appends_per_second: float

    @property
    def percentiles(self) -> Sequence[float]:
        return quantiles(self.each, n=100)


class _Clock(Subscriber):
    name = "clock"

    def __init__(self) -> None:
        self.arrivals: dict[int, float] = {}

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        now = time.monotonic()
        self.arrivals.update((each.position, now) for each in events)


async def delays(url: str, write: Callable[..., Awaitable[Any]], appends: int) -> Delays:
    """`write` appends in another process, and tells by the clock of both when it knew of each event."""
    clock = _Clock()
    subscription = asyncio.create_task(Subscription(url, clock).run())
    try:
        await _arrived(clock, await write(appends=200))
        stamps = await write(appends=appends)
        await _arrived(clock, stamps)
    finally:
        subscription.cancel()
        with suppress(asyncio.CancelledError):
            await subscription
    times = [stamp for _, stamp in stamps]
    each = [max(0.0, clock.arrivals[position] - stamp) for position, stamp in stamps]
    return Delays(each, len(each) / (max(times) - min(times)))


async def _arrived(clock: _Clock, stamps: Sequence[tuple[int, float]]) -> None:
    async with asyncio.timeout(30):
        while not all(position in clock.arrivals for position, _ in stamps):  # noqa: ASYNC110 - a poll is enough here
            await asyncio.sleep(0.05)


async def visible(url: str, write: Callable[..., Awaitable[Any]]) -> Delays:
    """Delays as those of `delays`, up to the moment at which a query finds the row that the event made."""
    projection = Projection(
        "shown",
        Column("account_id", Text, primary_key=True),
        Column("position", BigInteger),
        Index("shown_position_idx", "position"),
    )

    @projection.on(Deposited)
    def deposited(recorded: Recorded[Deposited]) -> Put:
        return Put(recorded.stream.aggregate_id, {"position": recorded.position})

    running = asyncio.create_task(ProjectionRunner(url, [projection]).run())
    try:
        stamps = await write(seconds=1)
        async with PostgresEventStore.open(url, pool_size=1) as store:
            await reached(store, projection.name, stamps[-1][0], timeout=60)
        writing = asyncio.ensure_future(write(seconds=20))
        moments = await _moments(url, writing)
        stamps = await writing
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    await drop(url, projection)
    # What is found at a moment is everything up to a position: batches are committed in order.
    found = iter(moments)
    end, moment = next(found)
    each = []
    for position, stamp in sorted(stamps):
        while end < position:
            end, moment = next(found)
        each.append(max(0.0, moment - stamp))
    times = [stamp for _, stamp in stamps]
    return Delays(each, len(each) / (max(times) - min(times)))


async def _moments(url: str, writing: asyncio.Future[Any]) -> list[tuple[int, float]]:
    """The last position that shows, and since when, until everything that was written does."""
    moments = [(0, time.monotonic())]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0) as connection:
        while not writing.done() or moments[-1][0] < writing.result()[-1][0]:
            row = await (await connection.execute("select max(position) from shown")).fetchone()
            if row and row[0] > moments[-1][0]:
                moments.append((row[0], time.monotonic()))
            await asyncio.sleep(0.001)
    return moments
