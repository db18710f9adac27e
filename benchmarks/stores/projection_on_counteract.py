"""A projection of all deposits, from the first event to the last there is, by a ProjectionRunner."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import uuid4

from sqlalchemy import BigInteger, Column, Text

from benchmarks.stores.workload import Answer, Deposited, balances_of
from counteract import Recorded
from counteract.projections import Increment, Projection, ProjectionRunner
from counteract.projections.rebuild import drop
from counteract.store import PostgresEventStore


def balances() -> Projection:
    projection = Projection(
        f"balances-{uuid4().hex}",
        Column("account_id", Text, primary_key=True),
        Column("balance", BigInteger, nullable=False, default=0),
        Column("deposits", BigInteger, nullable=False, default=0),
    )

    @projection.on(Deposited)
    def deposited(recorded: Recorded[Deposited]) -> list[Increment]:
        account = recorded.stream.aggregate_id
        return [Increment(account, "balance", recorded.event.amount), Increment(account, "deposits")]

    return projection


async def project(url: str) -> Answer:
    projection = balances()
    async with PostgresEventStore.open(url, pool_size=1) as store:
        end = await store.high_water_mark()
    began = time.perf_counter()
    runner = ProjectionRunner(url, [projection])
    running = asyncio.create_task(runner.run())
    await runner.reached(end, timeout=600)
    elapsed = time.perf_counter() - began
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    count = await balances_of(url, projection.table.name)
    await drop(url, projection)
    return {"elapsed": elapsed, "each": [], "count": count}
