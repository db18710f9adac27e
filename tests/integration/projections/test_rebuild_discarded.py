"""What was discarded stays out of the rows, and on record, when they are made anew."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import BigInteger, Column, Text
from sqlalchemy.ext.asyncio import AsyncEngine

from counteract import Recorded
from counteract.projections import Increment, Projection, reached
from counteract.projections.rebuild import rebuild
from counteract.store import ANY, PostgresEventStore
from counteract.store.postgres.connect import connect
from counteract.subscriptions.parked import discard, parked_events, parked_streams, redrive
from tests.counters import Counted, CounterReset, counter
from tests.integration.projections.rebuilds import PATIENCE, once, rows, running, write

pytestmark = [pytest.mark.integration, pytest.mark.readside]

BAD = counter("bad")
WHY = "a test order of ours"


def totals(*, inline: bool = False, takes_all: bool = False) -> Projection:
    """A handler that does not take what is negative."""
    projection = Projection(
        "totals",
        Column("counter", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        inline=inline,
    )

    @projection.on(Counted)
    def counted(recorded: Recorded[Counted]) -> Increment:
        if recorded.event.amount < 0 and not takes_all:
            raise ValueError(recorded.event.amount)
        return Increment(recorded.stream.aggregate_id, "total", recorded.event.amount)

    projection.ignores(CounterReset)
    return projection


async def park(store: PostgresEventStore) -> int:
    """The position of an event that cannot be handled, with one before it and one behind it."""
    await store.append(BAD, [Counted(amount=amount) for amount in (1, -50, 2)], expect=ANY)
    return 2


async def redrive_the_rest(store: PostgresEventStore) -> None:
    async with store.connection() as connection:
        await redrive(connection, "totals", BAD)
        async with asyncio.timeout(PATIENCE):
            while await parked_streams(connection):  # noqa: ASYNC110 - it happens in the subscription
                await asyncio.sleep(0.02)


async def discard_one(url: str, position: int) -> None:
    async with await connect(url) as connection:
        await discard(connection, "totals", position, why=WHY)


async def on_record(store: PostgresEventStore) -> list[tuple[int, str | None]]:
    async with store.connection() as connection:
        return [(each.position, each.discarded_why) for each in await parked_events(connection, "totals", BAD)]


async def left_of_the_rebuild(store: PostgresEventStore) -> int:
    async with store.connection() as connection:
        found = await connection.execute("select count(*) from parked_events where subscription <> 'totals'")
        row = await found.fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("takes_all", [False, True])
async def test_a_rebuild_leaves_out_what_was_discarded_and_keeps_the_reason(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str, inline: bool, takes_all: bool
) -> None:
    position = await park(store)
    async with running(app_url, totals()):
        await reached(store, "totals", await store.high_water_mark(), timeout=PATIENCE)
        await discard_one(app_url, position)
        await redrive_the_rest(store)
    for _ in range(2):
        await rebuild(app_url, totals(inline=inline, takes_all=takes_all))
        assert await rows(engine, totals()) == {"bad": 3}
        assert await on_record(store) == [(position, WHY)]
        assert await left_of_the_rebuild(store) == 0


async def test_what_is_discarded_while_a_rebuild_goes_on_is_on_record_after_it(
    store: PostgresEventStore, engine: AsyncEngine, app_url: str
) -> None:
    position = await park(store)
    await write(store, 600)

    async with running(app_url, totals()):
        await reached(store, "totals", await store.high_water_mark(), timeout=PATIENCE)
        await rebuild(app_url, totals(), progress=once(lambda: discard_one(app_url, position)))
        await redrive_the_rest(store)
    assert (await rows(engine, totals()))["bad"] == 3
    assert await on_record(store) == [(position, WHY)]
