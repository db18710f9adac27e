"""How long after its commit an event reaches a subscriber."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.store import StoredEvent
from counteract.subscriptions import Subscriber, Subscription


@dataclass(frozen=True, slots=True)
class Delays:
    """From the writer's answer to the subscriber's hands, in seconds; 0 where the subscriber was first."""

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
