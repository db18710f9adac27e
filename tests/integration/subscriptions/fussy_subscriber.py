"""A subscriber that cannot handle some of its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from inspect import getsourcelines

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from counteract.messages import StreamId
from counteract.store import ANY, PostgresEventStore, StoredEvent
from counteract.subscriptions import Subscriber, Subscription
from tests.counters import Counted, counter

PATIENCE = 20.0
BAD, GOOD = counter("bad"), counter("good")


class Fussy(Subscriber):
    """Writes down what it gets, and chokes on some of it."""

    name = "fussy"

    def __init__(self, *chokes_on: int) -> None:
        self.chokes_on = set(chokes_on)
        self.error: Exception = ValueError("too much")
        self.calls = 0

    async def prepare(self, connection: AsyncConnection) -> None:
        await connection.execute(text("select pg_advisory_xact_lock(1)"))
        await connection.execute(
            text(
                "create table if not exists counteract_app.notes (line serial, position bigint unique, stream text, note text)"
            )
        )

    async def handle(self, events: Sequence[StoredEvent], connection: AsyncConnection) -> None:
        self.calls += 1
        for event in events:
            await connection.execute(
                text("insert into notes (position, stream) values (:position, :stream)"),
                {"position": event.position, "stream": str(event.stream)},
            )
            if event.position in self.chokes_on:
                raise self.error


_, first_line = getsourcelines(Fussy.handle)
RAISED = f"raised in fussy_subscriber.py, line {first_line + 8}, in handle"


@asynccontextmanager
async def running(url: str, subscriber: Fussy, *, shards: int = 1, attempts: int = 2) -> AsyncIterator[None]:
    async with going_on(Subscription(url, subscriber, lease=0.6, attempts=attempts, shards=shards)):
        yield


@asynccontextmanager
async def going_on(subscription: Subscription) -> AsyncIterator[None]:
    task = asyncio.create_task(subscription.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def write(store: PostgresEventStore, *streams: StreamId) -> int:
    """One event each, one after the other; the last position."""
    return [await store.append(stream, [Counted()], expect=ANY) for stream in streams][-1].position


async def noted(store: PostgresEventStore, stream: StreamId | None = None) -> list[int]:
    """In the order in which they were noted down."""
    async with store.connection() as connection:
        rows = await connection.execute(
            "select position from notes where %(s)s::text is null or stream = %(s)s order by line",
            {"s": str(stream) if stream else None},
        )
        return [position for (position,) in await rows.fetchall()]
