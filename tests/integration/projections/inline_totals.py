"""An inline projection of the counters' totals, and the store that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from sqlalchemy import BigInteger, CheckConstraint, Column, Text, select
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.projections import Increment, Operation, Projection, Put
from counteract.store import PostgresEventStore
from tests.counters import Counted, CounterReset


def totals(*, inline: bool = True) -> Projection:
    """How much each counter counted, and, in the row of `*`, all of them."""
    projection = Projection(
        "totals",
        Column("counter", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        Column("last", BigInteger),
        CheckConstraint("total < 1000000"),
        inline=inline,
    )

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Sequence[Operation]:
        amount = recorded.event.amount
        if amount == 13:
            raise ValueError("unlucky")
        return [Increment(recorded.stream.aggregate_id, "total", amount), Increment("*", "total", amount)]

    @projection.on(CounterReset)
    def reset(recorded: Recorded[CounterReset]) -> Put:
        return Put(recorded.stream.aggregate_id, {"last": recorded.position})

    return projection


def opened(url: str, *projections: Projection) -> AbstractAsyncContextManager[PostgresEventStore]:
    return PostgresEventStore.open(url, inline=projections)


async def rows(engine: AsyncEngine) -> dict[str, int]:
    table = totals().table
    async with engine.connect() as connection:
        found = await connection.execute(select(table.c.counter, table.c.total))
        return {row.counter: row.total for row in found}


async def enter(context: AbstractAsyncContextManager[PostgresEventStore]) -> None:
    async with context:
        pass
