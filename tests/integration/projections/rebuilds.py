"""A projection of the counters' totals, what runs it, and what happens or stops in the midst of its rebuild."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Index, Text, select
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.projections import Increment, Projection, ProjectionRunner
from counteract.projections.rebuild import Progress, rebuild
from counteract.store import ANY, PostgresEventStore
from tests.counters import Counted, CounterReset, counter

PATIENCE = 20.0
FEW, MANY = 20, 1500


class Stopped(Exception):
    """As if the process had been."""


def totals(*more: Column[Any], by: int = 1) -> Projection:
    """How much was counted by each; a change of `by` is a change of its code, as far as rows go."""
    projection = Projection(
        "totals",
        Column("counter", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        *more,
        Index("totals_total_idx", "total"),
    )

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Increment:
        return Increment(recorded.stream.aggregate_id, "total", by * recorded.event.amount)

    projection.ignores(CounterReset)
    return projection


def tens(*more: Column[Any]) -> Projection:
    """The same of other code: ten times as much. Written out, for a fingerprint does not see a value that the code is given."""
    projection = Projection(
        "totals",
        Column("counter", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        *more,
        Index("totals_total_idx", "total"),
    )

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Increment:
        return Increment(recorded.stream.aggregate_id, "total", 10 * recorded.event.amount)

    projection.ignores(CounterReset)
    return projection


@asynccontextmanager
async def running(url: str, projection: Projection) -> AsyncIterator[None]:
    task = asyncio.create_task(ProjectionRunner(url, [projection]).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def write(store: PostgresEventStore, events: int, *, streams: int = 5) -> int:
    appended = [await store.append(counter(str(each % streams)), [Counted()], expect=ANY) for each in range(events)]
    return appended[-1].position


async def rows(engine: AsyncEngine, projection: Projection) -> dict[str, int]:
    async with engine.connect() as connection:
        found = await connection.execute(select(projection.table.c.counter, projection.table.c.total))
        return {row.counter: row.total for row in found}


def once(then: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[Progress], None]:
    """At a rebuild's first look, which stands still meanwhile: in a thread, as if another process did it."""
    has_been = False

    def do(_: Progress) -> None:
        nonlocal has_been
        if not has_been:
            has_been = True
            with ThreadPoolExecutor(1) as thread:
                thread.submit(lambda: asyncio.run(then())).result(PATIENCE)

    return do


async def count(store: PostgresEventStore, name: str, times: int) -> int:
    return (await store.append(counter(name), [Counted()] * times, expect=ANY)).position


def after(position: int) -> Callable[[Progress], None]:
    """Stops a rebuild that has passed it."""

    def stop(progress: Progress) -> None:
        if position <= progress.position < progress.end:
            raise Stopped

    return stop


async def interrupt(url: str, projection: Projection) -> None:
    with pytest.raises(Stopped):
        await rebuild(url, projection, batch_size=2, progress=after(FEW))
