"""A process that goes through all events of a store in one way, and says how much memory it took at the most.

`python -m tests.integration.store.large_events URL open|load|read|project|export|verify`
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

from sqlalchemy import BigInteger, Column, Text

from counteract.projections import Increment, Projection, ProjectionRunner
from counteract.store import PostgresEventStore
from counteract.store.checks.verify import Expected, Verification
from counteract.store.transfer.lines import exported
from tests.counters import Counted, CounterReset, counters


async def open_it(url: str) -> int:
    async with PostgresEventStore.open(url) as store:
        return await store.high_water_mark()


async def load(url: str) -> int:
    async with PostgresEventStore.open(url) as store:
        return (await store.load(counters, "a")).version


async def read(url: str) -> int:
    count = after = 0
    async with PostgresEventStore.open(url) as store:
        while page := await store.read(after=after):
            count, after = count + len(page), page[-1].position
    return count


async def project(url: str) -> int:
    projection = Projection(
        "sizes", Column("id", Text, primary_key=True), Column("size", BigInteger, nullable=False, default=0)
    )
    projection.ignores(CounterReset)

    @projection.on(Counted)
    def counted(recorded: Any) -> Increment:
        return Increment(recorded.stream.aggregate_id, "size", len(recorded.event.note))

    runner = ProjectionRunner(url, [projection])
    running = asyncio.create_task(runner.run())
    end = await open_it(url)
    await runner.reached(end, timeout=200)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return end


async def export(url: str) -> int:
    async with PostgresEventStore.open(url) as store:
        return sum([len(lines) async for lines in exported(store)])


async def verify(url: str) -> int:
    async with Verification.open(url, Expected([Counted], {}, [])) as verification:
        return max([step.events async for step in verification.run()])


WAYS = {"open": open_it, "load": load, "read": read, "project": project, "export": export, "verify": verify}

if __name__ == "__main__":
    answer = asyncio.run(WAYS[sys.argv[2]](sys.argv[1]))
    print(json.dumps([answer, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
